/**
 * Writes objects of a `.tap` file. Writing anywhere cuts the file there first. What is asked for
 * together, one record or several, is one gathered write at the end of the file; when it stops half
 * way, the file is cut behind the last record that is whole, so it ends where a record does.
 */
import type { FileHandle } from "node:fs/promises";
import { EarlySync } from "../device/early-sync.ts";
import { ReelError, fromSystem } from "../errors.ts";
import { writeAsFarAsPossible } from "./file-io.ts";
import type { ObjectReader } from "./object-reader.ts";
import {
  FILEMARK_WORD,
  FRAME_BYTES,
  RECORD_BYTES_MAX,
  WORD_BYTES,
  recordSizeBytes,
} from "./simh-format.ts";
import type { RecordsWritten, TapeRecord, TapeWrite } from "./tape-drive.ts";
import type { TapeIndex } from "./tape-index.ts";
import { removeIndexFile } from "./tape-index-file.ts";
import type { TapeScanner } from "./tape-scanner.ts";

/** Filemarks in one call: a guard, no drive is asked for more than a few. */
const FILEMARKS_PER_CALL_MAX = 65_536;
/**
 * Records are gathered until they are so long together. What is longer gains nothing: the processor
 * no longer finds in its cache what the system copies from there, and that costs more than a call.
 */
const GATHERED_BYTES = 1024 * 1024;

/** The tape file and what it holds at most. */
export interface WrittenTape {
  readonly realPath: string;
  readonly writable: boolean;
  readonly capacityBytes: number;
  readonly earlyWarningBytes: number;
}

/** Objects as they go to the tape. */
interface Gathered {
  readonly buffers: readonly Uint8Array[];
  /** The word of each object. */
  readonly words: readonly number[];
  /** Bytes up to the end of each object. */
  readonly endBytes: readonly number[];
}

export class ObjectWriter {
  readonly #handle: FileHandle;
  readonly #name: string;
  readonly #tape: WrittenTape;
  readonly #index: TapeIndex;
  readonly #scanner: TapeScanner;
  readonly #reader: ObjectReader;
  readonly #sync: EarlySync;
  #hasWritten = false;

  constructor(
    handle: FileHandle,
    name: string,
    tape: WrittenTape,
    { index, scanner, reader }: { index: TapeIndex; scanner: TapeScanner; reader: ObjectReader },
  ) {
    this.#handle = handle;
    this.#name = name;
    this.#tape = tape;
    this.#index = index;
    this.#scanner = scanner;
    this.#reader = reader;
    this.#sync = new EarlySync(async () => handle.datasync(), name);
  }

  /** Something was written since the tape was opened. */
  get hasWritten(): boolean {
    return this.#hasWritten;
  }

  isNearEnd(offsetBytes: number): boolean {
    return offsetBytes >= this.#tape.capacityBytes - this.#tape.earlyWarningBytes;
  }

  /** As TapeDrive.writeRecords, from `object` on. */
  async writeRecords(object: number, records: readonly TapeRecord[]): Promise<RecordsWritten> {
    const firstBytes = lengthOf(records[0] ?? []);
    if (!isRecordLength(firstBytes)) {
      throw new ReelError(
        "invalid",
        `cannot write a record of ${firstBytes} bytes to ${this.#name}: ` +
          `a record has 1 to ${RECORD_BYTES_MAX} bytes`,
      );
    }
    const offsetBytes = await this.#placeOf(object);
    this.#checkRoom(object, offsetBytes, recordSizeBytes(firstBytes));
    const roomBytes = this.#tape.capacityBytes - offsetBytes;
    const gathered = gather(records, roomBytes, roomBytes - this.#tape.earlyWarningBytes);
    return this.#append(object, offsetBytes, gathered);
  }

  /** As TapeDrive.writeFilemarks, from `object` on. */
  async writeFilemarks(object: number, count: number): Promise<TapeWrite> {
    if (!Number.isSafeInteger(count) || count < 0 || count > FILEMARKS_PER_CALL_MAX) {
      throw new ReelError("invalid", `cannot write ${count} filemarks to ${this.#name}`);
    }
    const earlyWarning = await this.#writeMarks(object, count);
    await this.#sync.sync();
    return { earlyWarning };
  }

  /** Returns when nothing is under way; to be called before the file is closed. */
  async settle(): Promise<void> {
    await this.#sync.settle();
  }

  async #writeMarks(object: number, count: number): Promise<boolean> {
    if (count === 0) {
      this.#checkWritable();
      return this.isNearEnd(this.#index.offsetBytes(object));
    }
    const offsetBytes = await this.#placeOf(object);
    const marks = Buffer.alloc(count * WORD_BYTES);
    this.#checkRoom(object, offsetBytes, marks.length);
    const words = new Array<number>(count).fill(FILEMARK_WORD);
    // Of several filemarks all are written or none.
    const endBytes = words.map(() => marks.length);
    const gathered = { buffers: [marks], words, endBytes };
    return (await this.#append(object, offsetBytes, gathered)).earlyWarning;
  }

  #checkWritable(): void {
    if (this.#tape.writable) return;
    throw new ReelError("read-only", `cannot write ${this.#name}: it was opened for reading`);
  }

  /** Where `object` begins, or would. */
  async #placeOf(object: number): Promise<number> {
    this.#checkWritable();
    await this.#scanner.scanTo(object);
    if (object < this.#index.count) return this.#index.offsetBytes(object);
    if (object === this.#index.count) return this.#scanner.offsetBytes;
    throw new ReelError(
      "damaged",
      `cannot write ${this.#name}: it is not the tape that was opened; object ${object} is gone`,
    );
  }

  #checkRoom(object: number, offsetBytes: number, sizeBytes: number): void {
    const { capacityBytes } = this.#tape;
    if (offsetBytes + sizeBytes <= capacityBytes) return;
    throw new ReelError(
      "end-of-medium",
      `cannot write object ${object} to ${this.#name}: ` +
        `${sizeBytes} bytes at byte ${offsetBytes} do not fit on a tape of ` +
        `${capacityBytes} bytes; go on with another tape`,
    );
  }

  /** Writes objects, as many as the system takes, and ends the tape after them. */
  async #append(
    object: number,
    offsetBytes: number,
    { buffers, words, endBytes }: Gathered,
  ): Promise<RecordsWritten> {
    this.#sync.check();
    await this.#begin();
    await this.#endTapeAt(object, offsetBytes);
    const { bytesWritten, failure } = await writeAsFarAsPossible(
      this.#handle,
      buffers,
      offsetBytes,
    );
    const written = endBytes.filter((bytes) => bytes <= bytesWritten).length;
    const sizeBytes = endBytes[written - 1] ?? 0;
    if (failure !== undefined) {
      await this.#truncate(offsetBytes + sizeBytes);
      if (written === 0)
        throw fromSystem(failure, `cannot write object ${object} to ${this.#name}`);
    }
    for (let each = 0; each < written; each++) this.#scanner.appended(words[each] ?? FILEMARK_WORD);
    this.#sync.wrote(sizeBytes);
    return { written, earlyWarning: this.isNearEnd(offsetBytes + sizeBytes) };
  }

  async #begin(): Promise<void> {
    this.#reader.forget();
    if (this.#hasWritten) return;
    this.#hasWritten = true;
    await removeIndexFile(this.#tape.realPath);
  }

  async #endTapeAt(object: number, offsetBytes: number): Promise<void> {
    const isCut = this.#scanner.sizeBytes > offsetBytes;
    if (isCut) await this.#truncate(offsetBytes);
    // Also where no object goes: what stopped the scan there is gone.
    if (isCut || object < this.#index.count || this.#scanner.offsetBytes !== offsetBytes) {
      this.#scanner.endAt(object, offsetBytes);
    }
  }

  async #truncate(offsetBytes: number): Promise<void> {
    try {
      await this.#handle.truncate(offsetBytes);
    } catch (error) {
      throw fromSystem(error, `cannot end ${this.#name} at byte ${offsetBytes}`);
    }
  }
}

function lengthOf(parts: TapeRecord): number {
  let lengthBytes = 0;
  for (const part of parts) lengthBytes += part.length;
  return lengthBytes;
}

function isRecordLength(lengthBytes: number): boolean {
  return lengthBytes > 0 && lengthBytes <= RECORD_BYTES_MAX;
}

/**
 * The records with their words around them, up to the first that ends behind `warningBytes`, and
 * without what does not fit or is no record. The words between two records are one buffer.
 */
function gather(records: readonly TapeRecord[], roomBytes: number, warningBytes: number): Gathered {
  const frames = Buffer.alloc(records.length * (FRAME_BYTES + 1));
  const buffers: Uint8Array[] = [];
  const words: number[] = [];
  const endBytes: number[] = [];
  let [atFrame, fromFrame, sizeBytes] = [0, 0, 0];
  for (const parts of records) {
    const lengthBytes = lengthOf(parts);
    const end = sizeBytes + recordSizeBytes(lengthBytes);
    if (!isRecordLength(lengthBytes) || end > roomBytes) break;
    atFrame = frames.writeUInt32LE(lengthBytes, atFrame);
    buffers.push(frames.subarray(fromFrame, atFrame));
    for (const part of parts) if (part.length > 0) buffers.push(part);
    fromFrame = atFrame;
    atFrame = frames.writeUInt32LE(lengthBytes, atFrame + (lengthBytes & 1));
    words.push(lengthBytes);
    endBytes.push(end);
    sizeBytes = end;
    if (end >= warningBytes || end >= GATHERED_BYTES) break;
  }
  buffers.push(frames.subarray(fromFrame, atFrame));
  return { buffers, words, endBytes };
}
