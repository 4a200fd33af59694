/**
 * Directory records: 128 bytes each, numbered by their place in the directory. The first field
 * says what a record is: the number of the parent directory for files, directories and their names
 * in other name spaces; values from 0xFFFFFFFB on for everything else.
 */
import { u32, u16 } from "./fields.ts";

export const RECORD_BYTES = 128;
/** NetWare's own limit of directory entries. */
export const RECORDS_MAX = 1 << 24;
export const ROOT_RECORD = 0;

export const TYPE = {
  offset: 0,
  free: 0xffffffff,
  trustees: 0xfffffffe,
  root: 0xfffffffd,
  userRestriction: 0xfffffffc,
  suballocation: 0xfffffffb,
} as const;

export const ATTRIBUTE = {
  readOnly: 0x01,
  directory: 0x10,
  /** Those that DOS knows: read-only, hidden, system, archive. */
  dosMask: 0x27,
  migrated: 0x00400000,
  compressed: 0x04000000,
} as const;

export const FLAG = {
  deleted3: 0x01,
  subdirectory: 0x04,
  deleted4: 0x20,
} as const;

export const NAME_SPACE = { dos: 0, mac: 1, nfs: 2, long: 4, nt: 5 } as const;
const NAME_SPACE_MAX = 11;

/** Fields that records of all name spaces have. */
export const COMMON = {
  attributes: 4,
  flags: 9,
  nameSpace: 10,
  nameLength: 11,
  name: 12,
  /** Number of the record of the DOS name. */
  primary: 120,
  /** Number of the record of the next name space; 0: none. */
  nextName: 124,
} as const;

export const DOS = {
  nameBytes: 12,
  created: 24,
  modified: 40,
  size: 48,
  firstBlock: 52,
  nextTrustee: 56,
  trustees: 60,
  trusteeMasks: 84,
  accessedDate: 98,
} as const;

export const DIRECTORY = { nextTrustee: 44, trustees: 48, trusteeMasks: 80 } as const;

export const ROOT = {
  flags: 23,
  extended: 104,
  extendedCopy: 108,
  suballocation: 120,
} as const;
/** Flags of the root record. */
export const VOLUME_FLAG = { suballocation: 0x02, newTrustees: 0x10 } as const;

export const TRUSTEES = { count: 9, next: 16, ids: 24, masks: 88, idsMax: 16 } as const;

/** LONG (OS/2) and NT names. */
export const LONG = { nameBytes: 80, extendedRecord: 92, totalLength: 97 } as const;

export const NFS = {
  nameBytes: 40,
  totalLength: 52,
  extendedRecord: 54,
  mode: 58,
  groupId: 66,
  device: 70,
  linkCount: 74,
  userId: 92,
} as const;

export const MAC = {
  nameBytes: 32,
  forkBlock: 44,
  forkSize: 48,
  finderInfo: 52,
  finderBytes: 32,
} as const;

/** What a record is, as far as the tree is concerned. */
export type RecordKind = "file" | "directory" | "deleted" | "name" | "other" | "free" | "odd";

/**
 * What record `number` is, at `offset` of a page; "odd" when it is nothing that NetWare writes, by
 * which a damaged block is known. `recordCount` is that of the directory.
 */
export function kindOf(
  view: DataView,
  offset: number,
  recordNumber: number,
  recordCount: number,
): RecordKind {
  const type = u32(view, offset);
  if (type === TYPE.free) return "free";
  if (type >= TYPE.suballocation) return "other";
  const flags = view.getUint8(offset + COMMON.flags);
  const nameSpace = view.getUint8(offset + COMMON.nameSpace);
  const nameLength = view.getUint8(offset + COMMON.nameLength);
  const isSound =
    type < recordCount && type !== recordNumber && nameSpace <= NAME_SPACE_MAX && nameLength > 0;
  if (!isSound) return "odd";
  if (nameSpace !== NAME_SPACE.dos) return "name";
  if (nameLength > DOS.nameBytes) return "odd";
  if ((flags & (FLAG.deleted3 | FLAG.deleted4)) !== 0) return "deleted";
  return isDirectory(view, offset) ? "directory" : "file";
}

export function isDirectory(view: DataView, offset: number): boolean {
  if (u32(view, offset) === TYPE.root) return true;
  const isMarked = (u32(view, offset + COMMON.attributes) & ATTRIBUTE.directory) !== 0;
  return isMarked || (view.getUint8(offset + COMMON.flags) & FLAG.subdirectory) !== 0;
}

/** A trustee: who, and the rights as a person writes them. */
export interface Trustee {
  /** Bytes of the object id as they stand, in hexadecimal. */
  readonly objectId: string;
  readonly rights: string;
}

/** Bits of a rights mask, in the order in which they are written. */
const RIGHTS: readonly (readonly [bit: number, letter: string])[] = [
  [0x100, "S"],
  [0x01, "R"],
  [0x02, "W"],
  [0x08, "C"],
  [0x10, "E"],
  [0x80, "M"],
  [0x40, "F"],
  [0x20, "A"],
];

export function trusteeAt(
  view: DataView,
  idOffset: number,
  maskOffset: number,
): Trustee | undefined {
  const id = view.getUint32(idOffset, false);
  if (id === 0) return undefined;
  const mask = u16(view, maskOffset);
  const letters = RIGHTS.filter(([bit]) => (mask & bit) !== 0).map(([, letter]) => letter);
  return { objectId: id.toString(16).toUpperCase().padStart(8, "0"), rights: letters.join("") };
}
