/**
 * Which blocks of a device are not zeros: one pass in large reads, a few of them under way at once.
 * Node cannot ask a file for its holes, so they are read like everything else; the system gives
 * their zeros from memory.
 *
 * A piece is first compared as a whole with zeros, and only where it differs block by block. Both are
 * memcmp, which ends at the first difference: a piece takes well under a millisecond of the event
 * loop.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { ExtentSetBuilder, type ExtentSet } from "../../device/extents.ts";
import { throwIfAborted } from "../../errors.ts";
import type { RunOptions } from "../../progress.ts";

/** One read, and one stay in the event loop. */
const PIECE_BYTES = 1024 * 1024;
const READS_UNDER_WAY = 4;
/** What is not looked at is read all the same where it is shorter than a read is worth. */
const GAP_BYTES_MAX = 256 * 1024;

export interface FindContentsOptions extends RunOptions {
  readonly blockSizeBytes: number;
  /** Where to begin and to stop looking; multiples of the block size, as PIECE_BYTES is. */
  readonly startBytes?: number;
  readonly endBytes: number;
  /** Look at these blocks alone. */
  readonly within?: ExtentSet | undefined;
}

interface Reading {
  readonly at: number;
  /** As much of the buffer as is read. */
  readonly piece: Buffer;
  readonly buffer: Buffer<ArrayBuffer>;
  readonly done: Promise<void>;
}

/** The blocks of [startBytes, endBytes) that are not all zeros. Throws "aborted", and what reading throws. */
export async function findContents(
  device: BlockDevice,
  options: FindContentsOptions,
): Promise<ExtentSet> {
  const { blockSizeBytes, endBytes, within, signal, progress } = options;
  const found = new ExtentSetBuilder();
  const zeros = Buffer.alloc(PIECE_BYTES);
  const free = Array.from({ length: READS_UNDER_WAY }, () => Buffer.allocUnsafe(PIECE_BYTES));
  const ring: Reading[] = [];
  const finishOldest = async (): Promise<void> => {
    const oldest = ring.shift();
    if (oldest === undefined) return;
    await oldest.done;
    const { at, piece, buffer } = oldest;
    addContents(found, piece, zeros, at / blockSizeBytes, blockSizeBytes);
    free.push(buffer);
    progress?.({ phase: "looking for data", done: at + piece.length, total: endBytes });
  };
  try {
    for (const [at, lengthBytes] of piecesOf(options)) {
      throwIfAborted(signal, `reading ${device.name}`);
      if (free.length === 0) await finishOldest();
      const buffer = free.pop() ?? Buffer.allocUnsafe(PIECE_BYTES);
      const piece = buffer.subarray(0, lengthBytes);
      const done = device.read(at, piece);
      // Whoever awaits the ring meets the failure; nothing may be left unhandled until then.
      done.catch(() => undefined);
      ring.push({ at, piece, buffer, done });
    }
    while (ring.length > 0) await finishOldest();
  } finally {
    await Promise.allSettled(ring.map(({ done }) => done));
  }
  const all = found.build();
  return within === undefined ? all : all.intersect(within);
}

/** What to read, in rising order. */
function* piecesOf({
  blockSizeBytes,
  startBytes = 0,
  endBytes,
  within,
}: FindContentsOptions): Generator<readonly [offsetBytes: number, lengthBytes: number]> {
  const runs = within ?? [[startBytes / blockSizeBytes, (endBytes - startBytes) / blockSizeBytes]];
  let from = startBytes;
  let to = startBytes;
  const piecesSoFar = function* (): Generator<readonly [number, number]> {
    for (; from < to; from += PIECE_BYTES) yield [from, Math.min(PIECE_BYTES, to - from)];
  };
  for (const [start = 0, count = 0] of runs) {
    const runStart = Math.max(startBytes, start * blockSizeBytes);
    if (runStart > to + GAP_BYTES_MAX) {
      yield* piecesSoFar();
      from = runStart;
    }
    to = Math.max(to, Math.min(endBytes, (start + count) * blockSizeBytes));
  }
  yield* piecesSoFar();
}

function addContents(
  found: ExtentSetBuilder,
  piece: Buffer,
  zeros: Buffer<ArrayBuffer>,
  firstBlock: number,
  blockSizeBytes: number,
): void {
  if (piece.compare(zeros, 0, piece.length) === 0) return;
  let runStart = -1;
  const blocks = piece.length / blockSizeBytes;
  for (let block = 0; block < blocks; block++) {
    const at = block * blockSizeBytes;
    const isZero = piece.compare(zeros, 0, blockSizeBytes, at, at + blockSizeBytes) === 0;
    if (!isZero && runStart < 0) runStart = block;
    if (isZero && runStart >= 0) {
      found.add(firstBlock + runStart, block - runStart);
      runStart = -1;
    }
  }
  if (runStart >= 0) found.add(firstBlock + runStart, blocks - runStart);
}
