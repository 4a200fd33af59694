/** From what the volumes use to blocks of the device, the unit of backups. */
import { ExtentSet, ExtentSetBuilder } from "../../device/extents.ts";
import { mapInSegment } from "./block-map.ts";
import type { Segment } from "./block-map.ts";
import { SECTOR_BYTES } from "./fields.ts";
import { HEAD_SECTORS, LOGICAL_BLOCK_BYTES } from "./partition.ts";
import type { Partition } from "./partition.ts";

const UNIT_BYTES_MIN = 512;
const UNIT_BYTES_MAX = 65536;

export interface DeviceBlocks {
  readonly unitBytes: number;
  readonly count: number;
}

/** The largest unit in which partitions, data areas and blocks of volumes all begin. */
export function deviceBlocks(
  deviceBytes: number,
  partitions: readonly Partition[],
  segments: readonly { readonly segment: Segment; readonly blockBytes: number }[],
): DeviceBlocks {
  const offsets = [
    ...partitions.flatMap((partition) => [
      partition.startBytes,
      partition.sizeBytes,
      partition.dataSector * SECTOR_BYTES,
    ]),
    ...segments.flatMap(({ segment, blockBytes }) => [
      blockBytes,
      segment.firstSector * SECTOR_BYTES,
    ]),
  ];
  let unitBytes = UNIT_BYTES_MAX;
  while (unitBytes > UNIT_BYTES_MIN && offsets.some((offset) => offset % unitBytes !== 0)) {
    unitBytes /= 2;
  }
  return { unitBytes, count: Math.floor(deviceBytes / unitBytes) };
}

/** Blocks of a volume that lie in these segments, as blocks of the device. */
export function blocksInSegments(
  blocks: ExtentSet,
  segments: readonly Segment[],
  blockBytes: number,
  device: DeviceBlocks,
): ExtentSet {
  let all = ExtentSet.empty;
  for (const segment of segments) {
    // Within a segment only what was redirected is out of order.
    const inOrder = new ExtentSetBuilder();
    const others: [number, number][] = [];
    let last = 0;
    const segmentEnd = segment.firstBlock + segment.blockCount;
    for (let run = blocks.indexFrom(segment.firstBlock); run < blocks.length; run++) {
      const from = Math.max(blocks.startAt(run), segment.firstBlock);
      const to = Math.min(blocks.startAt(run) + blocks.countAt(run), segmentEnd);
      if (from >= to) break;
      const [offset, length] = [from * blockBytes, (to - from) * blockBytes];
      mapInSegment(segment, blockBytes, offset, length, (deviceOffset, lengthBytes) => {
        const [start, count] = covering(deviceOffset, lengthBytes, device);
        if (start >= last) inOrder.add(start, count);
        else others.push([start, count]);
        last = Math.max(last, start);
      });
    }
    all = all.union(inOrder.build()).union(ExtentSet.from(others));
  }
  return all;
}

export interface PartitionHeads {
  /** What must be read to find the volumes. */
  readonly control: ExtentSet;
  /** That and what the redirection area holds. */
  readonly used: ExtentSet;
}

/** Sectors of partitions that belong to no volume. */
export function partitionHeads(
  partitions: readonly Partition[],
  device: DeviceBlocks,
): PartitionHeads {
  const control: [number, number][] = [];
  const used: [number, number][] = [];
  for (const { startBytes, sizeBytes, dataSector, ...partition } of partitions) {
    const add = (runs: [number, number][], offset: number, length: number) => {
      const inside = Math.min(length, sizeBytes - offset);
      if (inside > 0) runs.push(covering(startBytes + offset, inside, device));
    };
    const headBytes = HEAD_SECTORS * SECTOR_BYTES;
    add(control, 0, headBytes);
    add(control, dataSector * SECTOR_BYTES, headBytes);
    for (const block of partition.tableBlocks) {
      add(control, block * LOGICAL_BLOCK_BYTES, LOGICAL_BLOCK_BYTES);
    }
    for (const block of partition.redirectionBlocksUsed) {
      add(used, block * LOGICAL_BLOCK_BYTES, LOGICAL_BLOCK_BYTES);
    }
  }
  const controlSet = ExtentSet.from(control);
  return { control: controlSet, used: controlSet.union(ExtentSet.from(used)) };
}

/** Byte ranges as blocks of the device. */
export function blocksOfBytes(
  ranges: Iterable<readonly [offsetBytes: number, lengthBytes: number]>,
  device: DeviceBlocks,
): ExtentSet {
  return ExtentSet.from(Array.from(ranges, ([offset, length]) => covering(offset, length, device)));
}

function covering(
  offsetBytes: number,
  lengthBytes: number,
  { unitBytes, count }: DeviceBlocks,
): [start: number, count: number] {
  const start = Math.floor(offsetBytes / unitBytes);
  const end = Math.min(Math.ceil((offsetBytes + lengthBytes) / unitBytes), count);
  return [start, Math.max(0, end - start)];
}
