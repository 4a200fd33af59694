/** Backs up a volume: survey, lay out, write. The source is only ever opened for reading. */
import type { BlockDevice } from "../device/block-device.ts";
import { openFileDevice } from "../device/file-device.ts";
import { SegmentsDevice } from "../device/segments-device.ts";
import { closeAll, ReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import { openTapeForWriting } from "../tape/set/open-for-writing.ts";
import { openForBackup, openVolume } from "../volume/formats.ts";
import { readPartitionTable } from "../volume/partitions/read-partition-table.ts";
import { UNKNOWN_KIND } from "../volume/unknown/unknown-format.ts";
import type { Volume, VolumeInfo, VolumeSurvey } from "../volume/volume.ts";
import {
  checkBackupOptions,
  writeOptions,
  type BackupOptions,
  type BackupResult,
} from "./backup-options.ts";
import { openParent } from "./incremental/open-parent.ts";
import type { Parent } from "./incremental/parent.ts";
import { prepareTape } from "./prepare-tape.ts";
import { writeImage } from "./write-image.ts";

export type { BackupOptions, BackupResult } from "./backup-options.ts";

/**
 * Writes a full image of the volume on `sourcePath` to the end of the tape. What no format knows is
 * copied as it is, without its zeros.
 *
 * @throws ReelError of the source ("unsupported" for a disk with partitions or a packed file,
 *   "damaged", "io"), of the tape ("no-space", "end-of-medium", "busy"), "aborted" when the signal
 *   fired. The tape then holds an interrupted image, which can be browsed as far as it goes.
 */
export async function backupVolume(
  options: BackupOptions,
  run: RunOptions = {},
): Promise<BackupResult> {
  checkBackupOptions(options);
  const { device, segmentBytes } = await openSource(options);
  let volume: Volume | undefined;
  let { drive } = options;
  let checksums: Parent["checksums"] | undefined;
  try {
    volume = await openWhole(device, { ...options, segmentBytes });
    const { info } = volume;
    const { includeDeleted } = options;
    const systemPath = systemPathOf(options);
    const surveyed = await volume.survey({ ...run, includeDeleted, systemPath });
    const survey = await withLearned(surveyed, { device, info }, options, run);
    // Before the tape is opened for writing: the parent may be on it.
    const { spec, parent } = await parentFor(info, options, run);
    checksums = parent?.checksums;
    drive ??= await openTapeForWriting(options.tapePath, writeOptions(options));
    const prepared = await prepareTape(drive, options);
    const { number } = prepared;
    const notices = [...prepared.notices, ...noticesOf(options, spec, parent)];
    const sourcePath = (options.tracked ?? options.live)?.sourcePath ?? device.name;
    const source = { device, sourcePath, info, survey, segmentBytes };
    return await writeImage(drive, number, { ...source, parent, notices }, options, run);
  } finally {
    await closeAll(drive, volume, device, checksums);
  }
}

/** Where the tools of the system find the volume as it is read here. */
function systemPathOf({
  sourcePath,
  moreSegments = [],
  tracked,
}: BackupOptions): string | undefined {
  return tracked === undefined && moreSegments.length === 0 ? sourcePath : undefined;
}

/** The survey with the control set that was learned, where one is wanted. */
export async function withLearned(
  survey: VolumeSurvey,
  { device, info }: { readonly device: BlockDevice; readonly info: VolumeInfo },
  { learn }: BackupOptions,
  run: RunOptions,
): Promise<VolumeSurvey> {
  if (learn === undefined) return survey;
  if (info.kind !== UNKNOWN_KIND) {
    throw new ReelError(
      "invalid",
      `--learn is for volumes that ReelFS cannot read, and ${device.name} is ${info.kind}`,
    );
  }
  const { control, files, directories, problems } = await learn(device, info.blockSizeBytes, run);
  const met = problems.map((message) => ({ where: "learning", message }));
  return {
    ...{ ...survey, control, files, directories },
    used: survey.used.union(control),
    problems: [...survey.problems, ...met],
  };
}

const NO_PARENT = "there is no earlier image of this volume: the backup is full";

function noticesOf(
  { tracked }: BackupOptions,
  spec: string | undefined,
  parent: Parent | undefined,
): string[] {
  if (parent === undefined) return spec === undefined ? [] : [NO_PARENT];
  const { uuid, blockSizeBytes } = parent.header;
  if (tracked === undefined || tracked.changedSince(uuid, blockSizeBytes) !== undefined) return [];
  return [
    `the tracker does not know what has changed since the image ${uuid}: the volume was read and ` +
      `compared with it from end to end`,
  ];
}

async function parentFor(
  info: VolumeInfo,
  { parent: spec, parentPlaces, tapePath }: BackupOptions,
  run: RunOptions,
): Promise<{ spec: string | undefined; parent: Parent | undefined }> {
  if (spec === undefined) return { spec, parent: undefined };
  const places = parentPlaces ?? [tapePath];
  return { spec, parent: await openParent({ spec, places }, info, run) };
}

/** The device of the source: one, or several joined end to end. The caller closes it. */
async function openSource(
  options: BackupOptions,
): Promise<{ device: BlockDevice; segmentBytes: readonly number[] | undefined }> {
  const first = await openFileDevice(options.sourcePath);
  const { moreSegments = [] } = options;
  if (moreSegments.length === 0) return { device: first, segmentBytes: undefined };
  const segments = [first];
  try {
    for (const path of moreSegments) segments.push(await openFileDevice(path));
  } catch (error) {
    await closeAll(...segments);
    throw error;
  }
  const name = segments.map((segment) => segment.name).join(" + ");
  return {
    device: new SegmentsDevice(segments, { name, ownsSegments: true }),
    segmentBytes: segments.map(({ sizeBytes }) => sizeBytes),
  };
}

/** The volume that is all of the device. */
async function openWhole(
  device: BlockDevice,
  options: BackupOptions & { readonly segmentBytes: readonly number[] | undefined },
): Promise<Volume> {
  const isJoined = options.segmentBytes !== undefined;
  const table = isJoined ? undefined : await readPartitionTable(device);
  // Says that it holds a partition table, and what to do.
  return table === undefined ? openForBackup(device, options) : openVolume(device, options);
}
