/**
 * Files that Windows 10 and later keep compressed ("CompactOS", `compact /exe`), by the Windows
 * Overlay Filter, WOF. The file's own data is a hole; its contents are in the stream
 * WofCompressedData, and a reparse point says so and by what algorithm:
 *
 *   chunk table   where each chunk but the first begins, counted from the end of the table:
 *                 u32 each, u64 when the contents have 4 GiB or more
 *   chunks        each of one chunk size uncompressed (the last may be shorter), on its own;
 *                 one that takes as many bytes as it had before is stored as it is
 *
 * WIM images keep their files in the same form. Sources: [MS-FSCC] 2.1.2 (the tag), winioctl.h
 * (WOF_EXTERNAL_INFO, FILE_PROVIDER_EXTERNAL_INFO), "Windows Imaging File Format" (chunk tables).
 */
import { ReelError, isReelError } from "../../../errors.ts";
import { decompressLzx } from "./lzx.ts";
import { decompressXpressHuffman } from "./xpress-huffman.ts";

/** The data of a reparse point with WOF's tag. All fields are u32. */
const REPARSE = { version: 0, provider: 4, fileVersion: 8, algorithm: 12 } as const;
const REPARSE_BYTES = 16;
const VERSION = 1;
/** Provider 1 keeps the contents in a WIM image elsewhere. */
const PROVIDER_FILE = 2;

interface Algorithm {
  readonly name: string;
  readonly chunkBytes: number;
  readonly decompress: (compressed: Uint8Array, target: Uint8Array) => void;
}

/** By the number in the reparse point. */
const ALGORITHMS: readonly Algorithm[] = [
  { name: "XPRESS4K", chunkBytes: 4096, decompress: decompressXpressHuffman },
  { name: "LZX32K", chunkBytes: 32768, decompress: decompressLzx },
  { name: "XPRESS8K", chunkBytes: 8192, decompress: decompressXpressHuffman },
  { name: "XPRESS16K", chunkBytes: 16384, decompress: decompressXpressHuffman },
];

/** Entries of the chunk table read at a time. */
const TABLE_ENTRIES_READ = 4096;
/** Uncompressed bytes whose chunks are read at once, and decoded before others get their turn. */
const BATCH_BYTES = 128 * 1024;
/** Decoded chunks that are kept: for readers that go through a file in small steps. */
const CHUNKS_KEPT = 4;
const U32_MAX = 0xffffffff;

/** Where the compressed stream is read from; `read` fills the target or throws. */
export interface WofSource {
  readonly sizeBytes: number;
  read(offsetBytes: number, target: Uint8Array): Promise<void>;
}

/**
 * What a reparse point with WOF's tag says; `data` is what follows its header of tag and length.
 * Undefined when the contents are not in the file itself, or in a form that is not known.
 */
export function parseWofReparsePoint(data: Uint8Array): { algorithm: number } | undefined {
  if (data.length < REPARSE_BYTES) return undefined;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const field = (at: number): number => view.getUint32(at, true);
  const algorithm = field(REPARSE.algorithm);
  const isKnown =
    field(REPARSE.version) === VERSION &&
    field(REPARSE.provider) === PROVIDER_FILE &&
    field(REPARSE.fileVersion) === VERSION &&
    algorithm < ALGORITHMS.length;
  return isKnown ? { algorithm } : undefined;
}

/** The contents of one compressed file. Holds no more than a few chunks and a part of the table. */
export class WofFile {
  readonly sizeBytes: number;
  readonly #source: WofSource;
  readonly #name: string;
  readonly #algorithm: Algorithm;
  readonly #chunkCount: number;
  readonly #entryBytes: number;
  readonly #tableBytes: number;
  /** Where chunks begin in the stream, from chunk `first` on: the part of the table read last. */
  #table: { first: number; starts: Float64Array } = { first: 0, starts: new Float64Array(0) };
  readonly #kept = new Map<number, Uint8Array>();

  /**
   * `source`: the stream WofCompressedData; `sizeBytes`: of the contents; `name`: for messages.
   * Throws "unsupported" for an algorithm that is not known, "damaged" for a stream too short for
   * its chunk table.
   */
  constructor(source: WofSource, sizeBytes: number, algorithm: number, name: string) {
    const known = ALGORITHMS[algorithm];
    if (known === undefined) {
      throw new ReelError(
        "unsupported",
        `cannot read ${name}: it is compressed by algorithm ${algorithm} of WOF, which is not known`,
      );
    }
    this.sizeBytes = sizeBytes;
    this.#source = source;
    this.#name = name;
    this.#algorithm = known;
    this.#chunkCount = Math.ceil(sizeBytes / known.chunkBytes);
    this.#entryBytes = sizeBytes > U32_MAX ? 8 : 4;
    this.#tableBytes = Math.max(0, this.#chunkCount - 1) * this.#entryBytes;
    if (this.#tableBytes > source.sizeBytes) {
      throw this.#damaged(
        `its compressed stream has ${source.sizeBytes} bytes, and the chunk table alone ${this.#tableBytes}`,
      );
    }
  }

  /** Fills `target` from `offsetBytes` on; returns bytes read, fewer only at the end. Throws "damaged". */
  async read(offsetBytes: number, target: Uint8Array): Promise<number> {
    const length = Math.max(0, Math.min(target.length, this.sizeBytes - offsetBytes));
    const { chunkBytes } = this.#algorithm;
    let done = 0;
    while (done < length) {
      const at = offsetBytes + done;
      const batchEnd = (Math.floor(at / BATCH_BYTES) + 1) * BATCH_BYTES;
      const count = Math.min(length - done, batchEnd - at);
      const part = target.subarray(done, done + count);
      const chunk = Math.floor(at / chunkBytes);
      const kept = this.#kept.get(chunk);
      const isKept = kept !== undefined && at + count <= (chunk + 1) * chunkBytes;
      if (isKept) part.set(kept.subarray(at % chunkBytes, (at % chunkBytes) + count));
      else await this.#readBatch(at, part);
      done += count;
    }
    return length;
  }

  /** Reads and decodes all chunks that `target` has a part in. */
  async #readBatch(offsetBytes: number, target: Uint8Array): Promise<void> {
    const { chunkBytes } = this.#algorithm;
    const first = Math.floor(offsetBytes / chunkBytes);
    const last = Math.floor((offsetBytes + target.length - 1) / chunkBytes);
    const starts = await this.#chunkStarts(first, last + 1);
    const base = starts[0] ?? 0;
    const compressed = new Uint8Array((starts[starts.length - 1] ?? 0) - base);
    await this.#source.read(base, compressed);
    for (let chunk = first; chunk <= last; chunk++) {
      const from = (starts[chunk - first] ?? 0) - base;
      const to = (starts[chunk - first + 1] ?? 0) - base;
      this.#takeChunk(chunk, compressed.subarray(from, to), offsetBytes, target);
    }
    await nextTurn();
  }

  /** Decodes a chunk straight into the target where all of it is wanted. */
  #takeChunk(chunk: number, compressed: Uint8Array, offsetBytes: number, target: Uint8Array): void {
    const start = chunk * this.#algorithm.chunkBytes - offsetBytes;
    const size = this.#sizeOf(chunk);
    if (start >= 0 && start + size <= target.length) {
      this.#decode(chunk, compressed, target.subarray(start, start + size));
      return;
    }
    const decoded = this.#kept.get(chunk) ?? new Uint8Array(size);
    if (!this.#kept.has(chunk)) this.#decode(chunk, compressed, decoded);
    this.#keep(chunk, decoded);
    const from = Math.max(0, -start);
    target.set(decoded.subarray(from, target.length - start), Math.max(0, start));
  }

  #decode(chunk: number, compressed: Uint8Array, target: Uint8Array): void {
    if (compressed.length === target.length) {
      target.set(compressed);
      return;
    }
    try {
      this.#algorithm.decompress(compressed, target);
    } catch (error) {
      if (!isReelError(error)) throw error;
      throw this.#damaged(`its chunk ${chunk} (${this.#algorithm.name}): ${error.message}`, error);
    }
  }

  /** The oldest of the kept chunks goes when there are too many. */
  #keep(chunk: number, decoded: Uint8Array): void {
    this.#kept.delete(chunk);
    this.#kept.set(chunk, decoded);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= CHUNKS_KEPT) break;
      this.#kept.delete(oldest);
    }
  }

  #sizeOf(chunk: number): number {
    const { chunkBytes } = this.#algorithm;
    return Math.min(chunkBytes, this.sizeBytes - chunk * chunkBytes);
  }

  /** Where chunks [first, end] begin in the stream; the one after the last "begins" at its end. */
  async #chunkStarts(first: number, end: number): Promise<Float64Array> {
    let table = this.#table;
    if (first < table.first || end >= table.first + table.starts.length) {
      const starts = await this.#readTable(first, Math.max(end, first + TABLE_ENTRIES_READ));
      table = { first, starts };
      this.#table = table;
    }
    const starts = table.starts.subarray(first - table.first, end - table.first + 1);
    for (let i = 0; i + 1 < starts.length; i++) this.#checkChunk(first + i, starts, i);
    return starts;
  }

  async #readTable(first: number, wantedEnd: number): Promise<Float64Array> {
    const end = Math.min(wantedEnd, this.#chunkCount);
    const starts = new Float64Array(end - first + 1);
    // The table has no entry for chunk 0, and none for the end of the last chunk.
    const from = Math.max(first, 1);
    const to = Math.min(end, this.#chunkCount - 1);
    const bytes = new Uint8Array(Math.max(0, to - from + 1) * this.#entryBytes);
    if (bytes.length > 0) await this.#source.read((from - 1) * this.#entryBytes, bytes);
    const view = new DataView(bytes.buffer);
    for (let chunk = first; chunk <= end; chunk++) {
      const isListed = chunk >= from && chunk <= to;
      const start = isListed ? this.#entryAt(view, (chunk - from) * this.#entryBytes) : 0;
      const isEnd = chunk === this.#chunkCount;
      starts[chunk - first] = isEnd ? this.#source.sizeBytes : this.#tableBytes + start;
    }
    return starts;
  }

  #entryAt(view: DataView, at: number): number {
    return this.#entryBytes === 8 ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true);
  }

  #checkChunk(chunk: number, starts: Float64Array, index: number): void {
    const start = starts[index] ?? 0;
    const end = starts[index + 1] ?? 0;
    const isSound =
      start < end && end <= this.#source.sizeBytes && end - start <= this.#sizeOf(chunk);
    if (isSound) return;
    throw this.#damaged(
      `its chunk ${chunk} would lie at bytes ${start} to ${end} of a compressed stream of ` +
        `${this.#source.sizeBytes}, for ${this.#sizeOf(chunk)} bytes of contents`,
    );
  }

  #damaged(what: string, cause?: unknown): ReelError {
    return new ReelError("damaged", `cannot read ${this.#name}: ${what}`, { cause });
  }
}

async function nextTurn(): Promise<void> {
  await new Promise<void>((resolve) => {
    setImmediate(resolve);
  });
}
