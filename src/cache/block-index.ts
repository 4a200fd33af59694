/**
 * Which blocks of one file the overlay holds, and where in its store: pages of 128 entries in typed
 * arrays, made where something was written. A 4 GiB file that was overwritten from end to end has
 * 8192 pages, about 6 MiB; one that was changed in one place has one.
 *
 * File block numbers go up to 2^41, beyond 32-bit arithmetic: no bit operators here.
 */
import type { BlockRun } from "./overlay-store.ts";

const PAGE_BLOCKS = 128;
/** Memory of one page with its place in the map, as charged to the overlay's budget. */
export const INDEX_PAGE_COST_BYTES = 1024;

/** `stored` of a run that the overlay does not hold. */
export const NOT_STORED = -1;

export interface IndexRun {
  /** First block of the file. */
  readonly block: number;
  readonly count: number;
  /** Where the first block is in the store, the others following it; NOT_STORED: not there. */
  readonly stored: number;
}

export class BlockIndex {
  /** Page number -> block in the store plus 1; 0 for blocks that are not there. */
  readonly #pages = new Map<number, Uint32Array>();
  #count = 0;

  /** Blocks that the overlay holds. */
  get count(): number {
    return this.#count;
  }

  get pages(): number {
    return this.#pages.size;
  }

  /** Pages that must be made before blocks [first, end) can be set. */
  pagesMissing(first: number, end: number): number {
    let missing = 0;
    for (let page = pageOf(first); page <= pageOf(end - 1); page++) {
      if (!this.#pages.has(page)) missing++;
    }
    return missing;
  }

  /** Where a block is in the store, or NOT_STORED. */
  get(block: number): number {
    const page = this.#pages.get(pageOf(block));
    return page === undefined ? NOT_STORED : (page[block % PAGE_BLOCKS] ?? 0) - 1;
  }

  set(block: number, stored: number): void {
    const number = pageOf(block);
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = new Uint32Array(PAGE_BLOCKS);
      this.#pages.set(number, page);
    }
    const within = block % PAGE_BLOCKS;
    if (page[within] === 0) this.#count++;
    page[within] = stored + 1;
  }

  /** Blocks [first, end) as runs that are together in the store, or together not there. */
  *runs(first: number, end: number): Generator<IndexRun> {
    let block = first;
    while (block < end) {
      const stored = this.get(block);
      let next = this.#nextBlock(block, stored);
      while (next < end && this.#joins(stored, next - block, next)) {
        next = this.#nextBlock(next, stored);
      }
      const count = Math.min(next, end) - block;
      yield { block, count, stored };
      block += count;
    }
  }

  /** Forgets the blocks from `first` on; returns where they were in the store. */
  clearFrom(first: number): BlockRun[] {
    const freed: BlockRun[] = [];
    for (const [number, page] of this.#pages) {
      const pageStart = number * PAGE_BLOCKS;
      if (pageStart + PAGE_BLOCKS <= first) continue;
      const from = Math.max(0, first - pageStart);
      this.#clearPage(page, from, freed);
      if (from === 0) this.#pages.delete(number);
    }
    return freed;
  }

  #clearPage(page: Uint32Array, from: number, freed: BlockRun[]): void {
    for (let within = from; within < PAGE_BLOCKS; within++) {
      const start = (page[within] ?? 0) - 1;
      if (start === NOT_STORED) continue;
      this.#count--;
      const last = freed.at(-1);
      if (last !== undefined && last.start + last.count === start) {
        freed[freed.length - 1] = { start: last.start, count: last.count + 1 };
      } else {
        freed.push({ start, count: 1 });
      }
    }
    page.fill(0, from);
  }

  /** Does `block` go on with a run that began `distance` blocks before it, at `stored`? */
  #joins(stored: number, distance: number, block: number): boolean {
    return this.get(block) === (stored === NOT_STORED ? NOT_STORED : stored + distance);
  }

  /** The block after, or, in a stretch that is not there, the first of the next page. */
  #nextBlock(block: number, stored: number): number {
    const inNoPage = stored === NOT_STORED && !this.#pages.has(pageOf(block));
    return inNoPage ? (pageOf(block) + 1) * PAGE_BLOCKS : block + 1;
  }
}

function pageOf(block: number): number {
  return Math.floor(block / PAGE_BLOCKS);
}
