/**
 * Brings one object of a `.tap` file into memory, and says whether its words are right. The record
 * lands straight in the caller's buffer; the words around it, and the word of the next object, land
 * in small buffers of our own, all in one system call.
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

const TOO_SHORT = "the file ends within it";

export class FramedReader {
  readonly #handle: FileHandle;
  readonly #name: string;
  readonly #head = Buffer.alloc(WORD_BYTES);
  /** Pad byte, trailing word, and the word of the next object. */
  readonly #tail = Buffer.alloc(1 + 2 * WORD_BYTES);

  constructor(handle: FileHandle, name: string) {
    this.#handle = handle;
    this.#name = name;
  }

  /** Fills `target` with the data of a record, or as much of it as fits. */
  async read(found: FoundObject, target: Uint8Array): Promise<FramedRead> {
    const { word, offsetBytes } = found;
    const endBytes = offsetBytes + objectSizeBytes(word);
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
