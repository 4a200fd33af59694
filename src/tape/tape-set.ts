/**
 * Several tapes in sequence as one: object numbers run on over them, and the records by which they
 * know one another are left out of the numbering (docs/formats/tape-set.md). Nobody above has to
 * know: an image that continues on the next tape reads as one that does not.
 *
 * Writing changes tapes when early warning was given, and when a record does not fit; it is then
 * written whole on the next tape. Reading asks for a tape when it is first needed. One that is not
 * there costs what is on it: its objects cannot be read, those before and behind it can.
 */
import { isReelError, ReelError } from "../errors.ts";
import { OperationQueue } from "./operation-queue.ts";
import { changeTape, type ChooseNextTape } from "./set/change-tape.ts";
import { SetChain, type TapeSource } from "./set/set-chain.ts";
import type { SetPart } from "./set/set-part.ts";
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
import { writeRecords } from "./write-records.ts";

export type { ChooseNextTape, NextTape } from "./set/change-tape.ts";
export type { TapeRequest, TapeSource } from "./set/set-chain.ts";

export interface TapeSetOptions {
  /** Where the other tapes come from; without it there is only the one. */
  readonly source?: TapeSource | undefined;
  /** What to go on on when a tape is full. */
  readonly nextTape?: ChooseNextTape | undefined;
  /** For messages; the name of the tape that was opened without it. */
  readonly name?: string | undefined;
  /** Under which name the tape that was opened is remembered by those after it. */
  readonly recordAs?: string | undefined;
}

export interface TapeOfSet {
  /** As it was recorded. */
  readonly name: string;
  readonly serial: string;
  /** Where it is, while it is open. */
  readonly path: string | undefined;
}

export class TapeSetDrive implements TapeDrive {
  readonly name: string;
  readonly capabilities: TapeCapabilities;
  /** Number, in the set, of the tape that was opened. */
  readonly openedAt: number;
  readonly #chain: SetChain;
  readonly #choose: ChooseNextTape | undefined;
  readonly #queue: OperationQueue;
  #object = 0;
  /** There is no tape after this one: nobody is asked again. */
  #noneAfter: number | undefined;

  private constructor(chain: SetChain, drive: TapeDrive, options: TapeSetOptions) {
    this.#chain = chain;
    this.name = options.name ?? drive.name;
    this.capabilities = drive.capabilities;
    this.openedAt = chain.parts.length;
    this.#choose = options.nextTape;
    this.#queue = new OperationQueue(this.name);
  }

  /**
   * The set that the tape in `drive` belongs to, whichever of it that is; at the beginning of the
   * set. The drive is taken over; a tape that belongs to no set is one of one tape.
   */
  static async open(drive: TapeDrive, options: TapeSetOptions = {}): Promise<TapeSetDrive> {
    const name = options.recordAs ?? drive.name;
    return new TapeSetDrive(await SetChain.of(drive, name, options.source), drive, options);
  }

  /** The tapes known so far, in order. */
  get tapes(): readonly TapeOfSet[] {
    return this.#chain.parts.map(({ facts: { name, serial }, drive }) => {
      return { name, serial, path: drive?.name };
    });
  }

  /** One sentence for each tape that was needed and is not there. */
  notices(): string[] {
    return this.#chain.notices();
  }

  /** In words, the tape that an object is on, when that tape is not there. */
  async missingAt(object: number): Promise<string | undefined> {
    return this.#queue.run(async () => {
      const part = this.#chain.partAt(object);
      return (await this.#chain.open(part)) ? undefined : part.missing().message;
    });
  }

  async position(): Promise<TapePosition> {
    return this.#queue.run(() => this.#position());
  }

  async read(target: Uint8Array, options?: { readonly reverse?: boolean }): Promise<TapeRead> {
    return this.#queue.run(() =>
      options?.reverse === true ? this.#readReverse(target) : this.#readForward(target),
    );
  }

  async write(parts: TapeRecord): Promise<TapeWrite> {
    const { earlyWarning } = await this.writeRecords([parts]);
    return { earlyWarning };
  }

  async writeRecords(records: readonly TapeRecord[]): Promise<RecordsWritten> {
    return this.#queue.run(async () => {
      await this.#changeIfWarned();
      return this.#append(async (drive) => writeRecords(drive, records));
    });
  }

  async writeFilemarks(count: number): Promise<TapeWrite> {
    return this.#queue.run(async () => {
      if (count !== 0) {
        const { earlyWarning } = await this.#append(async (drive) => {
          return { written: count, ...(await drive.writeFilemarks(count)) };
        });
        return { earlyWarning };
      }
      const { drive } = this.#chain.partAt(this.#object);
      const written = await drive?.writeFilemarks(0);
      return { earlyWarning: this.#choose === undefined && written?.earlyWarning === true };
    });
  }

  async space(unit: "records" | "filemarks", count: number): Promise<TapeSpace> {
    return this.#queue.run(() => {
      if (!Number.isSafeInteger(count)) {
        throw new ReelError("invalid", `cannot space over ${count} ${unit} on ${this.name}`);
      }
      return count < 0 ? this.#spaceBack(unit, -count) : this.#spaceOn(unit, count);
    });
  }

  async spaceToEndOfData(): Promise<TapePosition> {
    return this.#queue.run(async () => {
      const { object } = await this.#endOfData();
      this.#object = object;
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
    return this.#queue.run(() => this.#chain.offsetBytes(object));
  }

  async recordExtent(object: number): Promise<RecordExtent | undefined> {
    return this.#queue.run(async () => {
      const part = await this.#readable(object);
      return part?.isMissing === false ? part.recordExtent(object) : undefined;
    });
  }

  async unreadableTail(): Promise<UnreadableTail | undefined> {
    return this.#queue.run(async () => (await this.#lastPart()).unreadableTail());
  }

  async close(): Promise<void> {
    return this.#queue.close(async () => {
      for (const part of this.#chain.parts) await part.release();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #position(): Promise<TapePosition> {
    const object = this.#object;
    const part = this.#chain.partAt(object);
    const isThere = part.drive !== undefined;
    return {
      object,
      file: isThere ? await part.fileAt(object) : part.facts.firstFile,
      beginning: object === 0,
      earlyWarning: this.#choose === undefined && isThere && (await part.isNearEnd(object)),
    };
  }

  // Reading -------------------------------------------------------------------------------------

  /** The part on which `object` would be read, its tape brought; undefined behind the last. */
  async #readable(object: number): Promise<SetPart | undefined> {
    let part = this.#chain.partAt(object);
    for (;;) {
      await this.#chain.open(part);
      if (part.isMissing || part.end === undefined || object < part.end.object) return part;
      const next = await this.#chain.after(part);
      if (next === undefined) return undefined;
      part = next;
    }
  }

  async #readForward(target: Uint8Array): Promise<TapeRead> {
    const part = await this.#readable(this.#object);
    if (part === undefined) return { kind: "end-of-data" };
    if (part.isMissing) throw part.missing();
    const read = await part.read(this.#object, target, false);
    if (read.kind === "record" || read.kind === "filemark") this.#object += 1;
    return read;
  }

  async #readReverse(target: Uint8Array): Promise<TapeRead> {
    if (this.#object === 0) return { kind: "beginning" };
    const part = this.#chain.partBefore(this.#object);
    if (!(await this.#chain.open(part))) throw part.missing();
    const read = await part.read(this.#object, target, true);
    if (read.kind === "record" || read.kind === "filemark") this.#object -= 1;
    return read;
  }

  // Positioning ---------------------------------------------------------------------------------

  async #lastPart(): Promise<SetPart> {
    let part = this.#chain.last;
    await this.#chain.open(part);
    for (;;) {
      const next = await this.#chain.after(part);
      if (next === undefined) return part;
      part = next;
    }
  }

  async #endOfData(): Promise<{ part: SetPart; object: number }> {
    const part = await this.#lastPart();
    const object = part.isMissing ? part.firstObject : await part.endOfData();
    return { part, object };
  }

  async #locate(object: number): Promise<void> {
    if (!Number.isSafeInteger(object) || object < 0) {
      throw new ReelError("invalid", `cannot locate object ${object} on ${this.name}`);
    }
    if (object >= this.#chain.last.firstObject) {
      const part = await this.#readable(object);
      if (part?.end === undefined) await this.#locateOnLast(object, part);
    }
    this.#object = object;
  }

  async #locateOnLast(object: number, part: SetPart | undefined): Promise<void> {
    if (part?.isMissing === true) {
      if (object === part.firstObject) return;
      throw part.missing();
    }
    try {
      await part?.locate(object);
      const end = part === undefined ? this.#chain.last.end?.object : undefined;
      if (end === undefined || object <= end) return;
      this.#object = end;
    } catch (error) {
      if (!isReelError(error, "out-of-range")) throw error;
      this.#object = (await part?.here()) ?? 0;
    }
    throw new ReelError(
      "out-of-range",
      `cannot locate object ${object} on ${this.name}: the data ends at object ${this.#object}`,
    );
  }

  async #spaceOn(unit: "records" | "filemarks", count: number): Promise<TapeSpace> {
    for (let passed = 0; passed < count;) {
      const part = await this.#readable(this.#object);
      if (part === undefined) return { passed, stoppedBy: "end-of-data" };
      const left = count - passed;
      const there = await this.#ahead(part, unit);
      if (there !== undefined && there < left && (unit === "filemarks" || part.isMissing)) {
        // All of this tape is passed, without moving it.
        passed += there;
        this.#object = part.end?.object ?? this.#object;
        continue;
      }
      if (part.isMissing) throw part.missing();
      const within = Math.min(left, there ?? left);
      const { space, object } = await part.space(this.#object, unit, within);
      this.#object = object;
      passed += space.passed;
      if (space.stoppedBy !== undefined) return { ...space, passed };
    }
    return { passed: count };
  }

  /** Filemarks, or at most so many records, from here to the end of a part; undefined: to the end. */
  async #ahead(part: SetPart, unit: "records" | "filemarks"): Promise<number | undefined> {
    const { end } = part;
    if (end === undefined) return undefined;
    if (part.isMissing) {
      // Where among its records the filemarks are, nobody knows.
      const marks = end.file - part.facts.firstFile;
      if (marks > 0 && (unit === "records" || this.#object > part.firstObject)) return undefined;
      return unit === "filemarks" ? marks : end.object - this.#object;
    }
    if (unit === "records") return end.object - this.#object;
    return end.file - (await part.fileAt(this.#object));
  }

  async #spaceBack(unit: "records" | "filemarks", count: number): Promise<TapeSpace> {
    for (let passed = 0; passed < count;) {
      if (this.#object === 0) return { passed, stoppedBy: "beginning" };
      const part = this.#chain.partBefore(this.#object);
      if (!(await this.#chain.open(part))) throw part.missing();
      const left = count - passed;
      const before =
        unit === "records"
          ? this.#object - part.firstObject
          : (await part.fileAt(this.#object)) - part.facts.firstFile;
      if (before < left && unit === "filemarks") {
        passed += before;
        this.#object = part.firstObject;
        continue;
      }
      const { space, object } = await part.space(this.#object, unit, -Math.min(left, before));
      this.#object = object;
      passed += space.passed;
      if (space.stoppedBy !== undefined) return { ...space, passed };
    }
    return { passed: count };
  }

  // Writing -------------------------------------------------------------------------------------

  /** Writes on the part of the position; on the next tape where it does not fit. */
  async #append(write: (drive: TapeDrive) => Promise<RecordsWritten>): Promise<RecordsWritten> {
    try {
      return await this.#appendHere(write);
    } catch (error) {
      if (!isReelError(error, "end-of-medium")) throw error;
      if (!(await this.#change())) throw this.#full(error);
    }
    return this.#appendHere(write);
  }

  async #appendHere(write: (drive: TapeDrive) => Promise<RecordsWritten>): Promise<RecordsWritten> {
    const part = this.#chain.partAt(this.#object);
    if (!(await this.#chain.open(part)) || part.drive === undefined) throw part.missing();
    await part.locate(this.#object);
    part.forgetPosition();
    const { written, earlyWarning } = await write(part.drive);
    await this.#chain.cutAfter(part);
    this.#object += written;
    return { written, earlyWarning: this.#choose === undefined && earlyWarning };
  }

  /** Behind early warning no record is begun, when there is another tape. */
  async #changeIfWarned(): Promise<void> {
    if (this.#choose === undefined || this.#object === 0) return;
    const part = this.#chain.partAt(this.#object);
    if (part.drive?.capabilities.writable !== true) return;
    if (await part.isNearEnd(this.#object)) await this.#change();
  }

  /** The failure, when there might have been another tape. */
  #full(error: ReelError): ReelError {
    const part = this.#chain.partAt(this.#object);
    if (this.#noneAfter !== part.sequence) return error;
    const why = "it is full, and there is no further tape; name more with --tapes";
    return new ReelError("end-of-medium", `cannot go on writing on ${part.facts.name}: ${why}`, {
      cause: error,
    });
  }

  /** False when there is no other tape, or this one is empty: a second would help no more. */
  async #change(): Promise<boolean> {
    const part = this.#chain.partAt(this.#object);
    if (this.#object === part.firstObject || this.#noneAfter === part.sequence) return false;
    const next = await this.#choose?.(part.sequence + 1, part.facts);
    if (next === undefined) {
      this.#noneAfter = part.sequence;
      return false;
    }
    await this.#chain.cutAfter(part);
    this.#object = await changeTape(this.#chain, part, this.#object, next);
    return true;
  }
}
