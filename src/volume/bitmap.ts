/** One bit for each cluster: 32 MiB for the largest FAT32 volume there can be. */
import { ExtentSetBuilder } from "../device/extents.ts";
import type { ExtentSet } from "../device/extents.ts";

export class Bitmap {
  readonly #bytes: Uint8Array;
  readonly #size: number;

  /** Bits 0 to size - 1, all clear. */
  constructor(size: number) {
    this.#size = size;
    this.#bytes = new Uint8Array(Math.ceil(size / 8));
  }

  has(bit: number): boolean {
    return ((this.#bytes[bit >>> 3] ?? 0) & (1 << (bit & 7))) !== 0;
  }

  set(bit: number): void {
    const index = bit >>> 3;
    this.#bytes[index] = (this.#bytes[index] ?? 0) | (1 << (bit & 7));
  }

  /** Sets a run of bits; returns the first that was set before, undefined when none was. */
  setRun(start: number, count: number): number | undefined {
    let firstTaken: number | undefined;
    for (let bit = start; bit < start + count; bit++) {
      if (firstTaken === undefined && this.has(bit)) firstTaken = bit;
      this.set(bit);
    }
    return firstTaken;
  }

  /** The bits that are set. */
  toExtents(): ExtentSet {
    const builder = new ExtentSetBuilder();
    for (let index = 0; index < this.#bytes.length; index++) {
      const byte = this.#bytes[index] ?? 0;
      if (byte === 0) continue;
      if (byte === 0xff) {
        builder.add(index * 8, 8);
        continue;
      }
      for (let bit = index * 8; bit < Math.min(index * 8 + 8, this.#size); bit++) {
        if (this.has(bit)) builder.add(bit, 1);
      }
    }
    return builder.build();
  }
}
