/**
 * One copy of the FAT. It is a chained file itself: its blocks are found by its own entries, from
 * the first block in the volume table on. (Copies take turns on the disk in stripes of 256 KiB, so
 * it is not in one piece on volumes with more than 32,768 blocks.)
 *
 * Entries: a signed 32-bit number of the block within its file, and the next block: 0 free,
 * 0xFFFFFFFF the last, with bit 31 a pointer to a suballocated tail.
 */
import { Bitmap } from "../bitmap.ts";
import { isFaultOfCopy, u32, viewOf } from "./fields.ts";
import { readBlocks } from "./block-source.ts";
import type { BlockSource } from "./block-source.ts";

export const FAT_ENTRY_BYTES = 8;
export const NEXT_FREE = 0;
export const NEXT_END = 0xffffffff;
/** Pointers from here on are to a suballocated tail. */
export const NEXT_SUBALLOCATED = 0x80000000;

/** The stripe in which the copies take turns: one piece on disk. */
const PAGE_BYTES = 256 * 1024;
const CACHE_PAGES = 64;
/** Blocks of the FAT kept while its own chain is followed. */
const BOOTSTRAP_BLOCKS = 16;

export class FatCopy {
  /** 1 or 2. */
  readonly copyNumber: number;
  /** Blocks of the volume: no pointer may reach this. */
  readonly blockCount: number;
  /** The FAT's own blocks, in order. */
  readonly blocks: Uint32Array;
  /** Why there are fewer blocks than the volume needs; undefined when all are there. */
  readonly fault: string | undefined;
  readonly #source: BlockSource;
  readonly #pages = new Map<number, Promise<DataView>>();

  private constructor(source: BlockSource, copyNumber: number, own: OwnChain) {
    this.#source = source;
    this.copyNumber = copyNumber;
    this.blockCount = source.map.blockCount;
    this.blocks = own.blocks;
    this.fault = own.fault;
  }

  /** Finds the blocks of a copy that starts at block `first`. Throws what the device throws, save for faults of the copy. */
  static async open(source: BlockSource, copyNumber: number, first: number): Promise<FatCopy> {
    return new FatCopy(source, copyNumber, await new OwnChainReader(source, first).read());
  }

  get entriesPerPage(): number {
    return PAGE_BYTES / FAT_ENTRY_BYTES;
  }

  /** Entries that this copy has. */
  get entryCount(): number {
    const present = (this.blocks.length * this.#source.map.blockBytes) / FAT_ENTRY_BYTES;
    return Math.min(present, this.blockCount);
  }

  get pageCount(): number {
    return Math.ceil(this.entryCount / this.entriesPerPage);
  }

  firstEntryOf(page: number): number {
    return page * this.entriesPerPage;
  }

  /** The page that holds a block's entry; undefined where this copy has none. */
  pageIndexOf(block: number): number | undefined {
    return block < this.entryCount ? Math.floor(block / this.entriesPerPage) : undefined;
  }

  /** Entries of a page; the last one ends with the volume's last block. Throws what the device throws, and "damaged". */
  async page(index: number): Promise<DataView> {
    const kept = this.#pages.get(index);
    if (kept !== undefined) {
      this.#pages.delete(index);
      this.#pages.set(index, kept);
      return kept;
    }
    const loading = this.#load(index);
    this.#pages.set(index, loading);
    for (const oldest of this.#pages.keys()) {
      if (this.#pages.size <= CACHE_PAGES) break;
      this.#pages.delete(oldest);
    }
    try {
      return await loading;
    } catch (error) {
      if (this.#pages.get(index) === loading) this.#pages.delete(index);
      throw error;
    }
  }

  async #load(index: number): Promise<DataView> {
    const { blockBytes } = this.#source.map;
    const perPage = PAGE_BYTES / blockBytes;
    const blocks = this.blocks.subarray(index * perPage, (index + 1) * perPage);
    const bytes = new Uint8Array(blocks.length * blockBytes);
    await readBlocks(this.#source, blocks, bytes);
    const entries = Math.min(this.entryCount - this.firstEntryOf(index), this.entriesPerPage);
    return viewOf(bytes.subarray(0, entries * FAT_ENTRY_BYTES));
  }
}

interface OwnChain {
  readonly blocks: Uint32Array;
  readonly fault: string | undefined;
}

/** Follows the FAT through itself: the entry of each of its blocks is in a block that came before. */
class OwnChainReader {
  readonly #source: BlockSource;
  readonly #first: number;
  readonly #claimed: Bitmap;
  readonly #blocks: number[] = [];
  readonly #kept = new Map<number, DataView>();

  constructor(source: BlockSource, first: number) {
    this.#source = source;
    this.#first = first;
    this.#claimed = new Bitmap(source.map.blockCount);
  }

  async read(): Promise<OwnChain> {
    let fault: string | undefined;
    try {
      fault = await this.#follow();
    } catch (error) {
      if (!isFaultOfCopy(error)) throw error;
      fault = error.message;
    }
    return { blocks: Uint32Array.from(this.#blocks), fault };
  }

  async #follow(): Promise<string | undefined> {
    const { blockBytes, blockCount } = this.#source.map;
    const perBlock = blockBytes / FAT_ENTRY_BYTES;
    const needed = Math.ceil(blockCount / perBlock);
    let block = this.#first;
    for (;;) {
      if (block >= blockCount) return `its chain leads to block ${block}, which does not exist`;
      if (this.#claimed.has(block)) return `its chain loops back to block ${block}`;
      this.#claimed.set(block);
      this.#blocks.push(block);
      const index = Math.floor(block / perBlock);
      if (index >= this.#blocks.length) {
        return `the entry of its block ${block} comes later in its own chain`;
      }
      const view = await this.#blockAt(index);
      const next = u32(view, (block % perBlock) * FAT_ENTRY_BYTES + 4);
      if (next === NEXT_FREE) {
        this.#blocks.pop();
        return `its chain runs into block ${block}, which is marked free`;
      }
      if (this.#blocks.length === needed) return undefined;
      if (next === NEXT_END) {
        return `its chain ends after ${this.#blocks.length} of ${needed} blocks`;
      }
      block = next;
    }
  }

  async #blockAt(index: number): Promise<DataView> {
    const kept = this.#kept.get(index);
    if (kept !== undefined) return kept;
    const bytes = new Uint8Array(this.#source.map.blockBytes);
    await readBlocks(this.#source, Uint32Array.of(this.#blocks[index] ?? 0), bytes);
    const view = viewOf(bytes);
    if (this.#kept.size >= BOOTSTRAP_BLOCKS) this.#kept.clear();
    this.#kept.set(index, view);
    return view;
  }
}
