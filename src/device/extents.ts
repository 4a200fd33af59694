/**
 * Sets of blocks as runs, in typed arrays: what is used on a volume, what its control structures
 * occupy. A set of a million runs costs 16 MB and no objects.
 */
import { ReelError } from "../errors.ts";

/** An immutable set of blocks: rising, disjoint, never-adjacent runs. */
export class ExtentSet {
  static readonly empty = new ExtentSet(new Float64Array(0), new Float64Array(0));

  readonly #starts: Float64Array;
  readonly #counts: Float64Array;
  /** Blocks in the set. */
  readonly total: number;

  private constructor(starts: Float64Array, counts: Float64Array) {
    this.#starts = starts;
    this.#counts = counts;
    let total = 0;
    for (const count of counts) total += count;
    this.total = total;
  }

  /** From runs in any order, overlapping or not; runs of no blocks are ignored. */
  static from(runs: Iterable<readonly [start: number, count: number]>): ExtentSet {
    const builder = new ExtentSetBuilder();
    const sorted = [...runs].sort((a, b) => a[0] - b[0]);
    for (const [start, count] of sorted) builder.add(start, count);
    return builder.build();
  }

  /** @internal Used by ExtentSetBuilder, which upholds the order. */
  static fromSorted(starts: Float64Array, counts: Float64Array): ExtentSet {
    return new ExtentSet(starts, counts);
  }

  /** Number of runs. */
  get length(): number {
    return this.#starts.length;
  }

  /** First block of run `index`. */
  startAt(index: number): number {
    return this.#starts[index] ?? 0;
  }

  /** Blocks in run `index`. */
  countAt(index: number): number {
    return this.#counts[index] ?? 0;
  }

  /** The block after the last one of the set; 0 for the empty set. */
  get end(): number {
    const last = this.length - 1;
    return last < 0 ? 0 : this.startAt(last) + this.countAt(last);
  }

  *[Symbol.iterator](): Generator<readonly [start: number, count: number]> {
    for (let i = 0; i < this.length; i++) yield [this.startAt(i), this.countAt(i)];
  }

  /** Index of the first run that ends after `block`; `length` when there is none. */
  indexFrom(block: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.startAt(middle) + this.countAt(middle) > block) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  has(block: number): boolean {
    const index = this.indexFrom(block);
    return index < this.length && this.startAt(index) <= block;
  }

  union(other: ExtentSet): ExtentSet {
    const builder = new ExtentSetBuilder();
    let i = 0;
    let j = 0;
    while (i < this.length || j < other.length) {
      const mine = j >= other.length || (i < this.length && this.startAt(i) <= other.startAt(j));
      if (mine) {
        builder.add(this.startAt(i), this.countAt(i));
        i++;
      } else {
        builder.add(other.startAt(j), other.countAt(j));
        j++;
      }
    }
    return builder.build();
  }

  /** Blocks of this set that are not in `other`. */
  subtract(other: ExtentSet): ExtentSet {
    const builder = new ExtentSetBuilder();
    let j = 0;
    for (let i = 0; i < this.length; i++) {
      let at = this.startAt(i);
      const end = at + this.countAt(i);
      while (j < other.length && other.startAt(j) + other.countAt(j) <= at) j++;
      for (let k = j; k < other.length && other.startAt(k) < end; k++) {
        builder.add(at, Math.max(0, other.startAt(k) - at));
        at = Math.max(at, other.startAt(k) + other.countAt(k));
      }
      builder.add(at, Math.max(0, end - at));
    }
    return builder.build();
  }

  /** Blocks in both sets. */
  intersect(other: ExtentSet): ExtentSet {
    return this.subtract(this.subtract(other));
  }
}

/** Collects runs with rising starts; touching and overlapping ones are merged. */
export class ExtentSetBuilder {
  #starts = new Float64Array(64);
  #counts = new Float64Array(64);
  #length = 0;

  /** Adds [start, start + count). `start` must not be below the start of the run added last. */
  add(start: number, count: number): void {
    if (count <= 0) return;
    if (this.#length > 0) {
      const last = this.#length - 1;
      const lastStart = this.#starts[last] ?? 0;
      const lastEnd = lastStart + (this.#counts[last] ?? 0);
      if (start < lastStart) {
        throw new ReelError("internal", `extents out of order: ${start} after ${lastStart}`);
      }
      if (start <= lastEnd) {
        this.#counts[last] = Math.max(lastEnd, start + count) - lastStart;
        return;
      }
    }
    if (this.#length === this.#starts.length) this.#grow();
    this.#starts[this.#length] = start;
    this.#counts[this.#length] = count;
    this.#length++;
  }

  build(): ExtentSet {
    return ExtentSet.fromSorted(
      this.#starts.slice(0, this.#length),
      this.#counts.slice(0, this.#length),
    );
  }

  #grow(): void {
    const starts = new Float64Array(this.#starts.length * 2);
    starts.set(this.#starts);
    this.#starts = starts;
    const counts = new Float64Array(this.#counts.length * 2);
    counts.set(this.#counts);
    this.#counts = counts;
  }
}
