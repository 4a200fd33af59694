/**
 * Which blocks of data have changed since the parent was made: the source is read once, in rising
 * order, and the checksum of each chunk is compared with the parent's.
 *
 * Windows of some megabytes go through a pipeline: while one is compared, those after it are being
 * read and hashed on the codec threads. A chunk counts as changed when its checksum differs, and also
 * when other blocks of it are data than then: a checksum covers the data blocks of its chunk, and
 * says nothing of which they are.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import type { ExtentSet } from "../../device/extents.ts";
import { throwIfAborted } from "../../errors.ts";
import { codecPool, sharedBuffer, sharedSpan } from "../codec-pool.ts";
import { CODEC_ID, type Runs } from "../frame.ts";
import { CHECKSUM_BYTES } from "../record-codec.ts";
import { readRunsFrom } from "../source-reader.ts";
import { chunksOf, type Parent } from "./parent.ts";

const WINDOW_BYTES = 2 * 1024 * 1024;
/** Windows being read and hashed ahead of the one that is compared. */
const WINDOWS_AHEAD = 4;

/** A stretch of data blocks that ends with a chunk. */
export interface ComparedWindow {
  /** Its blocks in rising order; `bytes` holds them one after another. */
  readonly runs: Runs;
  /** Valid until the next window is asked for. */
  readonly bytes: Buffer;
  readonly chunks: readonly ComparedChunk[];
  /** The checksums of its chunks, one after another. */
  readonly checksums: Buffer;
}

export interface ComparedChunk {
  readonly chunk: number;
  /** Its data blocks: the first one's place in the window, and how many. */
  readonly at: number;
  readonly blocks: number;
  readonly changed: boolean;
}

interface Window {
  readonly runs: [start: number, count: number][];
  readonly chunks: { readonly chunk: number; readonly at: number; blocks: number }[];
  blocks: number;
}

interface Slot {
  readonly bytes: Buffer;
  readonly checksums: Buffer;
}

export interface CompareOptions {
  readonly blockSizeBytes: number;
  readonly chunkBlocks: number;
  readonly signal?: AbortSignal | undefined;
}

/** Reads all of `data` and compares it with what `parent` had. */
export async function* compareWithParent(
  device: BlockDevice,
  data: ExtentSet,
  parent: Parent,
  options: CompareOptions,
): AsyncGenerator<ComparedWindow> {
  const { blockSizeBytes, chunkBlocks } = options;
  const windowBlocks = Math.max(chunkBlocks, Math.floor(WINDOW_BYTES / blockSizeBytes));
  const judge = new ChunkJudge(data, parent, chunkBlocks);
  const free: Slot[] = [];
  const ring: { window: Window; slot: Slot; hashed: Promise<void> }[] = [];
  const start = (window: Window): void => {
    const slot = free.pop() ?? newSlot(windowBlocks, blockSizeBytes);
    const hashed = readAndHash(device, window, slot, blockSizeBytes);
    hashed.catch(() => undefined);
    ring.push({ window, slot, hashed });
  };
  try {
    const source = windowsOf(data, chunkBlocks, windowBlocks);
    for (;;) {
      while (ring.length <= WINDOWS_AHEAD) {
        const next = source.next();
        if (next.done === true) break;
        start(next.value);
      }
      const oldest = ring.shift();
      if (oldest === undefined) return;
      throwIfAborted(options.signal, `backing up ${device.name}`);
      await oldest.hashed;
      const { window, slot } = oldest;
      const checksums = slot.checksums.subarray(0, window.chunks.length * CHECKSUM_BYTES);
      yield {
        runs: window.runs,
        bytes: slot.bytes.subarray(0, window.blocks * blockSizeBytes),
        chunks: await judge.judge(window, checksums),
        checksums,
      };
      free.push(slot);
    }
  } finally {
    await Promise.allSettled(ring.map(async ({ hashed }) => hashed));
  }
}

function newSlot(windowBlocks: number, blockSizeBytes: number): Slot {
  return {
    bytes: sharedBuffer(windowBlocks * blockSizeBytes),
    // Each of its blocks may be the only one of a chunk.
    checksums: sharedBuffer(windowBlocks * CHECKSUM_BYTES),
  };
}

async function readAndHash(
  device: BlockDevice,
  window: Window,
  slot: Slot,
  blockSizeBytes: number,
): Promise<void> {
  const bytes = slot.bytes.subarray(0, window.blocks * blockSizeBytes);
  await readRunsFrom(device, window.runs, blockSizeBytes, bytes);
  await codecPool().encode({
    records: [],
    codec: CODEC_ID.none,
    level: 1,
    chunks: window.chunks.flatMap(({ at, blocks }) => [
      at * blockSizeBytes,
      blocks * blockSizeBytes,
    ]),
    memory: sharedSpan(bytes),
    checksums: sharedSpan(slot.checksums),
  });
}

/** Cuts the set into windows of whole chunks. */
function* windowsOf(
  data: ExtentSet,
  chunkBlocks: number,
  windowBlocks: number,
): Generator<Window, undefined> {
  let window: Window = { runs: [], chunks: [], blocks: 0 };
  let last = -1;
  for (const [first, count] of data) {
    const end = first + count;
    for (let block = first; block < end;) {
      const chunk = Math.floor(block / chunkBlocks);
      const blocks = Math.min(end, (chunk + 1) * chunkBlocks) - block;
      if (chunk !== last) {
        if (window.blocks + chunkBlocks > windowBlocks && window.blocks > 0) {
          yield window;
          window = { runs: [], chunks: [], blocks: 0 };
        }
        window.chunks.push({ chunk, at: window.blocks, blocks: 0 });
        last = chunk;
      }
      addBlocks(window, block, blocks);
      block += blocks;
    }
  }
  if (window.blocks > 0) yield window;
}

function addBlocks(window: Window, start: number, count: number): void {
  const run = window.runs.at(-1);
  if (run !== undefined && run[0] + run[1] === start) run[1] += count;
  else window.runs.push([start, count]);
  const chunk = window.chunks.at(-1);
  if (chunk !== undefined) chunk.blocks += count;
  window.blocks += count;
}

/** Steps through the parent's chunks as those of the source come, in rising order. */
class ChunkJudge {
  readonly #parent: Parent;
  readonly #parentChunks: ExtentSet;
  /** Chunks in which other blocks are data than in the parent. */
  readonly #moved: ExtentSet;
  readonly #kept = Buffer.alloc(CHECKSUM_BYTES);
  #run = 0;
  /** Chunks of the parent in the runs before `#run`. */
  #before = 0;
  #movedRun = 0;

  constructor(data: ExtentSet, parent: Parent, chunkBlocks: number) {
    this.#parent = parent;
    this.#parentChunks = chunksOf(parent.data, chunkBlocks);
    const moved = data.subtract(parent.data).union(parent.data.subtract(data));
    this.#moved = chunksOf(moved, chunkBlocks);
  }

  async judge(window: Window, checksums: Buffer): Promise<ComparedChunk[]> {
    const judged: ComparedChunk[] = [];
    for (const [index, { chunk, at, blocks }] of window.chunks.entries()) {
      const own = checksums.subarray(index * CHECKSUM_BYTES, (index + 1) * CHECKSUM_BYTES);
      const isMoved = this.#isMoved(chunk);
      judged.push({ chunk, at, blocks, changed: isMoved || !(await this.#isKept(chunk, own)) });
    }
    return judged;
  }

  #isMoved(chunk: number): boolean {
    const moved = this.#moved;
    while (this.#movedRun < moved.length && endOf(moved, this.#movedRun) <= chunk) this.#movedRun++;
    return this.#movedRun < moved.length && moved.startAt(this.#movedRun) <= chunk;
  }

  /** Only asked of chunks that the parent has: the data blocks in them are the same. */
  async #isKept(chunk: number, checksum: Buffer): Promise<boolean> {
    const chunks = this.#parentChunks;
    while (this.#run < chunks.length && endOf(chunks, this.#run) <= chunk) {
      this.#before += chunks.countAt(this.#run);
      this.#run++;
    }
    const ordinal = this.#before + (chunk - chunks.startAt(this.#run));
    const at = ordinal * CHECKSUM_BYTES;
    const { checksums } = this.#parent;
    if (!checksums.tryRead(at, this.#kept)) await checksums.read(at, this.#kept);
    return this.#kept.equals(checksum);
  }
}

function endOf(set: ExtentSet, run: number): number {
  return set.startAt(run) + set.countAt(run);
}
