/**
 * Which blocks are in use: by the bitmaps, one for each group. Groups that were never written to
 * have no bitmap: in use are only the volume's own structures in them. Where a bitmap cannot be
 * trusted the whole group counts as used, so that a backup loses nothing.
 */
import { ExtentSetBuilder } from "../../device/extents.ts";
import type { ExtentSet } from "../../device/extents.ts";
import { throwIfAborted } from "../../errors.ts";
import type { VolumeProblem } from "../volume.ts";
import { BLOCK_BITMAP, INODE_BITMAP, readBitmaps } from "./bitmaps.ts";
import type { BitmapKind } from "./bitmaps.ts";
import { BlockCollector } from "./block-collector.ts";
import { descriptorBlock, descriptorBlockCount, usesMetaGroups } from "./group-table.ts";
import { groupStart, hasSuperblock } from "./superblock.ts";
import type { Superblock } from "./superblock.ts";
import type { ExtStore } from "./store.ts";

export interface Allocation {
  readonly used: ExtentSet;
  readonly clustersUsed: number;
}

/** Groups whose bitmaps are read at a time: 1 MiB in blocks of 4 KiB. */
const GROUPS_PER_STEP = 256;

/** Reads all block bitmaps. Throws what the device throws, but "io". */
export async function scanAllocation(
  store: ExtStore,
  report: (problem: VolumeProblem) => void,
  signal: AbortSignal | undefined,
): Promise<Allocation> {
  const scan = new AllocationScan(store, report);
  const { count } = store.groups;
  for (let group = 0; group < count; group += GROUPS_PER_STEP) {
    throwIfAborted(signal, `surveying ${store.device.name}`);
    await scan.step(group, Math.min(count, group + GROUPS_PER_STEP));
  }
  return scan.finish();
}

class AllocationScan {
  readonly #store: ExtStore;
  readonly #report: (problem: VolumeProblem) => void;
  readonly #used = new ExtentSetBuilder();
  #structures: ExtentSet | undefined;
  #clusters = 0;

  constructor(store: ExtStore, report: (problem: VolumeProblem) => void) {
    this.#store = store;
    this.#report = report;
    // What lies before the first group, in blocks of 1 KiB, is a cluster that is never free.
    const { firstDataBlock } = store.superblock;
    this.#addRun(0, firstDataBlock);
    this.#clusters += firstDataBlock;
  }

  async step(first: number, end: number): Promise<void> {
    const range = [first, end] as const;
    const bitmaps = await readBitmaps(this.#store, BLOCK_BITMAP, range, (group, fault) => {
      this.#reportBitmap(BLOCK_BITMAP, group, `${fault}: the whole group counts as used`);
    });
    // Nothing is read by an inode bitmap that has a checksum: this is for the report alone.
    if (this.#store.superblock.hasMetadataChecksums) {
      await readBitmaps(this.#store, INODE_BITMAP, range, (group, fault) => {
        this.#reportBitmap(INODE_BITMAP, group, fault);
      });
    }
    for (let group = first; group < end; group++) {
      const bitmap = bitmaps.get(group);
      if (bitmap !== undefined) this.#addBitmap(group, bitmap);
      else if (this.#isUninitialised(group)) this.#addStructures(group);
      else this.#addAll(group);
    }
  }

  finish(): Allocation {
    return { used: this.#used.build(), clustersUsed: this.#clusters };
  }

  #isUninitialised(group: number): boolean {
    const { groups } = this.#store;
    return groups.isKnown(group) && groups.isBlockBitmapUnused(group);
  }

  #reportBitmap(kind: BitmapKind, group: number, message: string): void {
    const block = kind.place(this.#store.groups, group);
    this.#report({ where: `${kind.name} of group ${group} (block ${block})`, message });
  }

  #clustersIn(group: number): number {
    const { superblock } = this.#store;
    const { blockCount, blocksPerGroup, clusterBlocks } = superblock;
    const size = Math.min(blocksPerGroup, blockCount - groupStart(superblock, group));
    return Math.ceil(size / clusterBlocks);
  }

  #addAll(group: number): void {
    const clusters = this.#clustersIn(group);
    this.#addClusters(group, 0, clusters);
  }

  /** Runs of ones, 32 bits at a time where they are all the same. */
  #addBitmap(group: number, bitmap: Uint8Array): void {
    const bits = this.#clustersIn(group);
    const view = new DataView(bitmap.buffer, bitmap.byteOffset, bitmap.byteLength);
    let start = -1;
    for (let bit = 0; bit < bits;) {
      const word = (bit & 31) === 0 ? view.getInt32(bit >>> 3, true) : undefined;
      const isPlain = word === 0 || word === -1;
      const isSet = isPlain ? word === -1 : ((bitmap[bit >>> 3] ?? 0) & (1 << (bit & 7))) !== 0;
      if (isSet && start < 0) start = bit;
      if (!isSet && start >= 0) {
        this.#addClusters(group, start, bit - start);
        start = -1;
      }
      bit += isPlain ? 32 : 1;
    }
    if (start >= 0) this.#addClusters(group, start, bits - start);
  }

  #addClusters(group: number, first: number, count: number): void {
    const { superblock } = this.#store;
    const { clusterBlocks } = superblock;
    this.#clusters += count;
    this.#addRun(groupStart(superblock, group) + first * clusterBlocks, count * clusterBlocks);
  }

  #addRun(start: number, count: number): void {
    this.#used.add(start, Math.min(count, this.#store.blocks.blocksOnDevice - start));
  }

  #addStructures(group: number): void {
    const { superblock } = this.#store;
    const { clusterBlocks } = superblock;
    this.#structures ??= structureBlocks(this.#store);
    const start = groupStart(superblock, group);
    const end = start + this.#clustersIn(group) * clusterBlocks;
    let next = 0;
    for (let i = this.#structures.indexFrom(start); i < this.#structures.length; i++) {
      const from = Math.max(start, this.#structures.startAt(i));
      if (from >= end) break;
      const to = Math.min(end, this.#structures.startAt(i) + this.#structures.countAt(i));
      const first = Math.max(next, Math.floor((from - start) / clusterBlocks));
      next = Math.ceil((to - start) / clusterBlocks);
      if (next > first) this.#addClusters(group, first, next - first);
    }
  }
}

/** Superblocks and descriptors with their copies, bitmaps, inode tables. */
function structureBlocks({ superblock, groups }: ExtStore): ExtentSet {
  const blocks = new BlockCollector();
  const { inodesPerGroup, inodeSizeBytes, blockSizeBytes, blockCount } = superblock;
  const tableBlocks = Math.ceil((inodesPerGroup * inodeSizeBytes) / blockSizeBytes);
  for (let group = 0; group < groups.count; group++) {
    addHead(superblock, group, blocks);
    if (!groups.isKnown(group)) continue;
    blocks.add(groups.blockBitmap(group), 1);
    blocks.add(groups.inodeBitmap(group), 1);
    blocks.add(groups.inodeTable(group), tableBlocks);
  }
  return blocks.build(blockCount);
}

/** What a group begins with: a superblock, descriptors, room for more. */
function addHead(superblock: Superblock, group: number, blocks: BlockCollector): void {
  const { blockSizeBytes, descriptorSizeBytes, groupCount, firstMetaBg } = superblock;
  const start = groupStart(superblock, group);
  const perBlock = blockSizeBytes / descriptorSizeBytes;
  const all = descriptorBlockCount(superblock, groupCount);
  const isMeta = usesMetaGroups(superblock);
  if (hasSuperblock(superblock, group)) {
    const plain = isMeta ? Math.min(all, firstMetaBg) : all + superblock.reservedDescriptorBlocks;
    blocks.add(start, 1 + plain);
  }
  const number = Math.floor(group / perBlock);
  const isHolder = [0, 1, perBlock - 1].includes(group % perBlock);
  if (isMeta && number >= firstMetaBg && isHolder) {
    blocks.add(start + (hasSuperblock(superblock, group) ? 1 : 0), 1);
    if (group % perBlock === 0) blocks.add(descriptorBlock(superblock, number), 1);
  }
}
