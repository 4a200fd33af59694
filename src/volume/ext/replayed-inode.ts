/** An inode with the fields that a fast commit noted, over what its place in the table holds. */
import type { InodeChange } from "./fast-changes.ts";
import { BLOCK_FIELD, Inode, INODE_FLAG } from "./inode.ts";

const BLOCK_FIELD_END = BLOCK_FIELD.offset + BLOCK_FIELD.lengthBytes;
/** A root of extents with none in it: magic number, entries, room for entries. */
const EMPTY_ROOT = { magic: 0xf30a, magicAt: 0, roomAt: 4, room: 4 } as const;

/**
 * The inode after a change of its fields. `base` is what the table holds; its checksum was not
 * looked at, as what of it does not count need not be sound.
 */
export function replayedInode(base: Inode, change: InodeChange, raw: Uint8Array): Inode {
  const { superblock, number, deviceOffset } = base;
  const bytes = new Uint8Array(superblock.inodeSizeBytes);
  const isNew = isOfAnother(base, change, raw);
  if (!isNew) bytes.set(base.all);
  const noted = raw.subarray(0, bytes.length);
  bytes.set(noted.subarray(0, BLOCK_FIELD.offset));
  bytes.set(noted.subarray(BLOCK_FIELD_END), BLOCK_FIELD_END);
  const memory = { bytes, view: new DataView(bytes.buffer), isReplayed: true } as const;
  const inode = new Inode(superblock, number, memory, { offset: 0, deviceOffset }, change);
  if (!hasMap(inode)) inode.blockField.set(noted.subarray(BLOCK_FIELD.offset, BLOCK_FIELD_END));
  else if (isNew || !hasMapOfSameKind(inode, base)) clearMap(inode);
  return inode;
}

/** What is wrong with what is in the table, where the inode after the change depends on it. */
export function faultOfBase(base: Inode, change: InodeChange, raw: Uint8Array): string | undefined {
  return base.isFree || isOfAnother(base, change, raw) ? undefined : base.fault;
}

/**
 * Does the table have a file there that is no more? A new file without a name (O_TMPFILE) has no
 * note that says that it is new; but its generation is another. That alone would not do, as the
 * generation of a file can be set.
 */
function isOfAnother(base: Inode, change: InodeChange, raw: Uint8Array): boolean {
  if (change.isNew) return true;
  const isGone = base.isFree || change.wasUnlinked;
  return isGone && base.generation !== generationOf(raw);
}

function generationOf(raw: Uint8Array): number {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  return view.getUint32(BLOCK_FIELD_END, true);
}

/** Else the block field is the target of a link, a device's number, or data: it is as noted. */
function hasMap(inode: Inode): boolean {
  if (inode.hasFlag(INODE_FLAG.inlineData)) return false;
  return inode.hasFlag(INODE_FLAG.extents) || inode.kind === "file" || inode.kind === "directory";
}

function hasMapOfSameKind(inode: Inode, base: Inode): boolean {
  const flags = INODE_FLAG.extents | INODE_FLAG.inlineData;
  if (((inode.flags ^ base.flags) & flags) !== 0 || inode.kind !== base.kind) return false;
  return !inode.hasFlag(INODE_FLAG.extents) || magicOf(base.blockField) === EMPTY_ROOT.magic;
}

function clearMap(inode: Inode): void {
  const field = inode.blockField.fill(0);
  if (!inode.hasFlag(INODE_FLAG.extents)) return;
  const view = new DataView(field.buffer, field.byteOffset, field.byteLength);
  view.setUint16(EMPTY_ROOT.magicAt, EMPTY_ROOT.magic, true);
  view.setUint16(EMPTY_ROOT.roomAt, EMPTY_ROOT.room, true);
}

function magicOf(field: Uint8Array): number {
  return new DataView(field.buffer, field.byteOffset).getUint16(EMPTY_ROOT.magicAt, true);
}
