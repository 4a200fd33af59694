/** Writes fast commits block by block, as the kernel would; or, told so, as no kernel would. */
import { crc32c } from "../../../../src/volume/ext/journal/checksums.ts";

export interface Note {
  readonly tag: number;
  readonly value: Uint8Array;
}

export interface CommitOptions {
  readonly sequence: number;
  /** The first of all begins with a head. */
  readonly hasHead: boolean;
  readonly features?: number;
  /** False: a checksum that is wrong. */
  readonly isSound?: boolean;
}

const TAG_BYTES = 4;
const TAIL_BYTES = 8;

/** Blocks of `count` from `logical` on lie at `physical`. */
export function addRange(
  inode: number,
  logical: number,
  count: number,
  physical: number,
  isWritten = true,
): Note {
  const value = Buffer.alloc(16);
  value.writeUInt32LE(inode, 0);
  value.writeUInt32LE(logical, 4);
  value.writeUInt16LE(isWritten ? count : count + 32768, 8);
  value.writeUInt16LE(Math.floor(physical / 2 ** 32), 10);
  value.writeUInt32LE(physical % 2 ** 32, 12);
  return { tag: 1, value };
}

export function deleteRange(inode: number, logical: number, count: number): Note {
  return { tag: 2, value: Buffer.from(Uint32Array.of(inode, logical, count).buffer) };
}

export function create(directory: number, inode: number, name: string | Uint8Array): Note {
  return entry(3, directory, inode, name);
}

export function link(directory: number, inode: number, name: string | Uint8Array): Note {
  return entry(4, directory, inode, name);
}

export function unlink(directory: number, inode: number, name: string | Uint8Array): Note {
  return entry(5, directory, inode, name);
}

function entry(tag: number, directory: number, inode: number, name: string | Uint8Array): Note {
  const numbers = Buffer.from(Uint32Array.of(directory, inode).buffer);
  return { tag, value: Buffer.concat([numbers, Buffer.from(name)]) };
}

export interface Fields {
  readonly mode: number;
  readonly sizeBytes?: number;
  readonly links?: number;
  readonly flags?: number;
  readonly generation?: number;
  /** The 60 bytes of block numbers, extents, or data. */
  readonly blockField?: Uint8Array;
}

export const EXTENTS_FLAG = 0x80000;

/** An inode with these fields; all others are 0. */
export function inode(number: number, fields: Fields): Note {
  const value = Buffer.alloc(4 + 160);
  value.writeUInt32LE(number, 0);
  value.writeUInt16LE(fields.mode, 4);
  value.writeUInt32LE(fields.sizeBytes ?? 0, 4 + 0x4);
  value.writeUInt16LE(fields.links ?? 1, 4 + 0x1a);
  value.writeUInt32LE(fields.flags ?? EXTENTS_FLAG, 4 + 0x20);
  value.set(fields.blockField ?? new Uint8Array(0), 4 + 0x28);
  value.writeUInt32LE(fields.generation ?? 0, 4 + 0x64);
  value.writeUInt16LE(32, 4 + 0x80); // extra fields
  return { tag: 6, value };
}

/** A commit from block `index` of the area on; returns the block after it. */
export function writeFastCommit(
  blockAt: (index: number) => Buffer,
  index: number,
  notes: readonly Note[],
  { sequence, hasHead, features = 0, isSound = true }: CommitOptions,
): number {
  let at = index;
  let block = blockAt(at).fill(0);
  let offset = 0;
  let crc = 0;
  const put = ({ tag, value }: Note): void => {
    block.writeUInt16LE(tag, offset);
    block.writeUInt16LE(value.length, offset + 2);
    block.set(value.subarray(0, block.length - offset - TAG_BYTES), offset + TAG_BYTES);
    offset += TAG_BYTES + value.length;
  };
  /** Room for a value and the tag of a pad behind it. */
  const reserve = (valueBytes: number): void => {
    if (offset + 2 * TAG_BYTES + valueBytes <= block.length) return;
    put({ tag: 7, value: new Uint8Array(block.length - offset - TAG_BYTES) });
    crc = crc32c(crc, block);
    block = blockAt(++at).fill(0);
    offset = 0;
  };
  if (hasHead) put({ tag: 9, value: Buffer.from(Uint32Array.of(features, sequence).buffer) });
  for (const note of notes) {
    reserve(note.value.length);
    put(note);
  }
  reserve(TAIL_BYTES);
  block.writeUInt16LE(8, offset);
  block.writeUInt16LE(block.length - offset - TAG_BYTES, offset + 2);
  block.writeUInt32LE(sequence, offset + 4);
  const sum = crc32c(crc, block.subarray(0, offset + 8));
  block.writeUInt32LE(isSound ? sum : (sum ^ 1) >>> 0, offset + 8);
  return at + 1;
}
