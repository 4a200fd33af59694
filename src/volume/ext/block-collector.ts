/** Collects runs of blocks in any order, millions of them, into a set. */
import { ExtentSetBuilder } from "../../device/extents.ts";
import type { ExtentSet } from "../../device/extents.ts";

/** A run's start and length share a double: starts are below 2^43, as volumes are below 2^53 bytes. */
const RUN_BLOCKS_MAX = 1024;

export class BlockCollector {
  #packed = new Float64Array(1024);
  #length = 0;

  add(start: number, count: number): void {
    for (let done = 0; done < count; done += RUN_BLOCKS_MAX) {
      if (this.#length === this.#packed.length) this.#grow();
      const part = Math.min(RUN_BLOCKS_MAX, count - done);
      this.#packed[this.#length++] = (start + done) * RUN_BLOCKS_MAX + part - 1;
    }
  }

  /** All blocks below `end`. */
  build(end: number): ExtentSet {
    const sorted = this.#packed.subarray(0, this.#length).sort();
    const builder = new ExtentSetBuilder();
    for (const run of sorted) {
      const start = Math.floor(run / RUN_BLOCKS_MAX);
      const count = (run % RUN_BLOCKS_MAX) + 1;
      builder.add(start, Math.min(count, end - start));
    }
    return builder.build();
  }

  #grow(): void {
    const larger = new Float64Array(this.#length * 2);
    larger.set(this.#packed);
    this.#packed = larger;
  }
}
