/**
 * Rebuilds a whole disk from the images of its backup: each partition in its place, in the order of
 * the tape, and then the table that makes a disk of them. The table comes last, so that a disk whose
 * restore was interrupted does not look like a whole one.
 *
 * A larger disk gets the second copy of its GPT at its own end; see partitions/relocate.ts.
 */
import { stat } from "node:fs/promises";
import type { WritableBlockDevice } from "../device/block-device.ts";
import { WritableSliceDevice } from "../device/slice-device.ts";
import { ReelError } from "../errors.ts";
import type { ProgressEvent } from "../progress.ts";
import { gapsOf } from "../volume/disk/disk-survey.ts";
import type { PartitionTable } from "../volume/partitions/partition-table.ts";
import { readPartitionTable } from "../volume/partitions/read-partition-table.ts";
import { relocateTable, type Relocation } from "../volume/partitions/relocate.ts";
import type { DiskSet, SavedPartition } from "./disk-set.ts";
import { openTapeImage } from "./open-image.ts";
import { restoreOnto, type RestoreImageOptions, type RestoreImageResult } from "./restore-image.ts";
import { openRestoreTarget } from "./restore-target.ts";
import type { TapeImage } from "./tape-image.ts";

export interface RestoreDiskOptions extends RestoreImageOptions {
  /** Let the entry of the last partition reach to the end of a larger disk. */
  readonly growLast?: boolean | undefined;
}

export interface RestoredPart {
  /** Undefined for the partition table and the gaps. */
  readonly number: number | undefined;
  readonly image: string;
  readonly result: RestoreImageResult;
  readonly lostBytes: number;
  readonly notices: readonly string[];
}

export interface RestoreDiskResult {
  readonly parts: readonly RestoredPart[];
  /** Partitions that no image was there for: what is in them is not touched. */
  readonly notRestored: readonly { readonly number: number; readonly reason: string }[];
  readonly grown: Relocation["grown"];
}

/**
 * Restores a disk to `targetPath`, a block device or file at least as large as the disk was, or a new
 * file.
 *
 * @throws ReelError as restoreImage; "unsupported" for a disk with sectors of another size;
 *   "not-found" when a partition that was backed up has no image, without `force`.
 */
export async function restoreDisk(
  set: DiskSet,
  targetPath: string,
  options: RestoreDiskOptions = {},
): Promise<RestoreDiskResult> {
  checkComplete(set, options);
  const tableImage = await openTapeImage(set.image, set.lookup);
  try {
    const table = await readPartitionTable(tableImage);
    if (table === undefined) {
      throw new ReelError("damaged", `the image ${set.image} holds no partition table`);
    }
    const target = await openRestoreTarget(targetPath, tableImage, options);
    try {
      await checkSectors(targetPath, target.device, table);
      const { device, fresh } = target;
      const relocation = await relocateTable(tableImage, table, device.sizeBytes, options);
      const parts: RestoredPart[] = [];
      for (const partition of inTapeOrder(set)) {
        parts.push(
          await restorePartition(partition, device, fresh, { ...options, lookup: set.lookup }),
        );
      }
      const whole = { options, relocation, table };
      parts.unshift(await restoreTable(tableImage, device, fresh, whole));
      await target.commit();
      return { parts, notRestored: notRestored(set), grown: relocation.grown };
    } finally {
      await target.close();
    }
  } finally {
    await tableImage.close();
  }
}

function notRestored(set: DiskSet): RestoreDiskResult["notRestored"] {
  return set.partitions
    .filter(({ image }) => image === undefined)
    .map(({ facts, problem = "" }) => ({ number: facts.number, reason: problem }));
}

/** What was backed up must be there; what was left out on purpose need not. */
function checkComplete(set: DiskSet, options: RestoreDiskOptions): void {
  if (options.force === true) return;
  const lost = set.partitions.find(({ image, facts }) => image === undefined && facts.image);
  if (lost === undefined) return;
  throw new ReelError(
    "not-found",
    `cannot restore ${set.image}: partition ${lost.facts.number}: ${lost.problem ?? ""}; ` +
      `use --force to restore the others`,
  );
}

/** A file takes sectors of any size. */
async function checkSectors(
  path: string,
  device: WritableBlockDevice,
  table: PartitionTable,
): Promise<void> {
  const isBlockDevice = (await stat(path).catch(() => undefined))?.isBlockDevice() === true;
  if (!isBlockDevice || device.sectorSizeBytes === table.sectorSizeBytes) return;
  throw new ReelError(
    "unsupported",
    `cannot restore the disk to ${path}: its sectors have ${device.sectorSizeBytes} bytes, and the ` +
      `partition table counts in sectors of ${table.sectorSizeBytes}; restore partitions one by one`,
  );
}

function inTapeOrder(set: DiskSet): SavedPartition[] {
  return set.partitions
    .filter(({ image }) => image !== undefined)
    .sort((a, b) => (a.facts.image ?? 0) - (b.facts.image ?? 0));
}

async function restorePartition(
  { image: spec = "", facts }: SavedPartition,
  disk: WritableBlockDevice,
  fresh: boolean,
  options: RestoreDiskOptions & Pick<DiskSet, "lookup">,
): Promise<RestoredPart> {
  const { number, startBytes, sizeBytes } = facts;
  const slice = new WritableSliceDevice(disk, {
    offsetBytes: startBytes,
    lengthBytes: sizeBytes,
    name: `partition ${number} of ${disk.name}`,
  });
  const progress = (event: ProgressEvent): void => {
    options.progress?.({ ...event, phase: `partition ${number}: ${event.phase}` });
  };
  await using image = await openTapeImage(spec, options.lookup);
  if (image.sizeBytes > sizeBytes) {
    throw new ReelError(
      "damaged",
      `${image.name} has ${image.sizeBytes} bytes, and partition ${number} only ${sizeBytes}`,
    );
  }
  const result = await restoreOnto(image, slice, fresh, { ...options, progress });
  if (options.zero === true && !fresh) {
    await slice.zero(image.sizeBytes, sizeBytes - image.sizeBytes);
  }
  return describePart(image, number, result);
}

async function restoreTable(
  image: TapeImage,
  disk: WritableBlockDevice,
  fresh: boolean,
  {
    options,
    relocation,
    table,
  }: { options: RestoreDiskOptions; relocation: Relocation; table: PartitionTable },
): Promise<RestoredPart> {
  const zeroWithin = gapsOf(table, image.sizeBytes);
  const result = await restoreOnto(image, disk, fresh, { ...options, zeroWithin });
  for (const { startBytes, sizeBytes } of relocation.clear) await disk.zero(startBytes, sizeBytes);
  for (const { offsetBytes, bytes } of relocation.writes) await disk.write(offsetBytes, bytes);
  await disk.flush();
  return describePart(image, undefined, result);
}

function describePart(
  image: TapeImage,
  number: number | undefined,
  result: RestoreImageResult,
): RestoredPart {
  const lostBytes = result.lostBlocks.total * image.header.blockSizeBytes;
  return { number, image: image.name, result, lostBytes, notices: image.state.notices };
}
