/**
 * One tape file as a run of bytes: its records joined, read at any offset without a scan. An index of
 * where each record ends (a number each, in a typed array) says which records hold the bytes; whole
 * records go straight to the caller, of others the last one read is kept.
 *
 * A tape that is still written to can be read as far as its records are complete; `refresh` looks
 * for more.
 */
import { ReelError, isReelError, throwIfAborted } from "../errors.ts";
import { OperationQueue } from "./operation-queue.ts";
import { readObjectRun } from "./object-run.ts";
import { FILEMARK_WORD, dataBytes } from "./simh-format.ts";
import type { TapeDrive, TapeRead } from "./tape-drive.ts";
import { NumberList } from "./tape-index.ts";

export interface TapeFileReader {
  /** For messages: the tape and the number of the file. */
  readonly name: string;
  /** Bytes of the records known so far. */
  readonly sizeBytes: number;
  /** Records known so far. */
  readonly records: number;
  /** The filemark behind the last record was seen: nothing more can come. */
  readonly complete: boolean;
  recordOffsetBytes(record: number): number;
  recordLengthBytes(record: number): number;
  /**
   * Fills `target` from `offsetBytes` on; returns how many bytes there were (fewer at the end only).
   * @throws "damaged" for a record that cannot be read, also one that hides what lies behind it.
   */
  read(offsetBytes: number, target: Uint8Array): Promise<number>;
  /** @throws "out-of-range" for a record that is not there, and as `read`. */
  readRecord(record: number): Promise<Uint8Array>;
  /** Looks for records that were written since. */
  refresh(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
}

export interface OpenTapeFileOptions {
  /** Object number of the file's first record, where known: the way there need not be counted. */
  readonly firstObject?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens tape file `file` (from 0) of a tape. The drive stays the caller's and must outlive the
 * reader; it may be used for other things between the reader's calls, and by other readers.
 * @throws "not-found" where the tape has not so many files; "damaged", "aborted".
 */
export async function openTapeFile(
  drive: TapeDrive,
  file: number,
  options: OpenTapeFileOptions = {},
): Promise<TapeFileReader> {
  const firstObject = options.firstObject ?? (await findFile(drive, file));
  const reader = new RecordsReader(drive, `tape file ${file} of ${drive.name}`, firstObject);
  await reader.refresh(options);
  return reader;
}

/** Object number of the first record of a tape file. */
async function findFile(drive: TapeDrive, file: number): Promise<number> {
  const noSuchFile = `cannot open tape file ${file} of ${drive.name}: there is no such tape file`;
  if (!Number.isSafeInteger(file) || file < 0) throw new ReelError("not-found", noSuchFile);
  // Queued at once, so that nobody else moves the tape in between.
  const [, space, position] = await Promise.all([
    drive.rewind(),
    drive.space("filemarks", file),
    drive.position(),
  ]);
  if (space.passed < file) throw new ReelError("not-found", noSuchFile);
  return position.object;
}

class RecordsReader implements TapeFileReader {
  readonly name: string;
  readonly #drive: TapeDrive;
  readonly #firstObject: number;
  /** Where each record ends, in bytes of the joined records. */
  readonly #ends = new NumberList();
  /** One call at a time: they share the record that is kept. */
  readonly #queue: OperationQueue;
  #complete = false;
  /** What hides the rest of the file. */
  #problem: ReelError | undefined;
  #kept = new Uint8Array(0);
  #keptRecord = -1;

  constructor(drive: TapeDrive, name: string, firstObject: number) {
    this.#drive = drive;
    this.name = name;
    this.#firstObject = firstObject;
    this.#queue = new OperationQueue(name);
  }

  get records(): number {
    return this.#ends.length;
  }

  get sizeBytes(): number {
    return this.#endBytes(this.records - 1);
  }

  get complete(): boolean {
    return this.#complete;
  }

  recordOffsetBytes(record: number): number {
    return this.#endBytes(record - 1);
  }

  recordLengthBytes(record: number): number {
    return this.#endBytes(record) - this.#endBytes(record - 1);
  }

  #endBytes(record: number): number {
    return record < 0 ? 0 : this.#ends.at(Math.min(record, this.records - 1));
  }

  async refresh(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    return this.#queue.run(async () => {
      this.#problem = undefined;
      while (!this.#complete) {
        throwIfAborted(options.signal, `cannot open ${this.name}`);
        const words = await this.#nextWords();
        if (words.length === 0) return;
        let sizeBytes = this.sizeBytes;
        for (const word of words) {
          this.#complete = word === FILEMARK_WORD;
          if (this.#complete) break;
          sizeBytes += dataBytes(word);
          this.#ends.push(sizeBytes);
        }
      }
    });
  }

  async #nextWords(): Promise<Uint32Array> {
    try {
      return await readObjectRun(this.#drive, this.#firstObject + this.records);
    } catch (error) {
      if (!isReelError(error, "damaged")) throw error;
      this.#problem = error;
      return new Uint32Array(0);
    }
  }

  async read(offsetBytes: number, target: Uint8Array): Promise<number> {
    return this.#queue.run(async () => {
      if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0) {
        throw new ReelError("invalid", `cannot read ${this.name} at byte ${offsetBytes}`);
      }
      let doneBytes = 0;
      while (doneBytes < target.length) {
        const atBytes = offsetBytes + doneBytes;
        if (atBytes >= this.sizeBytes) {
          if (this.#problem !== undefined) throw this.#problem;
          break;
        }
        doneBytes += await this.#readPart(atBytes, target.subarray(doneBytes));
      }
      return doneBytes;
    });
  }

  async readRecord(record: number): Promise<Uint8Array> {
    return this.#queue.run(async () => {
      if (!Number.isSafeInteger(record) || record < 0 || record >= this.records) {
        throw new ReelError(
          "out-of-range",
          `cannot read record ${record} of ${this.name}: it has ${this.records} records`,
        );
      }
      const data = new Uint8Array(this.recordLengthBytes(record));
      await this.#fetch(record, data);
      return data;
    });
  }

  /** Bytes from one record. Records of no bytes have none to give and are never asked. */
  async #readPart(atBytes: number, target: Uint8Array): Promise<number> {
    const record = this.#ends.countBelow(atBytes + 1);
    const lengthBytes = this.recordLengthBytes(record);
    const skippedBytes = atBytes - this.recordOffsetBytes(record);
    if (skippedBytes === 0 && target.length >= lengthBytes && record !== this.#keptRecord) {
      await this.#fetch(record, target.subarray(0, lengthBytes));
      return lengthBytes;
    }
    const data = (await this.#keep(record, lengthBytes)).subarray(skippedBytes);
    const part = data.subarray(0, target.length);
    target.set(part);
    return part.length;
  }

  async #keep(record: number, lengthBytes: number): Promise<Uint8Array> {
    if (record !== this.#keptRecord) {
      this.#keptRecord = -1;
      if (this.#kept.length < lengthBytes) this.#kept = new Uint8Array(lengthBytes);
      await this.#fetch(record, this.#kept.subarray(0, lengthBytes));
      this.#keptRecord = record;
    }
    return this.#kept.subarray(0, lengthBytes);
  }

  async #fetch(record: number, target: Uint8Array): Promise<void> {
    // Queued at once, so that nobody else moves the tape in between.
    const [, read] = await Promise.all([
      this.#drive.locate(this.#firstObject + record),
      this.#drive.read(target),
    ]);
    if (!isRecordOf(read, target.length)) {
      throw new ReelError(
        "damaged",
        `cannot read record ${record} of ${this.name}: it is not the record that was there`,
      );
    }
  }
}

function isRecordOf(read: TapeRead, lengthBytes: number): boolean {
  return read.kind === "record" && read.lengthBytes === lengthBytes;
}
