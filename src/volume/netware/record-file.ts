/**
 * A directory as a file of 128-byte records, kept twice on the volume. A block of the first copy
 * that cannot be read, or that holds records that make no sense, is taken from another member of a
 * mirror, or from the second copy, which is not touched otherwise.
 */
import { FoundOnce } from "../../device/found-once.ts";
import { Bitmap } from "../bitmap.ts";
import type { VolumeProblem } from "../volume.ts";
import { blocksOf } from "./chain.ts";
import type { Fat } from "./fat.ts";
import { isFaultOfCopy, viewOf } from "./fields.ts";
import { RECORD_BYTES, RECORDS_MAX } from "./records.ts";
import { noteFallback, readBlocks } from "./block-source.ts";
import type { BlockSource } from "./block-source.ts";

const PAGE_BYTES = 256 * 1024;
const RECORDS_PER_PAGE = PAGE_BYTES / RECORD_BYTES;
const CACHE_PAGES = 128;

/** Counts the records of a block that make no sense. */
export type BlockJudge = (block: DataView, firstRecord: number, recordCount: number) => number;

export interface RecordFileOptions {
  /** For messages: "directory". */
  readonly what: string;
  readonly firstBlock: number;
  readonly secondBlock: number;
  readonly judge: BlockJudge;
}

export class RecordFile {
  readonly recordCount: number;
  /** Blocks of the copies; that of the second is empty while it was not needed. */
  readonly blocks: Uint32Array;
  /** Met so far, each once. */
  readonly problems: VolumeProblem[] = [];
  readonly #source: BlockSource;
  readonly #fat: Fat;
  readonly #options: RecordFileOptions;
  readonly #loaded = new Map<number, DataView>();
  readonly #loading = new Map<number, Promise<DataView>>();
  readonly #reported = new Set<number>();
  readonly #second = new FoundOnce(async () => this.#findSecond());

  private constructor(
    source: BlockSource,
    fat: Fat,
    options: RecordFileOptions,
    blocks: Uint32Array,
  ) {
    this.#source = source;
    this.#fat = fat;
    this.#options = options;
    this.blocks = blocks;
    const { blockBytes } = source.map;
    this.recordCount = Math.min(RECORDS_MAX, (blocks.length * blockBytes) / RECORD_BYTES);
  }

  /** Follows the chain of the first copy, of the second when that is damaged. Throws what the device throws. */
  static async open(
    source: BlockSource,
    fat: Fat,
    options: RecordFileOptions,
  ): Promise<RecordFile> {
    const { what, firstBlock, secondBlock } = options;
    const first = await systemChain(source, fat, firstBlock);
    if (first.fault === undefined) return new RecordFile(source, fat, options, first.blocks);
    const second = await systemChain(source, fat, secondBlock);
    const isSecondBetter = second.fault === undefined || second.blocks.length > first.blocks.length;
    const used = isSecondBetter ? second : first;
    const turned = { ...options, firstBlock: secondBlock, secondBlock: firstBlock };
    const file = new RecordFile(source, fat, isSecondBetter ? turned : options, used.blocks);
    file.problems.push({ where: `${what}, first copy`, message: first.fault });
    if (second.fault !== undefined) {
      file.problems.push({ where: `${what}, second copy`, message: second.fault });
    }
    return file;
  }

  get pageCount(): number {
    return Math.ceil(this.recordCount / RECORDS_PER_PAGE);
  }

  firstRecordOf(page: number): number {
    return page * RECORDS_PER_PAGE;
  }

  pageIndexOf(record: number): number {
    return Math.floor(record / RECORDS_PER_PAGE);
  }

  /** Records of a page. Throws "damaged" when neither copy can be read, and what the device throws. */
  async page(index: number): Promise<DataView> {
    const kept = this.#loaded.get(index);
    if (kept !== undefined) return kept;
    let loading = this.#loading.get(index);
    if (loading === undefined) {
      loading = this.#load(index);
      this.#loading.set(index, loading);
    }
    try {
      const page = await loading;
      if (this.#loading.get(index) === loading) this.#keep(index, page);
      return page;
    } finally {
      if (this.#loading.get(index) === loading) this.#loading.delete(index);
    }
  }

  /** A record; undefined beyond the last one. Throws what `page` throws. */
  async record(index: number): Promise<DataView | undefined> {
    if (index >= this.recordCount) return undefined;
    return (
      recordIn(this.#loaded, index) ?? recordOf(await this.page(this.pageIndexOf(index)), index)
    );
  }

  /** The same without waiting, if its page is here: records that belong together lie together. */
  recordHere(index: number): DataView | undefined {
    return index < this.recordCount ? recordIn(this.#loaded, index) : undefined;
  }

  /** Several records in a row as one; undefined where there are not so many. */
  async recordBytes(index: number, count: number): Promise<Uint8Array | undefined> {
    const bytes = new Uint8Array(count * RECORD_BYTES);
    for (let i = 0; i < count; i++) {
      const record = await this.record(index + i);
      if (record === undefined) return undefined;
      bytes.set(new Uint8Array(record.buffer, record.byteOffset, RECORD_BYTES), i * RECORD_BYTES);
    }
    return bytes;
  }

  /** Blocks of the second copy, as far as its chain goes. Throws what the device throws. */
  async secondBlocks(): Promise<Uint32Array> {
    return this.#second.get();
  }

  /** Reads a part of one copy as it is, for comparing. */
  async readRaw(blocks: Uint32Array, target: Uint8Array): Promise<void> {
    await readBlocks(this.#source, blocks, target);
  }

  async #findSecond(): Promise<Uint32Array> {
    const { secondBlock, firstBlock } = this.#options;
    if (secondBlock === firstBlock) return new Uint32Array(0);
    return (await systemChain(this.#source, this.#fat, secondBlock)).blocks;
  }

  #keep(index: number, page: DataView): void {
    this.#loaded.set(index, page);
    for (const oldest of this.#loaded.keys()) {
      if (this.#loaded.size <= CACHE_PAGES) break;
      this.#loaded.delete(oldest);
    }
  }

  async #load(index: number): Promise<DataView> {
    const { blockBytes } = this.#source.map;
    const perPage = PAGE_BYTES / blockBytes;
    const from = index * perPage;
    const blocks = this.blocks.subarray(from, from + perPage);
    const bytes = new Uint8Array(blocks.length * blockBytes);
    try {
      await readBlocks(this.#source, blocks, bytes);
    } catch (error) {
      if (!isFaultOfCopy(error)) throw error;
      await this.#readEach(blocks, from, bytes);
    }
    for (let i = 0; i < blocks.length; i++) {
      const block = bytes.subarray(i * blockBytes, (i + 1) * blockBytes);
      const odd = this.#judge(block, from + i);
      if (odd > 0 && !(await this.#isBetterInMirror(block, from + i, odd))) {
        await this.#replaceIfBetter(block, from + i, odd);
      }
    }
    return viewOf(bytes);
  }

  #judge(block: Uint8Array, position: number): number {
    const firstRecord = position * (block.length / RECORD_BYTES);
    return this.#options.judge(viewOf(block), firstRecord, this.recordCount);
  }

  /** One block after the other, those that cannot be read from the second copy. */
  async #readEach(blocks: Uint32Array, from: number, bytes: Uint8Array): Promise<void> {
    const { blockBytes } = this.#source.map;
    for (let i = 0; i < blocks.length; i++) {
      const target = bytes.subarray(i * blockBytes, (i + 1) * blockBytes);
      try {
        await readBlocks(this.#source, blocks.subarray(i, i + 1), target);
      } catch (error) {
        if (!isFaultOfCopy(error)) throw error;
        const second = (await this.secondBlocks()).subarray(from + i, from + i + 1);
        if (second.length === 0) throw error;
        await readBlocks(this.#source, second, target);
        this.#report(from + i, `${error.message}; the other copy is used`);
      }
    }
  }

  /** Replaces a block by that of another member of the mirror, where all of it makes sense. */
  async #isBetterInMirror(block: Uint8Array, position: number, odd: number): Promise<boolean> {
    const blocks = this.blocks.subarray(position, position + 1);
    for (const member of this.#source.others) {
      const other = new Uint8Array(block.length);
      try {
        await readBlocks(member, blocks, other);
      } catch (error) {
        if (!isFaultOfCopy(error)) throw error;
        continue;
      }
      if (this.#judge(other, position) > 0) continue;
      block.set(other);
      const records = odd === 1 ? "a record" : `${odd} records`;
      noteFallback(this.#source, blocks[0] ?? 0, `it has ${records} that make no sense`);
      return true;
    }
    return false;
  }

  async #replaceIfBetter(block: Uint8Array, position: number, odd: number): Promise<void> {
    const other = new Uint8Array(block.length);
    const second = (await this.secondBlocks()).subarray(position, position + 1);
    const records = odd === 1 ? "a record" : `${odd} records`;
    try {
      if (second.length === 0) throw new RangeError("no second copy");
      await readBlocks(this.#source, second, other);
    } catch (error) {
      if (!isFaultOfCopy(error) && !(error instanceof RangeError)) throw error;
      this.#report(position, `has ${records} that make no sense, and no other copy`);
      return;
    }
    if (this.#judge(other, position) < odd) {
      block.set(other);
      this.#report(position, `has ${records} that make no sense; the other copy is used`);
    } else {
      this.#report(position, `has ${records} that make no sense in either copy`);
    }
  }

  #report(position: number, message: string): void {
    if (this.#reported.has(position)) return;
    this.#reported.add(position);
    const where = `${this.#options.what}, block ${this.blocks[position] ?? 0}`;
    this.problems.push({ where, message });
  }
}

function recordIn(pages: ReadonlyMap<number, DataView>, index: number): DataView | undefined {
  const page = pages.get(Math.floor(index / RECORDS_PER_PAGE));
  return page === undefined ? undefined : recordOf(page, index);
}

function recordOf(page: DataView, index: number): DataView {
  const at = (index % RECORDS_PER_PAGE) * RECORD_BYTES;
  return new DataView(page.buffer, page.byteOffset + at, RECORD_BYTES);
}

/** The blocks of a directory's chain, each once, as many as can hold records. */
async function systemChain(
  source: BlockSource,
  fat: Fat,
  first: number,
): Promise<{ blocks: Uint32Array; fault: string | undefined }> {
  const { blockBytes, blockCount } = source.map;
  const blocksMax = Math.ceil((RECORDS_MAX * RECORD_BYTES) / blockBytes);
  const chain = await fat.chain(first, {
    recordBlocksMax: blocksMax,
    blocksMax,
    claims: new Bitmap(blockCount),
    byPosition: true,
  });
  if (chain.tail === undefined) return { blocks: blocksOf(chain), fault: chain.fault };
  const fault = "its chain ends in a suballocated tail";
  return { blocks: blocksOf(chain), fault };
}
