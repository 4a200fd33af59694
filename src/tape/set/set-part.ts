/**
 * One tape of a set, in the numbers of the set: its own labels are not counted, and what the set
 * counts on it begins where the tape before it ended.
 */
import { ReelError } from "../../errors.ts";
import type {
  RecordExtent,
  TapeDrive,
  TapeRead,
  TapeSpace,
  UnreadableTail,
} from "../tape-drive.ts";
import { CONTINUATION_FILEMARKS, type SetPlace } from "./set-place.ts";
import type { SetTapeFacts, TapeEnd } from "./set-records.ts";

interface OpenPart {
  readonly drive: TapeDrive;
  readonly skip: number;
  /** The object of the tape it stands at; undefined: nobody knows. */
  local: number | undefined;
}

export class SetPart {
  readonly sequence: number;
  readonly facts: SetTapeFacts;
  /** First object and file behind it; undefined on the last tape, which goes on to its end. */
  end: { readonly object: number; readonly file: number } | undefined;
  /** What it says of the next tape. */
  ends: TapeEnd | undefined;
  /** It was asked for, and is not there. */
  isMissing = false;
  #open: OpenPart | undefined;

  constructor(sequence: number, facts: SetTapeFacts) {
    this.sequence = sequence;
    this.facts = facts;
  }

  get firstObject(): number {
    return this.facts.firstObject;
  }

  get drive(): TapeDrive | undefined {
    return this.#open?.drive;
  }

  /** For messages: "tape 2 of the set, REEL0002.tap (serial REEL02)". */
  get text(): string {
    const { name, serial } = this.facts;
    return `tape ${this.sequence} of the set, ${name}${serial === "" ? "" : ` (serial ${serial})`}`;
  }

  /** Takes over the drive with this tape. */
  attach(drive: TapeDrive, { skip, dataEnd, ends }: Omit<SetPlace, "begins" | "isBlank">): void {
    this.#open = { drive, skip, local: undefined };
    this.isMissing = false;
    this.ends = ends;
    if (dataEnd !== undefined && ends !== undefined) {
      this.end = { object: this.firstObject + dataEnd - skip, file: ends.file };
    }
  }

  /** Closes the tape; it may be brought again. */
  async release(): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    await open?.drive.close();
  }

  missing(): ReelError {
    return new ReelError(
      "not-found",
      `${this.text}, is not there; put its file beside the others, or name it too: ` +
        `FIRST.tap,SECOND.tap`,
    );
  }

  /** The drive stands somewhere else than was noted. */
  forgetPosition(): void {
    if (this.#open !== undefined) this.#open.local = undefined;
  }

  async locate(object: number): Promise<void> {
    const open = this.#opened();
    const local = object - this.firstObject + open.skip;
    if (open.local === local) return;
    open.local = undefined;
    await open.drive.locate(local);
    open.local = local;
  }

  async read(object: number, target: Uint8Array, reverse: boolean): Promise<TapeRead> {
    await this.locate(object);
    const open = this.#opened();
    const before = open.local ?? 0;
    open.local = undefined;
    const read = await open.drive.read(target, { reverse });
    const moved = read.kind === "record" || read.kind === "filemark";
    open.local = moved ? before + (reverse ? -1 : 1) : before;
    return read;
  }

  /** Spaces from `object`; returns with it where that led to. */
  async space(
    object: number,
    unit: "records" | "filemarks",
    count: number,
  ): Promise<{ space: TapeSpace; object: number }> {
    await this.locate(object);
    const open = this.#opened();
    open.local = undefined;
    const space = await open.drive.space(unit, count);
    return { space, object: await this.here() };
  }

  /** The object the drive stands at. */
  async here(): Promise<number> {
    const open = this.#opened();
    const { object } = await open.drive.position();
    open.local = object;
    return object - open.skip + this.firstObject;
  }

  /** The end of what is on the tape. */
  async endOfData(): Promise<number> {
    if (this.end !== undefined) return this.end.object;
    const open = this.#opened();
    open.local = undefined;
    const { object } = await open.drive.spaceToEndOfData();
    open.local = object;
    return Math.max(object - open.skip, 0) + this.firstObject;
  }

  /** Filemarks of the set before `object`. */
  async fileAt(object: number): Promise<number> {
    if (object === this.firstObject) return this.facts.firstFile;
    if (object === this.end?.object) return this.end.file;
    await this.locate(object);
    const open = this.#opened();
    const { file } = await open.drive.position();
    return file - (open.skip === 0 ? 0 : CONTINUATION_FILEMARKS) + this.facts.firstFile;
  }

  async isNearEnd(object: number): Promise<boolean> {
    await this.locate(object);
    return (await this.#opened().drive.position()).earlyWarning;
  }

  /** Bytes of the set before `object`. */
  async offsetBytes(object: number): Promise<number | undefined> {
    const { startBytes } = this.facts;
    const open = this.#open;
    if (startBytes === undefined || open === undefined) return undefined;
    const local = object - this.firstObject + open.skip;
    const bytes = await open.drive.objectOffsetBytes?.(local);
    return bytes === undefined ? undefined : startBytes + bytes;
  }

  async recordExtent(object: number): Promise<RecordExtent | undefined> {
    const open = this.#open;
    if (open === undefined || (this.end !== undefined && object >= this.end.object)) {
      return undefined;
    }
    return open.drive.recordExtent?.(object - this.firstObject + open.skip);
  }

  /** What of the tape cannot be read, in the numbers of the set. */
  async unreadableTail(): Promise<UnreadableTail | undefined> {
    const open = this.#open;
    const tail = await open?.drive.unreadableTail?.();
    if (open === undefined || tail === undefined) return undefined;
    return { ...tail, object: Math.max(tail.object - open.skip, 0) + this.firstObject };
  }

  #opened(): OpenPart {
    if (this.#open === undefined) throw this.missing();
    return this.#open;
  }
}
