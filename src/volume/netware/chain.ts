/**
 * Following a chain through the FAT.
 *
 * An entry holds the number of the block within its file and the next block of the chain. Numbers
 * that are left out are holes, so the numbers of a file's chain only rise: a chain that comes back
 * to a block would have to repeat a number, and is noticed there. FAT and directory are chains too,
 * read by position; theirs are followed with claims instead.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { FatCopy } from "./fat-copy.ts";
import { FAT_ENTRY_BYTES, NEXT_END, NEXT_FREE, NEXT_SUBALLOCATED } from "./fat-copy.ts";
import { u32 } from "./fields.ts";

/** Steps after which the event loop gets a turn: a few milliseconds. */
const STEPS_PER_TURN = 256 * 1024;

/** Blocks that a walk does not enter, and to which it adds those that it passes. */
export interface BlockClaims {
  has(block: number): boolean;
  set(block: number): void;
}

export interface ChainOptions {
  /** Blocks from this number of the file on are passed, not recorded. */
  readonly recordBlocksMax: number;
  /** Most blocks that are passed; the chain is cut off there without fault. */
  readonly blocksMax?: number | undefined;
  readonly claims?: BlockClaims | undefined;
  /** Take blocks in the order of the chain, whatever numbers their entries have. */
  readonly byPosition?: boolean | undefined;
}

export interface Chain {
  /** Runs, rising in `fileBlocks`: the run's first block in the file, on the volume, its length. */
  readonly fileBlocks: Uint32Array;
  readonly blocks: Uint32Array;
  readonly counts: Uint32Array;
  /** Blocks passed. */
  readonly blockCount: number;
  /** Number in the file of the block after the last. */
  readonly endBlock: number;
  /** The suballocation pointer at the end, when that is how it ends. */
  readonly tail: number | undefined;
  /** What is wrong with the chain; what comes before is sound. */
  readonly fault: string | undefined;
  /** It stopped at a block in the claims. */
  readonly isTaken: boolean;
}

/** Follows a chain from `first`, the pointer in a directory record. Throws what reading the FAT throws. */
export async function followChain(
  fat: FatCopy,
  first: number,
  options: ChainOptions,
): Promise<Chain> {
  const walk = new ChainWalk(fat, first, options);
  let turnAt = STEPS_PER_TURN;
  while (!walk.isAtEnd) {
    const page = fat.pageIndexOf(walk.block);
    if (page === undefined) {
      walk.stop(`the FAT has no entry for its block ${walk.block}`);
      break;
    }
    walk.followIn(await fat.page(page), fat.firstEntryOf(page));
    if (walk.passed > turnAt) {
      turnAt += STEPS_PER_TURN;
      await nextTurn();
    }
  }
  return walk.finish();
}

class ChainWalk {
  block: number;
  passed = 0;
  isAtEnd = false;
  readonly #fat: FatCopy;
  readonly #options: ChainOptions;
  readonly #runs = new RunList();
  #lastNumber = -1;
  #tail: number | undefined;
  #fault: string | undefined;
  #isTaken = false;

  constructor(fat: FatCopy, first: number, options: ChainOptions) {
    this.#fat = fat;
    this.#options = options;
    this.block = first;
    this.#goTo(first);
  }

  /** Goes on while the entries are on this page, which begins with entry `firstEntry`. */
  followIn(page: DataView, firstEntry: number): void {
    const end = firstEntry + page.byteLength / FAT_ENTRY_BYTES;
    while (!this.isAtEnd && this.block >= firstEntry && this.block < end) {
      const at = (this.block - firstEntry) * FAT_ENTRY_BYTES;
      this.#step(page.getInt32(at, true), u32(page, at + 4));
    }
  }

  stop(fault: string): void {
    this.#fault = fault;
    this.isAtEnd = true;
  }

  finish(): Chain {
    return {
      ...this.#runs.finish(),
      blockCount: this.passed,
      endBlock: this.#lastNumber + 1,
      tail: this.#tail,
      fault: this.#fault,
      isTaken: this.#isTaken,
    };
  }

  #step(numberInFile: number, next: number): void {
    const { claims, recordBlocksMax, blocksMax, byPosition } = this.#options;
    const { block } = this;
    if (next === NEXT_FREE) {
      this.stop(`its chain runs into block ${block}, which is marked free`);
      return;
    }
    const number = byPosition === true ? this.passed : numberInFile;
    if (number <= this.#lastNumber) {
      const last = this.#lastNumber;
      this.stop(`its chain has block ${block} as number ${number} after number ${last}`);
      return;
    }
    if (claims?.has(block) === true) {
      this.#isTaken = true;
      this.stop(`its chain runs into block ${block}, which is in a chain already`);
      return;
    }
    claims?.set(block);
    this.#lastNumber = number;
    this.passed++;
    if (number < recordBlocksMax) this.#runs.add(number, block);
    if (blocksMax !== undefined && this.passed >= blocksMax) this.isAtEnd = true;
    else this.#goTo(next);
  }

  #goTo(next: number): void {
    if (next === NEXT_END) {
      this.isAtEnd = true;
    } else if (next >= NEXT_SUBALLOCATED) {
      this.#tail = next;
      this.isAtEnd = true;
    } else if (next >= this.#fat.blockCount) {
      const from =
        this.passed === 0 ? "its chain starts at" : `its chain points from block ${this.block} to`;
      this.stop(`${from} block ${next}, which does not exist`);
    } else {
      this.block = next;
    }
  }
}

const NOTHING = new Uint32Array(0);
const RUNS_MIN = 4;

/** Runs in arrays that grow. There are none before the first run: a survey asks for none at all. */
class RunList {
  #fileBlocks = NOTHING;
  #blocks = NOTHING;
  #counts = NOTHING;
  #length = 0;

  add(fileBlock: number, block: number): void {
    const last = this.#length - 1;
    if (last >= 0) {
      const count = this.#counts[last] ?? 0;
      const follows = (this.#fileBlocks[last] ?? 0) + count === fileBlock;
      if (follows && (this.#blocks[last] ?? 0) + count === block) {
        this.#counts[last] = count + 1;
        return;
      }
    }
    if (this.#length === this.#blocks.length) this.#grow();
    this.#fileBlocks[this.#length] = fileBlock;
    this.#blocks[this.#length] = block;
    this.#counts[this.#length] = 1;
    this.#length++;
  }

  finish(): Pick<Chain, "fileBlocks" | "blocks" | "counts"> {
    if (this.#length === 0) return { fileBlocks: NOTHING, blocks: NOTHING, counts: NOTHING };
    return {
      fileBlocks: this.#fileBlocks.slice(0, this.#length),
      blocks: this.#blocks.slice(0, this.#length),
      counts: this.#counts.slice(0, this.#length),
    };
  }

  #grow(): void {
    const larger = (old: Uint32Array): Uint32Array<ArrayBuffer> => {
      const grown = new Uint32Array(Math.max(RUNS_MIN, old.length * 2));
      grown.set(old);
      return grown;
    };
    this.#fileBlocks = larger(this.#fileBlocks);
    this.#blocks = larger(this.#blocks);
    this.#counts = larger(this.#counts);
  }
}

/** All blocks of a chain, one after the other. */
export function blocksOf({ blocks, counts }: Chain): Uint32Array {
  let total = 0;
  for (const count of counts) total += count;
  const all = new Uint32Array(total);
  let at = 0;
  for (let i = 0; i < blocks.length; i++) {
    const first = blocks[i] ?? 0;
    for (let k = 0; k < (counts[i] ?? 0); k++) all[at++] = first + k;
  }
  return all;
}
