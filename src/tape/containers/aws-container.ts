/**
 * AWSTAPE and HET tapes (docs/formats/aws-het.md). A record is one or more chunks; every chunk's
 * header has its length and that of the chunk before, so the chain can be held against itself both
 * ways. The scan hops from header to header.
 *
 * Where a header names another length for the chunk before it, either it is wrong or the chain has
 * led astray. If the header after it names this chunk's length rightly (or the file ends there), the
 * chain holds: then that object alone is damaged, and the tape is read on. Else the tape ends here.
 *
 * How long a compressed record is, only reading it tells; the index keeps where it lies.
 */
import { ReelError } from "../../errors.ts";
import { FILEMARK_WORD, RECORD_BYTES_MAX } from "../simh-format.ts";
import { NumberList } from "../tape-index.ts";
import { damageText, type ScanStop } from "../tape-scanner.ts";
import {
  CHUNK_HEADER_BYTES,
  RECORD_CHUNKS_MAX,
  decodeChunkHeader,
  type ChunkHeader,
  type Compression,
} from "./aws-format.ts";
import type { FetchedObject } from "./container.ts";
import { UNKNOWN_LENGTH_WORD } from "./object-list.ts";
import { ScannedContainer } from "./scanned-container.ts";
import { unpackRecord } from "./unpack-record.ts";

/** What the chunks of one record say together. */
interface RecordChain {
  readonly endBytes: number;
  /** Bytes of data in all its chunks, as they lie in the file. */
  readonly storedBytes: number;
  readonly compression: Compression;
  /** Length of the last chunk, which the next header must name. */
  readonly lastBytes: number;
}

/** The scan goes no further; this is why. */
class ScanEnd extends Error implements ScanStop {
  readonly kind: ScanStop["kind"];

  constructor(kind: ScanStop["kind"], message: string) {
    super(message);
    this.kind = kind;
  }
}

export class AwsContainer extends ScannedContainer {
  /** Objects whose header names a wrong length for the chunk before. */
  readonly #broken = new NumberList();
  #previousBytes = 0;

  // Scanning ------------------------------------------------------------------------------------

  protected async step(): Promise<ScanStop | undefined> {
    const startBytes = this.index.endBytes;
    if (startBytes === this.file.sizeBytes) {
      return { kind: "end-of-file", message: "end of the file" };
    }
    try {
      await this.#keepRecord(startBytes);
      return undefined;
    } catch (error) {
      if (!(error instanceof ScanEnd)) throw error;
      return error;
    }
  }

  /** Keeps the record or filemark that begins at an offset. Throws ScanEnd where there is none. */
  async #keepRecord(startBytes: number): Promise<void> {
    const header = await this.#header(startBytes);
    const linked = header.previousBytes === this.#previousBytes;
    if (!linked && !(await this.#chainHoldsAfter(startBytes, header))) {
      throw this.#damaged(this.#linkText(header));
    }
    const chain = await this.#chain(startBytes, header);
    if (!linked) this.#broken.push(this.index.count);
    this.index.append(wordOfChain(header, chain), startBytes, chain.endBytes);
    this.#previousBytes = chain.lastBytes;
  }

  /** Follows the chunks of the record that begins with `first`. */
  async #chain(startBytes: number, first: ChunkHeader): Promise<RecordChain> {
    const { compression } = first;
    let atBytes = startBytes + CHUNK_HEADER_BYTES + first.lengthBytes;
    let storedBytes = first.lengthBytes;
    let chunk = first;
    if (!first.first) throw this.#damaged("it is the middle of a record");
    for (let chunks = 1; ; chunks++) {
      if (atBytes > this.file.sizeBytes) throw this.#torn(atBytes);
      if (storedBytes > RECORD_BYTES_MAX || chunks > RECORD_CHUNKS_MAX) {
        throw this.#damaged(`it has more than ${RECORD_BYTES_MAX} bytes`);
      }
      if (chunk.last) break;
      const next = await this.#header(atBytes);
      if (next.kind === "filemark" || next.first) throw this.#damaged("its last chunk is missing");
      if (next.previousBytes !== chunk.lengthBytes) throw this.#damaged("its chunks do not fit");
      if (next.compression !== compression) throw this.#damaged("its chunks are packed unlike");
      chunk = next;
      atBytes += CHUNK_HEADER_BYTES + next.lengthBytes;
      storedBytes += next.lengthBytes;
    }
    if (first.kind === "data" && storedBytes === 0) throw this.#damaged("it has no data");
    return { endBytes: atBytes, storedBytes, compression, lastBytes: chunk.lengthBytes };
  }

  /** The header at an offset. */
  async #header(atBytes: number): Promise<ChunkHeader> {
    const endBytes = atBytes + CHUNK_HEADER_BYTES;
    if (endBytes > this.file.sizeBytes) throw this.#torn(endBytes);
    const header = decodeChunkHeader(await this.#bytes(atBytes));
    if (typeof header === "string") throw this.#damaged(header);
    return header;
  }

  async #bytes(atBytes: number): Promise<Buffer> {
    return (
      this.file.peek(atBytes, CHUNK_HEADER_BYTES) ??
      (await this.file.load(atBytes, CHUNK_HEADER_BYTES))
    );
  }

  /** True where what follows the chunk at `startBytes` agrees with its length. */
  async #chainHoldsAfter(startBytes: number, header: ChunkHeader): Promise<boolean> {
    const nextBytes = startBytes + CHUNK_HEADER_BYTES + header.lengthBytes;
    if (nextBytes === this.file.sizeBytes) return true;
    if (nextBytes + CHUNK_HEADER_BYTES > this.file.sizeBytes) return false;
    const next = decodeChunkHeader(await this.#bytes(nextBytes));
    return typeof next !== "string" && next.previousBytes === header.lengthBytes;
  }

  #linkText(header: ChunkHeader): string {
    return (
      `its header says that the chunk before it has ${header.previousBytes} bytes, ` +
      `but it has ${this.#previousBytes}`
    );
  }

  #torn(endBytes: number): ScanEnd {
    const sizeBytes = this.file.sizeBytes;
    const what = `it would end at byte ${endBytes} or later, but the tape ends at byte ${sizeBytes}`;
    return new ScanEnd("torn", this.#damageText(this.index.count, what));
  }

  #damaged(what: string): ScanEnd {
    return new ScanEnd("damaged", this.#damageText(this.index.count, what));
  }

  #damageText(object: number, what: string): string {
    const offsetBytes = this.index.offsetBytes(object);
    return damageText(this.file.name, object, offsetBytes, what, object < this.index.count - 1);
  }

  // Fetching ------------------------------------------------------------------------------------

  async fetch(object: number, target: Uint8Array): Promise<FetchedObject> {
    if (this.#isBroken(object)) {
      const what = "its header names a wrong length for the chunk before it";
      throw new ReelError("damaged", this.#damageText(object, what));
    }
    const word = this.index.word(object);
    const sizeBytes = this.index.offsetBytes(object + 1) - this.index.offsetBytes(object);
    if (word !== UNKNOWN_LENGTH_WORD && sizeBytes === CHUNK_HEADER_BYTES + word) {
      return this.#fetchChunk(object, word, target);
    }
    const { data, compression } = await this.#stored(object, sizeBytes);
    const record = await unpackRecord(data, compression, (what) => {
      return new ReelError("damaged", this.#damageText(object, what));
    });
    target.set(record.subarray(0, target.length));
    return { kind: "record", lengthBytes: record.length, flawed: false };
  }

  #isBroken(object: number): boolean {
    return this.#broken.countBelow(object + 1) > this.#broken.countBelow(object);
  }

  /** A filemark, or a record that lies in one chunk as it is: no detour. */
  async #fetchChunk(object: number, word: number, target: Uint8Array): Promise<FetchedObject> {
    const head = Buffer.alloc(CHUNK_HEADER_BYTES);
    const data = target.subarray(0, word);
    const parts = data.length === 0 ? [head] : [head, data];
    const offsetBytes = this.index.offsetBytes(object);
    await this.file.read(parts, offsetBytes, CHUNK_HEADER_BYTES + data.length);
    const header = decodeChunkHeader(head);
    const kind = word === FILEMARK_WORD ? "filemark" : "data";
    if (typeof header === "string" || header.kind !== kind || header.lengthBytes !== word) {
      throw this.#changed(object);
    }
    if (kind === "filemark") return { kind };
    return { kind: "record", lengthBytes: word, flawed: false };
  }

  /** The data of all chunks of a record, joined. */
  async #stored(
    object: number,
    sizeBytes: number,
  ): Promise<{ data: Buffer; compression: Compression }> {
    const raw = Buffer.allocUnsafe(sizeBytes);
    await this.file.read([raw], this.index.offsetBytes(object), sizeBytes);
    const parts: Buffer[] = [];
    let compression: Compression = "none";
    for (let at = 0; at < sizeBytes;) {
      if (at + CHUNK_HEADER_BYTES > sizeBytes) throw this.#changed(object);
      const header = decodeChunkHeader(raw.subarray(at, at + CHUNK_HEADER_BYTES));
      if (typeof header === "string" || header.kind === "filemark") throw this.#changed(object);
      const dataAt = at + CHUNK_HEADER_BYTES;
      at = dataAt + header.lengthBytes;
      if (at > sizeBytes || header.last !== (at === sizeBytes)) throw this.#changed(object);
      parts.push(raw.subarray(dataAt, at));
      ({ compression } = header);
    }
    return { data: parts.length === 1 ? (parts[0] ?? raw) : Buffer.concat(parts), compression };
  }

  #changed(object: number): ReelError {
    return new ReelError("damaged", this.#damageText(object, "it changed since it was found"));
  }
}

/** The word for the index: the length where the file tells it. */
function wordOfChain(header: ChunkHeader, chain: RecordChain): number {
  if (header.kind === "filemark") return FILEMARK_WORD;
  return chain.compression === "none" ? chain.storedBytes : UNKNOWN_LENGTH_WORD;
}
