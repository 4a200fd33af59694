/**
 * Brings one object of a `.tap` file into memory, and says whether its words are right. The record
 * lands straight in the caller's buffer; the words around it, and the word of the next object, land
 * in small buffers of our own, all in one system call.
 *
 * Short records read one after another come from a window instead, many in one call. It serves only
 * the object right behind the last one read, so what it holds is never older than a moment.
 */
import type { FileHandle } from "node:fs/promises";
import { fromSystem } from "../errors.ts";
import { readAll } from "./file-io.ts";
import { WORD_BYTES, dataBytes, objectKind, objectSizeBytes } from "./simh-format.ts";
import { mismatchText, type FoundObject } from "./tape-scanner.ts";

export interface FramedRead {
  /** What is wrong with the object on tape; undefined where nothing is. */
  readonly wrong: string | undefined;
  /** Where the object ends. */
  readonly endBytes: number;
  /** The word found there, where one came along. */
  readonly nextWord?: number;
}

/** Objects up to this size are worth copying from a window. */
const WINDOWED_BYTES_MAX = 8 * 1024;
const WINDOW_BYTES = 128 * 1024;

const TOO_SHORT = "the file ends within it";

export class FramedReader {
  readonly #handle: FileHandle;
  readonly #name: string;
  readonly #head = Buffer.alloc(WORD_BYTES);
  /** Pad byte, trailing word, and the word of the next object. */
  readonly #tail = Buffer.alloc(1 + 2 * WORD_BYTES);
  #window: Buffer | undefined;
  #windowStart = 0;
  #windowEnd = 0;
  /** Where the last object read ended, if it was a short one. */
  #streakAt = -1;

  constructor(handle: FileHandle, name: string) {
    this.#handle = handle;
    this.#name = name;
  }

  /** The tape is written or was changed: what was read ahead is old. */
  forget(): void {
    this.#streakAt = -1;
  }

  /** Fills `target` with the data of a record, or as much of it as fits. */
  async read(found: FoundObject, target: Uint8Array): Promise<FramedRead> {
    const { word, offsetBytes } = found;
    const sizeBytes = objectSizeBytes(word);
    const endBytes = offsetBytes + sizeBytes;
    const isShort = sizeBytes <= WINDOWED_BYTES_MAX;
    const inStreak = isShort && offsetBytes === this.#streakAt;
    if (!inStreak) this.#windowEnd = 0;
    this.#streakAt = isShort ? endBytes : -1;
    if (inStreak) {
      if (endBytes + WORD_BYTES > this.#windowEnd) await this.#fillWindow(offsetBytes);
      const read = this.#readFromWindow(found, endBytes, target);
      if (read !== undefined) return read;
    }
    return this.#readFromFile(found, endBytes, target);
  }

  async #fillWindow(offsetBytes: number): Promise<void> {
    this.#window ??= Buffer.alloc(WINDOW_BYTES);
    this.#windowEnd = 0;
    const arrivedBytes = await this.#readAt([this.#window], offsetBytes, 1);
    this.#windowStart = offsetBytes;
    this.#windowEnd = offsetBytes + arrivedBytes;
  }

  /** The object out of the window; undefined where it is not all there, or not right. */
  #readFromWindow(
    found: FoundObject,
    endBytes: number,
    target: Uint8Array,
  ): FramedRead | undefined {
    const window = this.#window;
    if (window === undefined || endBytes + WORD_BYTES > this.#windowEnd) return undefined;
    const { word } = found;
    const at = found.offsetBytes - this.#windowStart;
    const end = endBytes - this.#windowStart;
    if (window.readUInt32LE(at) !== word) return undefined;
    if (objectKind(word) === "record") {
      if (window.readUInt32LE(end - WORD_BYTES) !== word) return undefined;
      const dataAt = at + WORD_BYTES;
      const wantedBytes = Math.min(dataBytes(word), target.length);
      target.set(window.subarray(dataAt, dataAt + wantedBytes));
    }
    return { wrong: undefined, endBytes, nextWord: window.readUInt32LE(end) };
  }

  async #readFromFile(
    found: FoundObject,
    endBytes: number,
    target: Uint8Array,
  ): Promise<FramedRead> {
    const { word, offsetBytes } = found;
    if (objectKind(word) !== "record") return this.#readMarker(word, offsetBytes, endBytes);
    const lengthBytes = dataBytes(word);
    const padBytes = lengthBytes & 1;
    const tail = this.#tail.subarray(0, padBytes + 2 * WORD_BYTES);
    const arrivedBytes =
      target.length < lengthBytes
        ? await this.#readInTwo(target, offsetBytes, tail, endBytes)
        : await this.#readInOne(target.subarray(0, lengthBytes), offsetBytes, tail, endBytes);
    if (offsetBytes + arrivedBytes < endBytes) return { wrong: TOO_SHORT, endBytes };
    const first = this.#head.readUInt32LE(0);
    const last = tail.readUInt32LE(padBytes);
    if (first !== word || last !== word) return { wrong: mismatchText(first, last), endBytes };
    if (offsetBytes + arrivedBytes < endBytes + WORD_BYTES) return { wrong: undefined, endBytes };
    const nextWord = tail.readUInt32LE(padBytes + WORD_BYTES);
    return { wrong: undefined, endBytes, nextWord };
  }

  async #readInOne(
    data: Uint8Array,
    offsetBytes: number,
    tail: Uint8Array,
    endBytes: number,
  ): Promise<number> {
    const buffers = data.length === 0 ? [this.#head, tail] : [this.#head, data, tail];
    return this.#readAt(buffers, offsetBytes, endBytes - offsetBytes);
  }

  /** A target shorter than the record: what does not fit is passed unread. */
  async #readInTwo(
    target: Uint8Array,
    offsetBytes: number,
    tail: Uint8Array,
    endBytes: number,
  ): Promise<number> {
    const buffers = target.length === 0 ? [this.#head] : [this.#head, target];
    const neededBytes = WORD_BYTES + target.length;
    const arrivedBytes = await this.#readAt(buffers, offsetBytes, neededBytes);
    if (arrivedBytes < neededBytes) return arrivedBytes;
    const tailAtBytes = endBytes - (tail.length - WORD_BYTES);
    const tailBytes = await this.#readAt([tail], tailAtBytes, endBytes - tailAtBytes);
    return tailAtBytes - offsetBytes + tailBytes;
  }

  async #readMarker(word: number, offsetBytes: number, endBytes: number): Promise<FramedRead> {
    const next = this.#tail.subarray(0, WORD_BYTES);
    const arrivedBytes = await this.#readAt([this.#head, next], offsetBytes, WORD_BYTES);
    if (arrivedBytes < WORD_BYTES) return { wrong: TOO_SHORT, endBytes };
    const first = this.#head.readUInt32LE(0);
    if (first !== word) return { wrong: mismatchText(first, first), endBytes };
    if (arrivedBytes < 2 * WORD_BYTES) return { wrong: undefined, endBytes };
    return { wrong: undefined, endBytes, nextWord: next.readUInt32LE(0) };
  }

  async #readAt(buffers: readonly Uint8Array[], atBytes: number, needed: number): Promise<number> {
    try {
      return await readAll(this.#handle, buffers, atBytes, needed);
    } catch (error) {
      throw fromSystem(error, `cannot read ${this.#name} at byte ${atBytes}`);
    }
  }
}
