/**
 * Where everything is in the blocks of a JBD2 journal. All numbers are big-endian.
 *
 * Source: "Journal (jbd2)" in the kernel's documentation of ext4
 * (Documentation/filesystems/ext4/journal.rst) and the structures of include/linux/jbd2.h.
 */

export const JOURNAL_MAGIC = 0xc03b3998;

/** First three fields of every block that is not a copy of a filesystem block. */
export const HEADER = {
  magic: 0, // u32
  blockType: 4, // u32
  sequence: 8, // u32, number of the transaction
} as const;
export const HEADER_BYTES = 12;

export const BLOCK_TYPE = {
  descriptor: 1,
  commit: 2,
  superblockV1: 3,
  superblockV2: 4,
  revoke: 5,
} as const;

/** The superblock, block 0 of the journal. From `featureCompat` on in version 2 only. */
export const SUPERBLOCK = {
  blockSizeBytes: 12, // u32
  lengthBlocks: 16, // u32, of the whole journal
  firstBlock: 20, // u32, first block of the log
  sequence: 24, // u32, first transaction expected in the log
  startBlock: 28, // u32, where the log starts; 0: it is empty
  errno: 32, // s32, error for which the filesystem stopped writing
  featureCompat: 36, // u32
  featureIncompat: 40, // u32
  featureReadOnlyCompat: 44, // u32
  uuid: 48, // 16 bytes
  checksumType: 80, // u8
  fastCommitBlocks: 84, // u32, 0: the default
  checksum: 252, // u32, crc32c of the 1024 bytes
} as const;
export const SUPERBLOCK_BYTES = 1024;
export const UUID_BYTES = 16;

export const COMPAT_CHECKSUM = 0x1;
export const INCOMPAT = {
  revoke: 0x01,
  bits64: 0x02,
  asyncCommit: 0x04,
  checksumV2: 0x08,
  checksumV3: 0x10,
  fastCommit: 0x20,
} as const;

/** Kinds of checksum, in `checksumType` and in commit blocks. */
export const CHECKSUM_TYPE_CRC32 = 1;
export const CHECKSUM_TYPE_CRC32C = 4;

/**
 * A tag of a descriptor block: one for each block that follows. With checksums v3 it takes 16 bytes
 * and `flags` are the low half of a u32; else 8, or 12 with 64-bit numbers, and 2 more at its end
 * with checksums v2. The UUID of the volume follows unless SAME_UUID is set.
 */
export const TAG = {
  block: 0, // u32, low half of the block's number on the volume
  checksum16: 4, // u16, v2
  flags: 6, // u16
  blockHigh: 8, // u32, with 64-bit numbers
  checksum32: 12, // u32, v3
} as const;

/** `deleted` (4) exists in the layout, but nothing has ever written it or looked at it. */
export const TAG_FLAG = {
  /** The copy began with the journal's magic number, which was zeroed in the log. */
  escaped: 1,
  sameUuid: 2,
  last: 8,
} as const;

export const REVOKE = {
  usedBytes: 12, // u32, of this block, header included
  records: 16, // u32 each, u64 with 64-bit numbers
} as const;

export const COMMIT = {
  checksumType: 12, // u8
  checksumSize: 13, // u8
  checksum: 16, // u32, the first of eight
  seconds: 48, // u64
} as const;
/** What a commit block says; zeros follow. */
export const COMMIT_BYTES = 64;

/** With checksums v2 and v3 descriptor and revoke blocks end in a u32 checksum. */
export const TAIL_BYTES = 4;
