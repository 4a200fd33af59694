/**
 * The control blocks of an image, kept for as long as it is open so that they come from the tape
 * only once: the first bytes in memory, up to a budget, the rest in a private temporary file.
 *
 *     0            memoryBudgetBytes            #tailStart       sizeBytes
 *     ├── chunks in memory ──┼── pages in the file ──┼── tail page ──┤
 *
 * The file gets whole pages only; the bytes of an unfinished page wait in memory. So a page in the
 * file never changes, and pages that are read often (directories) can be kept in a small record
 * cache without anything ever becoming stale in it.
 */
import { CallGate, checkRange } from "../device/checked-device.ts";
import { closeAll } from "../errors.ts";
import { PrivateFile } from "./private-file.ts";
import { RecordCache } from "./record-cache.ts";

export interface HeaderCacheOptions {
  /** Memory for the first bytes appended. Pages kept of the spill file come on top: see below. */
  readonly memoryBudgetBytes: number;
  /** Where the spill file goes; the system's folder for temporary files by default. */
  readonly directory?: string;
}

export interface HeaderCacheStatistics {
  /** All memory held: first bytes, tail and pages of the spill file. */
  readonly memoryBytes: number;
  readonly spillBytes: number;
  /** Reads from the spill file. */
  readonly spillReads: number;
}

const CHUNK_BYTES = 1 << 20;
const PAGE_BYTES = 32 << 10;
/** Memory for pages of the spill file. */
const PAGE_CACHE_BYTES = 4 << 20;
/** A read of more than this goes to the file directly: it is a scan, and pages would not help. */
const PAGED_READ_MAX_BYTES = 4 * PAGE_BYTES;

interface Spill {
  readonly file: PrivateFile;
  readonly pages: RecordCache;
}

export class HeaderCache {
  readonly #memoryBudgetBytes: number;
  readonly #directory: string | undefined;
  readonly #chunks: Uint8Array[] = [];
  /** Bytes of an unfinished page; made with the spill file. */
  #tail: Uint8Array | undefined;
  #tailLength = 0;
  #spill: Spill | undefined;
  #spilledBytes = 0;
  #sizeBytes = 0;
  #spillReads = 0;
  /** The append made last; each waits for the one before. */
  #appending: Promise<void> = Promise.resolve();
  readonly #gate = new CallGate("header cache");

  constructor(options: HeaderCacheOptions) {
    this.#memoryBudgetBytes = Math.max(0, Math.floor(options.memoryBudgetBytes));
    this.#directory = options.directory;
  }

  /** Bytes appended so far that can be read. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /**
   * Adds `bytes` at the end; they must not change until this resolves. Throws what the file system
   * says ("no-space"); nothing can be appended after that, what was appended before is readable.
   */
  async append(bytes: Uint8Array): Promise<void> {
    this.#gate.check();
    this.#appending = this.#appending.then(async () => this.#appendNow(bytes));
    return this.#appending;
  }

  /** Fills `target` from `offsetBytes` on. Throws "out-of-range" and "closed". */
  async read(offsetBytes: number, target: Uint8Array): Promise<void> {
    if (this.tryRead(offsetBytes, target)) return;
    return this.#gate.run(async () => this.#readNow(offsetBytes, target));
  }

  /** Fills `target` now and returns true when all of it is in memory. Throws as `read` does. */
  tryRead(offsetBytes: number, target: Uint8Array): boolean {
    this.#gate.check();
    checkRange("header cache", this.#sizeBytes, offsetBytes, target.length);
    const inMemory = this.#readFront(offsetBytes, target);
    if (inMemory === target.length) return true;
    const rest = target.subarray(inMemory);
    const inTail = this.#readTail(offsetBytes + inMemory, rest);
    if (inTail === rest.length) return true;
    const fromSpill = rest.subarray(0, rest.length - inTail);
    return this.#tryReadSpill(offsetBytes + inMemory - this.#memoryBudgetBytes, fromSpill);
  }

  statistics(): HeaderCacheStatistics {
    const pages = this.#spill?.pages.statistics().bytes ?? 0;
    let front = 0;
    for (const chunk of this.#chunks) front += chunk.length;
    return {
      memoryBytes: front + (this.#tail?.length ?? 0) + pages,
      spillBytes: this.#spilledBytes,
      spillReads: this.#spillReads,
    };
  }

  /** Idempotent; waits for what is under way. Nothing is left on disk. */
  async close(): Promise<void> {
    return this.#gate.close(async () => {
      await this.#appending.catch(() => undefined);
      await closeAll(this.#spill?.pages, this.#spill?.file);
      this.#chunks.length = 0;
      this.#tail = undefined;
    });
  }

  async #readNow(offsetBytes: number, target: Uint8Array): Promise<void> {
    const inMemory = this.#readFront(offsetBytes, target);
    // The tail is copied first: while this waits for the file, appending may move it there.
    const inTail = this.#readTail(offsetBytes, target);
    const fromSpill = target.subarray(inMemory, target.length - inTail);
    await this.#readSpill(offsetBytes + inMemory - this.#memoryBudgetBytes, fromSpill);
  }

  async #appendNow(bytes: Uint8Array): Promise<void> {
    const front = Math.min(bytes.length, Math.max(0, this.#memoryBudgetBytes - this.#sizeBytes));
    this.#appendFront(bytes.subarray(0, front));
    if (front < bytes.length) await this.#appendSpill(bytes.subarray(front));
  }

  /** Into memory; these bytes can be read at once. */
  #appendFront(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const within = this.#sizeBytes % CHUNK_BYTES;
      if (within === 0) {
        const room = Math.min(CHUNK_BYTES, this.#memoryBudgetBytes - this.#sizeBytes);
        this.#chunks.push(new Uint8Array(room));
      }
      const chunk = this.#chunks.at(-1) ?? new Uint8Array(0);
      const part = bytes.subarray(done, done + chunk.length - within);
      chunk.set(part, within);
      done += part.length;
      this.#sizeBytes += part.length;
    }
  }

  /** Fills the tail page and writes it, then writes whole pages, then begins the next tail. */
  async #appendSpill(bytes: Uint8Array): Promise<void> {
    const spill = (this.#spill ??= await this.#openSpill());
    const tail = (this.#tail ??= new Uint8Array(PAGE_BYTES));
    let done = 0;
    if (this.#tailLength > 0) {
      const part = bytes.subarray(0, PAGE_BYTES - this.#tailLength);
      tail.set(part, this.#tailLength);
      this.#tailLength += part.length;
      this.#sizeBytes += part.length;
      done = part.length;
      if (this.#tailLength < PAGE_BYTES) return;
      // Until the write is done the page is read from the tail; the two switch in one turn.
      await spill.file.write(this.#spilledBytes, tail);
      this.#spilledBytes += PAGE_BYTES;
      this.#tailLength = 0;
    }
    const whole = bytes.length - done - ((bytes.length - done) % PAGE_BYTES);
    if (whole > 0) {
      await spill.file.write(this.#spilledBytes, bytes.subarray(done, done + whole));
      this.#spilledBytes += whole;
      this.#sizeBytes += whole;
      done += whole;
    }
    tail.set(bytes.subarray(done));
    this.#tailLength = bytes.length - done;
    this.#sizeBytes += this.#tailLength;
  }

  async #openSpill(): Promise<Spill> {
    const file = await PrivateFile.open(this.#directory);
    const source = {
      recordSizeBytes: PAGE_BYTES,
      firstRecord: 0,
      endRecord: Number.MAX_SAFE_INTEGER,
      load: async (page: number, target: Uint8Array): Promise<number> => {
        this.#spillReads++;
        await file.read(page * PAGE_BYTES, target);
        return PAGE_BYTES;
      },
    };
    const pages = new RecordCache(source, { budgetBytes: PAGE_CACHE_BYTES, readAheadRecords: 0 });
    return { file, pages };
  }

  /** Copies what of the range lies in the chunks; returns how many bytes that is. */
  #readFront(offsetBytes: number, target: Uint8Array): number {
    const frontEnd = Math.min(this.#memoryBudgetBytes, this.#sizeBytes);
    const wanted = Math.min(target.length, Math.max(0, frontEnd - offsetBytes));
    for (let done = 0; done < wanted;) {
      const at = offsetBytes + done;
      const within = at % CHUNK_BYTES;
      const chunk = this.#chunks[Math.floor(at / CHUNK_BYTES)] ?? new Uint8Array(0);
      const part = chunk.subarray(within, Math.min(chunk.length, within + wanted - done));
      target.set(part, done);
      done += part.length;
    }
    return wanted;
  }

  /** Copies what of the range lies in the tail page: the end of it; returns how many bytes. */
  #readTail(offsetBytes: number, target: Uint8Array): number {
    const tailStart = this.#sizeBytes - this.#tailLength;
    const wanted = Math.min(target.length, Math.max(0, offsetBytes + target.length - tailStart));
    if (wanted === 0 || this.#tail === undefined) return 0;
    const from = offsetBytes + target.length - wanted - tailStart;
    target.set(this.#tail.subarray(from, from + wanted), target.length - wanted);
    return wanted;
  }

  /** Copies a range of the file when all its pages are in memory. */
  #tryReadSpill(offsetBytes: number, target: Uint8Array): boolean {
    const spill = this.#spill;
    if (spill === undefined || target.length > PAGED_READ_MAX_BYTES) return false;
    for (const [page, within, part] of pagesOf(offsetBytes, target)) {
      if (!spill.pages.tryRead(page, within, part)) return false;
    }
    return true;
  }

  async #readSpill(offsetBytes: number, target: Uint8Array): Promise<void> {
    const spill = this.#spill;
    if (spill === undefined) return;
    if (target.length > PAGED_READ_MAX_BYTES) {
      this.#spillReads++;
      return spill.file.read(offsetBytes, target);
    }
    for (const [page, within, part] of pagesOf(offsetBytes, target)) {
      await spill.pages.read(page, within, part);
    }
  }
}

/** The pages that a range of the spill file touches: page, offset in it, its share of `target`. */
function* pagesOf(
  offsetBytes: number,
  target: Uint8Array,
): Generator<readonly [page: number, withinBytes: number, part: Uint8Array]> {
  for (let done = 0; done < target.length;) {
    const at = offsetBytes + done;
    const within = at % PAGE_BYTES;
    const part = target.subarray(done, done + PAGE_BYTES - within);
    yield [Math.floor(at / PAGE_BYTES), within, part];
    done += part.length;
  }
}
