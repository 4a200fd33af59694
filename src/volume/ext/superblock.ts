/**
 * The superblock: 1024 bytes at byte 1024 of the volume, with copies in other groups. Layout: the
 * Linux kernel's documentation, "ext4 Data Structures and Algorithms", section "Super Block".
 */
import { extCrc32c, NO_SEED } from "./checksums.ts";
import { COMPAT, INCOMPAT, RO_COMPAT } from "./features.ts";
import type { Features } from "./features.ts";

export const SUPERBLOCK_OFFSET = 1024;
export const SUPERBLOCK_BYTES = 1024;
export const ROOT_INODE = 2;

const MAGIC = 0xef53;
const BLOCK_BITS_MIN = 10;
const BLOCK_BITS_MAX = 16;
const CLUSTER_BITS_MAX = 29;
const OLD_INODE_BYTES = 128;
const OLD_FIRST_INODE = 11;
const OLD_DESCRIPTOR_BYTES = 32;
const DESCRIPTOR_BYTES_MIN_64BIT = 64;
const DESCRIPTOR_BYTES_MAX = 1024;
const DYNAMIC_REVISION = 1;
const CRC32C_TYPE = 1;
const UUID_BYTES = 16;

const AT = {
  inodes: 0x0,
  blocksLow: 0x4,
  freeBlocksLow: 0xc,
  firstDataBlock: 0x14,
  logBlockSize: 0x18,
  logClusterSize: 0x1c,
  blocksPerGroup: 0x20,
  clustersPerGroup: 0x24,
  inodesPerGroup: 0x28,
  mountSeconds: 0x2c,
  magic: 0x38,
  state: 0x3a,
  creatorOs: 0x48,
  revision: 0x4c,
  firstInode: 0x54,
  inodeSize: 0x58,
  groupNumber: 0x5a,
  compat: 0x5c,
  incompat: 0x60,
  roCompat: 0x64,
  uuid: 0x68,
  label: 0x78,
  lastMounted: 0x88,
  reservedDescriptorBlocks: 0xce,
  journalUuid: 0xd0,
  journalInode: 0xe0,
  journalDevice: 0xe4,
  hashSeed: 0xec,
  descriptorSize: 0xfe,
  firstMetaBg: 0x104,
  createdSeconds: 0x108,
  blocksHigh: 0x150,
  freeBlocksHigh: 0x158,
  mmpBlock: 0x168,
  checksumType: 0x175,
  errorCount: 0x194,
  userQuotaInode: 0x240,
  groupQuotaInode: 0x244,
  backupGroups: 0x24c,
  projectQuotaInode: 0x26c,
  checksumSeed: 0x270,
  orphanFileInode: 0x280,
  checksum: 0x3fc,
} as const;

/** Bits of the state field. */
export const STATE = { clean: 1, errors: 2 } as const;

export interface Superblock extends Features {
  readonly inodeCount: number;
  /** Blocks of the volume, whatever the device has. */
  readonly blockCount: number;
  readonly firstDataBlock: number;
  readonly blockSizeBytes: number;
  /** Blocks of a cluster: 1 without bigalloc. */
  readonly clusterBlocks: number;
  readonly blocksPerGroup: number;
  readonly inodesPerGroup: number;
  readonly groupCount: number;
  readonly inodeSizeBytes: number;
  /** Inodes below it are the system's, but for the root. */
  readonly firstInode: number;
  readonly descriptorSizeBytes: number;
  readonly reservedDescriptorBlocks: number;
  readonly firstMetaBg: number;
  /** Groups with copies of the superblock under sparse_super2. */
  readonly backupGroups: readonly number[];
  /** Group that this copy stands in. */
  readonly groupNumber: number;
  readonly state: number;
  readonly errorCount: number;
  readonly mountSeconds: number;
  readonly createdSeconds: number;
  readonly creatorOs: number;
  readonly uuid: Uint8Array;
  readonly label: string;
  readonly lastMounted: string;
  readonly journalUuid: Uint8Array;
  readonly journalInode: number;
  readonly journalDevice: number;
  readonly mmpBlock: number;
  /** Inodes that a directory never names, besides those below `firstInode`. */
  readonly hiddenInodes: readonly number[];
  readonly hasMetadataChecksums: boolean;
  readonly hasGroupChecksums: boolean;
  /** Where the sums of metadata_csum begin. */
  readonly checksumSeed: number;
}

export type ParsedSuperblock =
  | { readonly superblock: Superblock }
  /** `isOurs`: the bytes are those of a superblock all the same. */
  | { readonly fault: string; readonly isOurs: boolean; readonly isJournal?: boolean };

/** Parses and checks the 1024 bytes of a superblock; `fault` says what is wrong with them. */
export function parseSuperblock(bytes: Uint8Array): ParsedSuperblock {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint16(AT.magic, true) !== MAGIC) {
    return { fault: "it has no EF53 at byte 56", isOurs: false };
  }
  if ((view.getUint32(AT.incompat, true) & INCOMPAT.journalDevice) !== 0) {
    return { fault: "it is that of an external journal", isOurs: true, isJournal: true };
  }
  const isOurs = view.getUint32(AT.inodes, true) > 0 && view.getUint32(AT.blocksLow, true) > 0;
  const superblock = decode(view, bytes);
  if (typeof superblock === "string") return { fault: superblock, isOurs };
  const fault = faultOf(superblock, view) ?? checksumFault(superblock, view, bytes);
  return fault === undefined ? { superblock } : { fault, isOurs };
}

/** The superblock, or what keeps it from being one. */
function decode(view: DataView, bytes: Uint8Array): Superblock | string {
  const u32 = (at: number) => view.getUint32(at, true);
  const u16 = (at: number) => view.getUint16(at, true);
  const blockBits = BLOCK_BITS_MIN + u32(AT.logBlockSize);
  if (blockBits > BLOCK_BITS_MAX) return `its block size is 2^${blockBits} bytes`;
  const features = {
    compat: u32(AT.compat),
    incompat: u32(AT.incompat),
    roCompat: u32(AT.roCompat),
  };
  const has = (feature: number) => (features.incompat & feature) !== 0;
  const hasRo = (feature: number) => (features.roCompat & feature) !== 0;
  const clusterBits = hasRo(RO_COMPAT.bigalloc)
    ? BLOCK_BITS_MIN + u32(AT.logClusterSize)
    : blockBits;
  if (clusterBits < blockBits || clusterBits > CLUSTER_BITS_MAX) {
    return `its cluster size is 2^${clusterBits} bytes`;
  }
  const isDynamic = u32(AT.revision) >= DYNAMIC_REVISION;
  const is64bit = has(INCOMPAT.is64bit);
  const blockCount = u32(AT.blocksLow) + (is64bit ? u32(AT.blocksHigh) * 2 ** 32 : 0);
  const firstDataBlock = u32(AT.firstDataBlock);
  const blocksPerGroup = u32(AT.blocksPerGroup);
  const uuid = bytes.slice(AT.uuid, AT.uuid + UUID_BYTES);
  const hasMetadataChecksums = hasRo(RO_COMPAT.metadataChecksum);
  return {
    ...features,
    inodeCount: u32(AT.inodes),
    blockCount,
    firstDataBlock,
    blockSizeBytes: 2 ** blockBits,
    clusterBlocks: 2 ** (clusterBits - blockBits),
    blocksPerGroup,
    inodesPerGroup: u32(AT.inodesPerGroup),
    groupCount: Math.ceil((blockCount - firstDataBlock) / blocksPerGroup),
    inodeSizeBytes: isDynamic ? u16(AT.inodeSize) : OLD_INODE_BYTES,
    firstInode: isDynamic ? u32(AT.firstInode) : OLD_FIRST_INODE,
    descriptorSizeBytes: is64bit ? u16(AT.descriptorSize) : OLD_DESCRIPTOR_BYTES,
    reservedDescriptorBlocks: u16(AT.reservedDescriptorBlocks),
    firstMetaBg: u32(AT.firstMetaBg),
    backupGroups:
      (features.compat & COMPAT.sparseSuper2) === 0
        ? []
        : [u32(AT.backupGroups), u32(AT.backupGroups + 4)],
    groupNumber: u16(AT.groupNumber),
    state: u16(AT.state),
    errorCount: u32(AT.errorCount),
    mountSeconds: u32(AT.mountSeconds),
    createdSeconds: u32(AT.createdSeconds),
    creatorOs: u32(AT.creatorOs),
    uuid,
    label: textAt(bytes, AT.label, 16),
    lastMounted: textAt(bytes, AT.lastMounted, 64),
    journalUuid: bytes.slice(AT.journalUuid, AT.journalUuid + UUID_BYTES),
    journalInode: u32(AT.journalInode),
    journalDevice: u32(AT.journalDevice),
    mmpBlock: has(INCOMPAT.mmp) ? Number(view.getBigUint64(AT.mmpBlock, true)) : 0,
    hiddenInodes: [AT.userQuotaInode, AT.groupQuotaInode, AT.projectQuotaInode, AT.orphanFileInode]
      .map(u32)
      .filter((inode) => inode !== 0),
    hasMetadataChecksums,
    hasGroupChecksums: hasMetadataChecksums || hasRo(RO_COMPAT.groupChecksum),
    checksumSeed: has(INCOMPAT.checksumSeed) ? u32(AT.checksumSeed) : extCrc32c(NO_SEED, uuid),
  };
}

function textAt(bytes: Uint8Array, offset: number, length: number): string {
  const field = bytes.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return Buffer.from(end < 0 ? field : field.subarray(0, end)).toString("utf8");
}

/** What about the numbers cannot be. */
function faultOf(superblock: Superblock, view: DataView): string | undefined {
  const { blockSizeBytes, clusterBlocks, blocksPerGroup, inodesPerGroup, groupCount } = superblock;
  const { inodeSizeBytes, descriptorSizeBytes, blockCount, inodeCount, firstDataBlock } =
    superblock;
  const bitmapBits = 8 * blockSizeBytes;
  if (inodeCount === 0) return "it has no inodes";
  if (blockCount * blockSizeBytes > Number.MAX_SAFE_INTEGER) return `it has ${blockCount} blocks`;
  if (firstDataBlock > 1 || blockCount <= firstDataBlock) {
    return `its first data block is ${firstDataBlock} of ${blockCount}`;
  }
  const clustersPerGroup = blocksPerGroup / clusterBlocks;
  if (
    blocksPerGroup === 0 ||
    !Number.isInteger(clustersPerGroup) ||
    clustersPerGroup > bitmapBits
  ) {
    return `it has ${blocksPerGroup} blocks in each group`;
  }
  const isBigalloc = (superblock.roCompat & RO_COMPAT.bigalloc) !== 0;
  if (isBigalloc && clustersPerGroup !== view.getUint32(AT.clustersPerGroup, true)) {
    return `it has ${view.getUint32(AT.clustersPerGroup, true)} clusters in each group of ${blocksPerGroup} blocks`;
  }
  if (inodesPerGroup === 0 || inodesPerGroup > bitmapBits) {
    return `it has ${inodesPerGroup} inodes in each group`;
  }
  if (inodeCount > groupCount * inodesPerGroup) {
    return `it has ${inodeCount} inodes in ${groupCount} groups of ${inodesPerGroup}`;
  }
  if (!isPowerOfTwo(inodeSizeBytes, OLD_INODE_BYTES, blockSizeBytes)) {
    return `its inodes have ${inodeSizeBytes} bytes`;
  }
  const is64bit = (superblock.incompat & INCOMPAT.is64bit) !== 0;
  const descriptorMin = is64bit ? DESCRIPTOR_BYTES_MIN_64BIT : OLD_DESCRIPTOR_BYTES;
  if (!isPowerOfTwo(descriptorSizeBytes, descriptorMin, DESCRIPTOR_BYTES_MAX)) {
    return `its group descriptors have ${descriptorSizeBytes} bytes`;
  }
  if (superblock.reservedDescriptorBlocks > blockSizeBytes / 4) {
    return `it reserves ${superblock.reservedDescriptorBlocks} blocks for group descriptors`;
  }
  return undefined;
}

function isPowerOfTwo(value: number, min: number, max: number): boolean {
  return value >= min && value <= max && (value & (value - 1)) === 0;
}

function checksumFault(
  { hasMetadataChecksums }: Superblock,
  view: DataView,
  bytes: Uint8Array,
): string | undefined {
  if (!hasMetadataChecksums) return undefined;
  if (view.getUint8(AT.checksumType) !== CRC32C_TYPE) {
    return `its checksums are of the unknown type ${view.getUint8(AT.checksumType)}`;
  }
  const sum = extCrc32c(NO_SEED, bytes.subarray(0, AT.checksum));
  return sum === view.getUint32(AT.checksum, true) ? undefined : "its checksum is wrong";
}

/** Does a group begin with a copy of the superblock and the group descriptors? */
export function hasSuperblock(superblock: Superblock, group: number): boolean {
  if (group === 0) return true;
  if ((superblock.compat & COMPAT.sparseSuper2) !== 0) {
    return superblock.backupGroups.includes(group);
  }
  if ((superblock.roCompat & RO_COMPAT.sparseSuper) === 0 || group === 1) return true;
  return [3, 5, 7].some((base) => isPowerOf(group, base));
}

function isPowerOf(value: number, base: number): boolean {
  let power = base;
  while (power < value) power *= base;
  return power === value;
}

/** First block of a group. */
export function groupStart(superblock: Superblock, group: number): number {
  return superblock.firstDataBlock + group * superblock.blocksPerGroup;
}

export function formatUuid(uuid: Uint8Array): string {
  const hex = Buffer.from(uuid).toString("hex");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
