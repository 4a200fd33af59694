/**
 * The feature words of a superblock, by the names that mke2fs and tune2fs use. Sources: the Linux
 * kernel's documentation "ext4 Data Structures and Algorithms" and ext4(5).
 */

/** Features that change what lies where: a reader must know each one that is set. */
export const INCOMPAT = {
  compression: 0x1,
  filetype: 0x2,
  recover: 0x4,
  journalDevice: 0x8,
  metaBg: 0x10,
  extents: 0x40,
  is64bit: 0x80,
  mmp: 0x100,
  flexBg: 0x200,
  eaInode: 0x400,
  dirData: 0x1000,
  checksumSeed: 0x2000,
  largeDir: 0x4000,
  inlineData: 0x8000,
  encrypt: 0x10000,
  casefold: 0x20000,
} as const;

/** Features that only a writer must know. */
export const RO_COMPAT = {
  sparseSuper: 0x1,
  largeFile: 0x2,
  btreeDir: 0x4,
  hugeFile: 0x8,
  groupChecksum: 0x10,
  dirNlink: 0x20,
  extraIsize: 0x40,
  snapshot: 0x80,
  quota: 0x100,
  bigalloc: 0x200,
  metadataChecksum: 0x400,
  replica: 0x800,
  readOnly: 0x1000,
  project: 0x2000,
  sharedBlocks: 0x4000,
  verity: 0x8000,
  orphanPresent: 0x10000,
} as const;

export const COMPAT = {
  hasJournal: 0x4,
  sparseSuper2: 0x200,
} as const;

const COMPAT_NAMES = [
  "dir_prealloc",
  "imagic_inodes",
  "has_journal",
  "ext_attr",
  "resize_inode",
  "dir_index",
  "lazy_bg",
  "exclude_inode",
  "snapshot_bitmap",
  "sparse_super2",
  "fast_commit",
  "stable_inodes",
  "orphan_file",
];

const INCOMPAT_NAMES = [
  "compression",
  "filetype",
  "needs_recovery",
  "journal_dev",
  "meta_bg",
  "",
  "extent",
  "64bit",
  "mmp",
  "flex_bg",
  "ea_inode",
  "",
  "dirdata",
  "metadata_csum_seed",
  "large_dir",
  "inline_data",
  "encrypt",
  "casefold",
];

const RO_COMPAT_NAMES = [
  "sparse_super",
  "large_file",
  "btree_dir",
  "huge_file",
  "uninit_bg",
  "dir_nlink",
  "extra_isize",
  "snapshot",
  "quota",
  "bigalloc",
  "metadata_csum",
  "replica",
  "read-only",
  "project",
  "shared_blocks",
  "verity",
  "orphan_present",
];

/** What this reader can read: all that Linux and e2fsprogs can. */
const INCOMPAT_READ =
  INCOMPAT.filetype |
  INCOMPAT.recover |
  INCOMPAT.metaBg |
  INCOMPAT.extents |
  INCOMPAT.is64bit |
  INCOMPAT.mmp |
  INCOMPAT.flexBg |
  INCOMPAT.eaInode |
  INCOMPAT.checksumSeed |
  INCOMPAT.largeDir |
  INCOMPAT.inlineData |
  INCOMPAT.encrypt |
  INCOMPAT.casefold;

export interface Features {
  readonly compat: number;
  readonly incompat: number;
  readonly roCompat: number;
}

/** Names of incompatible features that stand in the way of reading. */
export function unreadableFeatures({ incompat }: Features): string[] {
  return namesOf(incompat & ~INCOMPAT_READ, INCOMPAT_NAMES, "incompat");
}

/** Names of read-only-compatible features that nobody has told us of. */
export function unknownRoFeatures({ roCompat }: Features): string[] {
  const known = 2 ** RO_COMPAT_NAMES.length - 1;
  return namesOf(roCompat & ~known, RO_COMPAT_NAMES, "ro_compat");
}

/** All features, in the order of dumpe2fs. */
export function featureNames({ compat, incompat, roCompat }: Features): string[] {
  return [
    ...namesOf(compat, COMPAT_NAMES, "compat"),
    ...namesOf(incompat, INCOMPAT_NAMES, "incompat"),
    ...namesOf(roCompat, RO_COMPAT_NAMES, "ro_compat"),
  ];
}

function namesOf(word: number, names: readonly string[], kind: string): string[] {
  const found: string[] = [];
  for (let bit = 0; bit < 32; bit++) {
    if ((word & (1 << bit)) === 0) continue;
    const name = names[bit] ?? "";
    found.push(name === "" ? `${kind} bit ${bit}` : name);
  }
  return found;
}

const EXT3_RO_COMPAT = RO_COMPAT.sparseSuper | RO_COMPAT.largeFile | RO_COMPAT.btreeDir;
const EXT3_INCOMPAT = INCOMPAT.filetype | INCOMPAT.recover | INCOMPAT.metaBg;

/** "ext2", "ext3" or "ext4" by the features that each can have, as blkid(8) tells them apart. */
export function kindOf({ compat, incompat, roCompat }: Features): "ext2" | "ext3" | "ext4" {
  if ((roCompat & ~EXT3_RO_COMPAT) !== 0 || (incompat & ~EXT3_INCOMPAT) !== 0) return "ext4";
  return (compat & COMPAT.hasJournal) !== 0 ? "ext3" : "ext2";
}
