/**
 * Where the objects of a foreign container lie: an offset and a word for each (the word of SIMH,
 * class and length, which every container's records can be said in).
 */
import { FILEMARK_WORD } from "../simh-format.ts";
import { NumberList } from "../tape-index.ts";
import type { ContainerIndex } from "./container.ts";

/** In place of a word: the record is compressed, only reading it tells how long it is. */
export const UNKNOWN_LENGTH_WORD = 0xffff_ffff;
const RUN_OBJECTS_MAX = 4096;

export class ObjectList implements ContainerIndex {
  readonly #offsets = new NumberList();
  readonly #words = new NumberList();
  readonly #filemarks = new NumberList();
  #endBytes = 0;
  #lengthsKnown = true;

  get count(): number {
    return this.#offsets.length;
  }

  get filemarkCount(): number {
    return this.#filemarks.length;
  }

  /** Where the last known object ends. */
  get endBytes(): number {
    return this.#endBytes;
  }

  append(word: number, offsetBytes: number, endBytes: number): void {
    if (word === FILEMARK_WORD) this.#filemarks.push(this.count);
    if (word === UNKNOWN_LENGTH_WORD) this.#lengthsKnown = false;
    this.#offsets.push(offsetBytes);
    this.#words.push(word);
    this.#endBytes = endBytes;
  }

  word(object: number): number {
    return this.#words.at(object);
  }

  offsetBytes(object: number): number {
    return object < this.count ? this.#offsets.at(object) : this.#endBytes;
  }

  filesBefore(object: number): number {
    return this.#filemarks.countBelow(object);
  }

  filemarkObject(index: number): number | undefined {
    return index >= 0 && index < this.#filemarks.length ? this.#filemarks.at(index) : undefined;
  }

  wordRun(object: number): Uint32Array | undefined {
    if (!this.#lengthsKnown) return undefined;
    const length = Math.max(0, Math.min(RUN_OBJECTS_MAX, this.count - object));
    return Uint32Array.from({ length }, (_, each) => this.#words.at(object + each));
  }
}
