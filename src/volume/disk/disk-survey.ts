/**
 * What of a disk is no partition's: the partition table, and what lies in the gaps between the
 * partitions. Boot loaders live there (behind the MBR, before the first partition of a small
 * computer's card), and at the end of a disk the metadata of some RAID controllers.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { ExtentSet } from "../../device/extents.ts";
import { throwIfAborted } from "../../errors.ts";
import type { RunOptions } from "../../progress.ts";
import type { ByteRange, PartitionTable } from "../partitions/partition-table.ts";
import { findContents } from "../unknown/find-contents.ts";

/**
 * Of a long gap only this much at either end is looked at: unpartitioned space may be most of a
 * disk, and what is far from a partition's border is nobody's.
 */
export const GAP_END_BYTES = 32 * 1024 * 1024;

export interface DiskSurvey {
  /** Blocks of one sector: the table, and what is not zeros in the gaps. */
  readonly used: ExtentSet;
  /** The table alone. */
  readonly control: ExtentSet;
  readonly notices: readonly string[];
}

/** Surveys the space outside the partitions. Throws "aborted" and what reading throws. */
export async function surveyDisk(
  device: BlockDevice,
  table: PartitionTable,
  options: RunOptions = {},
): Promise<DiskSurvey> {
  const blockSizeBytes = table.sectorSizeBytes;
  const endBytes = Math.floor(device.sizeBytes / blockSizeBytes) * blockSizeBytes;
  const control = toBlocks(table.structure, blockSizeBytes);
  let used = control;
  const notices: string[] = [];
  for (const gap of gapsOf(table, endBytes)) {
    throwIfAborted(options.signal, `surveying ${device.name}`);
    const gapEndBytes = gap.startBytes + gap.sizeBytes;
    const isLong = gap.sizeBytes > 2 * GAP_END_BYTES;
    const parts = isLong
      ? [
          [gap.startBytes, gap.startBytes + GAP_END_BYTES],
          [gapEndBytes - GAP_END_BYTES, gapEndBytes],
        ]
      : [[gap.startBytes, gapEndBytes]];
    for (const [from = 0, to = 0] of parts) {
      const range = { startBytes: from, endBytes: to, blockSizeBytes };
      used = used.union(await findContents(device, { ...range, ...options }));
    }
    if (isLong) {
      notices.push(
        `of the ${gap.sizeBytes} bytes at ${gap.startBytes} that belong to no partition, only ` +
          `the first and the last ${GAP_END_BYTES} are copied`,
      );
    }
  }
  return { used, control, notices };
}

/** What no partition covers, in rising order. */
export function gapsOf(table: PartitionTable, endBytes: number): ByteRange[] {
  const gaps: ByteRange[] = [];
  let at = 0;
  const sorted = [...table.entries].sort((a, b) => a.startBytes - b.startBytes);
  for (const { startBytes, sizeBytes } of sorted) {
    if (startBytes > at) gaps.push({ startBytes: at, sizeBytes: startBytes - at });
    at = Math.max(at, startBytes + sizeBytes);
  }
  if (at < endBytes) gaps.push({ startBytes: at, sizeBytes: endBytes - at });
  return gaps;
}

function toBlocks(ranges: readonly ByteRange[], blockSizeBytes: number): ExtentSet {
  return ExtentSet.from(
    ranges.map(({ startBytes, sizeBytes }) => [
      startBytes / blockSizeBytes,
      sizeBytes / blockSizeBytes,
    ]),
  );
}
