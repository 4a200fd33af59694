/**
 * A tape in a SIMH `.tap` file (docs/formats/tap.md).
 *
 * The drive keeps one number, the logical object it stands before; where that lies in the file is
 * the index's business, which a scan extends as the tape is read. A record travels in one system
 * call: its two words land in small buffers around the caller's own, and the word of the next
 * record comes along, so reading on needs no look ahead. Every read holds both words against the
 * index; where they differ the index is thrown away and the tape scanned again.
 *
 * Writing is the business of object-writer.ts.
 */
import type { FileHandle } from "node:fs/promises";
import { basename } from "node:path";
import { ReelError } from "../errors.ts";
import { ObjectReader } from "./object-reader.ts";
import { ObjectWriter, type WrittenTape } from "./object-writer.ts";
import { OperationQueue } from "./operation-queue.ts";
import { RECORD_BYTES_MAX, WORD_BYTES, dataBytes, objectKind } from "./simh-format.ts";
import type {
  RecordExtent,
  RecordsWritten,
  TapeCapabilities,
  TapeDrive,
  TapePosition,
  TapeRead,
  TapeRecord,
  TapeSpace,
  TapeWrite,
  UnreadableTail,
} from "./tape-drive.ts";
import type { TapeIndex } from "./tape-index.ts";
import { saveIndexFile, stampOf, type TapeStamp } from "./tape-index-file.ts";
import { hasLiveWriter, type TapeLock } from "./tape-lock.ts";
import { TapeScanner } from "./tape-scanner.ts";
import { planSpace } from "./tape-space.ts";

/** Objects that a run looks ahead for. */
const RUN_OBJECTS = 4096;

/** What `openSimhTape` found and took. */
export interface OpenedTape extends WrittenTape {
  /** The tape file as it was when it was opened. */
  readonly stamp: TapeStamp;
  readonly lock: TapeLock | undefined;
  readonly useIndex: boolean;
  /** Objects that came from the index file. */
  readonly indexedObjects: number;
}

export class SimhDrive implements TapeDrive {
  readonly name: string;
  readonly capabilities: TapeCapabilities;
  readonly #queue: OperationQueue;
  readonly #handle: FileHandle;
  readonly #opened: OpenedTape;
  readonly #index: TapeIndex;
  readonly #scanner: TapeScanner;
  readonly #reader: ObjectReader;
  readonly #writer: ObjectWriter;
  #object = 0;

  constructor(name: string, handle: FileHandle, index: TapeIndex, opened: OpenedTape) {
    this.name = name;
    this.#handle = handle;
    this.#index = index;
    this.#opened = opened;
    this.#queue = new OperationQueue(basename(name));
    const sizeBytes = Number(opened.stamp.sizeBytes);
    this.#scanner = new TapeScanner(handle, name, index, sizeBytes, !opened.writable);
    this.#reader = new ObjectReader(handle, name, index, this.#scanner);
    this.#writer = new ObjectWriter(handle, name, opened, {
      ...{ index, scanner: this.#scanner, reader: this.#reader },
    });
    this.capabilities = {
      writable: opened.writable,
      recordBytesMax: RECORD_BYTES_MAX,
      reverse: true,
    };
  }

  async position(): Promise<TapePosition> {
    return this.#queue.run(() => this.#position());
  }

  async read(target: Uint8Array, options?: { readonly reverse?: boolean }): Promise<TapeRead> {
    return this.#queue.run(() =>
      options?.reverse === true ? this.#readReverse(target) : this.#readForward(target),
    );
  }

  async write(parts: readonly Uint8Array[]): Promise<TapeWrite> {
    return this.#queue.run(async () => {
      const { earlyWarning } = await this.#writeRecords([parts]);
      return { earlyWarning };
    });
  }

  async writeRecords(records: readonly TapeRecord[]): Promise<RecordsWritten> {
    return this.#queue.run(() => this.#writeRecords(records));
  }

  async writeFilemarks(count: number): Promise<TapeWrite> {
    return this.#queue.run(() => this.#writeFilemarks(count));
  }

  async space(unit: "records" | "filemarks", count: number): Promise<TapeSpace> {
    return this.#queue.run(() => this.#space(unit, count));
  }

  async spaceToEndOfData(): Promise<TapePosition> {
    return this.#queue.run(async () => {
      await this.#toEndOfData();
      return this.#position();
    });
  }

  async locate(object: number): Promise<void> {
    return this.#queue.run(() => this.#locate(object));
  }

  async rewind(): Promise<void> {
    return this.#queue.run(() => {
      this.#object = 0;
    });
  }

  async objectOffsetBytes(object: number): Promise<number | undefined> {
    return this.#queue.run(async () => {
      await this.#scanner.scanTo(object - 1);
      return object <= this.#index.count ? this.#index.offsetBytes(object) : undefined;
    });
  }

  /** Words of the objects from `object` on (object-run.ts); the scan finds them, nothing is read. */
  async objectRun(object: number): Promise<Uint32Array> {
    return this.#queue.run(async () => {
      await this.#scanner.scanTo(object + RUN_OBJECTS - 1);
      return this.#index.wordRun(Math.min(object, this.#index.count)).slice();
    });
  }

  async recordExtent(object: number): Promise<RecordExtent | undefined> {
    return this.#queue.run(async () => {
      const found = await this.#scanner.find(object);
      if (found === undefined || objectKind(found.word) !== "record") return undefined;
      return {
        descriptor: this.#handle.fd,
        offsetBytes: found.offsetBytes + WORD_BYTES,
        lengthBytes: dataBytes(found.word),
      };
    });
  }

  async unreadableTail(): Promise<UnreadableTail | undefined> {
    return this.#queue.run(async () => {
      await this.#scanner.scanTo(Number.MAX_SAFE_INTEGER);
      const { stop, offsetBytes, sizeBytes } = this.#scanner;
      if (stop?.kind !== "torn" && stop?.kind !== "damaged") return undefined;
      return {
        ...{ kind: stop.kind, message: stop.message, object: this.#index.count },
        ...{ descriptor: this.#handle.fd, offsetBytes, lengthBytes: sizeBytes - offsetBytes },
      };
    });
  }

  async close(): Promise<void> {
    return this.#queue.close(() => this.#finish());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #position(): TapePosition {
    const offsetBytes = this.#index.offsetBytes(this.#object);
    return {
      object: this.#object,
      file: this.#index.filesBefore(this.#object),
      beginning: this.#object === 0,
      earlyWarning: this.#writer.isNearEnd(offsetBytes),
    };
  }

  // Reading -------------------------------------------------------------------------------------

  async #readForward(target: Uint8Array): Promise<TapeRead> {
    const read = await this.#reader.read(this.#object, target);
    if (read === undefined) {
      await this.#throwUnlessEndOfData();
      return { kind: "end-of-data" };
    }
    this.#object += 1;
    return read;
  }

  async #readReverse(target: Uint8Array): Promise<TapeRead> {
    if (this.#object === 0) return { kind: "beginning" };
    const read = await this.#reader.read(this.#object - 1, target);
    if (read === undefined) {
      await this.#throwUnlessEndOfData();
      throw this.#changedUnderneath();
    }
    this.#object -= 1;
    return read;
  }

  // Positioning ---------------------------------------------------------------------------------

  /**
   * Where the scan stopped: fine at the end of the data, "damaged" elsewhere. A torn tail is the
   * end for who may write over it, and for a reader while the writer is at it.
   */
  async #throwUnlessEndOfData(): Promise<void> {
    const stop = this.#scanner.stop;
    if (stop === undefined || this.#object > this.#index.count) throw this.#changedUnderneath();
    if (stop.kind === "damaged") throw new ReelError("damaged", stop.message);
    if (stop.kind !== "torn" || this.#opened.writable) return;
    if (!(await hasLiveWriter(this.#opened.realPath))) {
      throw new ReelError("damaged", stop.message);
    }
  }

  #changedUnderneath(): ReelError {
    return new ReelError(
      "damaged",
      `cannot read ${this.name}: it is not the tape that was opened; object ${this.#object} is gone`,
    );
  }

  async #toEndOfData(): Promise<void> {
    await this.#scanner.scanTo(Number.MAX_SAFE_INTEGER);
    this.#object = this.#index.count;
    await this.#throwUnlessEndOfData();
  }

  async #locate(object: number): Promise<void> {
    if (!Number.isSafeInteger(object) || object < 0) {
      throw new ReelError("invalid", `cannot locate object ${object} on ${this.name}`);
    }
    await this.#scanner.scanTo(object - 1);
    this.#object = Math.min(object, this.#index.count);
    if (object <= this.#index.count) return;
    await this.#throwUnlessEndOfData();
    throw new ReelError(
      "out-of-range",
      `cannot locate object ${object} on ${this.name}: the data ends at object ${this.#object}`,
    );
  }

  async #space(unit: "records" | "filemarks", count: number): Promise<TapeSpace> {
    if (!Number.isSafeInteger(count)) {
      throw new ReelError("invalid", `cannot space over ${count} ${unit} on ${this.name}`);
    }
    const files = this.#index.filesBefore(this.#object);
    if (count > 0 && unit === "records")
      await this.#scanner.scanTo(this.#object + count - 1, files + 1);
    if (count > 0 && unit === "filemarks") {
      await this.#scanner.scanTo(Number.MAX_SAFE_INTEGER, files + count);
    }
    const { to, space } = planSpace(this.#index, this.#object, unit, count);
    this.#object = to;
    if (space.stoppedBy === "end-of-data") await this.#throwUnlessEndOfData();
    return space;
  }

  // Writing -------------------------------------------------------------------------------------

  async #writeRecords(records: readonly TapeRecord[]): Promise<RecordsWritten> {
    const result = await this.#writer.writeRecords(this.#object, records);
    this.#object += result.written;
    return result;
  }

  async #writeFilemarks(count: number): Promise<TapeWrite> {
    const result = await this.#writer.writeFilemarks(this.#object, count);
    this.#object += count;
    return result;
  }

  // Closing -------------------------------------------------------------------------------------

  /** Saves what is new; not where another process changed the tape while it was read here. */
  async #saveIndex(): Promise<void> {
    const { useIndex, indexedObjects, realPath, stamp } = this.#opened;
    const { hasWritten } = this.#writer;
    if (!useIndex || (!hasWritten && this.#index.count === indexedObjects)) return;
    const now = await stampOf(this.#handle);
    const unchanged = now.sizeBytes === stamp.sizeBytes && now.modifiedNs === stamp.modifiedNs;
    if (hasWritten || unchanged) await saveIndexFile(realPath, now, this.#index);
  }

  async #finish(): Promise<void> {
    try {
      await this.#writer.settle();
      await this.#saveIndex();
    } finally {
      try {
        await this.#handle.close();
      } finally {
        await this.#opened.lock?.release();
      }
    }
  }
}
