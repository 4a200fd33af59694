/**
 * Backs up a whole disk. The first image holds what is no partition's: the partition table, boot
 * code, and the gaps in which boot loaders live. Each partition follows as an image of its own, so
 * that it can be mounted and restored alone; the first lists them all by number.
 */
import { randomUUID } from "node:crypto";
import type { BlockDevice } from "../device/block-device.ts";
import { openFileDevice } from "../device/file-device.ts";
import { SliceDevice } from "../device/slice-device.ts";
import { closeAll, ReelError } from "../errors.ts";
import type { ProgressEvent, RunOptions } from "../progress.ts";
import { openTapeForWriting } from "../tape/set/open-for-writing.ts";
import type { TapeDrive } from "../tape/tape-drive.ts";
import { surveyDisk, type DiskSurvey } from "../volume/disk/disk-survey.ts";
import { openPartition } from "../volume/formats.ts";
import type { PartitionEntry, PartitionTable } from "../volume/partitions/partition-table.ts";
import { systemPlaceOf } from "../volume/partitions/partition-path.ts";
import { readPartitionTable } from "../volume/partitions/read-partition-table.ts";
import type { VolumeInfo, VolumeOptions, VolumeSurvey } from "../volume/volume.ts";
import {
  checkBackupOptions,
  writeOptions,
  type BackupOptions,
  type BackupResult,
} from "./backup-options.ts";
import { PARTITIONS_MAX, type DiskFacts, type DiskPartition } from "./disk-header.ts";
import { DISK_KIND } from "./header.ts";
import { openParent, PARENT_AUTO } from "./incremental/open-parent.ts";
import type { Parent } from "./incremental/parent.ts";
import { prepareTape, type PreparedTape } from "./prepare-tape.ts";
import { writeImage } from "./write-image.ts";

export interface DiskBackupOptions extends Omit<BackupOptions, "moreSegments"> {
  /** Numbers of the partitions to save; without it all but those in `exclude`. */
  readonly only?: readonly number[] | undefined;
  readonly exclude?: readonly number[] | undefined;
}

export interface DiskBackupResult {
  /** The image of the partition table. */
  readonly disk: BackupResult;
  readonly facts: DiskFacts;
  /** In the order on the tape. */
  readonly partitions: readonly { readonly number: number; readonly result: BackupResult }[];
}

/** True for a disk with a partition table, which `backupDisk` is for. Throws as reading it does. */
export async function holdsPartitions(path: string): Promise<boolean> {
  await using device = await openFileDevice(path);
  return (await readPartitionTable(device)) !== undefined;
}

/**
 * Writes the disk on `sourcePath` to the end of the tape, as one image for the table and one for
 * each partition. A partition that cannot be understood, or is damaged, is copied as it is.
 *
 * @throws ReelError "unsupported" for a disk without a partition table, "invalid" for partitions that
 *   are not there, and as `backupVolume`.
 */
export async function backupDisk(
  options: DiskBackupOptions,
  run: RunOptions = {},
): Promise<DiskBackupResult> {
  checkBackupOptions(options);
  const device = await openFileDevice(options.sourcePath);
  let { drive } = options;
  const parents = new Map<number, Parent>();
  try {
    const table = await tableOf(device);
    const chosen = choose(table, options);
    const survey = await surveyDisk(device, table, run);
    const described = await describePartitions(device, table, options);
    // Before the tape is opened for writing: the parents may be on it.
    await openParents(parents, { device, chosen }, options, run);
    drive ??= await openTapeForWriting(options.tapePath, writeOptions(options));
    const prepared = await prepareTape(drive, options);
    const { number } = prepared;
    const facts = factsOf(table, described, chosen, number);
    const from = { device, table, facts, survey };
    const disk = await writeTable(drive, prepared, from, options, run);
    const partitions: { number: number; result: BackupResult }[] = [];
    for (const [index, entry] of chosen.entries()) {
      const at = number + 1 + index;
      const result = await writePartition(
        drive,
        at,
        { device, entry, facts, parents },
        options,
        run,
      );
      partitions.push({ number: entry.number, result });
    }
    return { disk, facts, partitions };
  } finally {
    await closeAll(drive, device, ...[...parents.values()].map(({ checksums }) => checksums));
  }
}

/** Of each partition the newest image, where there is one. */
async function openParents(
  parents: Map<number, Parent>,
  { device, chosen }: { readonly device: BlockDevice; readonly chosen: readonly PartitionEntry[] },
  options: DiskBackupOptions,
  run: RunOptions,
): Promise<void> {
  if (options.parent === undefined) return;
  if (options.parent !== PARENT_AUTO) {
    throw new ReelError(
      "invalid",
      `${device.name} is a disk: an incremental backup of it finds the parents of its partitions by ` +
        `itself; say --parent ${PARENT_AUTO}`,
    );
  }
  const wish = { spec: PARENT_AUTO, places: options.parentPlaces ?? [options.tapePath] };
  for (const entry of chosen) {
    const volume = await openPartition(sliceOf(device, entry), options);
    await volume.close();
    const parent = await openParent(wish, volume.info, run);
    if (parent !== undefined) parents.set(entry.number, parent);
  }
}

async function tableOf(device: BlockDevice): Promise<PartitionTable> {
  const table = await readPartitionTable(device);
  if (table === undefined) {
    throw new ReelError("unsupported", `${device.name} has no partition table`);
  }
  if (table.entries.length <= PARTITIONS_MAX) return table;
  throw new ReelError(
    "unsupported",
    `cannot back up ${device.name}: it has ${table.entries.length} partitions, more than ${PARTITIONS_MAX}`,
  );
}

/** The partitions to save. @throws "invalid" for a number that no partition has. */
function choose(table: PartitionTable, options: DiskBackupOptions): readonly PartitionEntry[] {
  const { only, exclude = [] } = options;
  for (const number of [...(only ?? []), ...exclude]) {
    if (table.entries.some((entry) => entry.number === number)) continue;
    const there = table.entries.map((entry) => entry.number).join(", ");
    throw new ReelError(
      "invalid",
      `${options.sourcePath} has no partition ${number}; it has ${there === "" ? "none" : there}`,
    );
  }
  return table.entries.filter(
    ({ number }) => (only === undefined || only.includes(number)) && !exclude.includes(number),
  );
}

function sliceOf(device: BlockDevice, entry: PartitionEntry): BlockDevice {
  return new SliceDevice(device, {
    offsetBytes: entry.startBytes,
    lengthBytes: entry.sizeBytes,
    name: `partition ${entry.number} of ${device.name}`,
  });
}

type Described = Pick<DiskPartition, "kind" | "label">;

/** Kind and label of what is on each partition. Throws what the device throws. */
export async function describePartitions(
  device: BlockDevice,
  table: PartitionTable,
  options: VolumeOptions = {},
): Promise<Described[]> {
  const described: Described[] = [];
  for (const entry of table.entries) {
    const volume = await openPartition(sliceOf(device, entry), options);
    described.push({ kind: volume.info.kind, label: volume.info.label });
    await volume.close();
  }
  return described;
}

function factsOf(
  table: PartitionTable,
  described: readonly Described[],
  chosen: readonly PartitionEntry[],
  diskImage: number,
): DiskFacts {
  return {
    uuid: randomUUID(),
    table: table.kind,
    tableUuid: table.uuid,
    sectorSizeBytes: table.sectorSizeBytes,
    partitions: table.entries.map((entry, index) => {
      const { number, startBytes, sizeBytes, type, typeName, name } = entry;
      const { kind = "", label = "" } = described[index] ?? {};
      const place = chosen.indexOf(entry);
      return {
        ...{ number, startBytes, sizeBytes, type, typeName, name, kind, label },
        ...(place < 0 ? {} : { image: diskImage + 1 + place }),
      };
    }),
  };
}

async function writeTable(
  drive: TapeDrive,
  { number, notices }: PreparedTape,
  from: { device: BlockDevice; table: PartitionTable; facts: DiskFacts; survey: DiskSurvey },
  options: BackupOptions,
  run: RunOptions,
): Promise<BackupResult> {
  const { device, table, facts, survey } = from;
  const { sectorSizeBytes } = table;
  const blockCount = Math.floor(device.sizeBytes / sectorSizeBytes);
  const info: VolumeInfo = {
    ...{ kind: DISK_KIND, label: "", serial: table.uuid },
    ...{ blockSizeBytes: sectorSizeBytes, blockCount },
    ...{ clusterSizeBytes: sectorSizeBytes, clusterCount: blockCount },
    ...{ caseSensitive: true, nameMaxBytes: 0, details: {} },
  };
  const volumeSurvey: VolumeSurvey = {
    ...{ used: survey.used, control: survey.control, clustersUsed: survey.used.total },
    ...{ files: 0, directories: 0, problems: [] },
  };
  return writeImage(
    drive,
    number,
    {
      ...{ device, info, survey: volumeSurvey },
      sourcePath: options.live?.sourcePath ?? options.sourcePath,
      notices: [...notices, ...table.notices, ...survey.notices],
      more: { disk: facts },
    },
    // What is in use are the volumes on its partitions.
    { ...options, live: undefined },
    run,
  );
}

async function writePartition(
  drive: TapeDrive,
  imageNumber: number,
  from: {
    device: BlockDevice;
    entry: PartitionEntry;
    facts: DiskFacts;
    parents: ReadonlyMap<number, Parent>;
  },
  options: BackupOptions,
  run: RunOptions,
): Promise<BackupResult> {
  const { entry, facts, parents } = from;
  const { number } = entry;
  const device = sliceOf(from.device, entry);
  const volume = await openPartition(device, options);
  const progress = (event: ProgressEvent): void => {
    run.progress?.({ ...event, phase: `partition ${number}: ${event.phase}` });
  };
  const ownRun = { ...run, progress };
  try {
    const { includeDeleted, sourcePath, tracked } = options;
    const place = tracked === undefined ? await systemPlaceOf(sourcePath, entry) : {};
    const survey = await volume.survey({ ...ownRun, includeDeleted, ...place });
    return await writeImage(
      drive,
      imageNumber,
      {
        ...{ device, info: volume.info, survey },
        sourcePath: `partition ${number} of ${options.live?.sourcePath ?? options.sourcePath}`,
        sourceRange: { startBytes: entry.startBytes, endBytes: entry.startBytes + entry.sizeBytes },
        more: { partition: { disk: facts.uuid, number } },
        parent: parents.get(number),
      },
      options,
      ownRun,
    );
  } finally {
    await volume.close();
  }
}
