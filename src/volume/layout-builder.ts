/** Layouts of files whose clusters are told in the order of the file. */
import type { FileLayout } from "./volume.ts";

/** Collects the runs of a file, in order, up to what is stored of it. */
export class LayoutBuilder {
  readonly #sizeBytes: number;
  readonly #storedBytes: number;
  readonly #fileOffsets: number[] = [];
  readonly #deviceOffsets: number[] = [];
  readonly #lengths: number[] = [];
  #filledBytes = 0;
  /** Highest device offset that is needed. */
  endBytes = 0;

  /** `storedBytes`: what was ever written of the file; zeros behind it. */
  constructor(sizeBytes: number, storedBytes = sizeBytes) {
    this.#sizeBytes = sizeBytes;
    this.#storedBytes = storedBytes;
  }

  add(deviceOffset: number, lengthBytes: number): void {
    const needed = Math.min(lengthBytes, this.#storedBytes - this.#filledBytes);
    if (needed <= 0) return;
    this.#fileOffsets.push(this.#filledBytes);
    this.#deviceOffsets.push(deviceOffset);
    this.#lengths.push(needed);
    this.#filledBytes += needed;
    this.endBytes = Math.max(this.endBytes, deviceOffset + needed);
  }

  build(): FileLayout {
    return {
      sizeBytes: this.#sizeBytes,
      length: this.#lengths.length,
      fileOffsets: new Float64Array(this.#fileOffsets),
      deviceOffsets: new Float64Array(this.#deviceOffsets),
      lengths: new Float64Array(this.#lengths),
      direct: true,
    };
  }
}
