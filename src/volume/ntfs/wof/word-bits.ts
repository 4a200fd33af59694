/**
 * Bits as XPRESS Huffman and LZX store them: in little-endian words of 16 bits, most significant
 * bit first, with whole bytes between the words here and there.
 *
 * Words are fetched only when bits run short, because what follows the fetched words as bytes is
 * part of the format. Behind the end come zeros; `isOverrun` tells whether any of them was used.
 */

const WORD_BITS = 16;
const WORD_BYTES = 2;
const WORDS_HELD_MAX = 2;

export class WordBits {
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  /** The next bits, left-aligned in 32. */
  #bits = 0;
  #count = 0;
  #wordsPastEnd = 0;

  start(bytes: Uint8Array, at: number): void {
    this.#bytes = bytes;
    this.#at = at;
    this.#bits = 0;
    this.#count = 0;
    this.#wordsPastEnd = 0;
  }

  /** Used bits that were not there. */
  get isOverrun(): boolean {
    return this.#wordsPastEnd * WORD_BITS > this.#count;
  }

  /** At least 16 bits are at hand afterwards; the next 32, the surplus as zeros, are returned. */
  refill(): number {
    if (this.#count < WORD_BITS) {
      this.#bits |= this.#nextWord() << (WORD_BITS - this.#count);
      this.#count += WORD_BITS;
    }
    return this.#bits;
  }

  /** Drops `count` bits, of those that `refill` made sure of. */
  skip(count: number): void {
    this.#bits <<= count;
    this.#count -= count;
  }

  /** Reads 0 to 16 bits. */
  read(count: number): number {
    if (count === 0) return 0;
    const value = this.refill() >>> (32 - count);
    this.skip(count);
    return value;
  }

  /** Takes a byte from behind the words fetched so far; 0 behind the end. */
  readByte(): number {
    const byte = this.#bytes[this.#at++];
    if (byte === undefined) this.#wordsPastEnd += WORDS_HELD_MAX;
    return byte ?? 0;
  }

  readByteWord(): number {
    const low = this.readByte();
    return low | (this.readByte() << 8);
  }

  /** Drops the rest of the word; where a word has just ended, the whole next one. */
  align(): void {
    this.refill();
    this.skip(this.#count % WORD_BITS === 0 ? WORD_BITS : this.#count % WORD_BITS);
    if (this.#count === WORD_BITS) this.#at -= WORD_BYTES;
    this.#bits = 0;
    this.#count = 0;
  }

  /** Passes over a byte that stands between words, if there is one. */
  skipByte(): void {
    this.#at++;
  }

  /** Copies bytes that stand between words; false when there are too few. */
  readBytes(target: Uint8Array): boolean {
    const end = this.#at + target.length;
    if (end > this.#bytes.length) return false;
    target.set(this.#bytes.subarray(this.#at, end));
    this.#at = end;
    return true;
  }

  #nextWord(): number {
    const at = this.#at;
    this.#at += WORD_BYTES;
    if (at + WORD_BYTES > this.#bytes.length) {
      this.#wordsPastEnd++;
      return 0;
    }
    return (this.#bytes[at] ?? 0) | ((this.#bytes[at + 1] ?? 0) << 8);
  }
}
