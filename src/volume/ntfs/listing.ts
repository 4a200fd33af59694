/**
 * Listing a directory: names from its index, everything else from the files' own records, which
 * unlike the index are always up to date.
 *
 * The records of a directory's files are spread over the MFT: they are visited in the order of
 * their blocks, some blocks at a time, and all files of those are described without waiting in
 * between. An entry is left out when its record was given to another file since, and when it leads
 * to a directory that says it has another parent: a directory has one place, so that a tree of
 * paths can have no loop.
 */
import { isReelError } from "../../errors.ts";
import { uniqueNames } from "../names.ts";
import type { NodeStat, VolumeEntry } from "../volume.ts";
import { readIndex } from "./directory-index.ts";
import type { IndexEntry } from "./directory-index.ts";
import { fileNameDetails, NAME_SPACE } from "./file-name.ts";
import type { Inode } from "./inode.ts";
import { completeInode, isWhole } from "./inode.ts";
import type { Mft } from "./mft.ts";
import {
  isHiddenRecord,
  loadNode,
  parentOf,
  plainStat,
  ROOT_RECORD,
  statFromIndex,
} from "./node.ts";
import type { FileRecord } from "./record.ts";

/** Blocks that are read together; their records are described in a few milliseconds. */
const BLOCKS_TOGETHER = 8;

/** Entries in the order of the index. Throws "damaged" when the index is. */
export async function listDirectory(mft: Mft, directory: Inode): Promise<VolumeEntry[]> {
  const index = await readIndex(mft, directory);
  const shown = index.filter(isShown);
  const stats = await statsOf(mft, directory.number, shown);
  const found = shown.flatMap((entry, i) => {
    const stat = stats[i];
    return stat === undefined ? [] : [{ entry, stat }];
  });
  const names = uniqueNames(
    found.map(({ entry }) => entry.name),
    (name) => name,
  );
  const dosNames = new Map<number, string>();
  for (const { nameSpace, number, name } of index) {
    if (nameSpace === NAME_SPACE.dos) dosNames.set(number, name);
  }
  return found.map(({ entry, stat }, i) => {
    const name = names[i] ?? "";
    const isLong = entry.nameSpace === NAME_SPACE.win32;
    const shortName = isLong ? dosNames.get(entry.number) : undefined;
    return shortName === undefined ? { name, stat } : { name, stat, shortName };
  });
}

/** Names of DOS only go beside others; the volume's own files, and the root in itself, nowhere. */
export function isShown({ nameSpace, number }: IndexEntry): boolean {
  return nameSpace !== NAME_SPACE.dos && number !== ROOT_RECORD && !isHiddenRecord(number);
}

/** Is the file that an index entry was made for still in its record, and is this its place? */
export function belongs(entry: IndexEntry, directory: number, inode: Inode): boolean {
  if (entry.sequence !== 0 && entry.sequence !== inode.sequence) return false;
  return !inode.isDirectory || parentOf(inode)?.number === directory;
}

async function statsOf(
  mft: Mft,
  directory: number,
  entries: readonly IndexEntry[],
): Promise<(NodeStat | undefined)[]> {
  const stats = new Array<NodeStat | undefined>(entries.length).fill(undefined);
  const order = Uint32Array.from(entries, (_, i) => i);
  order.sort((a, b) => (entries[a]?.number ?? 0) - (entries[b]?.number ?? 0));
  let batch: number[] = [];
  const blocks = new Set<number>();
  const finish = async (): Promise<void> => {
    const items = batch.flatMap((index) => {
      const entry = entries[index];
      return entry === undefined ? [] : [{ index, entry }];
    });
    await describeBatch(mft, directory, { items, blocks: [...blocks] }, stats);
    batch = [];
    blocks.clear();
  };
  for (const index of order) {
    const block = mft.blockIndexOf(entries[index]?.number ?? 0);
    if (!blocks.has(block) && blocks.size === BLOCKS_TOGETHER) await finish();
    blocks.add(block);
    batch.push(index);
  }
  await finish();
  return stats;
}

interface Batch {
  readonly items: readonly { readonly index: number; readonly entry: IndexEntry }[];
  readonly blocks: readonly number[];
}

async function describeBatch(
  mft: Mft,
  directory: number,
  { items, blocks }: Batch,
  stats: (NodeStat | undefined)[],
): Promise<void> {
  const loaded = await mft.blocks(blocks);
  const unfinished: { index: number; entry: IndexEntry; record: FileRecord }[] = [];
  for (const { index, entry } of items) {
    try {
      const record = mft.recordIn(loaded, entry.number);
      if (record.base !== undefined) continue;
      const stat = isWhole(record) ? plainStat(mft, record) : undefined;
      if (stat === undefined) unfinished.push({ index, entry, record });
      else if (belongs(entry, directory, record)) stats[index] = stat;
    } catch (error) {
      stats[index] = fromIndex(entry, error);
    }
  }
  for (const { index, entry, record } of unfinished) {
    try {
      const inode = await completeInode(mft, record);
      if (!belongs(entry, directory, inode)) continue;
      stats[index] = (await loadNode(mft, inode)).stat;
    } catch (error) {
      stats[index] = fromIndex(entry, error);
    }
  }
}

/** A file whose record is damaged is still shown, as its directory knows it. */
function fromIndex({ number, key }: IndexEntry, error: unknown): NodeStat | undefined {
  if (isReelError(error, "not-found")) return undefined;
  if (!isReelError(error, "damaged")) throw error;
  try {
    return statFromIndex(number, fileNameDetails(key));
  } catch (unreadable) {
    if (isReelError(unreadable, "damaged")) return undefined;
    throw unreadable;
  }
}
