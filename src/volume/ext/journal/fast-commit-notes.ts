/**
 * The notes that fast commits consist of: a tag and the length of its value, two u16, and the
 * value. All numbers are little-endian, unlike in the rest of a journal.
 *
 * Source: "Fast commits" in Documentation/filesystems/ext4/journal.rst and the structures of
 * fs/ext4/fast_commit.h.
 */

export const TAG_BYTES = 4;

export const FAST_TAG = {
  addRange: 1,
  deleteRange: 2,
  create: 3,
  link: 4,
  unlink: 5,
  inode: 6,
  pad: 7,
  tail: 8,
  head: 9,
} as const;

/** Values of a head and a tail. What follows a tail's checksum in its value is padding. */
export const HEAD = { features: 0, sequence: 4, bytes: 8 } as const;
export const TAIL = { sequence: 0, checksum: 4, bytes: 8 } as const;

/** A range and its place: an inode number and an extent as it is in extent trees. */
const ADD_RANGE = {
  inode: 0,
  logical: 4,
  length: 8, // u16; above 32768: not written yet, and so much more
  physicalHigh: 10, // u16
  physicalLow: 12,
  bytes: 16,
} as const;
const DELETE_RANGE = { inode: 0, logical: 4, count: 8, bytes: 12 } as const;
/** Of `create`, `link` and `unlink`; the name goes to the end of the value. */
const ENTRY = { directory: 0, inode: 4, name: 8 } as const;
/** The inode follows its number: its fields, without attributes that lie in it. */
const INODE = { inode: 0, raw: 4 } as const;

const WRITTEN_LENGTH_MAX = 32768;
const NAME_BYTES_MAX = 255;
const INODE_BYTES_MIN = 128;

/** Blocks [logical, logical + count) of a file lie at `physical` on; undefined: they are a hole. */
export interface RangeNote {
  readonly kind: "range";
  readonly inode: number;
  readonly logical: number;
  readonly count: number;
  readonly physical: number | undefined;
}

/** A name was made or removed. `create`: its inode is a new one, and what was there is no more. */
export interface EntryNote {
  readonly kind: "create" | "link" | "unlink";
  readonly directory: number;
  readonly inode: number;
  /** Its bytes, one to a character (latin1). */
  readonly name: string;
}

/** An inode as it was at the commit; the map of its blocks is not to be taken from it. */
export interface InodeNote {
  readonly kind: "inode";
  readonly inode: number;
  readonly raw: Uint8Array;
}

export type FastNote = RangeNote | EntryNote | InodeNote;

/**
 * Decodes the value of a tag that is a change (1 to 6); undefined when its length cannot be that of
 * such a value, or the tag is none. `value` is copied where it is kept.
 */
export function decodeNote(
  tag: number,
  value: Uint8Array,
  inodeBytesMax: number,
): FastNote | undefined {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  switch (tag) {
    case FAST_TAG.addRange:
      return value.length === ADD_RANGE.bytes ? addedRange(view) : undefined;
    case FAST_TAG.deleteRange:
      return value.length === DELETE_RANGE.bytes ? deletedRange(view) : undefined;
    case FAST_TAG.create:
      return entry("create", value, view);
    case FAST_TAG.link:
      return entry("link", value, view);
    case FAST_TAG.unlink:
      return entry("unlink", value, view);
    case FAST_TAG.inode:
      return inode(value, view, inodeBytesMax);
    default:
      return undefined;
  }
}

function addedRange(view: DataView): RangeNote {
  const length = view.getUint16(ADD_RANGE.length, true);
  const isWritten = length <= WRITTEN_LENGTH_MAX;
  const physical =
    view.getUint16(ADD_RANGE.physicalHigh, true) * 2 ** 32 +
    view.getUint32(ADD_RANGE.physicalLow, true);
  return {
    kind: "range",
    inode: view.getUint32(ADD_RANGE.inode, true),
    logical: view.getUint32(ADD_RANGE.logical, true),
    count: isWritten ? length : length - WRITTEN_LENGTH_MAX,
    physical: isWritten ? physical : undefined,
  };
}

function deletedRange(view: DataView): RangeNote {
  return {
    kind: "range",
    inode: view.getUint32(DELETE_RANGE.inode, true),
    logical: view.getUint32(DELETE_RANGE.logical, true),
    count: view.getUint32(DELETE_RANGE.count, true),
    physical: undefined,
  };
}

function entry(kind: EntryNote["kind"], value: Uint8Array, view: DataView): EntryNote | undefined {
  const nameBytes = value.length - ENTRY.name;
  if (nameBytes < 1 || nameBytes > NAME_BYTES_MAX) return undefined;
  return {
    kind,
    directory: view.getUint32(ENTRY.directory, true),
    inode: view.getUint32(ENTRY.inode, true),
    name: Buffer.from(value.subarray(ENTRY.name)).toString("latin1"),
  };
}

function inode(value: Uint8Array, view: DataView, bytesMax: number): InodeNote | undefined {
  const rawBytes = value.length - INODE.raw;
  if (rawBytes < INODE_BYTES_MIN || rawBytes > bytesMax) return undefined;
  return {
    kind: "inode",
    inode: view.getUint32(INODE.inode, true),
    raw: value.slice(INODE.raw),
  };
}
