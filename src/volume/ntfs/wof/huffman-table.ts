/**
 * Decoding of canonical Huffman codes: codes of one length are consecutive numbers, given to the
 * symbols in rising order, and shorter codes come first. So the lengths alone define the code.
 *
 * Codes of up to `rootBits` bits are looked up in one step, in a table small enough to be filled
 * anew for each chunk of a few KiB. The rare longer ones are found by length: the codes of one
 * length are a range, and a symbol's place in the range is its place among the sorted symbols.
 */
import type { WordBits } from "./word-bits.ts";

/** Longest code in XPRESS (15) and LZX (16). */
const LENGTH_MAX = 16;
/** What `decode` returns for bits that are no code. */
export const NO_SYMBOL = -1;

export class HuffmanTable {
  readonly #rootBits: number;
  /** Symbol and length of the code that starts with these bits, 0 where it is longer or none. */
  readonly #root: Uint16Array;
  readonly #sorted: Uint16Array;
  readonly #counts = new Uint16Array(LENGTH_MAX + 1);
  /** First code of each length, and the place of its symbol in `#sorted`. */
  readonly #firstCodes = new Uint32Array(LENGTH_MAX + 1);
  readonly #firstPlaces = new Uint16Array(LENGTH_MAX + 1);
  readonly #places = new Uint16Array(LENGTH_MAX + 1);

  /** For alphabets of up to `symbolsMax` symbols, at most 4096; `rootBits` at most 15. */
  constructor(symbolsMax: number, rootBits: number) {
    this.#rootBits = rootBits;
    this.#root = new Uint16Array(1 << rootBits);
    this.#sorted = new Uint16Array(symbolsMax);
  }

  /**
   * Takes the code whose lengths, one for each symbol and at most 16, are given. False when there
   * are more codes than bits allow. Fewer are good: bits that are no code are found by `decode`.
   */
  build(lengths: Uint8Array): boolean {
    this.#counts.fill(0);
    for (const length of lengths) this.#counts[length] = (this.#counts[length] ?? 0) + 1;
    this.#counts[0] = 0;
    if (!this.#numberCodes()) return false;
    this.#root.fill(0);
    this.#places.set(this.#firstPlaces);
    for (let symbol = 0; symbol < lengths.length; symbol++) {
      const length = lengths[symbol] ?? 0;
      if (length === 0) continue;
      const place = this.#places[length] ?? 0;
      this.#places[length] = place + 1;
      this.#sorted[place] = symbol;
      if (length <= this.#rootBits) this.#fillRoot(symbol, length, place);
    }
    return true;
  }

  /** Reads one code; NO_SYMBOL when the next bits are none. */
  decode(bits: WordBits): number {
    const next = bits.refill();
    const entry = this.#root[next >>> (32 - this.#rootBits)] ?? 0;
    if (entry === 0) return this.#decodeLong(bits, next);
    bits.skip(entry & 0xf);
    return entry >>> 4;
  }

  /** Counts up the codes; false when they take more than all bit patterns. */
  #numberCodes(): boolean {
    let code = 0;
    let place = 0;
    for (let length = 1; length <= LENGTH_MAX; length++) {
      code *= 2;
      this.#firstCodes[length] = code;
      this.#firstPlaces[length] = place;
      const count = this.#counts[length] ?? 0;
      code += count;
      place += count;
      if (code > 2 ** length) return false;
    }
    return true;
  }

  #fillRoot(symbol: number, length: number, place: number): void {
    const code = (this.#firstCodes[length] ?? 0) + place - (this.#firstPlaces[length] ?? 0);
    const spare = this.#rootBits - length;
    this.#root.fill((symbol << 4) | length, code << spare, (code + 1) << spare);
  }

  #decodeLong(bits: WordBits, next: number): number {
    for (let length = this.#rootBits + 1; length <= LENGTH_MAX; length++) {
      const place = (next >>> (32 - length)) - (this.#firstCodes[length] ?? 0);
      if (place < 0 || place >= (this.#counts[length] ?? 0)) continue;
      bits.skip(length);
      return this.#sorted[(this.#firstPlaces[length] ?? 0) + place] ?? NO_SYMBOL;
    }
    return NO_SYMBOL;
  }
}
