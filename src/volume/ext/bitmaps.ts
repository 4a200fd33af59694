/** Block and inode bitmaps of many groups, read together where they lie side by side (flex_bg). */
import { isReelError } from "../../errors.ts";
import { READ_BYTES_MAX } from "./device-blocks.ts";
import type { DeviceBlocks } from "./device-blocks.ts";
import type { GroupTable } from "./group-table.ts";
import type { ExtStore } from "./store.ts";

/** What the two kinds have that is not the same. */
export interface BitmapKind {
  readonly name: string;
  place(groups: GroupTable, group: number): number;
  /** The group was never written to: what its bitmap would be is known without. */
  isUnused(groups: GroupTable, group: number): boolean;
  isSound(groups: GroupTable, group: number, bitmap: Uint8Array): boolean;
}

export const BLOCK_BITMAP: BitmapKind = {
  name: "block bitmap",
  place: (groups, group) => groups.blockBitmap(group),
  isUnused: (groups, group) => groups.isBlockBitmapUnused(group),
  isSound: (groups, group, bitmap) => groups.isBlockBitmapSound(group, bitmap),
};

export const INODE_BITMAP: BitmapKind = {
  name: "inode bitmap",
  place: (groups, group) => groups.inodeBitmap(group),
  isUnused: (groups, group) => groups.inodesInUse(group) === 0,
  isSound: (groups, group, bitmap) => groups.isInodeBitmapSound(group, bitmap),
};

/**
 * The bitmaps of groups [first, end) that are there and sound; `fault` is told of the others. Throws
 * what the device throws, but "io".
 */
export async function readBitmaps(
  { groups, blocks }: ExtStore,
  kind: BitmapKind,
  [first, end]: readonly [first: number, end: number],
  fault: (group: number, what: string) => void,
): Promise<Map<number, Uint8Array>> {
  const wanted: { group: number; block: number }[] = [];
  for (let group = first; group < end; group++) {
    if (!groups.isKnown(group) || kind.isUnused(groups, group)) continue;
    const block = kind.place(groups, group);
    const placeFault = blocks.faultOf(block, 1);
    if (placeFault === undefined) wanted.push({ group, block });
    else fault(group, placeFault);
  }
  wanted.sort((a, b) => a.block - b.block);
  const found = new Map<number, Uint8Array>();
  const { blockSizeBytes } = blocks;
  const runMax = READ_BYTES_MAX / blockSizeBytes;
  for (let from = 0; from < wanted.length;) {
    const start = wanted[from]?.block ?? 0;
    let count = 1;
    while (count < runMax && wanted[from + count]?.block === start + count) count++;
    const bytes = await readRun(blocks, start, count);
    for (const [index, { group }] of wanted.slice(from, from + count).entries()) {
      const at = index * blockSizeBytes;
      const bitmap = bytes?.subarray(at, at + blockSizeBytes);
      if (bitmap === undefined) fault(group, "it cannot be read");
      else if (!kind.isSound(groups, group, bitmap)) fault(group, "its checksum is wrong");
      else found.set(group, bitmap);
    }
    from += count;
  }
  return found;
}

async function readRun(
  { device, blockSizeBytes }: DeviceBlocks,
  start: number,
  count: number,
): Promise<Uint8Array | undefined> {
  const bytes = new Uint8Array(count * blockSizeBytes);
  try {
    await device.read(start * blockSizeBytes, bytes);
    return bytes;
  } catch (error) {
    if (isReelError(error, "io")) return undefined;
    throw error;
  }
}
