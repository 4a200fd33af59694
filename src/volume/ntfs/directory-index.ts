/**
 * Directories: indexes of file names. The root of the B-tree is resident in the directory's record,
 * its other nodes are index records in $INDEX_ALLOCATION, and a bitmap says which of those are in
 * use. To list a directory the tree need not be walked: every node in use is read in the order on
 * the volume, and each key is in exactly one of them. Layouts: "$INDEX_ROOT", "$INDEX_ALLOCATION"
 * and "Directory index entries" of the Linux-NTFS documentation.
 */
import { fault, naming, unsigned64 } from "./damage.ts";
import { parseFileName } from "./file-name.ts";
import type { FileName } from "./file-name.ts";
import { applyFixups } from "./fixup.ts";
import { isProtectedSize } from "./geometry.ts";
import type { Inode } from "./inode.ts";
import type { Mft } from "./mft.ts";
import { reference, TYPE } from "./record.ts";
import { openStream, readStream, readWhole } from "./stream.ts";
import type { Stream } from "./stream.ts";

export const INDEX_NAME = "$I30";
const INDEX_SIGNATURE = "INDX";

/** Where the fields of $INDEX_ROOT, of an index record and of the header in both are. */
const ROOT = { indexedType: 0, recordBytes: 8, header: 16 } as const;
const INDEX_RECORD = { position: 16, header: 24 } as const;
const HEADER = { entriesOffset: 0, entriesEnd: 4 } as const;
const HEADER_BYTES = 16;
const ENTRY = { reference: 0, length: 8, keyLength: 10, flags: 12, key: 16 } as const;
const ENTRY_FLAG_LAST = 0x0002;

/** The index of a directory of some four million names. */
const INDEX_MAX_BYTES = 512 * 1024 * 1024;
const ROOT_MAX_BYTES = 64 * 1024;
/** Index records are read this many bytes at a time. */
const READ_BYTES = 256 * 1024;
/** Index records larger than a cluster are numbered in clusters, smaller ones in 512 bytes. */
const SMALL_UNIT_BYTES = 512;

export interface IndexEntry extends FileName {
  readonly number: number;
  readonly sequence: number;
  /** The $FILE_NAME as it stands in the index. */
  readonly key: Buffer;
}

/** All entries of a directory. Throws "damaged" where a node in use is not sound. */
export async function readIndex(mft: Mft, inode: Inode): Promise<IndexEntry[]> {
  const entries: IndexEntry[] = [];
  try {
    const rootStream = openStream(mft, inode, TYPE.indexRoot, INDEX_NAME);
    if (rootStream === undefined) throw fault("it is a directory without $INDEX_ROOT");
    const root = await readWhole(mft, rootStream, ROOT_MAX_BYTES);
    const recordBytes = parseRoot(root);
    addEntries(root, ROOT.header, "its $INDEX_ROOT", entries);
    const nodes = openStream(mft, inode, TYPE.indexAllocation, INDEX_NAME);
    if (nodes === undefined) return entries;
    if (!isProtectedSize(recordBytes)) {
      throw fault(`its index records would have ${recordBytes} bytes`);
    }
    const used = await usedNodes(mft, inode, nodes, recordBytes);
    for (const { first, count } of used) {
      await readNodes(mft, nodes, { recordBytes, first, count }, entries);
    }
    return entries;
  } catch (error) {
    throw naming(`the directory in ${mft.describe(inode.number)}`, error);
  }
}

/** Returns the size of the index records. */
function parseRoot(root: Buffer): number {
  if (root.length < ROOT.header + HEADER_BYTES) throw fault("its $INDEX_ROOT is cut short");
  const type = root.readUInt32LE(ROOT.indexedType);
  if (type !== TYPE.fileName) throw fault(`its $INDEX_ROOT is of attribute 0x${type.toString(16)}`);
  return root.readUInt32LE(ROOT.recordBytes);
}

interface NodeRange {
  readonly first: number;
  readonly count: number;
}

/** The index records in use, in ranges that are read at once. */
async function usedNodes(
  mft: Mft,
  inode: Inode,
  nodes: Stream,
  recordBytes: number,
): Promise<NodeRange[]> {
  if (nodes.sizeBytes > INDEX_MAX_BYTES) {
    throw fault(`its index has ${nodes.sizeBytes} bytes, more than ${INDEX_MAX_BYTES}`);
  }
  const count = Math.floor(nodes.sizeBytes / recordBytes);
  const stream = openStream(mft, inode, TYPE.bitmap, INDEX_NAME);
  if (stream === undefined) throw fault("its index has no $BITMAP");
  const bitmap = await readWhole(mft, stream, INDEX_MAX_BYTES / SMALL_UNIT_BYTES / 8);
  const together = Math.max(1, READ_BYTES / recordBytes);
  const ranges: NodeRange[] = [];
  let start = -1;
  for (let i = 0; i <= count; i++) {
    const isUsed = i < count && ((bitmap[i >>> 3] ?? 0) & (1 << (i & 7))) !== 0;
    if (isUsed && start < 0) start = i;
    const isEnd = start >= 0 && (!isUsed || i + 1 - start === together);
    if (!isEnd) continue;
    ranges.push({ first: start, count: isUsed ? i + 1 - start : i - start });
    start = -1;
  }
  return ranges;
}

async function readNodes(
  mft: Mft,
  nodes: Stream,
  { recordBytes, first, count }: NodeRange & { recordBytes: number },
  entries: IndexEntry[],
): Promise<void> {
  const bytes = Buffer.allocUnsafe(count * recordBytes);
  await readStream(mft, nodes, first * recordBytes, bytes);
  const { clusterBytes } = mft.geometry;
  const unit = recordBytes < clusterBytes ? SMALL_UNIT_BYTES : clusterBytes;
  for (let i = 0; i < count; i++) {
    const offset = (first + i) * recordBytes;
    const what = `its index record ${first + i} (byte ${offset} of the index)`;
    const found = applyFixups(bytes, i * recordBytes, recordBytes, INDEX_SIGNATURE);
    if (found !== undefined) throw fault(`${what}: ${found}`);
    const node = bytes.subarray(i * recordBytes, (i + 1) * recordBytes);
    const position = unsigned64(node, INDEX_RECORD.position, "position");
    if (position !== offset / unit) throw fault(`${what} says that it is number ${position}`);
    addEntries(node, INDEX_RECORD.header, what, entries);
  }
}

/** Adds the entries of one node, whose header is at `header`. */
function addEntries(node: Buffer, header: number, what: string, entries: IndexEntry[]): void {
  const end = header + node.readUInt32LE(header + HEADER.entriesEnd);
  let at = header + node.readUInt32LE(header + HEADER.entriesOffset);
  if (end > node.length || at < header + HEADER_BYTES) throw fault(`${what} has a wrong header`);
  for (;;) {
    if (at + ENTRY.key > end) throw fault(`${what} has no last entry`);
    const length = node.readUInt16LE(at + ENTRY.length);
    const flags = node.readUInt16LE(at + ENTRY.flags);
    if ((flags & ENTRY_FLAG_LAST) !== 0) return;
    const keyLength = node.readUInt16LE(at + ENTRY.keyLength);
    if (length < ENTRY.key + keyLength || at + length > end) {
      throw fault(`${what} has a wrong entry at byte ${at}`);
    }
    const key = node.subarray(at + ENTRY.key, at + ENTRY.key + keyLength);
    const { number, sequence } = reference(node, at + ENTRY.reference);
    const { parent, name, nameSpace } = parseFileName(key);
    entries.push({ number, sequence, parent, name, nameSpace, key });
    at += length;
  }
}
