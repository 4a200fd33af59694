/**
 * Suballocation: the last part of a file, if shorter than a block, lies with others of its size in
 * a chain of blocks that they share, the bin of that size. A pointer with bit 31 names bin and
 * unit: bin b holds pieces of b sectors, so the piece starts unit * b sectors into the bin, and may
 * lie in two blocks. Records of the directory, found from the root's, tell where bins start.
 */
import type { VolumeProblem } from "../volume.ts";
import type { Chain } from "./chain.ts";
import type { Fat } from "./fat.ts";
import { SECTOR_BYTES, u32 } from "./fields.ts";
import type { RecordFile } from "./record-file.ts";
import { ROOT, ROOT_RECORD, TYPE } from "./records.ts";
import type { BlockSource } from "./block-source.ts";

const RECORD = { sequence: 9, next: 12, starts: 16 } as const;
const BINS_PER_RECORD = 28;
/** 127 bins for 64 KiB blocks. */
const RECORDS_MAX = 5;
const BIN_SHIFT = 24;
const BIN_MASK = 0x7f;
const UNIT_MASK = 0xffffff;

/** Gets pieces of the volume in the order of the file. */
export type PieceSink = (block: number, offsetInBlock: number, lengthBytes: number) => void;

export class Suballocation {
  /** Met while opening. */
  readonly problems: readonly VolumeProblem[];
  readonly #source: BlockSource;
  readonly #fat: Fat;
  /** First block of bin b at index b; 0: the bin is empty. */
  readonly #starts: Uint32Array;
  readonly #bins = new Map<number, Promise<Chain>>();
  /** Blocks in the bins followed so far: they share none, so they cannot exceed the volume. */
  #blocksFollowed = 0;

  private constructor(
    source: BlockSource,
    fat: Fat,
    starts: Uint32Array,
    problems: readonly VolumeProblem[],
  ) {
    this.#source = source;
    this.#fat = fat;
    this.#starts = starts;
    this.problems = problems;
  }

  /** Reads the bins' records; a volume without suballocation has none. Throws what the device throws. */
  static async open(source: BlockSource, fat: Fat, directory: RecordFile): Promise<Suballocation> {
    const problems: VolumeProblem[] = [];
    const starts = new Uint32Array(RECORDS_MAX * BINS_PER_RECORD);
    const root = await directory.record(ROOT_RECORD);
    let number = root === undefined ? 0 : u32(root, ROOT.suballocation);
    for (let i = 0; number !== 0; i++) {
      const record = await directory.record(number);
      const sequence = record?.getUint8(RECORD.sequence) ?? RECORDS_MAX;
      if (
        record === undefined ||
        u32(record, TYPE.offset) !== TYPE.suballocation ||
        sequence >= RECORDS_MAX ||
        i >= RECORDS_MAX
      ) {
        const message = `directory record ${number} should be one of the suballocation table and is not`;
        problems.push({ where: "suballocation table", message });
        break;
      }
      for (let slot = 0; slot < BINS_PER_RECORD; slot++) {
        starts[sequence * BINS_PER_RECORD + slot] = u32(record, RECORD.starts + slot * 4);
      }
      number = u32(record, RECORD.next);
    }
    return new Suballocation(source, fat, starts, problems);
  }

  /** Bins that hold something. */
  get bins(): number[] {
    return [...this.#starts.keys()].filter((bin) => bin > 0 && (this.#starts[bin] ?? 0) !== 0);
  }

  firstBlockOf(bin: number): number {
    return this.#starts[bin] ?? 0;
  }

  /** Bytes that the piece of a pointer has. */
  lengthOf(pointer: number): number {
    return ((pointer >>> BIN_SHIFT) & BIN_MASK) * SECTOR_BYTES;
  }

  /**
   * Gives the first `lengthBytes` of the piece that a pointer names to `sink`. Returns what is
   * wrong with it, undefined when nothing is. Throws what the device throws.
   */
  async locate(pointer: number, lengthBytes: number, sink: PieceSink): Promise<string | undefined> {
    const { blockBytes } = this.#source.map;
    const bin = (pointer >>> BIN_SHIFT) & BIN_MASK;
    const unit = pointer & UNIT_MASK;
    const where = `piece ${unit} of bin ${bin}`;
    const size = bin * SECTOR_BYTES;
    if (bin === 0 || size >= blockBytes || (this.#starts[bin] ?? 0) === 0) {
      return `its last part is ${where}, and there is no such bin`;
    }
    const chain = await this.#bin(bin);
    const start = unit * size;
    const end = start + lengthBytes;
    for (let at = start; at < end;) {
      const block = blockAt(chain, Math.floor(at / blockBytes));
      if (block === undefined) {
        const fault =
          chain.fault === undefined ? "" : `: ${chain.fault.replace(/^its/, "the bin's")}`;
        return `its last part is ${where}, which lies beyond the end of the bin${fault}`;
      }
      const within = at % blockBytes;
      const length = Math.min(end - at, blockBytes - within);
      sink(block, within, length);
      at += length;
    }
    return undefined;
  }

  async #bin(bin: number): Promise<Chain> {
    let loading = this.#bins.get(bin);
    if (loading === undefined) {
      loading = this.#follow(bin);
      this.#bins.set(bin, loading);
    }
    try {
      return await loading;
    } catch (error) {
      this.#bins.delete(bin);
      throw error;
    }
  }

  async #follow(bin: number): Promise<Chain> {
    const blocksMax = Math.max(1, this.#source.map.blockCount - this.#blocksFollowed);
    const recordBlocksMax = Math.ceil(
      ((UNIT_MASK + 1) * bin * SECTOR_BYTES) / this.#source.map.blockBytes,
    );
    const chain = await this.#fat.chain(this.firstBlockOf(bin), { recordBlocksMax, blocksMax });
    this.#blocksFollowed += chain.blockCount;
    return chain;
  }
}

/** The block with a number in its file; undefined where there is a hole or nothing. */
function blockAt({ fileBlocks, blocks, counts }: Chain, fileBlock: number): number | undefined {
  let low = 0;
  let high = fileBlocks.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((fileBlocks[middle] ?? 0) <= fileBlock) low = middle;
    else high = middle - 1;
  }
  const within = fileBlock - (fileBlocks[low] ?? 0);
  const isInside = high >= 0 && within >= 0 && within < (counts[low] ?? 0);
  return isInside ? (blocks[low] ?? 0) + within : undefined;
}
