/** Runs in any order, gathered into an ExtentSet a batch at a time. */
import { ExtentSet } from "../../device/extents.ts";

const BATCH_RUNS = 32 * 1024;

export class ClusterSet {
  #gathered = ExtentSet.empty;
  #runs: [number, number][] = [];

  /** Nothing happens where `count` is not above 0. */
  add(start: number, count: number): void {
    if (count <= 0) return;
    const last = this.#runs.at(-1);
    if (last !== undefined && last[0] + last[1] === start) {
      last[1] += count;
      return;
    }
    this.#runs.push([start, count]);
    if (this.#runs.length >= BATCH_RUNS) this.#gather();
  }

  build(): ExtentSet {
    this.#gather();
    return this.#gathered;
  }

  #gather(): void {
    this.#gathered = this.#gathered.union(ExtentSet.from(this.#runs));
    this.#runs = [];
  }
}
