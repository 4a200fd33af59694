/**
 * Inodes, as they lie in a piece of the inode table: fields are decoded when asked, because a walk
 * over a hundred thousand of them needs only a few. Layout: "ext4 Data Structures and Algorithms",
 * section "Index Nodes".
 */
import type { NodeKind, NodeStat } from "../volume.ts";
import { extCrc32c } from "./checksums.ts";
import type { InodeChange } from "./fast-changes.ts";
import { INCOMPAT, RO_COMPAT } from "./features.ts";
import type { Superblock } from "./superblock.ts";

const AT = {
  mode: 0x0,
  uid: 0x2,
  sizeLow: 0x4,
  accessed: 0x8,
  changed: 0xc,
  modified: 0x10,
  deleted: 0x14,
  gid: 0x18,
  links: 0x1a,
  sectorsLow: 0x1c,
  flags: 0x20,
  block: 0x28,
  generation: 0x64,
  attributeBlockLow: 0x68,
  sizeHigh: 0x6c,
  sectorsHigh: 0x74,
  attributeBlockHigh: 0x76,
  uidHigh: 0x78,
  gidHigh: 0x7a,
  checksumLow: 0x7c,
  extraSize: 0x80,
  checksumHigh: 0x82,
  changedExtra: 0x84,
  modifiedExtra: 0x88,
  accessedExtra: 0x8c,
  created: 0x90,
  createdExtra: 0x94,
  projectId: 0x9c,
} as const;

/** What every inode has; larger ones have further fields and attributes behind. */
export const CORE_BYTES = 128;
/** The block numbers, the root of the extents, or the first bytes of inline data. */
export const BLOCK_FIELD = { offset: AT.block, lengthBytes: 60 } as const;
const SECTOR_BYTES = 512;

export const INODE_FLAG = {
  encrypted: 0x800,
  hashIndex: 0x1000,
  hugeFile: 0x40000,
  extents: 0x80000,
  attributeValue: 0x200000,
  inlineData: 0x10000000,
  casefold: 0x40000000,
} as const;

/** By the upper four bits of the mode. */
const KIND_OF_MODE: readonly (NodeKind | undefined)[] = [
  undefined,
  "fifo",
  "character",
  undefined,
  "directory",
  undefined,
  "block",
  undefined,
  "file",
  undefined,
  "symlink",
  undefined,
  "socket",
];

/** An inode with what its checksum covers besides; all volumes share it, as nothing awaits in between. */
let scratch = Buffer.alloc(0);

export class Inode {
  readonly number: number;
  readonly superblock: Superblock;
  /** Where it begins on the device. */
  readonly deviceOffset: number;
  /** A piece of the inode table, and where in it the inode begins. */
  readonly bytes: Uint8Array;
  readonly offset: number;
  /** What fast commits changed that is not in the bytes: the map of its blocks, and names. */
  readonly change: InodeChange | undefined;
  /** The bytes are not what is on the device: fast commits changed them, and no checksum holds. */
  readonly isReplayed: boolean;
  readonly #view: DataView;

  constructor(
    superblock: Superblock,
    number: number,
    piece: {
      readonly bytes: Uint8Array;
      readonly view: DataView;
      readonly isReplayed?: boolean;
    },
    place: { readonly offset: number; readonly deviceOffset: number },
    change?: InodeChange,
  ) {
    this.superblock = superblock;
    this.number = number;
    this.bytes = piece.bytes;
    this.offset = place.offset;
    this.deviceOffset = place.deviceOffset;
    this.change = change;
    this.isReplayed = piece.isReplayed === true;
    this.#view = piece.view;
  }

  get mode(): number {
    return this.#u16(AT.mode);
  }

  /** Undefined: the mode is of no kind that there is. */
  get kind(): NodeKind | undefined {
    return KIND_OF_MODE[this.mode >>> 12];
  }

  get flags(): number {
    return this.#u32(AT.flags);
  }

  hasFlag(flag: number): boolean {
    return (this.flags & flag) !== 0;
  }

  get links(): number {
    return this.#u16(AT.links);
  }

  /** Only files, and directories with large_dir, have an upper half. */
  get sizeBytes(): number {
    const low = this.#u32(AT.sizeLow);
    const kind = this.kind;
    const isWide =
      kind === "file" ||
      (kind === "directory" && (this.superblock.incompat & INCOMPAT.largeDir) !== 0);
    return isWide ? low + this.#u32(AT.sizeHigh) * 2 ** 32 : low;
  }

  get generation(): number {
    return this.#u32(AT.generation);
  }

  /** The block of extended attributes; 0 when there is none. */
  get attributeBlock(): number {
    const isWide = (this.superblock.incompat & INCOMPAT.is64bit) !== 0;
    return (
      this.#u32(AT.attributeBlockLow) + (isWide ? this.#u16(AT.attributeBlockHigh) * 2 ** 32 : 0)
    );
  }

  get allocatedBytes(): number {
    const { roCompat, blockSizeBytes } = this.superblock;
    const low = this.#u32(AT.sectorsLow);
    if ((roCompat & RO_COMPAT.hugeFile) === 0) return low * SECTOR_BYTES;
    const units = low + this.#u16(AT.sectorsHigh) * 2 ** 32;
    return units * (this.hasFlag(INODE_FLAG.hugeFile) ? blockSizeBytes : SECTOR_BYTES);
  }

  /** As Linux has it: files in their inodes must not look like holes to those who copy. */
  get #shownAllocatedBytes(): number {
    if (this.kind !== "file" || !this.hasFlag(INODE_FLAG.inlineData)) return this.allocatedBytes;
    return this.allocatedBytes + Math.ceil(this.sizeBytes / SECTOR_BYTES) * SECTOR_BYTES;
  }

  /** Bytes of fields behind the first 128. */
  get extraBytes(): number {
    return this.superblock.inodeSizeBytes > CORE_BYTES ? this.#u16(AT.extraSize) : 0;
  }

  /** The 60 bytes of block numbers, extents or data. */
  get blockField(): Uint8Array {
    const from = this.offset + AT.block;
    return this.bytes.subarray(from, from + BLOCK_FIELD.lengthBytes);
  }

  /** The project that a file counts for in quotas; 0 where there is none. */
  get projectId(): number {
    const hasProjects = (this.superblock.roCompat & RO_COMPAT.project) !== 0;
    return hasProjects && this.#hasExtra(AT.projectId) ? this.#u32(AT.projectId) : 0;
  }

  /** All bytes of the inode. */
  get all(): Uint8Array {
    return this.bytes.subarray(this.offset, this.offset + this.superblock.inodeSizeBytes);
  }

  /** Seed of the checksums of the blocks that belong to this inode. */
  get checksumSeed(): number {
    const numbers = new Uint8Array(8);
    const view = new DataView(numbers.buffer);
    view.setUint32(0, this.number, true);
    view.setUint32(4, this.generation, true);
    return extCrc32c(this.superblock.checksumSeed, numbers);
  }

  /** Names no object, as mkfs or an unlink left it. */
  get isFree(): boolean {
    return this.links === 0;
  }

  /** What is wrong with the inode itself. */
  get fault(): string | undefined {
    const { inodeSizeBytes, hasMetadataChecksums } = this.superblock;
    const { extraBytes } = this;
    if (extraBytes % 4 !== 0 || CORE_BYTES + extraBytes > inodeSizeBytes) {
      return `it claims ${extraBytes} bytes of extra fields in an inode of ${inodeSizeBytes}`;
    }
    const hasChecksum = hasMetadataChecksums && !this.isReplayed;
    if (hasChecksum && !this.#isChecksumRight()) return "its checksum is wrong";
    if (this.kind === undefined) return `its mode 0${this.mode.toString(8)} is of no known type`;
    if (!Number.isSafeInteger(this.sizeBytes)) return `it claims a size of ${this.sizeBytes} bytes`;
    return undefined;
  }

  stat(): NodeStat {
    const { kind = "file" } = this;
    return {
      id: this.number,
      kind,
      sizeBytes: this.sizeBytes,
      mode: this.mode & 0o7777,
      uid: this.#u16(AT.uid) + this.#u16(AT.uidHigh) * 2 ** 16,
      gid: this.#u16(AT.gid) + this.#u16(AT.gidHigh) * 2 ** 16,
      linkCount: this.links,
      modifiedMs: this.#time(AT.modified, AT.modifiedExtra),
      accessedMs: this.#time(AT.accessed, AT.accessedExtra),
      changedMs: this.#time(AT.changed, AT.changedExtra),
      createdMs: this.#hasExtra(AT.created) ? this.#time(AT.created, AT.createdExtra) : undefined,
      allocatedBytes: this.#shownAllocatedBytes,
      deviceNumber: kind === "block" || kind === "character" ? this.#deviceNumber() : undefined,
    };
  }

  /**
   * Seconds, signed; where there are extra fields these have two more bits of seconds, so that
   * times reach from 1901 to 2446, and nanoseconds.
   */
  #time(at: number, extraAt: number): number {
    const seconds = this.#view.getInt32(this.offset + at, true);
    if (!this.#hasExtra(extraAt)) return seconds * 1000;
    const extra = this.#u32(extraAt);
    return (seconds + (extra & 3) * 2 ** 32) * 1000 + (extra >>> 2) / 1e6;
  }

  #hasExtra(at: number): boolean {
    return CORE_BYTES + this.extraBytes >= at + 4;
  }

  /**
   * As stat(2) gives it on Linux: minor bits 0-7, major 8-19, minor bits 8-19 above. On the volume
   * the first word has the old 8:8 form, the second this one where the first is 0.
   */
  #deviceNumber(): number {
    const old = this.#u32(AT.block);
    return old !== 0 ? old & 0xffff : this.#u32(AT.block + 4);
  }

  #isChecksumRight(): boolean {
    const { inodeSizeBytes, checksumSeed } = this.superblock;
    const hasHigh = this.#hasHighChecksum();
    if (scratch.length !== 8 + inodeSizeBytes) scratch = Buffer.alloc(8 + inodeSizeBytes);
    scratch.writeUInt32LE(this.number, 0);
    scratch.writeUInt32LE(this.generation, 4);
    scratch.set(this.all, 8);
    scratch.writeUInt16LE(0, 8 + AT.checksumLow);
    if (hasHigh) scratch.writeUInt16LE(0, 8 + AT.checksumHigh);
    const sum = extCrc32c(checksumSeed, scratch);
    if (this.#u16(AT.checksumLow) !== (sum & 0xffff)) return false;
    return !hasHigh || this.#u16(AT.checksumHigh) === sum >>> 16;
  }

  #hasHighChecksum(): boolean {
    return CORE_BYTES + this.extraBytes >= AT.checksumHigh + 2;
  }

  #u16(at: number): number {
    return this.#view.getUint16(this.offset + at, true);
  }

  #u32(at: number): number {
    return this.#view.getUint32(this.offset + at, true);
  }
}
