/** Reads scattered runs of a source with few large reads. */
import type { BlockDevice } from "../device/block-device.ts";
import { settleAll } from "../device/settle-all.ts";
import type { Runs } from "./frame.ts";

/** A gap up to this long is read and thrown away rather than asking twice. */
const GAP_BYTES_MAX = 32 * 1024;
/** Longest single read that bridges gaps. */
const SPAN_BYTES_MAX = 1024 * 1024;
/** Buffers for such reads that are kept for the next. */
const SCRATCH_KEPT_MAX = 8;

/** Made anew each time, they would have the garbage collector run all the while. */
const scratchBuffers: Buffer[] = [];

/** Puts the blocks of `runs`, in order, into `target`, which they fill. */
export async function readRunsFrom(
  device: BlockDevice,
  cutRuns: Runs,
  blockSizeBytes: number,
  target: Buffer,
): Promise<void> {
  const runs = joined(cutRuns);
  const reads: Promise<void>[] = [];
  let at = 0;
  for (let i = 0; i < runs.length;) {
    const span = spanFrom(runs, i, blockSizeBytes);
    reads.push(readSpan(device, runs.slice(i, span.next), blockSizeBytes, target, at));
    at += span.blocks * blockSizeBytes;
    i = span.next;
  }
  await settleAll(reads);
}

/** Runs that follow one another without a gap, as where a record ends, are one: read in place. */
function joined(runs: Runs): Runs {
  const all: [start: number, count: number][] = [];
  for (const [start, count] of runs) {
    const last = all.at(-1);
    if (last !== undefined && last[0] + last[1] === start) last[1] += count;
    else all.push([start, count]);
  }
  return all;
}

/** The runs from `first` on that one read should cover. */
function spanFrom(runs: Runs, first: number, blockSizeBytes: number) {
  const [start, count] = runs[first] ?? [0, 0];
  let end = start + count;
  let blocks = count;
  let next = first + 1;
  for (; next < runs.length; next++) {
    const [nextStart, nextCount] = runs[next] ?? [0, 0];
    const gap = (nextStart - end) * blockSizeBytes;
    const span = (nextStart + nextCount - start) * blockSizeBytes;
    if (gap > GAP_BYTES_MAX || span > SPAN_BYTES_MAX) break;
    end = nextStart + nextCount;
    blocks += nextCount;
  }
  return { next, blocks };
}

async function readSpan(
  device: BlockDevice,
  runs: Runs,
  blockSizeBytes: number,
  target: Buffer,
  targetAt: number,
): Promise<void> {
  const [first, firstCount] = runs[0] ?? [0, 0];
  if (runs.length === 1) {
    const length = firstCount * blockSizeBytes;
    await device.read(first * blockSizeBytes, target.subarray(targetAt, targetAt + length));
    return;
  }
  const [last, lastCount] = runs[runs.length - 1] ?? [0, 0];
  const scratch = scratchBuffers.pop() ?? Buffer.allocUnsafeSlow(SPAN_BYTES_MAX);
  try {
    const spanBytes = (last + lastCount - first) * blockSizeBytes;
    await device.read(first * blockSizeBytes, scratch.subarray(0, spanBytes));
    let at = targetAt;
    for (const [start, count] of runs) {
      const from = (start - first) * blockSizeBytes;
      at += scratch.copy(target, at, from, from + count * blockSizeBytes);
    }
  } finally {
    if (scratchBuffers.length < SCRATCH_KEPT_MAX) scratchBuffers.push(scratch);
  }
}
