/**
 * The group descriptors: where each group has its bitmaps and its part of the inode table. They are
 * kept as they are on the volume, 32 or 64 bytes for each group, and decoded when asked.
 *
 * A descriptor that fails its checksum, or points outside the volume, is looked for in the copies
 * that other groups hold. Nobody keeps those up to date but for the locations: from a copy the
 * counts and the "uninitialised" flags are not believed, nor from a descriptor that has no sound copy
 * and is wrong in its checksum alone. Layout: "ext4 Data Structures and
 * Algorithms", section "Block Group Descriptors".
 */
import { ReelError } from "../../errors.ts";
import type { VolumeProblem } from "../volume.ts";
import { crc16, crcOfUint32, extCrc32c } from "./checksums.ts";
import type { DeviceBlocks } from "./device-blocks.ts";
import { READ_BYTES_MAX } from "./device-blocks.ts";
import { INCOMPAT } from "./features.ts";
import { groupStart, hasSuperblock } from "./superblock.ts";
import type { Superblock } from "./superblock.ts";

/** A million groups of 64 bytes: 128 TiB in blocks of 4 KiB. */
const TABLE_BYTES_MAX = 64 * 1024 * 1024;
/** Blocks of descriptors that are looked for in copies, and copies that are looked at. */
const BLOCKS_RECOVERED_MAX = 256;
const COPIES_MAX = 3;
const WIDE_DESCRIPTOR_BYTES = 64;
const CRC16_SEED = 0xffff;

const AT = {
  blockBitmap: 0x0,
  inodeBitmap: 0x4,
  inodeTable: 0x8,
  freeBlocks: 0xc,
  flags: 0x12,
  blockBitmapChecksum: 0x18,
  inodeBitmapChecksum: 0x1a,
  unusedInodes: 0x1c,
  checksum: 0x1e,
  /** The upper halves, in descriptors of 64 bytes. */
  blockBitmapHigh: 0x20,
  inodeBitmapHigh: 0x24,
  inodeTableHigh: 0x28,
  freeBlocksHigh: 0x2c,
  unusedInodesHigh: 0x32,
  blockBitmapChecksumHigh: 0x38,
  inodeBitmapChecksumHigh: 0x3a,
} as const;

const CHECKSUM_BYTES = 2;
const FLAG = { inodesUninitialised: 1, blocksUninitialised: 2 } as const;

/** How far a descriptor can be believed: not at all, in where things lie, in everything. */
const TRUST = { none: 0, places: 1, full: 2 } as const;

export class GroupTable {
  readonly count: number;
  readonly #superblock: Superblock;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #trust: Uint8Array;
  readonly #size: number;
  /** Blocks of copies that were used. */
  readonly copyBlocks: number[] = [];

  private constructor(superblock: Superblock, count: number, bytes: Uint8Array) {
    this.count = count;
    this.#superblock = superblock;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#trust = new Uint8Array(count);
    this.#size = superblock.descriptorSizeBytes;
  }

  /**
   * Reads all descriptors, and what is wrong with them into `problems`. Throws "unsupported" for
   * more groups than are kept in memory.
   */
  static async load(
    blocks: DeviceBlocks,
    superblock: Superblock,
    problems: VolumeProblem[],
  ): Promise<GroupTable> {
    const count = groupsToRead(blocks, superblock);
    const tableBlocks = descriptorBlockCount(superblock, count);
    const bytes = new Uint8Array(tableBlocks * superblock.blockSizeBytes);
    await readTable(blocks, superblock, bytes);
    const table = new GroupTable(superblock, count, bytes);
    const unsound: number[] = [];
    for (let group = 0; group < count; group++) {
      if (table.#faultIn(bytes, group, group) === undefined) table.#trust[group] = TRUST.full;
      else unsound.push(group);
    }
    if (unsound.length > 0) await table.#recover(blocks, unsound, problems);
    return table;
  }

  /** Can anything be said of the group? */
  isKnown(group: number): boolean {
    return this.#trust[group] !== TRUST.none;
  }

  blockBitmap(group: number): number {
    return this.#location(group, AT.blockBitmap, AT.blockBitmapHigh);
  }

  inodeBitmap(group: number): number {
    return this.#location(group, AT.inodeBitmap, AT.inodeBitmapHigh);
  }

  /** First block of the group's part of the inode table. */
  inodeTable(group: number): number {
    return this.#location(group, AT.inodeTable, AT.inodeTableHigh);
  }

  /** Free clusters as the descriptor counts them. */
  freeClusters(group: number): number {
    return this.#halves(group, AT.freeBlocks, AT.freeBlocksHigh);
  }

  /** No bitmap on the volume: nothing but structures is in use. */
  isBlockBitmapUnused(group: number): boolean {
    return this.#hasFlag(group, FLAG.blocksUninitialised);
  }

  /** Inodes at the start of the table that may be in use; undefined when the descriptor does not say. */
  inodesInUse(group: number): number | undefined {
    const { hasGroupChecksums, inodesPerGroup } = this.#superblock;
    if (!hasGroupChecksums || this.#trust[group] !== TRUST.full) return undefined;
    if (this.#hasFlag(group, FLAG.inodesUninitialised)) return 0;
    const unused = this.#halves(group, AT.unusedInodes, AT.unusedInodesHigh);
    return Math.max(0, inodesPerGroup - unused);
  }

  /** Is this the sum of the group's block bitmap (true also where there are no sums)? */
  isBlockBitmapSound(group: number, bitmap: Uint8Array): boolean {
    const { blocksPerGroup, clusterBlocks, hasMetadataChecksums, checksumSeed } = this.#superblock;
    if (!hasMetadataChecksums || this.#trust[group] !== TRUST.full) return true;
    const covered = bitmap.subarray(0, blocksPerGroup / clusterBlocks / 8);
    const sum = extCrc32c(checksumSeed, covered);
    return this.#isSum(group, sum, AT.blockBitmapChecksum, AT.blockBitmapChecksumHigh);
  }

  /** The same for the inode bitmap. */
  isInodeBitmapSound(group: number, bitmap: Uint8Array): boolean {
    const { inodesPerGroup, hasMetadataChecksums, checksumSeed } = this.#superblock;
    if (!hasMetadataChecksums || this.#trust[group] !== TRUST.full) return true;
    const sum = extCrc32c(checksumSeed, bitmap.subarray(0, inodesPerGroup / 8));
    return this.#isSum(group, sum, AT.inodeBitmapChecksum, AT.inodeBitmapChecksumHigh);
  }

  #isSum(group: number, sum: number, low: number, high: number): boolean {
    const at = group * this.#size;
    const isLow = this.#view.getUint16(at + low, true) === (sum & 0xffff);
    if (this.#size < WIDE_DESCRIPTOR_BYTES) return isLow;
    return isLow && this.#view.getUint16(at + high, true) === sum >>> 16;
  }

  /** Flags count only where a checksum vouches for them, and never in a copy. */
  #hasFlag(group: number, flag: number): boolean {
    if (!this.#superblock.hasGroupChecksums || this.#trust[group] !== TRUST.full) return false;
    return (this.#view.getUint16(group * this.#size + AT.flags, true) & flag) !== 0;
  }

  #location(group: number, low: number, high: number): number {
    return locationIn(this.#view, group * this.#size, low, high, this.#size);
  }

  #halves(group: number, low: number, high: number): number {
    const at = group * this.#size;
    const upper = this.#size < WIDE_DESCRIPTOR_BYTES ? 0 : this.#view.getUint16(at + high, true);
    return this.#view.getUint16(at + low, true) + upper * 2 ** 16;
  }

  /** What is wrong with the descriptor of `group`, which is number `index` in `bytes`. */
  #faultIn(bytes: Uint8Array, index: number, group: number): string | undefined {
    return this.#placeFault(bytes, index) ?? this.#checksumFault(bytes, index, group);
  }

  /** A place outside the volume. */
  #placeFault(bytes: Uint8Array, index: number): string | undefined {
    const { blockCount, inodesPerGroup, inodeSizeBytes, blockSizeBytes } = this.#superblock;
    const size = this.#size;
    const view = new DataView(bytes.buffer, bytes.byteOffset + index * size, size);
    const tableBlocks = Math.ceil((inodesPerGroup * inodeSizeBytes) / blockSizeBytes);
    const places = [
      ["block bitmap", AT.blockBitmap, AT.blockBitmapHigh, 1],
      ["inode bitmap", AT.inodeBitmap, AT.inodeBitmapHigh, 1],
      ["inode table", AT.inodeTable, AT.inodeTableHigh, tableBlocks],
    ] as const;
    for (const [what, low, high, length] of places) {
      const block = locationIn(view, 0, low, high, size);
      if (block <= this.#superblock.firstDataBlock || block + length > blockCount) {
        return `it puts the ${what} at block ${block}, outside the volume`;
      }
    }
    return undefined;
  }

  #checksumFault(bytes: Uint8Array, index: number, group: number): string | undefined {
    if (!this.#superblock.hasGroupChecksums) return undefined;
    const descriptor = bytes.subarray(index * this.#size, (index + 1) * this.#size);
    const sum = descriptorChecksum(this.#superblock, group, descriptor);
    const stored = (descriptor[AT.checksum] ?? 0) + (descriptor[AT.checksum + 1] ?? 0) * 256;
    return sum === stored ? undefined : "its checksum is wrong";
  }

  /** Takes what can be had of unsound descriptors from their copies. */
  async #recover(
    blocks: DeviceBlocks,
    unsound: readonly number[],
    problems: VolumeProblem[],
  ): Promise<void> {
    const { blockSizeBytes } = this.#superblock;
    const perBlock = blockSizeBytes / this.#size;
    const block = new Uint8Array(blockSizeBytes);
    const numbers = [...new Set(unsound.map((group) => Math.floor(group / perBlock)))];
    for (const number of numbers.slice(0, BLOCKS_RECOVERED_MAX)) {
      for (const place of copiesOf(this.#superblock, number)) {
        if (blocks.faultOf(place, 1) !== undefined) continue;
        await blocks.device.read(place * blockSizeBytes, block);
        this.copyBlocks.push(place);
        for (let index = 0; index < perBlock; index++) {
          const group = number * perBlock + index;
          if (group >= this.count || this.#trust[group] !== TRUST.none) continue;
          if (this.#faultIn(block, index, group) !== undefined) continue;
          const outcome = `the copy in block ${place} is used for where things lie`;
          problems.push(this.#problemOf(group, outcome));
          const bytes = block.subarray(index * this.#size, (index + 1) * this.#size);
          this.#bytes.set(bytes, group * this.#size);
          this.#trust[group] = TRUST.places;
        }
      }
    }
    for (const group of unsound) {
      if (this.#trust[group] !== TRUST.none) continue;
      if (this.#placeFault(this.#bytes, group) === undefined) {
        problems.push(this.#problemOf(group, "it is used for where things lie all the same"));
        this.#trust[group] = TRUST.places;
      } else problems.push(this.#problemOf(group, "its files cannot be read"));
    }
  }

  #problemOf(group: number, outcome: string): VolumeProblem {
    const fault = this.#faultIn(this.#bytes, group, group) ?? "damaged";
    return { where: `descriptor of group ${group}`, message: `${fault}; ${outcome}` };
  }
}

function locationIn(view: DataView, at: number, low: number, high: number, size: number): number {
  const upper = size < WIDE_DESCRIPTOR_BYTES ? 0 : view.getUint32(at + high, true);
  return view.getUint32(at + low, true) + upper * 2 ** 32;
}

/** The 16 bits that a descriptor should have as its checksum. */
function descriptorChecksum(superblock: Superblock, group: number, bytes: Uint8Array): number {
  const rest = AT.checksum + CHECKSUM_BYTES;
  if (superblock.hasMetadataChecksums) {
    const copy = bytes.slice();
    copy.fill(0, AT.checksum, rest);
    return extCrc32c(crcOfUint32(superblock.checksumSeed, group), copy) & 0xffff;
  }
  const number = new Uint8Array([group, group >>> 8, group >>> 16, group >>> 24]);
  const sum = crc16(crc16(CRC16_SEED, superblock.uuid), number);
  return crc16(crc16(sum, bytes.subarray(0, AT.checksum)), bytes.subarray(rest));
}

/** Groups to read descriptors of: all, or those on the device where the volume claims too many. */
function groupsToRead(blocks: DeviceBlocks, superblock: Superblock): number {
  const { groupCount, descriptorSizeBytes, firstDataBlock, blocksPerGroup } = superblock;
  const groupsMax = TABLE_BYTES_MAX / descriptorSizeBytes;
  if (groupCount <= groupsMax) return groupCount;
  const onDevice = Math.ceil((blocks.blocksOnDevice - firstDataBlock) / blocksPerGroup);
  if (onDevice <= groupsMax) return Math.max(0, onDevice);
  throw new ReelError(
    "unsupported",
    `cannot read ${blocks.device.name}: it has ${groupCount} block groups, more than ${groupsMax}`,
  );
}

/** Blocks that the descriptors of `groups` groups take. */
export function descriptorBlockCount(superblock: Superblock, groups: number): number {
  return Math.ceil((groups * superblock.descriptorSizeBytes) / superblock.blockSizeBytes);
}

/** Where block `number` of the descriptors is: behind the superblock, or, with meta_bg, in its group. */
export function descriptorBlock(superblock: Superblock, number: number): number {
  const { blockSizeBytes, descriptorSizeBytes, firstDataBlock } = superblock;
  const superblockBlock = Math.floor(1024 / blockSizeBytes);
  if (!isInMetaGroup(superblock, number)) return superblockBlock + 1 + number;
  const group = number * (blockSizeBytes / descriptorSizeBytes);
  // In blocks of 1 KiB with bigalloc the superblock is in block 1 of a group that begins at 0.
  const shift = number === 0 && blockSizeBytes === 1024 && firstDataBlock === 0 ? 1 : 0;
  return groupStart(superblock, group) + (hasSuperblock(superblock, group) ? 1 : 0) + shift;
}

function isInMetaGroup(superblock: Superblock, number: number): boolean {
  return usesMetaGroups(superblock) && number >= superblock.firstMetaBg;
}

/** meta_bg: descriptors stand in the groups that they describe. */
export function usesMetaGroups({ incompat }: Superblock): boolean {
  return (incompat & INCOMPAT.metaBg) !== 0;
}

/** Where copies of block `number` of the descriptors are. */
export function copiesOf(superblock: Superblock, number: number): number[] {
  const { groupCount, blockSizeBytes, descriptorSizeBytes } = superblock;
  const perBlock = blockSizeBytes / descriptorSizeBytes;
  if (isInMetaGroup(superblock, number)) {
    const first = number * perBlock;
    return [first + 1, first + perBlock - 1]
      .filter((group) => group < groupCount)
      .map((group) => groupStart(superblock, group) + (hasSuperblock(superblock, group) ? 1 : 0));
  }
  const places: number[] = [];
  for (let group = 1; group < groupCount && places.length < COPIES_MAX; group++) {
    if (hasSuperblock(superblock, group)) places.push(groupStart(superblock, group) + 1 + number);
  }
  return places;
}

/** Fills `bytes` with the descriptors; what is not on the device stays zero. */
async function readTable(
  blocks: DeviceBlocks,
  superblock: Superblock,
  bytes: Uint8Array,
): Promise<void> {
  const { blockSizeBytes } = superblock;
  const total = bytes.length / blockSizeBytes;
  const runMax = READ_BYTES_MAX / blockSizeBytes;
  for (let from = 0; from < total;) {
    const start = descriptorBlock(superblock, from);
    let count = 1;
    while (
      count < runMax &&
      from + count < total &&
      descriptorBlock(superblock, from + count) === start + count
    ) {
      count++;
    }
    const onDevice = Math.min(count, Math.max(0, blocks.blocksOnDevice - start));
    const at = from * blockSizeBytes;
    const target = bytes.subarray(at, at + onDevice * blockSizeBytes);
    await blocks.device.read(onDevice === 0 ? 0 : start * blockSizeBytes, target);
    from += count;
  }
}
