/**
 * A tape in a SIMH `.tap` file (docs/formats/tap.md).
 *
 * The drive keeps one number, the logical object it stands before; where that lies in the file is
 * the index's business, which a scan extends as the tape is read. A record travels in one system
 * call: its two words land in small buffers around the caller's own, and the word of the next
 * record comes along, so reading on needs no look ahead. Every read holds both words against the
 * index; where they differ the index is thrown away and the tape scanned again.
 *
 * Writing anywhere cuts the file there first. A record is one gathered write at the end of the
 * file, so a reader in another process sees it whole or not at all.
 */
import type { FileHandle } from "node:fs/promises";
import { basename } from "node:path";
import { EarlySync } from "../device/early-sync.ts";
import { ReelError, fromSystem } from "../errors.ts";
import { writeAll } from "./file-io.ts";
import { ObjectReader } from "./object-reader.ts";
import { OperationQueue } from "./operation-queue.ts";
import {
  FILEMARK_WORD,
  FRAME_BYTES,
  RECORD_BYTES_MAX,
  WORD_BYTES,
  dataBytes,
  objectKind,
  recordSizeBytes,
} from "./simh-format.ts";
import type {
  RecordExtent,
  TapeCapabilities,
  TapeDrive,
  TapePosition,
  TapeRead,
  TapeSpace,
  TapeWrite,
  UnreadableTail,
} from "./tape-drive.ts";
import type { TapeIndex } from "./tape-index.ts";
import { removeIndexFile, saveIndexFile, stampOf, type TapeStamp } from "./tape-index-file.ts";
import { hasLiveWriter, type TapeLock } from "./tape-lock.ts";
import { TapeScanner } from "./tape-scanner.ts";
import { planSpace } from "./tape-space.ts";

/** Filemarks in one call: a guard, no drive is asked for more than a few. */
const FILEMARKS_PER_CALL_MAX = 65_536;
/** Objects that a run looks ahead for. */
const RUN_OBJECTS = 4096;

/** What `openSimhTape` found and took. */
export interface OpenedTape {
  readonly realPath: string;
  readonly writable: boolean;
  /** The tape file as it was when it was opened. */
  readonly stamp: TapeStamp;
  readonly lock: TapeLock | undefined;
  readonly useIndex: boolean;
  /** Objects that came from the index file. */
  readonly indexedObjects: number;
  readonly capacityBytes: number;
  readonly earlyWarningBytes: number;
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
  readonly #sync: EarlySync;
  #object = 0;
  #written = false;

  constructor(name: string, handle: FileHandle, index: TapeIndex, opened: OpenedTape) {
    this.name = name;
    this.#handle = handle;
    this.#index = index;
    this.#opened = opened;
    this.#queue = new OperationQueue(basename(name));
    const sizeBytes = Number(opened.stamp.sizeBytes);
    this.#scanner = new TapeScanner(handle, name, index, sizeBytes, !opened.writable);
    this.#reader = new ObjectReader(handle, name, index, this.#scanner);
    this.#sync = new EarlySync(async () => handle.datasync(), name);
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
    return this.#queue.run(() => this.#writeRecord(parts));
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
      earlyWarning: this.#isNearEnd(offsetBytes),
    };
  }

  #isNearEnd(offsetBytes: number): boolean {
    return offsetBytes >= this.#opened.capacityBytes - this.#opened.earlyWarningBytes;
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

  async #writeRecord(parts: readonly Uint8Array[]): Promise<TapeWrite> {
    let lengthBytes = 0;
    for (const part of parts) lengthBytes += part.length;
    if (lengthBytes === 0 || lengthBytes > RECORD_BYTES_MAX) {
      throw new ReelError(
        "invalid",
        `cannot write a record of ${lengthBytes} bytes to ${this.name}: ` +
          `a record has 1 to ${RECORD_BYTES_MAX} bytes`,
      );
    }
    const frame = Buffer.alloc(FRAME_BYTES + 1);
    const padBytes = lengthBytes & 1;
    frame.writeUInt32LE(lengthBytes, 0);
    frame.writeUInt32LE(lengthBytes, WORD_BYTES + padBytes);
    const buffers = [
      frame.subarray(0, WORD_BYTES),
      ...parts.filter((part) => part.length > 0),
      frame.subarray(WORD_BYTES, FRAME_BYTES + padBytes),
    ];
    return this.#append(buffers, recordSizeBytes(lengthBytes), lengthBytes, 1);
  }

  async #writeFilemarks(count: number): Promise<TapeWrite> {
    if (!Number.isSafeInteger(count) || count < 0 || count > FILEMARKS_PER_CALL_MAX) {
      throw new ReelError("invalid", `cannot write ${count} filemarks to ${this.name}`);
    }
    const marks = Buffer.alloc(count * WORD_BYTES);
    const result = await this.#append(count > 0 ? [marks] : [], marks.length, FILEMARK_WORD, count);
    await this.#sync.sync();
    return result;
  }

  /** Writes `count` objects of one word each, `sizeBytes` in all, and ends the tape after them. */
  async #append(
    buffers: readonly Uint8Array[],
    sizeBytes: number,
    word: number,
    count: number,
  ): Promise<TapeWrite> {
    if (!this.#opened.writable) {
      throw new ReelError("read-only", `cannot write ${this.name}: it was opened for reading`);
    }
    if (count === 0) return { earlyWarning: this.#position().earlyWarning };
    const object = this.#object;
    await this.#scanner.scanTo(object);
    if (object > this.#index.count) throw this.#changedUnderneath();
    const offsetBytes =
      object < this.#index.count ? this.#index.offsetBytes(object) : this.#scanner.offsetBytes;
    if (offsetBytes + sizeBytes > this.#opened.capacityBytes) {
      throw new ReelError(
        "end-of-medium",
        `cannot write object ${object} to ${this.name}: ` +
          `${sizeBytes} bytes at byte ${offsetBytes} do not fit on a tape of ` +
          `${this.#opened.capacityBytes} bytes; go on with another tape`,
      );
    }
    this.#sync.check();
    await this.#beginWriting();
    this.#reader.forget();
    await this.#endTapeAt(object, offsetBytes);
    try {
      await writeAll(this.#handle, buffers, offsetBytes);
    } catch (error) {
      await this.#truncate(offsetBytes);
      throw fromSystem(error, `cannot write object ${object} to ${this.name}`);
    }
    for (let each = 0; each < count; each++) this.#scanner.appended(word);
    this.#object = object + count;
    this.#sync.wrote(sizeBytes);
    return { earlyWarning: this.#isNearEnd(offsetBytes + sizeBytes) };
  }

  async #beginWriting(): Promise<void> {
    if (this.#written) return;
    this.#written = true;
    await removeIndexFile(this.#opened.realPath);
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
      throw fromSystem(error, `cannot end ${this.name} at byte ${offsetBytes}`);
    }
  }

  // Closing -------------------------------------------------------------------------------------

  /** Saves what is new; not where another process changed the tape while it was read here. */
  async #saveIndex(): Promise<void> {
    const { useIndex, indexedObjects, realPath, stamp } = this.#opened;
    if (!useIndex || (!this.#written && this.#index.count === indexedObjects)) return;
    const now = await stampOf(this.#handle);
    const unchanged = now.sizeBytes === stamp.sizeBytes && now.modifiedNs === stamp.modifiedNs;
    if (this.#written || unchanged) await saveIndexFile(realPath, now, this.#index);
  }

  async #finish(): Promise<void> {
    try {
      await this.#sync.settle();
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
