/**
 * Which block of the volume has its newest copy where in the journal: a hash table in typed arrays
 * while the log is read, then sorted columns for looking up. A journal may hold millions of copies.
 */

const SLOTS_MIN = 1024;
/** Grown when fuller than this. */
const LOAD_MAX = 0.6;
const EMPTY = -1;
/** The value of a block whose copies were all revoked. */
const NO_COPY = 0xffffffff;

/**
 * Slots with linear probing. The multiplier is drawn anew for each table, so that nobody can make
 * a journal whose block numbers all fall on one slot.
 */
export class CopyTable {
  readonly #multiplier = (Math.floor(Math.random() * 2 ** 32) | 1) >>> 0;
  readonly #multiplierHigh = (Math.floor(Math.random() * 2 ** 32) | 1) >>> 0;
  #keys = new Float64Array(SLOTS_MIN).fill(EMPTY);
  #values = new Uint32Array(SLOTS_MIN);
  #shift = 32 - Math.log2(SLOTS_MIN);
  #count = 0;

  /** `copyIndex`: block of the journal, below 2^31. A later copy replaces an earlier one. */
  set(block: number, copyIndex: number, isEscaped: boolean): void {
    let slot = this.#slotOf(block);
    if (this.#keys[slot] === EMPTY) {
      if (this.#count >= this.#keys.length * LOAD_MAX) {
        this.#grow();
        slot = this.#slotOf(block);
      }
      this.#keys[slot] = block;
      this.#count++;
    }
    this.#values[slot] = copyIndex * 2 + (isEscaped ? 1 : 0);
  }

  revoke(block: number): void {
    const slot = this.#slotOf(block);
    if (this.#keys[slot] === block) this.#values[slot] = NO_COPY;
  }

  /** All copies that are left, in the order of the volume's blocks. */
  sorted(): SortedCopies {
    const keys = this.#keys.filter((key, slot) => key !== EMPTY && this.#values[slot] !== NO_COPY);
    keys.sort();
    const indexes = new Uint32Array(keys.length);
    const escaped = new Uint8Array(keys.length);
    keys.forEach((block, i) => {
      const value = this.#values[this.#slotOf(block)] ?? 0;
      indexes[i] = value >>> 1;
      escaped[i] = value & 1;
    });
    return { blocks: keys, indexes, escaped };
  }

  /** The slot that holds a block, or the empty one where it would go. */
  #slotOf(block: number): number {
    const low = Math.imul(block | 0, this.#multiplier);
    const high = Math.imul(Math.floor(block / 2 ** 32), this.#multiplierHigh);
    const mask = this.#keys.length - 1;
    let slot = ((low + high) | 0) >>> this.#shift;
    while (this.#keys[slot] !== block && this.#keys[slot] !== EMPTY) slot = (slot + 1) & mask;
    return slot;
  }

  #grow(): void {
    const keys = this.#keys;
    const values = this.#values;
    this.#keys = new Float64Array(keys.length * 2).fill(EMPTY);
    this.#values = new Uint32Array(keys.length * 2);
    this.#shift--;
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] ?? EMPTY;
      if (key === EMPTY) continue;
      const slot = this.#slotOf(key);
      this.#keys[slot] = key;
      this.#values[slot] = values[i] ?? 0;
    }
  }
}

export interface SortedCopies {
  /** Blocks of the volume, rising. */
  readonly blocks: Float64Array;
  /** Block of the journal that holds the copy of each. */
  readonly indexes: Uint32Array;
  /** 1 where the first four bytes of the copy stand for the journal's magic number. */
  readonly escaped: Uint8Array;
}

/** Index of the first of the rising `blocks` that is not below `block`. */
export function lowerBound(blocks: Float64Array, block: number): number {
  let low = 0;
  let high = blocks.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((blocks[middle] ?? 0) < block) low = middle + 1;
    else high = middle;
  }
  return low;
}
