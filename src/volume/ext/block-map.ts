/**
 * From an inode to the blocks of its contents: by extents or, as ext2 and ext3 have it, by block
 * numbers with indirect blocks. Layouts: "ext4 Data Structures and Algorithms", sections "The
 * Contents of inode.i_block" and "Extent Tree".
 *
 * A tree cannot be walked for ever, whatever is on the volume: no block of a tree is visited twice,
 * an extent node one level down must say that it is one level lower, and entries must rise within
 * the range that the entry above gives them.
 */
import { ReelError } from "../../errors.ts";
import { BlockRuns } from "./block-runs.ts";
import { extCrc32c } from "./checksums.ts";
import type { DeviceBlocks } from "./device-blocks.ts";
import { INODE_FLAG } from "./inode.ts";
import type { Inode } from "./inode.ts";

const EXTENT_MAGIC = 0xf30a;
const EXTENT_DEPTH_MAX = 5;
const EXTENT_ENTRY_BYTES = 12;
const EXTENT_HEADER = { magic: 0, entries: 2, entriesMax: 4, depth: 6, bytes: 12 } as const;
/** Of a leaf: first block in the file, length, block on the volume in 16 + 32 bits. */
const EXTENT = { logical: 0, length: 4, physicalHigh: 6, physicalLow: 8 } as const;
/** Of an inner node: first block in the file, block of the node below in 32 + 16 bits. */
const EXTENT_INDEX = { logical: 0, childLow: 4, childHigh: 8 } as const;
/** Longer lengths are of extents that were allocated and never written. */
const WRITTEN_LENGTH_MAX = 32768;
const LOGICAL_BLOCKS_MAX = 2 ** 32;

const DIRECT_POINTERS = 12;
const INDIRECT_LEVELS = 3;
const POINTER_BYTES = 4;

export interface BlockMap {
  readonly runs: BlockRuns;
  /** Blocks of the tree itself: extent nodes, indirect blocks. */
  readonly treeBlocks: readonly number[];
}

/** Told of each block of a tree before it is read; false: it belongs to another file. */
export type ClaimTreeBlock = (block: number) => boolean;

/**
 * The blocks of an inode's contents up to its size; holes and unwritten extents are left out.
 * Throws "damaged", with the place, for a tree that is not sound.
 */
export async function mapBlocks(
  blocks: DeviceBlocks,
  inode: Inode,
  claim?: ClaimTreeBlock,
): Promise<BlockMap> {
  const mapper = inode.hasFlag(INODE_FLAG.extents)
    ? new ExtentMapper(blocks, inode, claim)
    : new PointerMapper(blocks, inode, claim);
  try {
    const map = await mapper.map();
    return (inode.change?.ranges.length ?? 0) === 0 ? map : mapper.changed();
  } catch (error) {
    if (!(error instanceof ReelError) || error.code !== "unsupported") throw error;
    throw new ReelError("unsupported", `cannot read inode ${inode.number}: ${error.message}`, {
      cause: error,
    });
  }
}

/** The block of the tree that an inode names itself, for reading many together; 0: none or several. */
export function treeRootOf(inode: Inode): number {
  const field = inode.blockField;
  const view = new DataView(field.buffer, field.byteOffset, field.byteLength);
  if (!inode.hasFlag(INODE_FLAG.extents)) {
    return view.getUint32(DIRECT_POINTERS * POINTER_BYTES, true);
  }
  const isDeep = view.getUint16(EXTENT_HEADER.depth, true) > 0;
  return isDeep ? childAt(view, EXTENT_HEADER.bytes) : 0;
}

/** What both ways have in common: what was found, and how faults are told. */
class Mapper {
  readonly runs = new BlockRuns();
  readonly treeBlocks: number[] = [];
  protected readonly blocks: DeviceBlocks;
  protected readonly inode: Inode;
  /** Blocks of the file that are within its size. */
  protected readonly limit: number;
  readonly #claim: ClaimTreeBlock | undefined;
  readonly #visited = new Set<number>();

  constructor(blocks: DeviceBlocks, inode: Inode, claim: ClaimTreeBlock | undefined) {
    this.blocks = blocks;
    this.inode = inode;
    this.limit = Math.ceil(inode.sizeBytes / blocks.blockSizeBytes);
    this.#claim = claim;
  }

  /** Reads a block of the tree, each once. */
  protected async readTreeBlock(block: number, what: string): Promise<Uint8Array> {
    const fault = this.blocks.faultOf(block, 1);
    if (fault !== undefined) throw this.damaged(`its ${what} is at a place that is none: ${fault}`);
    if (this.#visited.has(block)) {
      throw this.damaged(`its ${what} in block ${block} is a part of the tree already`);
    }
    if (this.#claim?.(block) === false) {
      throw this.damaged(`its ${what} in block ${block} belongs to another file as well`);
    }
    this.#visited.add(block);
    this.treeBlocks.push(block);
    return this.blocks.peek(block) ?? (await this.blocks.read(block, what));
  }

  protected addRun(logical: number, physical: number, count: number): void {
    const wanted = Math.min(count, this.limit - logical);
    if (wanted <= 0) return;
    const fault = this.blocks.faultOf(physical, wanted);
    if (fault !== undefined) throw this.damaged(`its contents from block ${logical} on: ${fault}`);
    this.runs.add(logical, physical, wanted);
  }

  /** What was found, with what fast commits changed. */
  changed(): BlockMap {
    const { inode, blocks, limit, treeBlocks } = this;
    const runs = inode.change?.ranges.over(this.runs, limit) ?? this.runs;
    for (let i = 0; i < runs.length; i++) {
      const fault = blocks.faultOf(runs.physicalAt(i), runs.countAt(i));
      if (fault === undefined) continue;
      throw this.damaged(`its contents from block ${runs.logicalAt(i)} on: ${fault}`);
    }
    return { runs, treeBlocks };
  }

  protected damaged(fault: string): ReelError {
    const { number, deviceOffset } = this.inode;
    return new ReelError(
      "damaged",
      `cannot find the blocks of inode ${number} at byte ${deviceOffset} of ` +
        `${this.blocks.device.name}: ${fault}`,
    );
  }
}

class ExtentMapper extends Mapper {
  /** Checked blocks need the seed of this inode. */
  #seed: number | undefined;

  async map(): Promise<BlockMap> {
    const field = this.inode.blockField;
    await this.#walk(field, "inode", EXTENT_DEPTH_MAX, [0, LOGICAL_BLOCKS_MAX], true);
    return this;
  }

  /**
   * One node: its entries must rise within `range`. The root may have any depth up to `depth`, the
   * others have exactly that.
   */
  async #walk(
    node: Uint8Array,
    where: string,
    depth: number,
    range: readonly [start: number, end: number],
    isRoot: boolean,
  ): Promise<void> {
    const view = new DataView(node.buffer, node.byteOffset, node.byteLength);
    const entries = this.#checkHeader(view, where, depth, isRoot);
    const nodeDepth = view.getUint16(EXTENT_HEADER.depth, true);
    if (!isRoot) this.#checkSum(node, view, where);
    let [start] = range;
    for (let i = 0; i < entries; i++) {
      const at = EXTENT_HEADER.bytes + i * EXTENT_ENTRY_BYTES;
      const logical = view.getUint32(at + EXTENT.logical, true);
      if (logical < start || logical >= range[1]) {
        throw this.damaged(
          `extent ${i} of ${where} is for block ${logical} of the file, outside ${start} to ${range[1] - 1}`,
        );
      }
      if (nodeDepth === 0) {
        start = this.#addExtent(view, at, where, range[1]);
        continue;
      }
      const isLast = i + 1 === entries;
      const end = isLast ? range[1] : view.getUint32(at + EXTENT_ENTRY_BYTES, true);
      if (end <= logical) throw this.damaged(`the extents of ${where} do not rise`);
      start = end;
      if (logical >= this.limit) continue;
      const child = childAt(view, at);
      const below = await this.readTreeBlock(child, "extent block");
      await this.#walk(below, `block ${child}`, nodeDepth - 1, [logical, end], false);
    }
  }

  /** Entries of a node whose header is sound. */
  #checkHeader(view: DataView, where: string, depth: number, isRoot: boolean): number {
    const magic = view.getUint16(EXTENT_HEADER.magic, true);
    const entries = view.getUint16(EXTENT_HEADER.entries, true);
    const entriesMax = view.getUint16(EXTENT_HEADER.entriesMax, true);
    const found = view.getUint16(EXTENT_HEADER.depth, true);
    if (magic !== EXTENT_MAGIC)
      throw this.damaged(`the extents in ${where} have no F30A at the start`);
    const room = Math.floor((view.byteLength - EXTENT_HEADER.bytes) / EXTENT_ENTRY_BYTES);
    if (entries > entriesMax || entriesMax > room) {
      throw this.damaged(
        `${where} claims ${entries} of ${entriesMax} extents and has room for ${room}`,
      );
    }
    if (isRoot ? found > depth : found !== depth) {
      const expected = isRoot ? `at most ${depth}` : `${depth}`;
      throw this.damaged(`the extents in ${where} have depth ${found}, not ${expected}`);
    }
    if (entries === 0 && found > 0) throw this.damaged(`the extent index in ${where} is empty`);
    return entries;
  }

  /** A checksum follows the room for entries. */
  #checkSum(node: Uint8Array, view: DataView, where: string): void {
    if (!this.inode.superblock.hasMetadataChecksums) return;
    const entriesMax = view.getUint16(EXTENT_HEADER.entriesMax, true);
    const at = EXTENT_HEADER.bytes + entriesMax * EXTENT_ENTRY_BYTES;
    this.#seed ??= this.inode.checksumSeed;
    const isRight =
      at + 4 <= node.length &&
      extCrc32c(this.#seed, node.subarray(0, at)) === view.getUint32(at, true);
    if (!isRight) throw this.damaged(`the checksum of the extents in ${where} is wrong`);
  }

  /** Adds the extent at `at`; returns the block of the file after it. */
  #addExtent(view: DataView, at: number, where: string, end: number): number {
    const logical = view.getUint32(at + EXTENT.logical, true);
    const length = view.getUint16(at + EXTENT.length, true);
    const isWritten = length <= WRITTEN_LENGTH_MAX;
    const count = isWritten ? length : length - WRITTEN_LENGTH_MAX;
    const physical =
      view.getUint16(at + EXTENT.physicalHigh, true) * 2 ** 32 +
      view.getUint32(at + EXTENT.physicalLow, true);
    if (count === 0 || logical + count > end) {
      throw this.damaged(
        `${where} has an extent of ${count} blocks at block ${logical} of the file`,
      );
    }
    if (isWritten) this.addRun(logical, physical, count);
    return logical + count;
  }
}

function childAt(view: DataView, at: number): number {
  return (
    view.getUint16(at + EXTENT_INDEX.childHigh, true) * 2 ** 32 +
    view.getUint32(at + EXTENT_INDEX.childLow, true)
  );
}

class PointerMapper extends Mapper {
  async map(): Promise<BlockMap> {
    const field = this.inode.blockField;
    const view = new DataView(field.buffer, field.byteOffset, field.byteLength);
    this.#addPointers(view, DIRECT_POINTERS, 0);
    const perBlock = this.blocks.blockSizeBytes / POINTER_BYTES;
    let logical = DIRECT_POINTERS;
    for (let level = 1; level <= INDIRECT_LEVELS; level++) {
      const block = view.getUint32((DIRECT_POINTERS + level - 1) * POINTER_BYTES, true);
      await this.#walk(block, level, logical);
      logical += perBlock ** level;
    }
    return this;
  }

  /** An indirect block of `level`, for the blocks of the file from `logical` on. */
  async #walk(block: number, level: number, logical: number): Promise<void> {
    if (block === 0 || logical >= this.limit) return;
    const bytes = await this.readTreeBlock(block, "indirect block");
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const perBlock = bytes.length / POINTER_BYTES;
    if (level === 1) {
      this.#addPointers(view, perBlock, logical);
      return;
    }
    const each = perBlock ** (level - 1);
    for (let i = 0; i < perBlock; i++) {
      const below = view.getUint32(i * POINTER_BYTES, true);
      if (below !== 0) await this.#walk(below, level - 1, logical + i * each);
    }
  }

  /** Pointers to contents; 0 is a hole. */
  #addPointers(view: DataView, pointers: number, logical: number): void {
    const count = Math.min(pointers, this.limit - logical);
    for (let i = 0; i < count; i++) {
      const block = view.getUint32(i * POINTER_BYTES, true);
      if (block !== 0) this.addRun(logical + i, block, 1);
    }
  }
}
