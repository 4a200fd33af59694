/** Growing typed arrays: a table of a million rows costs its bytes and no objects. */

type Cells = Float64Array | Uint32Array | Uint8Array;

const FIRST_CELLS = 256;

/** One column that grows by doubling. `make` gives an array of that many zeros. */
export class Column<A extends Cells> {
  readonly #make: (cells: number) => A;
  #cells: A;
  #length = 0;

  constructor(make: (cells: number) => A) {
    this.#make = make;
    this.#cells = make(FIRST_CELLS);
  }

  get length(): number {
    return this.#length;
  }

  push(value: number): void {
    if (this.#length === this.#cells.length) {
      const grown = this.#make(this.#length * 2);
      grown.set(this.#cells);
      this.#cells = grown;
    }
    this.#cells[this.#length++] = value;
  }

  at(index: number): number {
    return this.#cells[index] ?? 0;
  }

  set(index: number, value: number): void {
    if (index < this.#length) this.#cells[index] = value;
  }

  /** The rows so far, without copying; good until the next push. */
  view(): A {
    return this.#cells.subarray(0, this.#length) as A;
  }
}

export function float64Column(): Column<Float64Array> {
  return new Column((cells) => new Float64Array(cells));
}

export function uint32Column(): Column<Uint32Array> {
  return new Column((cells) => new Uint32Array(cells));
}

export function uint8Column(): Column<Uint8Array> {
  return new Column((cells) => new Uint8Array(cells));
}
