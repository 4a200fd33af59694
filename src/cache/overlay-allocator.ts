/**
 * Which blocks of the overlay's file are in use: a bitmap, one bit a block (a budget of 1 TiB needs
 * 32 MiB of it, and only as far as blocks were ever used).
 *
 * A request gets one run of neighbours where that can be had: from the blocks that were freed, if a
 * short search finds a run long enough, else at the end of the file. Only when the file may not grow
 * any more is a request pieced together from what is free.
 */
import { ReelError } from "../errors.ts";

/** Blocks `start` to `start + count - 1`. */
export interface BlockRun {
  readonly start: number;
  readonly count: number;
}

const WORD_BITS = 32;
const ALL_USED = 0xffff_ffff;
const INITIAL_WORDS = 256;
/** Blocks looked at for a run of freed ones before the file grows instead. */
const SEARCH_BLOCKS_MAX = 1 << 20;
/** Free runs that were too short before the search gives up. */
const SEARCH_RUNS_MAX = 64;

export class OverlayAllocator {
  readonly #blocksMax: number;
  #words = new Uint32Array(INITIAL_WORDS);
  #used = 0;
  /** The block after the last one in use. */
  #end = 0;
  /** Where the next search starts, so that it does not meet the same short runs again. */
  #cursor = 0;

  constructor(blocksMax: number) {
    this.#blocksMax = blocksMax;
  }

  get used(): number {
    return this.#used;
  }

  /** Blocks before the end of the file that may be used again. */
  get reusable(): number {
    return this.#end - this.#used;
  }

  /** Runs of `count` blocks in all, most often one. Undefined, and nothing taken, if too few. */
  allocate(count: number): BlockRun[] | undefined {
    if (count > this.#blocksMax - this.#used) return undefined;
    const start = this.#findRun(count) ?? this.#roomAtEnd(count);
    if (start !== undefined) return [this.#take(start, count)];
    return this.#gather(count);
  }

  /** Gives blocks back. Freeing what is not in use is a bug, and says so. */
  free(start: number, count: number): void {
    const end = start + count;
    if (end > this.#end || this.#nextFree(start, end) < end) {
      throw new ReelError("internal", `overlay blocks ${start} to ${end - 1} are freed twice`);
    }
    this.#mark(start, count, false);
    this.#used -= count;
    if (end === this.#end) this.#lowerEnd();
  }

  #roomAtEnd(count: number): number | undefined {
    return count <= this.#blocksMax - this.#end ? this.#end : undefined;
  }

  #findRun(count: number): number | undefined {
    if (this.reusable < count) return undefined;
    let left = SEARCH_BLOCKS_MAX;
    let at = this.#cursor < this.#end ? this.#cursor : 0;
    for (let tries = 0; tries < SEARCH_RUNS_MAX && left > 0; tries++) {
      const limit = Math.min(this.#end, at + left);
      const start = this.#nextFree(at, limit);
      const end = this.#nextUsed(start, Math.min(this.#end, start + count));
      if (start < limit && end - start === count) return start;
      left -= Math.max(1, end - at);
      at = end >= this.#end ? 0 : end;
    }
    this.#cursor = at;
    return undefined;
  }

  /** The caller made sure that enough blocks are free. */
  #gather(count: number): BlockRun[] {
    const runs: BlockRun[] = [];
    let left = count;
    let at = 0;
    while (left > 0 && at < this.#end) {
      const start = this.#nextFree(at, this.#end);
      if (start === this.#end) break;
      const end = this.#nextUsed(start, Math.min(this.#end, start + left));
      runs.push(this.#take(start, end - start));
      left -= end - start;
      at = end;
    }
    if (left > 0) runs.push(this.#take(this.#end, left));
    return runs;
  }

  #take(start: number, count: number): BlockRun {
    const end = start + count;
    this.#growTo(end);
    this.#mark(start, count, true);
    this.#used += count;
    this.#end = Math.max(this.#end, end);
    this.#cursor = end;
    return { start, count };
  }

  #growTo(blocks: number): void {
    const needed = Math.ceil(blocks / WORD_BITS);
    if (needed <= this.#words.length) return;
    const words = new Uint32Array(Math.max(needed, this.#words.length * 2));
    words.set(this.#words);
    this.#words = words;
  }

  #mark(start: number, count: number, used: boolean): void {
    const end = start + count;
    for (let at = start; at < end;) {
      const bit = at % WORD_BITS;
      const bits = Math.min(WORD_BITS - bit, end - at);
      const mask = bits === WORD_BITS ? ALL_USED : ((1 << bits) - 1) << bit;
      const index = (at - bit) / WORD_BITS;
      const word = this.#words[index] ?? 0;
      this.#words[index] = used ? word | mask : word & ~mask;
      at += bits;
    }
  }

  /** First free block in [from, limit); `limit` when there is none. */
  #nextFree(from: number, limit: number): number {
    return this.#next(from, limit, ALL_USED);
  }

  /** First block in use in [from, limit); `limit` when there is none. */
  #nextUsed(from: number, limit: number): number {
    return this.#next(from, limit, 0);
  }

  /** First block whose bit differs from the bits of `same`, a word of equal bits. */
  #next(from: number, limit: number, same: number): number {
    for (let at = from; at < limit;) {
      const bit = at % WORD_BITS;
      const differing = (((this.#words[(at - bit) / WORD_BITS] ?? 0) ^ same) >>> bit) >>> 0;
      if (differing !== 0) {
        const lowest = WORD_BITS - 1 - Math.clz32(differing & -differing);
        return Math.min(limit, at + lowest);
      }
      at += WORD_BITS - bit;
    }
    return limit;
  }

  #lowerEnd(): void {
    let index = Math.ceil(this.#end / WORD_BITS) - 1;
    while (index >= 0 && this.#words[index] === 0) index--;
    const word = index < 0 ? 0 : (this.#words[index] ?? 0);
    this.#end = index < 0 ? 0 : index * WORD_BITS + WORD_BITS - Math.clz32(word);
  }
}
