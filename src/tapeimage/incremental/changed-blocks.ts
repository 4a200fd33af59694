/**
 * Which blocks of data have changed since the parent was made: the source is read once, in rising
 * order, and the checksum of each chunk is compared with the parent's.
 *
 * Windows of some megabytes go through a pipeline: while one is compared, those after it are being
 * read and hashed on the codec threads. A chunk counts as changed when its checksum differs, and also
 * when other blocks of it are data than then: a checksum covers the data blocks of its chunk, and
 * says nothing of which they are.
 *
 * Where it is known which blocks may have changed, chunks without such a block, in which the same
 * blocks are data as in the parent, are not read: they have the parent's checksums.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { ExtentSet, ExtentSetBuilder } from "../../device/extents.ts";
import { throwIfAborted } from "../../errors.ts";
import { codecPool, sharedBuffer, sharedSpan } from "../codec-pool.ts";
import { CODEC_ID, type Runs } from "../frame.ts";
import { CHECKSUM_BYTES } from "../record-codec.ts";
import { readRunsFrom } from "../source-reader.ts";
import { chunksOf, type Parent } from "./parent.ts";

const WINDOW_BYTES = 2 * 1024 * 1024;
/** Chunks in one stretch that is kept: 1 MiB of checksums. */
const KEPT_CHUNKS_MAX = 65_536;
/** Windows being read and hashed ahead of the one that is compared. */
const WINDOWS_AHEAD = 4;

/** A stretch of data blocks that ends with a chunk. */
export type ComparedStretch = ComparedWindow | KeptStretch;

/** Chunks that were not read, because nothing in them has changed. */
export interface KeptStretch {
  readonly kind: "kept";
  readonly runs: Runs;
  readonly blocks: number;
  readonly checksums: Buffer;
}

export interface ComparedWindow {
  readonly kind: "compared";
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
  /** All blocks that may have changed since the parent was made. Default: any may have. */
  readonly dirty?: ExtentSet | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What of the data must be read, and the numbers of the chunks that need not be. */
export interface ComparePlan {
  readonly read: ExtentSet;
  readonly keptChunks: ExtentSet;
  /** Chunks in which other blocks are data than in the parent. */
  readonly movedChunks: ExtentSet;
}

export function planComparison(
  data: ExtentSet,
  parent: Pick<Parent, "data">,
  { chunkBlocks, dirty }: Pick<CompareOptions, "chunkBlocks" | "dirty">,
): ComparePlan {
  const moved = data.subtract(parent.data).union(parent.data.subtract(data));
  const movedChunks = chunksOf(moved, chunkBlocks);
  if (dirty === undefined) return { read: data, keptChunks: ExtentSet.empty, movedChunks };
  const toRead = chunksOf(dirty, chunkBlocks).union(movedChunks);
  const keptChunks = chunksOf(data, chunkBlocks).subtract(toRead);
  const kept = new ExtentSetBuilder();
  for (const [chunk, count] of keptChunks) kept.add(chunk * chunkBlocks, count * chunkBlocks);
  return { read: data.subtract(kept.build()), keptChunks, movedChunks };
}

/** Reads of `data` what may have changed, and compares it with what `parent` had. */
export async function* compareWithParent(
  device: BlockDevice,
  data: ExtentSet,
  parent: Parent,
  options: CompareOptions,
): AsyncGenerator<ComparedStretch> {
  const { blockSizeBytes, chunkBlocks } = options;
  const windowBlocks = Math.max(chunkBlocks, Math.floor(WINDOW_BYTES / blockSizeBytes));
  const plan = planComparison(data, parent, options);
  const judge = new ChunkJudge(parent, plan.movedChunks, chunkBlocks);
  const keeper = new ChunkOrdinals(parent, chunkBlocks);
  const free: Slot[] = [];
  const ring: (Compared | Kept)[] = [];
  const start = (window: Window | KeptChunks): void => {
    if ("chunk" in window) {
      const stretch = keptStretch(data, parent, window, keeper.of(window.chunk), chunkBlocks);
      stretch.catch(() => undefined);
      ring.push({ stretch });
      return;
    }
    const slot = free.pop() ?? newSlot(windowBlocks, blockSizeBytes);
    const hashed = readAndHash(device, window, slot, blockSizeBytes);
    hashed.catch(() => undefined);
    ring.push({ window, slot, hashed });
  };
  try {
    const source = stepsOf(data, plan, chunkBlocks, windowBlocks);
    for (;;) {
      while (ring.length <= WINDOWS_AHEAD) {
        const next = source.next();
        if (next.done === true) break;
        start(next.value);
      }
      const oldest = ring.shift();
      if (oldest === undefined) return;
      throwIfAborted(options.signal, `backing up ${device.name}`);
      if ("stretch" in oldest) {
        yield await oldest.stretch;
        continue;
      }
      await oldest.hashed;
      const { window, slot } = oldest;
      const checksums = slot.checksums.subarray(0, window.chunks.length * CHECKSUM_BYTES);
      yield {
        kind: "compared",
        runs: window.runs,
        bytes: slot.bytes.subarray(0, window.blocks * blockSizeBytes),
        chunks: await judge.judge(window, checksums),
        checksums,
      };
      free.push(slot);
    }
  } finally {
    await Promise.allSettled(
      ring.map(async (step) => ("stretch" in step ? step.stretch : step.hashed)),
    );
  }
}

interface Compared {
  readonly window: Window;
  readonly slot: Slot;
  readonly hashed: Promise<void>;
}

interface Kept {
  readonly stretch: Promise<KeptStretch>;
}

/** Consecutive chunks that are not read. */
interface KeptChunks {
  readonly chunk: number;
  readonly count: number;
}

/** Windows and stretches that are kept, in rising order. */
function* stepsOf(
  data: ExtentSet,
  { read, keptChunks }: ComparePlan,
  chunkBlocks: number,
  windowBlocks: number,
): Generator<Window | KeptChunks, undefined> {
  let block = 0;
  for (const [first, total] of keptChunks) {
    yield* windowsOf(runsWithin(read, block, first * chunkBlocks), chunkBlocks, windowBlocks);
    for (let done = 0; done < total; done += KEPT_CHUNKS_MAX) {
      yield { chunk: first + done, count: Math.min(KEPT_CHUNKS_MAX, total - done) };
    }
    block = (first + total) * chunkBlocks;
  }
  yield* windowsOf(runsWithin(read, block, data.end), chunkBlocks, windowBlocks);
}

/** Runs of a set, cut to [from, to). */
function* runsWithin(
  set: ExtentSet,
  from: number,
  to: number,
): Generator<readonly [start: number, count: number]> {
  for (let run = set.indexFrom(from); run < set.length && set.startAt(run) < to; run++) {
    const start = Math.max(from, set.startAt(run));
    yield [start, Math.min(to, endOf(set, run)) - start];
  }
}

async function keptStretch(
  data: ExtentSet,
  parent: Parent,
  { chunk, count }: KeptChunks,
  ordinal: number,
  chunkBlocks: number,
): Promise<KeptStretch> {
  const runs = [...runsWithin(data, chunk * chunkBlocks, (chunk + count) * chunkBlocks)];
  const checksums = Buffer.allocUnsafe(count * CHECKSUM_BYTES);
  await parent.checksums.read(ordinal * CHECKSUM_BYTES, checksums);
  const blocks = runs.reduce((sum, [, each]) => sum + each, 0);
  return { kind: "kept", runs, blocks, checksums };
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

/** Cuts runs into windows of whole chunks. */
function* windowsOf(
  data: Iterable<readonly [start: number, count: number]>,
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
  readonly #ordinals: ChunkOrdinals;
  readonly #moved: ExtentSet;
  readonly #kept = Buffer.alloc(CHECKSUM_BYTES);
  #movedRun = 0;

  constructor(parent: Parent, movedChunks: ExtentSet, chunkBlocks: number) {
    this.#parent = parent;
    this.#ordinals = new ChunkOrdinals(parent, chunkBlocks);
    this.#moved = movedChunks;
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
    const at = this.#ordinals.of(chunk) * CHECKSUM_BYTES;
    const { checksums } = this.#parent;
    if (!checksums.tryRead(at, this.#kept)) await checksums.read(at, this.#kept);
    return this.#kept.equals(checksum);
  }
}

/** Where the parent's checksums of its chunks are, asked for in rising order. */
class ChunkOrdinals {
  readonly #chunks: ExtentSet;
  #run = 0;
  /** Chunks in the runs before `#run`. */
  #before = 0;

  constructor(parent: Parent, chunkBlocks: number) {
    this.#chunks = chunksOf(parent.data, chunkBlocks);
  }

  /** Number of the checksum of a chunk that the parent has. */
  of(chunk: number): number {
    const chunks = this.#chunks;
    while (this.#run < chunks.length && endOf(chunks, this.#run) <= chunk) {
      this.#before += chunks.countAt(this.#run);
      this.#run++;
    }
    return this.#before + (chunk - chunks.startAt(this.#run));
  }
}

function endOf(set: ExtentSet, run: number): number {
  return set.startAt(run) + set.countAt(run);
}
