/** $Bitmap: a bit for each cluster of the volume, set when the cluster is in use. */
import { ExtentSetBuilder } from "../../device/extents.ts";
import type { ExtentSet } from "../../device/extents.ts";
import { throwIfAborted } from "../../errors.ts";
import { fault, naming } from "./damage.ts";
import { loadInode } from "./inode.ts";
import type { Mft } from "./mft.ts";
import { TYPE } from "./record.ts";
import { openStream, readStream } from "./stream.ts";

export const BITMAP_RECORD = 6;
/** Half a million clusters: read at once, and looked through in a few milliseconds. */
const READ_BYTES = 64 * 1024;
const WORD_BITS = 32;

/** Clusters in use. Throws "damaged" when $Bitmap cannot be read. */
export async function readBitmap(mft: Mft, signal?: AbortSignal): Promise<ExtentSet> {
  const { clusterCount } = mft.geometry;
  const inode = await loadInode(mft, BITMAP_RECORD);
  const stream = openStream(mft, inode, TYPE.data);
  const needed = Math.ceil(clusterCount / 8);
  if (stream === undefined || stream.sizeBytes < needed) {
    const size = stream?.sizeBytes ?? 0;
    const message = `$Bitmap has ${size} bytes, ${clusterCount} clusters need ${needed}`;
    throw naming(mft.describe(BITMAP_RECORD), fault(message));
  }
  const builder = new ExtentSetBuilder();
  const buffer = Buffer.alloc(READ_BYTES);
  for (let at = 0; at < needed; at += READ_BYTES) {
    throwIfAborted(signal, `surveying ${mft.device.name}`);
    const piece = buffer.subarray(0, Math.min(READ_BYTES, needed - at));
    await readStream(mft, stream, at, piece);
    addRuns(piece, at * 8, clusterCount, builder);
  }
  return builder.build();
}

/** Adds the runs of set bits of `bytes`, whose first bit is cluster `first`. */
function addRuns(bytes: Buffer, first: number, end: number, builder: ExtentSetBuilder): void {
  const words = Math.ceil((bytes.length * 8) / WORD_BITS);
  for (let i = 0; i < words; i++) {
    const isWhole = i * 4 + 4 <= bytes.length;
    const word = isWhole ? bytes.readInt32LE(i * 4) : lastWord(bytes, i * 4);
    if (word === 0) continue;
    const start = first + i * WORD_BITS;
    if (word === -1 && start + WORD_BITS <= end) {
      builder.add(start, WORD_BITS);
      continue;
    }
    for (let bit = 0; bit < WORD_BITS && start + bit < end; bit++) {
      if ((word & (1 << bit)) !== 0) builder.add(start + bit, 1);
    }
  }
}

function lastWord(bytes: Buffer, offset: number): number {
  return bytes.readUIntLE(offset, bytes.length - offset) | 0;
}
