/**
 * The allocation bitmap: one bit for each cluster, set when it is in use. It has 2 MB for 2 TB of
 * 128 KiB clusters, is a file like others, and is read from front to back in large pieces, beside
 * what the walk over the directories found to belong to somebody.
 *
 * Source of the layout: Microsoft, "exFAT file system specification", 1.00, section 7.1.
 */
import { fromSystem, throwIfAborted } from "../../errors.ts";
import type { ExtentSet } from "../../device/extents.ts";
import type { ClusterRun } from "../cluster-chain.ts";
import { FIRST_CLUSTER } from "../cluster-table.ts";
import { clusterOffset } from "./boot-region.ts";
import { CHUNK_BYTES } from "./cluster-set.ts";
import type { ClusterSet } from "./cluster-set.ts";
import type { Allocation } from "./entry-set.ts";
import { findFile } from "./exfat-store.ts";
import type { ClusterOptions, ExfatStore } from "./exfat-store.ts";
import { CoarseRuns } from "./runs.ts";

const PIECE_BYTES = 8 * CHUNK_BYTES;
const NO_BITS = new Uint8Array(CHUNK_BYTES);
const ALL_BITS = new Uint8Array(CHUNK_BYTES).fill(0xff);
const BITS_SET = Uint8Array.from({ length: 256 }, (_, byte) => {
  let count = 0;
  for (let rest = byte; rest > 0; rest &= rest - 1) count++;
  return count;
});

/** Where the bitmap lies, as far as it can be read. */
export interface BitmapPlace {
  readonly runs: readonly ClusterRun[];
  /** Bytes of the bitmap that are on the device. */
  readonly readableBytes: number;
  readonly fault: string | undefined;
}

/** Finds the clusters of the bitmap. Throws what reading the FAT throws. */
export async function findBitmap(
  store: ExfatStore,
  allocation: Allocation,
  options: ClusterOptions = {},
): Promise<BitmapPlace> {
  const { geometry, device } = store;
  const runs: ClusterRun[] = [];
  const neededBytes = Math.ceil(geometry.clusterCount / 8);
  const sizeBytes = Math.min(allocation.sizeBytes, neededBytes);
  const found = await findFile(
    store,
    { ...allocation, sizeBytes },
    (cluster, count) => void runs.push({ cluster, count }),
    options,
  );
  let readableBytes = 0;
  for (const { cluster, count } of runs) {
    const start = clusterOffset(geometry, cluster);
    const runBytes = count * geometry.clusterBytes;
    readableBytes += Math.max(0, Math.min(runBytes, device.sizeBytes - start));
    if (start + runBytes > device.sizeBytes) break;
  }
  readableBytes = Math.min(readableBytes, sizeBytes);
  return {
    runs,
    readableBytes,
    fault: found.fault ?? sizeFault(sizeBytes, readableBytes, neededBytes),
  };
}

function sizeFault(sizeBytes: number, readable: number, needed: number): string | undefined {
  if (sizeBytes < needed) return `it has ${sizeBytes} bytes, ${needed} are needed`;
  if (readable < sizeBytes) return "part of it lies beyond the end of the device";
  return undefined;
}

/** Clusters in use, as far as the bitmap can be read. Throws what the device throws. */
export async function countUsed(store: ExfatStore, place: BitmapPlace): Promise<number> {
  let used = 0;
  for await (const { bytes } of streamBitmap(store, place)) {
    for (const byte of bytes) used += BITS_SET[byte] ?? 0;
  }
  return used;
}

export interface UsedClusters {
  /** Marked in the bitmap, in somebody's possession, or both. */
  readonly used: ExtentSet;
  /** Clusters marked in the bitmap. */
  readonly marked: number;
  /** Marked, but nobody's. */
  readonly unowned: number;
  /** Somebody's, but not marked, and the first of them. */
  readonly unmarked: number;
  readonly firstUnmarked: number;
}

/**
 * Compares the bitmap with what belongs to somebody, and puts both together; `extra` clusters are
 * added to what is in use, and counted nowhere. Throws what the device throws, and "aborted".
 */
export async function collectUsed(
  store: ExfatStore,
  place: BitmapPlace | undefined,
  owned: ClusterSet,
  options: { extra?: ClusterSet | undefined; signal?: AbortSignal | undefined } = {},
): Promise<UsedClusters> {
  const collector = new UsedCollector(owned, options.extra);
  // Clusters that are not on the device cannot be backed up, however many the volume claims.
  const totalBytes = Math.ceil(store.clustersReadable / 8);
  let atBytes = 0;
  if (place !== undefined) {
    for await (const { bytes } of streamBitmap(store, place)) {
      throwIfAborted(options.signal, `reading the allocation bitmap of ${store.device.name}`);
      for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
        collector.add(bytes.subarray(at, at + CHUNK_BYTES), atBytes + at);
      }
      atBytes += bytes.length;
    }
  }
  // A bitmap that is missing or cut short says nothing of the rest; a piece may end in a chunk.
  while (atBytes < totalBytes) {
    const toChunkEnd = CHUNK_BYTES - (atBytes % CHUNK_BYTES);
    const length = Math.min(toChunkEnd, totalBytes - atBytes);
    collector.add(NO_BITS.subarray(0, length), atBytes);
    atBytes += length;
  }
  return collector.finish();
}

/** The bitmap in pieces of whole chunks, but for the last; a piece is valid until the next. */
async function* streamBitmap(
  store: ExfatStore,
  place: BitmapPlace,
): AsyncGenerator<{ bytes: Uint8Array }> {
  const { geometry } = store;
  const buffer = new Uint8Array(Math.min(PIECE_BYTES, place.readableBytes));
  const reader = new RunReader(store, place.runs);
  for (let at = 0; at < place.readableBytes; at += PIECE_BYTES) {
    const bytes = buffer.subarray(0, Math.min(PIECE_BYTES, place.readableBytes - at));
    await reader.readNext(bytes);
    const isLast = (at + bytes.length) * 8 > geometry.clusterCount;
    // Bits beyond the last cluster mean nothing.
    if (isLast) {
      const last = bytes.length - 1;
      bytes[last] =
        (bytes[last] ?? 0) & (0xff >>> ((at + bytes.length) * 8 - geometry.clusterCount));
    }
    yield { bytes };
  }
}

/** Reads runs of clusters from front to back. */
class RunReader {
  readonly #store: ExfatStore;
  readonly #runs: readonly ClusterRun[];
  #index = 0;
  #inRun = 0;

  constructor(store: ExfatStore, runs: readonly ClusterRun[]) {
    this.#store = store;
    this.#runs = runs;
  }

  async readNext(target: Uint8Array): Promise<void> {
    const { device, geometry } = this.#store;
    for (let at = 0; at < target.length;) {
      const run = this.#runs[this.#index];
      if (run === undefined) return;
      const left = run.count * geometry.clusterBytes - this.#inRun;
      const part = target.subarray(at, at + left);
      const offset = clusterOffset(geometry, run.cluster) + this.#inRun;
      try {
        await device.read(offset, part);
      } catch (error) {
        throw fromSystem(
          error,
          `cannot read the allocation bitmap at byte ${offset} of ${device.name}`,
        );
      }
      at += part.length;
      this.#inRun += part.length;
      if (part.length < left) return;
      this.#index++;
      this.#inRun = 0;
    }
  }
}

class UsedCollector {
  readonly #owned: ClusterSet;
  readonly #extra: ClusterSet | undefined;
  readonly #runs = new CoarseRuns();
  readonly #combined = new Uint8Array(CHUNK_BYTES);
  /** First cluster of a run that has not ended yet; 0: none. */
  #runStart = 0;
  #end = FIRST_CLUSTER;
  #marked = 0;
  #unowned = 0;
  #unmarked = 0;
  #firstUnmarked = 0;

  constructor(owned: ClusterSet, extra: ClusterSet | undefined) {
    this.#owned = owned;
    this.#extra = extra;
  }

  /** Takes bits of the bitmap, within one chunk; `atBytes` is where they stand in the bitmap. */
  add(bits: Uint8Array, atBytes: number): void {
    const index = Math.floor(atBytes / CHUNK_BYTES);
    const from = atBytes - index * CHUNK_BYTES;
    const part = (chunk: Uint8Array | undefined) => chunk?.subarray(from, from + bits.length);
    const owned = part(this.#owned.chunk(index));
    const extra = part(this.#extra?.chunk(index));
    const first = atBytes * 8 + FIRST_CLUSTER;
    this.#end = first + bits.length * 8;
    if (owned === undefined && extra === undefined && isSame(bits, NO_BITS)) {
      this.#endRun(first);
    } else if (isSame(bits, ALL_BITS) && owned !== undefined && isSame(owned, ALL_BITS)) {
      this.#marked += bits.length * 8;
      this.#startRun(first);
    } else if (isSame(bits, NO_BITS) && owned !== undefined && isSame(owned, ALL_BITS)) {
      if (this.#unmarked === 0) this.#firstUnmarked = first;
      this.#unmarked += bits.length * 8;
      this.#startRun(first);
    } else {
      this.#collect(this.#count(bits, owned, extra, first), first);
    }
  }

  finish(): UsedClusters {
    this.#endRun(this.#end);
    return {
      used: this.#runs.finish(),
      marked: this.#marked,
      unowned: this.#unowned,
      unmarked: this.#unmarked,
      firstUnmarked: this.#firstUnmarked,
    };
  }

  /** Counts, and puts the bits of all three together. */
  #count(
    bits: Uint8Array,
    owned: Uint8Array | undefined,
    extra: Uint8Array | undefined,
    first: number,
  ): Uint8Array {
    const combined = this.#combined.subarray(0, bits.length);
    for (let i = 0; i < bits.length; i++) {
      const marked = bits[i] ?? 0;
      const own = owned?.[i] ?? 0;
      combined[i] = marked | own | (extra?.[i] ?? 0);
      if (marked === 0 && own === 0) continue;
      this.#marked += BITS_SET[marked] ?? 0;
      if (marked === own) continue;
      this.#unowned += BITS_SET[marked & ~own] ?? 0;
      const missing = own & ~marked;
      if (missing === 0) continue;
      if (this.#unmarked === 0) this.#firstUnmarked = first + i * 8 + lowestBit(missing);
      this.#unmarked += BITS_SET[missing] ?? 0;
    }
    return combined;
  }

  #collect(bits: Uint8Array, first: number): void {
    for (let i = 0; i < bits.length; i++) {
      const byte = bits[i] ?? 0;
      const cluster = first + i * 8;
      if (byte === 0) this.#endRun(cluster);
      else if (byte === 0xff) this.#startRun(cluster);
      else {
        for (let bit = 0; bit < 8; bit++) {
          if ((byte & (1 << bit)) === 0) this.#endRun(cluster + bit);
          else this.#startRun(cluster + bit);
        }
      }
    }
  }

  #startRun(cluster: number): void {
    if (this.#runStart === 0) this.#runStart = cluster;
  }

  #endRun(cluster: number): void {
    if (this.#runStart > 0) this.#runs.add(this.#runStart, cluster);
    this.#runStart = 0;
  }
}

function isSame(bits: Uint8Array, pattern: Uint8Array): boolean {
  return Buffer.compare(bits, pattern.subarray(0, bits.length)) === 0;
}

function lowestBit(byte: number): number {
  return 31 - Math.clz32(byte & -byte);
}
