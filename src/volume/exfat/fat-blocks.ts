/**
 * Which blocks of the FATs a backup needs, and which clusters they mark bad.
 *
 * A FAT has four bytes for each cluster, but a file in one piece has no entries in it: most of a
 * large FAT is zeros, and what stands in the entries of free clusters is left over from files that
 * are gone. So only what covers clusters in use is read, and blocks of zeros are left out: where a
 * volume is restored they are zeros again.
 */
import type { ExtentSet } from "../../device/extents.ts";
import { ExtentSetBuilder } from "../../device/extents.ts";
import { fromSystem, throwIfAborted } from "../../errors.ts";
import type { ExfatStore } from "./exfat-store.ts";
import { entriesOf, FAT_ENTRY_BYTES, FAT_VALUE } from "./fat-table.ts";
import { RunMerger } from "./runs.ts";

const READ_BYTES_MAX = 1024 * 1024;
/** Stretches of the FAT that are nearer to each other are read as one. */
const GAP_BYTES_MAX = 64 * 1024;
/** More bad clusters than this are kept as if they were good, to bound memory. */
const BAD_CLUSTERS_MAX = 1024 * 1024;
const ZEROS = new Uint8Array(64 * 1024);

export interface FatBlocks {
  /** Blocks of the device. */
  readonly blocks: ExtentSet;
  /** Clusters in use that the active FAT marks bad. */
  readonly bad: ExtentSet;
}

/** Reads what all FATs say of the clusters in `used`. Throws what reading throws, and "aborted". */
export async function scanFats(
  store: ExfatStore,
  used: ExtentSet,
  blockSizeBytes: number,
  signal?: AbortSignal,
): Promise<FatBlocks> {
  const { geometry, table } = store;
  const blocks = new RunMerger();
  const bad = new RunMerger();
  let badCount = 0;
  for (let fatIndex = 0; fatIndex < geometry.fatCount; fatIndex++) {
    const fatOffset = table.offsetOf(fatIndex);
    for (const [start, end] of stretches(used, geometry.fatBytes, blockSizeBytes)) {
      throwIfAborted(signal, `reading the FAT of ${store.device.name}`);
      const bytes = await readPart(store, fatOffset + start, end - start);
      const firstBlock = Math.floor((fatOffset + start) / blockSizeBytes);
      addNonZero(blocks, bytes, firstBlock, blockSizeBytes);
      if (fatIndex !== geometry.activeFat || badCount >= BAD_CLUSTERS_MAX) continue;
      badCount += addBad(bad, bytes, start / FAT_ENTRY_BYTES, used);
    }
  }
  return { blocks: blocks.finish(), bad: bad.finish() };
}

/** Parts of a FAT, in bytes, that cover clusters in use: whole blocks, with small gaps closed. */
function* stretches(
  used: ExtentSet,
  fatBytes: number,
  blockSizeBytes: number,
): Generator<[start: number, end: number]> {
  const needed = new ExtentSetBuilder();
  // The two entries before the first cluster's say what kind of medium this is.
  needed.add(0, 1);
  for (const [cluster, count] of used) {
    const first = Math.floor((cluster * FAT_ENTRY_BYTES) / blockSizeBytes);
    const end = Math.ceil(((cluster + count) * FAT_ENTRY_BYTES) / blockSizeBytes);
    needed.add(first, end - first);
  }
  let from = 0;
  let to = 0;
  for (const [block, count] of needed.build()) {
    const start = block * blockSizeBytes;
    if (start - to > GAP_BYTES_MAX) {
      yield* cut(from, Math.min(to, fatBytes));
      from = start;
    }
    to = start + count * blockSizeBytes;
  }
  yield* cut(from, Math.min(to, fatBytes));
}

function* cut(from: number, to: number): Generator<[start: number, end: number]> {
  for (let start = from; start < to; start += READ_BYTES_MAX) {
    yield [start, Math.min(start + READ_BYTES_MAX, to)];
  }
}

/** What lies on the device of a part of the FAT, in a buffer of its own. */
async function readPart(
  { device }: ExfatStore,
  offsetBytes: number,
  lengthBytes: number,
): Promise<Uint8Array> {
  const onDevice = Math.max(0, Math.min(lengthBytes, device.sizeBytes - offsetBytes));
  const bytes = new Uint8Array(onDevice);
  try {
    if (onDevice > 0) await device.read(offsetBytes, bytes);
  } catch (error) {
    throw fromSystem(error, `cannot read the FAT at byte ${offsetBytes} of ${device.name}`);
  }
  return bytes;
}

function addNonZero(
  blocks: RunMerger,
  bytes: Uint8Array,
  firstBlock: number,
  blockSizeBytes: number,
): void {
  let runStart = -1;
  const count = Math.ceil(bytes.length / blockSizeBytes);
  for (let i = 0; i <= count; i++) {
    const block = bytes.subarray(i * blockSizeBytes, (i + 1) * blockSizeBytes);
    const isZero = Buffer.compare(block, ZEROS.subarray(0, block.length)) === 0;
    if (!isZero && runStart < 0) runStart = i;
    if (!isZero || runStart < 0) continue;
    blocks.add(firstBlock + runStart, i - runStart);
    runStart = -1;
  }
}

function addBad(bad: RunMerger, bytes: Uint8Array, firstCluster: number, used: ExtentSet): number {
  const entries = entriesOf(bytes);
  let found = 0;
  let at = entries.indexOf(FAT_VALUE.bad);
  while (at >= 0) {
    if (used.has(firstCluster + at)) {
      bad.add(firstCluster + at, 1);
      found++;
    }
    at = entries.indexOf(FAT_VALUE.bad, at + 1);
  }
  return found;
}
