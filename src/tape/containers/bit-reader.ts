/** Bits out of bytes, the highest first, as bzip2 packs them. */

/** So many fit beside what is held over, in 32 bits. */
const BITS_PER_CALL_MAX = 24;

export class BitReader {
  readonly #bytes: Uint8Array;
  #at = 0;
  #held = 0;
  #heldBits = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** The next `count` bits (at most 24) as a number; throws a RangeError at the end. */
  bits(count: number): number {
    while (this.#heldBits < count) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) throw new RangeError("it is cut short");
      this.#at += 1;
      this.#held = (this.#held << 8) | byte;
      this.#heldBits += 8;
    }
    this.#heldBits -= count;
    const value = (this.#held >>> this.#heldBits) & ((1 << count) - 1);
    this.#held &= (1 << this.#heldBits) - 1;
    return value;
  }

  flag(): boolean {
    return this.bits(1) === 1;
  }

  /** As `bits`, for 32 of them. */
  word(): number {
    const high = this.bits(BITS_PER_CALL_MAX);
    return ((high << 8) | this.bits(8)) >>> 0;
  }
}
