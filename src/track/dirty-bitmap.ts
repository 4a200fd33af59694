/**
 * Which blocks of a volume were written: one bit a block, in one buffer. The block is 4096 bytes,
 * and larger where a volume is so large that the bits would not fit in the limit: then a little too
 * much counts as written, never too little.
 */
import { type ExtentSet, ExtentSetBuilder } from "../device/extents.ts";

export const DIRTY_BLOCK_BYTES = 4096;
/** Enough for 1 TiB in blocks of 4096 bytes. */
const BITMAP_MAX_BYTES = 32 * 1024 * 1024;
const WORD_BITS = 32;
const ALL_ONES = 0xffffffff;
/** Runs of `extents`, unless the caller wants fewer. */
const RUNS_MAX = 65_536;

/** What one bit stands for on a volume of this size. */
export function dirtyBlockBytes(volumeBytes: number): number {
  let blockBytes = DIRTY_BLOCK_BYTES;
  while (Math.ceil(volumeBytes / blockBytes) / 8 > BITMAP_MAX_BYTES) blockBytes *= 2;
  return blockBytes;
}

export class DirtyBitmap {
  readonly volumeBytes: number;
  readonly blockSizeBytes: number;
  readonly blocks: number;
  readonly #words: Uint32Array;

  constructor(volumeBytes: number) {
    this.volumeBytes = volumeBytes;
    this.blockSizeBytes = dirtyBlockBytes(volumeBytes);
    this.blocks = Math.ceil(volumeBytes / this.blockSizeBytes);
    this.#words = new Uint32Array(Math.ceil(this.blocks / WORD_BITS));
  }

  /** The bits themselves, as they are saved: block 0 is the lowest bit of the first byte. */
  get bytes(): Buffer {
    return Buffer.from(this.#words.buffer);
  }

  /** Marks all blocks that a write of `lengthBytes` at `offsetBytes` touches. */
  mark(offsetBytes: number, lengthBytes: number): void {
    if (lengthBytes <= 0) return;
    const first = Math.floor(offsetBytes / this.blockSizeBytes);
    const end = Math.floor((offsetBytes + lengthBytes - 1) / this.blockSizeBytes) + 1;
    for (let block = first; block < end;) {
      const index = Math.floor(block / WORD_BITS);
      const from = block % WORD_BITS;
      const count = Math.min(WORD_BITS - from, end - block);
      const bits = count === WORD_BITS ? ALL_ONES : ((1 << count) - 1) << from;
      this.#words[index] = (this.#words[index] ?? 0) | bits;
      block += count;
    }
  }

  has(block: number): boolean {
    const word = this.#words[Math.floor(block / WORD_BITS)] ?? 0;
    return ((word >>> (block % WORD_BITS)) & 1) === 1;
  }

  /** Marks all that is marked in another bitmap of the same volume. */
  merge(other: DirtyBitmap): void {
    const [words, more] = [this.#words, other.#words];
    for (let index = 0; index < words.length; index++) {
      words[index] = (words[index] ?? 0) | (more[index] ?? 0);
    }
  }

  /** Blocks that are marked. */
  get count(): number {
    let count = 0;
    for (const word of this.#words) {
      if (word === ALL_ONES) count += WORD_BITS;
      else for (let rest = word; rest !== 0; rest &= rest - 1) count++;
    }
    return count;
  }

  /** The marked blocks; where they are more than `runsMax` runs, with the narrowest gaps filled. */
  extents(runsMax: number = RUNS_MAX): ExtentSet {
    return withRunsAtMost(this.#extents(), runsMax);
  }

  #extents(): ExtentSet {
    const builder = new ExtentSetBuilder();
    const words = this.#words;
    for (let index = 0; index < words.length; index++) {
      const word = words[index] ?? 0;
      if (word === 0) continue;
      if (word === ALL_ONES) {
        builder.add(index * WORD_BITS, WORD_BITS);
        continue;
      }
      for (let rest = word; rest !== 0; rest &= rest - 1) {
        builder.add(index * WORD_BITS + WORD_BITS - 1 - Math.clz32(rest & -rest), 1);
      }
    }
    return builder.build();
  }
}

/** The set, with gaps filled, the narrow ones first, until it has so few runs. */
export function withRunsAtMost(set: ExtentSet, runsMax: number): ExtentSet {
  let fewer = set;
  for (let gap = 1; fewer.length > runsMax; gap *= 2) {
    const builder = new ExtentSetBuilder();
    for (let run = 0; run < fewer.length; run++) {
      const start = fewer.startAt(run);
      const end = start + fewer.countAt(run);
      const next = run + 1 < fewer.length ? fewer.startAt(run + 1) : end;
      builder.add(start, (next - end <= gap ? next : end) - start);
    }
    fewer = builder.build();
  }
  return fewer;
}

/**
 * Blocks of one size as blocks of another: all that have a byte in common with the set.
 * `endBytes`: nothing lies beyond it.
 */
export function rescaled(
  set: ExtentSet,
  fromBytes: number,
  toBytes: number,
  endBytes: number,
): ExtentSet {
  const builder = new ExtentSetBuilder();
  for (const [start, count] of set) {
    const end = Math.min((start + count) * fromBytes, endBytes);
    const first = Math.floor((start * fromBytes) / toBytes);
    builder.add(first, Math.ceil(end / toBytes) - first);
  }
  return builder.build();
}
