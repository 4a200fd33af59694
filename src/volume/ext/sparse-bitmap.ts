/** A set of numbers up to 2^53 that costs memory only where it has members. */
const PAGE_BITS = 32768;

export class SparseBitmap {
  readonly #pages = new Map<number, Uint8Array>();

  /** Adds a number; false when it was there already. */
  add(value: number): boolean {
    const number = Math.floor(value / PAGE_BITS);
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = new Uint8Array(PAGE_BITS / 8);
      this.#pages.set(number, page);
    }
    const bit = value % PAGE_BITS;
    const mask = 1 << (bit & 7);
    const byte = page[bit >>> 3] ?? 0;
    if ((byte & mask) !== 0) return false;
    page[bit >>> 3] = byte | mask;
    return true;
  }
}
