/** Tables of very many rows: columns of numbers, and a pool of bytes for the names. */

const FIRST_ROWS = 64;
const FIRST_POOL_BYTES = 4096;

/** Numbers from 0 to 2^32 - 1, four bytes each. */
export class Column {
  #values = new Uint32Array(FIRST_ROWS);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  at(row: number): number {
    return this.#values[row] ?? 0;
  }

  set(row: number, value: number): void {
    this.#values[row] = value;
  }

  push(value: number): void {
    if (this.#length === this.#values.length) {
      const grown = new Uint32Array(this.#length * 2);
      grown.set(this.#values);
      this.#values = grown;
    }
    this.#values[this.#length] = value;
    this.#length += 1;
  }
}

/** Names one behind the other. */
export class NamePool {
  #bytes = new Uint8Array(FIRST_POOL_BYTES);
  #length = 0;

  get sizeBytes(): number {
    return this.#length;
  }

  /** Adds a name; returns where it begins. */
  add(name: Uint8Array): number {
    const start = this.#length;
    const end = start + name.length;
    if (end > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(end, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, start));
      this.#bytes = grown;
    }
    this.#bytes.set(name, start);
    this.#length = end;
    return start;
  }

  at(start: number, lengthBytes: number): Uint8Array {
    return this.#bytes.subarray(start, start + lengthBytes);
  }
}
