/** Packing attributes the way the addon reads them, and what stands in for what a format lacks. */
import type { NodeKind, NodeStat, TreeStats } from "../tree/file-tree.ts";

/** File type bits of st_mode. */
const TYPE_BITS: Readonly<Record<NodeKind, number>> = {
  fifo: 0o010000,
  character: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};

const WRITE_BITS = 0o222;
const MODE_BITS = 0o7777;
const TYPE_MASK = 0o170000;

/** st_mode of a regular file, or of whatever mknod(2) was asked to make. */
export function isRegularFile(mode: number): boolean {
  const type = mode & TYPE_MASK;
  return type === TYPE_BITS.file || type === 0;
}

export interface Ownership {
  readonly uid: number;
  readonly gid: number;
  /** Taken away from the modes of nodes that have none of their own. */
  readonly umask: number;
  /** Mode of files that have none of their own, before the umask. */
  readonly fileMode: number;
}

const DIRECTORY_MODE = 0o777;
const SYMLINK_MODE = 0o777;

/** Permission bits of a node: its own, or the mount's for its kind. */
export function permissionsOf(stat: NodeStat, owner: Ownership): number {
  const bits = stat.mode === undefined ? defaultMode(stat.kind, owner) : stat.mode & MODE_BITS;
  // A directory marked read-only on FAT or NTFS is a decorated folder, not one closed for writing.
  return stat.readOnly === true && stat.kind !== "directory" ? bits & ~WRITE_BITS : bits;
}

function defaultMode(kind: NodeKind, owner: Ownership): number {
  if (kind === "symlink") return SYMLINK_MODE;
  return (kind === "directory" ? DIRECTORY_MODE : owner.fileMode) & ~owner.umask;
}

/** 32-bit words of a packed stat; 64-bit values lie low word first. */
const STAT = {
  mode: 0,
  uid: 1,
  gid: 2,
  size: 3,
  linkCount: 6,
  inode: 7,
  device: 8,
  blockSize: 9,
  blocks: 10,
  accessedMs: 12,
  modifiedMs: 14,
  changedMs: 16,
  words: 18,
} as const;

const STAT_BLOCK_BYTES = 512;
/** What programs take as a good size for reads: that of one request to this filesystem. */
const PREFERRED_IO_BYTES = 128 * 1024;

export function newStatWords(): Uint32Array {
  return new Uint32Array(STAT.words);
}

/** Fills `words` with what stat(2) shows; `inode` is the node's number, see inode-numbers.ts. */
export function packStat(
  words: Uint32Array,
  stat: NodeStat,
  owner: Ownership,
  inode: number,
): void {
  words[STAT.mode] = TYPE_BITS[stat.kind] | permissionsOf(stat, owner);
  words[STAT.uid] = stat.uid ?? owner.uid;
  words[STAT.gid] = stat.gid ?? owner.gid;
  packWide(words, STAT.size, stat.sizeBytes);
  words[STAT.linkCount] = stat.linkCount;
  words[STAT.inode] = inode;
  words[STAT.device] = stat.deviceNumber ?? 0;
  words[STAT.blockSize] = PREFERRED_IO_BYTES;
  packWide(words, STAT.blocks, Math.ceil(stat.allocatedBytes / STAT_BLOCK_BYTES));
  packWide(words, STAT.accessedMs, stat.accessedMs);
  packWide(words, STAT.modifiedMs, stat.modifiedMs);
  packWide(words, STAT.changedMs, stat.changedMs);
}

/** The addon has whole milliseconds from 1970 on; what lies before is shown as 1970. */
function packWide(words: Uint32Array, index: number, value: number): void {
  const whole = value > 0 ? Math.floor(value) : 0;
  words[index] = whole >>> 0;
  words[index + 1] = whole / 2 ** 32;
}

/**
 * Packed stats of which a directory listing uses two words: kind and inode number. They are views of
 * one piece of memory: a hundred thousand entries are one allocation.
 */
export function packListing(
  kinds: readonly NodeKind[],
  inodeOf: (index: number) => number,
): readonly Uint32Array[] {
  const memory = new Uint32Array(kinds.length * STAT.words);
  return kinds.map((kind, index) => {
    const at = index * STAT.words;
    memory[at + STAT.mode] = TYPE_BITS[kind];
    memory[at + STAT.inode] = inodeOf(index);
    return memory.subarray(at, at + STAT.words);
  });
}

const STATFS = {
  blockSize: 0,
  fragmentSize: 1,
  blocks: 2,
  blocksFree: 3,
  blocksAvailable: 4,
  files: 5,
  filesFree: 6,
  filesAvailable: 7,
  nameMax: 10,
  words: 11,
} as const;

const WORD_MAX = 2 ** 32 - 1;

export function newStatfsWords(): Uint32Array {
  return new Uint32Array(STATFS.words);
}

/**
 * What statfs(2) shows. The addon has 32 bits for counts, so the blocks of a large volume are
 * reported in larger units: `df` still shows the true sizes.
 */
export function packStatfs(stats: TreeStats): Uint32Array {
  const words = newStatfsWords();
  let scale = 1;
  while (stats.blocks / scale > WORD_MAX) scale *= 2;
  const size = Math.min(WORD_MAX, stats.blockSizeBytes * scale);
  const count = (value: number): number => Math.min(WORD_MAX, Math.max(0, Math.floor(value)));
  words[STATFS.blockSize] = size;
  words[STATFS.fragmentSize] = size;
  words[STATFS.blocks] = count(stats.blocks / scale);
  words[STATFS.blocksFree] = count(stats.blocksFree / scale);
  words[STATFS.blocksAvailable] = words[STATFS.blocksFree] ?? 0;
  words[STATFS.files] = count(stats.files);
  words[STATFS.filesFree] = count(stats.filesFree);
  words[STATFS.filesAvailable] = words[STATFS.filesFree] ?? 0;
  words[STATFS.nameMax] = count(stats.nameMaxBytes);
  return words;
}
