/** Collecting runs without holding more of them than memory has room for. */
import { ExtentSet, ExtentSetBuilder } from "../../device/extents.ts";

/** Runs that wait to be sorted into the set. */
const PENDING_MAX = 64 * 1024;
/** 16 MB. A set of clusters with more runs is made coarser. */
const RUNS_MAX = 1024 * 1024;

/** Collects runs in any order, overlapping or not. */
export class RunMerger {
  #merged = ExtentSet.empty;
  #pending: [start: number, count: number][] = [];

  add(start: number, count: number): void {
    if (count > 0) this.#pending.push([start, count]);
    if (this.#pending.length >= PENDING_MAX) this.#merge();
  }

  finish(): ExtentSet {
    this.#merge();
    return this.#merged;
  }

  #merge(): void {
    this.#merged = this.#merged.union(ExtentSet.from(this.#pending));
    this.#pending = [];
  }
}

/**
 * Collects runs that rise and do not touch. Where there are more than `runsMax`, the smallest gaps
 * are closed: the set then holds clusters that are not in use, which costs a backup some room, and
 * never lacks one that is.
 */
export class CoarseRuns {
  readonly #runsMax: number;
  #starts = new Float64Array(1024);
  #ends = new Float64Array(1024);
  #length = 0;
  /** Gaps of fewer clusters are closed. */
  #gapMin = 1;

  constructor(runsMax: number = RUNS_MAX) {
    this.#runsMax = runsMax;
  }

  add(start: number, end: number): void {
    const last = this.#length - 1;
    if (last >= 0 && start - (this.#ends[last] ?? 0) < this.#gapMin) {
      this.#ends[last] = end;
      return;
    }
    if (this.#length === this.#runsMax) {
      this.#closeGaps();
      this.add(start, end);
      return;
    }
    if (this.#length === this.#starts.length) {
      this.#starts = grown(this.#starts);
      this.#ends = grown(this.#ends);
    }
    this.#starts[this.#length] = start;
    this.#ends[this.#length] = end;
    this.#length++;
  }

  finish(): ExtentSet {
    const builder = new ExtentSetBuilder();
    for (let i = 0; i < this.#length; i++) {
      const start = this.#starts[i] ?? 0;
      builder.add(start, (this.#ends[i] ?? 0) - start);
    }
    return builder.build();
  }

  #closeGaps(): void {
    while (this.#length > this.#runsMax / 2) {
      this.#gapMin *= 2;
      let kept = 0;
      for (let i = 1; i < this.#length; i++) {
        const start = this.#starts[i] ?? 0;
        if (start - (this.#ends[kept] ?? 0) >= this.#gapMin) this.#starts[++kept] = start;
        this.#ends[kept] = this.#ends[i] ?? 0;
      }
      this.#length = kept + 1;
    }
  }
}

function grown(array: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(array.length * 2);
  larger.set(array);
  return larger;
}
