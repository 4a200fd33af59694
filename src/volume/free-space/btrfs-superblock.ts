/**
 * The superblock of Btrfs and its copies, as far as it takes to know whether the tree of extents
 * tells all that is in use.
 *
 * Source: "On-disk Format" of the Btrfs documentation; all fields are little-endian.
 */
import { crc32c } from "@node-rs/crc32";
import type { BlockDevice } from "../../device/block-device.ts";

export const SUPERBLOCK_BYTES = 4096;
/** Where the copies are; those behind the end of the volume are not there. */
const SUPERBLOCK_OFFSETS = [64 * 1024, 64 * 1024 ** 2, 256 * 1024 ** 3] as const;
const MAGIC = "_BHRfS_M";
const FIELD = {
  checksum: 0,
  checked: 0x20,
  uuid: 0x20,
  ownOffset: 0x30,
  flags: 0x38,
  magic: 0x40,
  generation: 0x48,
  rootTree: 0x50,
  chunkTree: 0x58,
  logTree: 0x60,
  volumeBytes: 0x70,
  usedBytes: 0x78,
  deviceCount: 0x88,
  nodeBytes: 0x94,
  incompatible: 0xbc,
  checksumKind: 0xc4,
  deviceId: 0xc9,
  deviceUsedBytes: 0xd9,
} as const;
const CHECKSUM_CRC32C = 0;
/** Nothing else is said of a volume at rest: not that it is a seed, a dump or half changed. */
const FLAG_WRITTEN = 1n;
/**
 * Features with which the tree of extents is what it has always been: all of Linux 6 but zoned
 * devices, the second extent tree, the tree of RAID stripes and what is later.
 */
const KNOWN_INCOMPATIBLE = 0x1_0fffn;

export interface BtrfsSuperblock {
  readonly generation: bigint;
  /** Logical addresses of the two trees with which everything begins. */
  readonly rootTree: number;
  readonly chunkTree: number;
  readonly volumeBytes: number;
  /** Bytes of all extents, each counted once. */
  readonly usedBytes: number;
  readonly nodeBytes: number;
  readonly deviceId: number;
  /** Bytes of the device that chunks take up, all copies. */
  readonly deviceUsedBytes: number;
  /** Where the copies are, in bytes. */
  readonly copies: readonly number[];
  /** All copies as they were read, to see whether they are changed later. */
  readonly bytes: Buffer;
}

/** The superblock, if all copies are sound and agree that the volume is at rest; otherwise why not. */
export async function readBtrfsSuperblock(device: BlockDevice): Promise<BtrfsSuperblock | string> {
  const offsets = SUPERBLOCK_OFFSETS.filter((at) => at + SUPERBLOCK_BYTES <= device.sizeBytes);
  const [first, ...copies] = await Promise.all(
    offsets.map(async (offset) => {
      const bytes = Buffer.alloc(SUPERBLOCK_BYTES);
      await device.read(offset, bytes);
      return bytes;
    }),
  );
  if (first === undefined) return "it has no superblock";
  const volumeBytes = toNumber(first, FIELD.volumeBytes);
  const there = offsets.filter((at) => at + SUPERBLOCK_BYTES <= volumeBytes);
  const all = [first, ...copies].slice(0, there.length);
  for (const [index, bytes] of all.entries()) {
    const fault = faultOf(bytes, there[index] ?? 0) ?? disagreement(bytes, first);
    if (fault !== undefined) return `its superblock at offset ${there[index] ?? 0} ${fault}`;
  }
  return (
    unusableFor(first, device.sizeBytes) ?? {
      generation: first.readBigUInt64LE(FIELD.generation),
      rootTree: toNumber(first, FIELD.rootTree),
      chunkTree: toNumber(first, FIELD.chunkTree),
      volumeBytes,
      usedBytes: toNumber(first, FIELD.usedBytes),
      nodeBytes: first.readUInt32LE(FIELD.nodeBytes),
      deviceId: toNumber(first, FIELD.deviceId),
      deviceUsedBytes: toNumber(first, FIELD.deviceUsedBytes),
      copies: there,
      bytes: Buffer.concat(all),
    }
  );
}

function toNumber(bytes: Buffer, offset: number): number {
  return Number(bytes.readBigUInt64LE(offset));
}

function faultOf(bytes: Buffer, offset: number): string | undefined {
  if (bytes.toString("latin1", FIELD.magic, FIELD.magic + MAGIC.length) !== MAGIC) {
    return "is not there";
  }
  if (toNumber(bytes, FIELD.ownOffset) !== offset) return "belongs elsewhere";
  if (bytes.readBigUInt64LE(FIELD.flags) !== FLAG_WRITTEN) return "says it is not at rest";
  // With a log tree some of what is in use is in that tree, and not yet in the tree of extents.
  if (bytes.readBigUInt64LE(FIELD.logTree) !== 0n) return "says it was not cleanly unmounted";
  if (bytes.readUInt16LE(FIELD.checksumKind) !== CHECKSUM_CRC32C) return undefined;
  const found = crc32c(bytes.subarray(FIELD.checked));
  return bytes.readUInt32LE(FIELD.checksum) === found ? undefined : "does not match its checksum";
}

/** Copies are the same but for their place and their checksum. */
function disagreement(copy: Buffer, first: Buffer): string | undefined {
  const isSame =
    copy.readBigUInt64LE(FIELD.generation) === first.readBigUInt64LE(FIELD.generation) &&
    copy.subarray(FIELD.uuid, FIELD.ownOffset).equals(first.subarray(FIELD.uuid, FIELD.ownOffset));
  return isSame ? undefined : "is older than the first";
}

function unusableFor(bytes: Buffer, deviceBytes: number): string | undefined {
  if (toNumber(bytes, FIELD.deviceCount) !== 1) return "it lies on several devices";
  if ((bytes.readBigUInt64LE(FIELD.incompatible) & ~KNOWN_INCOMPATIBLE) !== 0n) {
    return "it has features that are not known here";
  }
  const nodeBytes = bytes.readUInt32LE(FIELD.nodeBytes);
  const isPlausible =
    nodeBytes >= 4096 &&
    nodeBytes <= 65536 &&
    Number.isInteger(Math.log2(nodeBytes)) &&
    toNumber(bytes, FIELD.volumeBytes) <= deviceBytes;
  return isPlausible ? undefined : "its superblock makes no sense";
}
