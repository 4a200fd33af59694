/** The runs of blocks of one file, in typed arrays: a file may have millions. */
import { ReelError } from "../../errors.ts";
import type { FileLayout } from "../volume.ts";

/** Runs that are held for one file: 96 MiB. */
const RUNS_MAX = 4 * 1024 * 1024;
const RUNS_AT_FIRST = 4;

export class BlockRuns {
  #logical = new Float64Array(RUNS_AT_FIRST);
  #physical = new Float64Array(RUNS_AT_FIRST);
  #counts = new Float64Array(RUNS_AT_FIRST);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** First block of run `index` in the file. */
  logicalAt(index: number): number {
    return this.#logical[index] ?? 0;
  }

  /** First block of run `index` on the volume. */
  physicalAt(index: number): number {
    return this.#physical[index] ?? 0;
  }

  countAt(index: number): number {
    return this.#counts[index] ?? 0;
  }

  /** Adds a run behind all others; one that goes on where the last ended becomes part of it. */
  add(logical: number, physical: number, count: number): void {
    const last = this.#length - 1;
    const lastCount = this.countAt(last);
    if (
      last >= 0 &&
      this.logicalAt(last) + lastCount === logical &&
      this.physicalAt(last) + lastCount === physical
    ) {
      this.#counts[last] = lastCount + count;
      return;
    }
    if (this.#length === this.#counts.length) this.#grow();
    this.#logical[this.#length] = logical;
    this.#physical[this.#length] = physical;
    this.#counts[this.#length] = count;
    this.#length++;
  }

  /** The runs in bytes, up to the size of the file. */
  toLayout(sizeBytes: number, blockSizeBytes: number): FileLayout {
    const fileOffsets = new Float64Array(this.#length);
    const deviceOffsets = new Float64Array(this.#length);
    const lengths = new Float64Array(this.#length);
    let length = 0;
    for (let i = 0; i < this.#length; i++) {
      const start = this.logicalAt(i) * blockSizeBytes;
      if (start >= sizeBytes) break;
      fileOffsets[length] = start;
      deviceOffsets[length] = this.physicalAt(i) * blockSizeBytes;
      lengths[length] = Math.min(this.countAt(i) * blockSizeBytes, sizeBytes - start);
      length++;
    }
    return { sizeBytes, length, fileOffsets, deviceOffsets, lengths, direct: true };
  }

  #grow(): void {
    const larger = this.#length * 2;
    if (larger > RUNS_MAX) {
      throw new ReelError("unsupported", `it lies in more than ${RUNS_MAX} pieces`);
    }
    this.#logical = grown(this.#logical, larger);
    this.#physical = grown(this.#physical, larger);
    this.#counts = grown(this.#counts, larger);
  }
}

function grown(from: Float64Array, length: number): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(length);
  larger.set(from);
  return larger;
}
