/**
 * A drive in front of a drive that counts what is done: what a plan promised can be held against
 * what happened, and a time model says how long a real drive would have taken.
 */
import { OperationQueue } from "./operation-queue.ts";
import type {
  RecordsWritten,
  TapeCapabilities,
  TapeDrive,
  TapePosition,
  TapeRead,
  TapeRecord,
  TapeSpace,
  TapeWrite,
} from "./tape-drive.ts";
import type { TapeModel } from "./time-model.ts";
import { writeRecords } from "./write-records.ts";

export interface DriveStatistics {
  readonly recordsRead: number;
  readonly recordsWritten: number;
  /** Bytes of the records read (whole, however short the target) and written. */
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly filemarksRead: number;
  readonly filemarksWritten: number;
  readonly locates: number;
  readonly spaces: number;
  readonly rewinds: number;
  /** Objects that passed the head, in either direction. */
  readonly distanceObjects: number;
  /** Bytes of tape that passed the head; 0 where the drive cannot tell offsets. */
  readonly distanceBytes: number;
  /** What the drive of the model would have taken; 0 without a model. */
  readonly seconds: number;
}

type Counts = { -readonly [Key in keyof DriveStatistics]: DriveStatistics[Key] };

function noCounts(): Counts {
  return {
    recordsRead: 0,
    recordsWritten: 0,
    bytesRead: 0,
    bytesWritten: 0,
    filemarksRead: 0,
    filemarksWritten: 0,
    locates: 0,
    spaces: 0,
    rewinds: 0,
    distanceObjects: 0,
    distanceBytes: 0,
    seconds: 0,
  };
}

export class CountingDrive implements TapeDrive {
  readonly #drive: TapeDrive;
  readonly #model: TapeModel | undefined;
  readonly #queue: OperationQueue;
  #counts = noCounts();
  #objectBefore = 0;
  #offsetBefore = 0;

  /** Takes over `drive`, which stands where it stands; closing this closes it. */
  constructor(drive: TapeDrive, model?: TapeModel) {
    this.#drive = drive;
    this.#model = model;
    this.#queue = new OperationQueue(drive.name);
  }

  get name(): string {
    return this.#drive.name;
  }

  get capabilities(): TapeCapabilities {
    return this.#drive.capabilities;
  }

  /** What has been done since the start or the last `reset`. */
  statistics(): DriveStatistics {
    return { ...this.#counts };
  }

  reset(): void {
    this.#counts = noCounts();
  }

  async position(): Promise<TapePosition> {
    return this.#queue.run(() => this.#drive.position());
  }

  async read(target: Uint8Array, options?: { readonly reverse?: boolean }): Promise<TapeRead> {
    return this.#move("transfer", async () => {
      const read = await this.#drive.read(target, options);
      if (read.kind === "filemark") this.#counts.filemarksRead += 1;
      if (read.kind === "record") {
        this.#counts.recordsRead += 1;
        this.#counts.bytesRead += read.lengthBytes;
      }
      return read;
    });
  }

  async write(parts: TapeRecord): Promise<TapeWrite> {
    return this.#move("transfer", async () => {
      const written = await this.#drive.write(parts);
      this.#countWritten([parts]);
      return written;
    });
  }

  async writeRecords(records: readonly TapeRecord[]): Promise<RecordsWritten> {
    return this.#move("transfer", async () => {
      const result = await writeRecords(this.#drive, records);
      this.#countWritten(records.slice(0, result.written));
      return result;
    });
  }

  #countWritten(records: readonly TapeRecord[]): void {
    this.#counts.recordsWritten += records.length;
    for (const part of records.flat()) this.#counts.bytesWritten += part.length;
  }

  async writeFilemarks(count: number): Promise<TapeWrite> {
    return this.#move("transfer", async () => {
      const written = await this.#drive.writeFilemarks(count);
      this.#counts.filemarksWritten += count;
      return written;
    });
  }

  async space(unit: "records" | "filemarks", count: number): Promise<TapeSpace> {
    this.#counts.spaces += 1;
    return this.#move("locate", async () => this.#drive.space(unit, count));
  }

  async spaceToEndOfData(): Promise<TapePosition> {
    this.#counts.spaces += 1;
    return this.#move("locate", async () => this.#drive.spaceToEndOfData());
  }

  async locate(object: number): Promise<void> {
    this.#counts.locates += 1;
    return this.#move("locate", async () => this.#drive.locate(object));
  }

  async rewind(): Promise<void> {
    this.#counts.rewinds += 1;
    return this.#move("rewind", async () => this.#drive.rewind());
  }

  async objectOffsetBytes(object: number): Promise<number | undefined> {
    return this.#queue.run(() => this.#drive.objectOffsetBytes?.(object));
  }

  async close(): Promise<void> {
    return this.#queue.close(() => this.#drive.close());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Runs what may move the tape, and notes how far it went, failed or not. */
  async #move<T>(kind: "transfer" | "locate" | "rewind", run: () => Promise<T>): Promise<T> {
    return this.#queue.run(async () => {
      await this.#note(undefined);
      try {
        return await run();
      } finally {
        await this.#note(kind);
      }
    });
  }

  async #note(kind: "transfer" | "locate" | "rewind" | undefined): Promise<void> {
    const { object } = await this.#drive.position();
    const offset = (await this.#drive.objectOffsetBytes?.(object)) ?? 0;
    const distanceBytes = Math.abs(offset - this.#offsetBefore);
    if (kind !== undefined) {
      this.#counts.distanceObjects += Math.abs(object - this.#objectBefore);
      this.#counts.distanceBytes += distanceBytes;
      this.#counts.seconds += this.#seconds(kind, offset, distanceBytes);
    }
    this.#objectBefore = object;
    this.#offsetBefore = offset;
  }

  #seconds(kind: "transfer" | "locate" | "rewind", offset: number, distance: number): number {
    if (this.#model === undefined) return 0;
    if (kind === "transfer") return this.#model.transferSeconds(distance);
    if (kind === "rewind") return this.#model.rewindSeconds(this.#offsetBefore);
    return this.#model.locateSeconds(this.#offsetBefore, offset);
  }
}
