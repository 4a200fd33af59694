/**
 * Where the blocks of a volume lie on the device: in segments, each a stretch of some partition's
 * data area, save for the 4 KiB blocks of it that were redirected.
 */
import { LOGICAL_BLOCK_BYTES } from "./partition.ts";
import type { Partition } from "./partition.ts";
import { SECTOR_BYTES } from "./fields.ts";

/** A stretch of a volume's blocks on one partition. */
export interface Segment {
  readonly partition: Partition;
  readonly firstBlock: number;
  readonly blockCount: number;
  /** From the start of the partition's data area. */
  readonly firstSector: number;
}

/** Gets stretches of the device in the order of the volume. */
export type ExtentSink = (deviceOffset: number, lengthBytes: number) => void;

/**
 * Calls `sink` with where [offset, offset + length) bytes of the volume lie; all of them must be in
 * the segment.
 */
export function mapInSegment(
  { partition, firstBlock, firstSector }: Segment,
  blockBytes: number,
  offsetBytes: number,
  lengthBytes: number,
  sink: ExtentSink,
): void {
  const { startBytes, dataSector, redirections } = partition;
  const { logicalBlocks, targets } = redirections;
  const dataOffset = startBytes + dataSector * SECTOR_BYTES;
  let at = firstSector * SECTOR_BYTES + offsetBytes - firstBlock * blockBytes;
  const end = at + lengthBytes;
  let next = lowerBound(logicalBlocks, Math.floor(at / LOGICAL_BLOCK_BYTES));
  while (at < end) {
    const redirected = (logicalBlocks[next] ?? Number.POSITIVE_INFINITY) * LOGICAL_BLOCK_BYTES;
    if (at < redirected) {
      const length = Math.min(end, redirected) - at;
      sink(dataOffset + at, length);
      at += length;
      continue;
    }
    const within = at - redirected;
    const length = Math.min(end - at, LOGICAL_BLOCK_BYTES - within);
    sink(startBytes + (targets[next] ?? 0) * LOGICAL_BLOCK_BYTES + within, length);
    at += length;
    next++;
  }
}

/** Index of the first value that is at least `value`. */
function lowerBound(values: Uint32Array, value: number): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((values[middle] ?? 0) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The block after the last one of a segment that is on the device; 0 when there is none. */
function endOnDevice(
  { partition, firstBlock, blockCount, firstSector }: Segment,
  blockBytes: number,
): number {
  const before = (partition.dataSector + firstSector) * SECTOR_BYTES;
  const present = Math.floor((partition.sizeBytes - before) / blockBytes);
  return present <= 0 ? 0 : firstBlock + Math.min(blockCount, present);
}

export class BlockMap {
  readonly blockBytes: number;
  /** Blocks 0 to blockCount - 1 have a segment; the volume ends here, or where the device does. */
  readonly blockCount: number;
  readonly segments: readonly Segment[];

  /** Segments in the order of their blocks, without gaps. */
  constructor(blockBytes: number, segments: readonly Segment[]) {
    this.blockBytes = blockBytes;
    this.segments = segments;
    this.blockCount = Math.max(0, ...segments.map((segment) => endOnDevice(segment, blockBytes)));
  }

  /**
   * Calls `sink` with where [offset, offset + length) bytes of the volume lie, in order; what has
   * no segment is left out.
   */
  forEachExtent(offsetBytes: number, lengthBytes: number, sink: ExtentSink): void {
    const end = offsetBytes + lengthBytes;
    for (const segment of this.segments) {
      const start = segment.firstBlock * this.blockBytes;
      const from = Math.max(offsetBytes, start);
      const to = Math.min(end, start + segment.blockCount * this.blockBytes);
      if (from < to) mapInSegment(segment, this.blockBytes, from, to - from, sink);
    }
  }
}
