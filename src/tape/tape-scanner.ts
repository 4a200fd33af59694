/**
 * Finds the objects of a `.tap` file, going forward from the end of what the index knows.
 *
 * Lengths let it hop: of a long record only the two words around it are read, eight bytes in one
 * call (the trailing word and the word of the next object lie side by side). Where objects are
 * short it reads big chunks instead and walks in memory. Every length is held against the size of
 * the file and the trailing word before it is believed. A record that does not hold costs itself
 * alone where its other word tells its length (tape-resync.ts); else it ends the scan, and `stop`
 * says why.
 */
import type { FileHandle } from "node:fs/promises";
import { ReelError, fromSystem } from "../errors.ts";
import {
  RECORD_BYTES_MAX,
  WORD_BYTES,
  dataBytes,
  hasTrailer,
  isEraseGap,
  objectKind,
  objectSizeBytes,
  recordSizeBytes,
  wordText,
} from "./simh-format.ts";
import type { TapeIndex } from "./tape-index.ts";
import { Resync } from "./tape-resync.ts";

const CHUNK_BYTES = 256 * 1024;
/** Enough for a trailing word and the next object's word. */
const HOP_BYTES = 2 * WORD_BYTES;
/** Objects longer than this are hopped over; up to it, reading through is cheaper than a call. */
const HOP_FROM_BYTES = 16 * 1024;

/** Private and reserved markers that are looked at as records with a flipped class. */
const MARKER_CHECKS_MAX = 1000;

/** Why the scan goes no further. */
export interface ScanStop {
  readonly kind: "end-of-file" | "end-of-medium" | "torn" | "damaged";
  readonly message: string;
}

export interface FoundObject {
  readonly word: number;
  readonly offsetBytes: number;
}

export class TapeScanner {
  readonly #handle: FileHandle;
  readonly #name: string;
  readonly #index: TapeIndex;
  readonly #mayGrow: boolean;
  #sizeBytes: number;
  #stop: ScanStop | undefined;
  /** Gaps and foreign objects passed since the last counted object. */
  #skippedBytes = 0;
  readonly #resync: Resync;
  readonly #window = Buffer.alloc(CHUNK_BYTES);
  #windowStart = 0;
  #windowEnd = 0;
  #lastObjectBytes = Number.POSITIVE_INFINITY;
  #markersToCheck = MARKER_CHECKS_MAX;
  /** A word that a read of the record before it brought along. */
  #hintOffset = -1;
  #hintWord = 0;

  /** `mayGrow`: another process may be writing the tape, so its end is looked at again. */
  constructor(
    handle: FileHandle,
    name: string,
    index: TapeIndex,
    sizeBytes: number,
    mayGrow: boolean,
  ) {
    this.#mayGrow = mayGrow;
    this.#handle = handle;
    this.#name = name;
    this.#index = index;
    this.#resync = new Resync(handle, name);
    this.#sizeBytes = sizeBytes;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get stop(): ScanStop | undefined {
    return this.#stop;
  }

  /** Where the next object begins, or where the tape ends. */
  get offsetBytes(): number {
    return this.#index.endBytes + this.#skippedBytes;
  }

  /** Tells the word at an offset, so that it need not be read again. */
  remember(offsetBytes: number, word: number): void {
    this.#hintOffset = offsetBytes;
    this.#hintWord = word;
  }

  /** Extends the index until it knows `object`, or `filemarks` filemarks, or the tape stops. */
  async scanTo(object: number, filemarks = Number.POSITIVE_INFINITY): Promise<void> {
    if (this.#isWorthAnotherLook(object)) await this.refresh();
    while (
      this.#stop === undefined &&
      this.#index.count <= object &&
      this.#index.filemarkCount < filemarks
    ) {
      if (this.#passCached()) continue;
      const found = await this.#next();
      if (found !== undefined) await this.#check(found);
    }
  }

  /**
   * The object, where known or next to be scanned. A record that is next has not been held against
   * its trailing word: whoever reads it does that, and then calls `accept`.
   */
  async find(object: number): Promise<FoundObject | undefined> {
    if (this.#isWorthAnotherLook(object)) await this.refresh();
    if (object > this.#index.count) await this.scanTo(object - 1);
    while (object === this.#index.count && this.#stop === undefined) {
      const found = await this.#next();
      if (found === undefined) break;
      if (objectKind(found.word) === "record") return found;
      await this.#check(found);
    }
    if (object >= this.#index.count) return undefined;
    return { word: this.#index.word(object), offsetBytes: this.#index.offsetBytes(object) };
  }

  /** The object that `find` returned is as it says: the index may keep it. */
  accept(object: number, found: FoundObject): void {
    if (object === this.#index.count) this.#keep(found.word);
  }

  /** The tape ends at `offsetBytes` now, before `object`. */
  endAt(object: number, offsetBytes: number): void {
    this.#index.truncate(object);
    this.#skippedBytes = offsetBytes - this.#index.endBytes;
    this.#sizeBytes = offsetBytes;
    this.#stop = { kind: "end-of-file", message: "" };
    this.#forgetBytes();
  }

  /** An object was written at the end. */
  appended(word: number): void {
    this.#keep(word);
    this.#sizeBytes = this.#index.endBytes;
  }

  /** Looks again: a file that grew may go on where it stopped, one that shrank is another tape. */
  async refresh(): Promise<void> {
    const { size } = await this.#handle.stat();
    if (size === this.#sizeBytes) return;
    this.#sizeBytes = size;
    this.#stop = undefined;
    this.#forgetBytes();
    if (size < this.offsetBytes) this.restart();
  }

  /** Forgets all that is known of the tape: it is not what the index says. */
  restart(): void {
    this.#index.truncate(0);
    this.#skippedBytes = 0;
    this.#stop = undefined;
    this.#forgetBytes();
  }

  /** True where the object after `object`, or the end of the tape, is where the index has it. */
  async holdsAfter(object: number): Promise<boolean> {
    const next = object + 1;
    if (next >= this.#index.count) return this.#index.endBytes <= this.#sizeBytes;
    const startBytes = this.#index.offsetBytes(next);
    return this.#resync.isObjectAt(startBytes, this.#index.word(next), this.#sizeBytes);
  }

  #isWorthAnotherLook(object: number): boolean {
    return this.#mayGrow && this.#stop !== undefined && object >= this.#index.count;
  }

  #forgetBytes(): void {
    this.#windowEnd = this.#windowStart = 0;
    this.#hintOffset = -1;
  }

  #keep(word: number): void {
    this.#index.append(word, this.#skippedBytes);
    this.#skippedBytes = 0;
    this.#lastObjectBytes = objectSizeBytes(word);
  }

  /** Passes one object whose words are in memory and agree: the fast path of short records. */
  #passCached(): boolean {
    const offsetBytes = this.offsetBytes;
    const word = this.#cachedWord(offsetBytes);
    if (word === undefined) return false;
    const kind = objectKind(word);
    const sizeBytes = objectSizeBytes(word);
    if (offsetBytes + sizeBytes > this.#sizeBytes) return false;
    if (kind === "record") {
      if (this.#cachedWord(offsetBytes + sizeBytes - WORD_BYTES) !== word) return false;
    } else if (kind !== "filemark" && !isEraseGap(word)) return false;
    if (kind === "skip") this.#skippedBytes += sizeBytes;
    else this.#keep(word);
    return true;
  }

  /** The next object, or undefined and a reason in `#stop`. */
  async #next(): Promise<FoundObject | undefined> {
    const offsetBytes = this.offsetBytes;
    if (offsetBytes === this.#sizeBytes) {
      this.#stop = { kind: "end-of-file", message: "" };
      return undefined;
    }
    if (offsetBytes + WORD_BYTES > this.#sizeBytes) {
      this.#stopTorn(offsetBytes);
      return undefined;
    }
    const word = this.#cachedWord(offsetBytes) ?? (await this.#loadWord(offsetBytes));
    const kind = objectKind(word);
    if (kind === "end-of-medium") {
      this.#stop = { kind: "end-of-medium", message: "" };
      return undefined;
    }
    if (kind === "illegal") {
      await this.#stopDamaged(offsetBytes, `its first word ${wordText(word)} means nothing`);
      return undefined;
    }
    if (offsetBytes + objectSizeBytes(word) <= this.#sizeBytes) return { word, offsetBytes };
    await this.#stopBeyondEnd(word, offsetBytes);
    return undefined;
  }

  /** Holds an object against its trailing word, and keeps or passes it. */
  async #check(found: FoundObject): Promise<void> {
    const { word, offsetBytes } = found;
    const sizeBytes = objectSizeBytes(word);
    if (hasTrailer(word)) {
      const trailerBytes = offsetBytes + sizeBytes - WORD_BYTES;
      this.#lastObjectBytes = sizeBytes;
      const trailer = this.#cachedWord(trailerBytes) ?? (await this.#loadWord(trailerBytes));
      if (trailer !== word) {
        await this.#stopDamaged(offsetBytes, mismatchText(word, trailer), { leadingWord: word });
        return;
      }
    }
    if (objectKind(word) === "skip") {
      if (await this.#isRecordInDisguise(found)) {
        this.#keep(dataBytes(word));
        return;
      }
      this.#skippedBytes += sizeBytes;
      this.#lastObjectBytes = sizeBytes;
    } else this.#keep(word);
  }

  /** A marker of a private or reserved class, where a good record of the same value would fit. */
  async #isRecordInDisguise(found: FoundObject): Promise<boolean> {
    const { word, offsetBytes } = found;
    const lengthBytes = dataBytes(word);
    if (hasTrailer(word) || isEraseGap(word) || lengthBytes === 0) return false;
    const trailerBytes = offsetBytes + recordSizeBytes(lengthBytes) - WORD_BYTES;
    if (lengthBytes > RECORD_BYTES_MAX || trailerBytes + WORD_BYTES > this.#sizeBytes) return false;
    if (this.#markersToCheck === 0) return false;
    this.#markersToCheck -= 1;
    return (await this.#resync.wordAt(trailerBytes)) === lengthBytes;
  }

  #cachedWord(offsetBytes: number): number | undefined {
    if (offsetBytes === this.#hintOffset) return this.#hintWord;
    if (offsetBytes < this.#windowStart || offsetBytes + WORD_BYTES > this.#windowEnd) {
      return undefined;
    }
    return this.#window.readUInt32LE(offsetBytes - this.#windowStart);
  }

  async #loadWord(offsetBytes: number): Promise<number> {
    const wanted = this.#lastObjectBytes > HOP_FROM_BYTES ? HOP_BYTES : CHUNK_BYTES;
    const bytesRead = await this.#load(offsetBytes, wanted);
    this.#windowStart = offsetBytes;
    this.#windowEnd = offsetBytes + bytesRead;
    if (bytesRead < WORD_BYTES) {
      this.#windowEnd = offsetBytes;
      throw new ReelError("io", `cannot read ${this.#name}: it became shorter while it was read`);
    }
    return this.#window.readUInt32LE(0);
  }

  async #load(offsetBytes: number, lengthBytes: number): Promise<number> {
    try {
      return (await this.#handle.read(this.#window, 0, lengthBytes, offsetBytes)).bytesRead;
    } catch (error) {
      throw fromSystem(error, `cannot read ${this.#name} at byte ${offsetBytes}`);
    }
  }

  /**
   * A record longer than the rest of the file: the writer was cut short, or the length is wrong.
   * The difference matters, since a torn tail may be written over. It is a wrong length where the
   * trailing word is there, where the file ends in a whole record, or where no standard record is
   * that long.
   */
  async #stopBeyondEnd(word: number, offsetBytes: number): Promise<void> {
    const endBytes = offsetBytes + objectSizeBytes(word);
    const what = `it would end at byte ${endBytes}, but the tape ends at byte ${this.#sizeBytes}`;
    await this.#stopDamaged(offsetBytes, what, { mayBeTorn: true });
    if (this.#stop === undefined || dataBytes(word) > RECORD_BYTES_MAX) return;
    const fromBytes = offsetBytes + WORD_BYTES;
    if (!(await this.#resync.endsInWholeRecord(fromBytes, this.#sizeBytes))) {
      this.#stopTorn(offsetBytes);
    }
  }

  /** Goes on behind a damaged record where its true length can be told; else stops here. */
  async #stopDamaged(
    offsetBytes: number,
    what: string,
    hints: { readonly leadingWord?: number; readonly mayBeTorn?: boolean } = {},
  ): Promise<void> {
    const word = await this.#resync.trueWord(offsetBytes, this.#sizeBytes, hints);
    if (word !== undefined) {
      this.#keep(word);
      return;
    }
    const message = damageText(this.#name, this.#index.count, offsetBytes, what, false);
    this.#stop = { kind: "damaged", message };
  }

  #stopTorn(offsetBytes: number): void {
    const what = `the tape was cut in the middle of it, at byte ${this.#sizeBytes}`;
    const message = damageText(this.#name, this.#index.count, offsetBytes, what, false);
    this.#stop = { kind: "torn", message };
  }
}

/** The sentence for a damaged object; `goesOn`: those behind it can be read. */
export function damageText(
  name: string,
  object: number,
  offsetBytes: number,
  what: string,
  goesOn: boolean,
): string {
  const rest = goesOn
    ? `object ${object + 1} and on can be read`
    : "what lies before it can be read";
  return `cannot read ${name}: object ${object} at byte ${offsetBytes} is damaged: ${what}; ${rest}`;
}

/** What is wrong with a record whose two words differ. */
export function mismatchText(word: number, trailer: number): string {
  return `it begins with the word ${wordText(word)} and ends with ${wordText(trailer)}`;
}
