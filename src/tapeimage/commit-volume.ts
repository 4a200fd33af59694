/**
 * What was changed in an image, written as an incremental image on top of it. The volume is that of
 * the image with the changes laid over it, as a tracker shows it at one moment.
 *
 * It differs from a backup in that everything is known of what the volume was: nothing need be looked
 * at that is neither in the parent nor among the changes. So a volume of unknown kind is not read
 * from end to end to find what is in use: that is what was, and what was written.
 */
import type { BlockDevice } from "../device/block-device.ts";
import { type ExtentSet, ExtentSetBuilder } from "../device/extents.ts";
import { openFileDevice } from "../device/file-device.ts";
import { closeAll, ReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import { openTapeForWriting } from "../tape/set/open-for-writing.ts";
import { openForBackup } from "../volume/formats.ts";
import { UNKNOWN_KIND, unknownFormat } from "../volume/unknown/unknown-format.ts";
import type { Volume, VolumeSurvey } from "../volume/volume.ts";
import { withLearned } from "./backup.ts";
import { writeOptions, type BackupOptions, type BackupResult } from "./backup-options.ts";
import type { BlockMap } from "./block-map.ts";
import { controlBlocks } from "./incremental/consolidate.ts";
import { readParent, type Parent } from "./incremental/parent.ts";
import { openTapeImage } from "./open-image.ts";
import { prepareTape } from "./prepare-tape.ts";
import type { TrackedVolume } from "./tracked-volume.ts";
import { writeImage } from "./write-image.ts";

export interface CommitOptions extends Pick<
  BackupOptions,
  "drive" | "learn" | "tapePath" | "tapes" | "tapeSerial" | "tool"
> {
  /** Shows the volume as it was when the commit began. */
  readonly filePath: string;
  readonly tracked: TrackedVolume;
  /** The image that was changed, and where it is: "/tapes/photos.tap#2". */
  readonly parent: { readonly uuid: string; readonly place: string };
  /** Tapes, and folders with tapes, where the parent's ancestors are looked for. */
  readonly places?: readonly string[] | undefined;
}

interface ChangedImage {
  readonly parent: Parent;
  readonly control: ExtentSet;
}

/**
 * Writes the image to the end of the tape, which may be that of the parent.
 *
 * @throws ReelError "not-found" when the parent is no longer where it was, "invalid" when the volume
 *   was made anew in blocks of another size; as `readParent` and `backupVolume`
 */
export async function commitVolume(
  options: CommitOptions,
  run: RunOptions = {},
): Promise<BackupResult> {
  let { drive } = options;
  let changed: ChangedImage | undefined;
  let device: BlockDevice | undefined;
  let volume: Volume | undefined;
  try {
    changed = await readChangedImage(options, run);
    const { parent } = changed;
    const all = backupOptions(options, parent);
    device = await openFileDevice(options.filePath);
    volume = await openChanged(device, parent, all);
    const { info } = volume;
    const survey = await surveyChanged(volume, device, changed, all, run);
    drive ??= await openTapeForWriting(options.tapePath, writeOptions(all));
    const { number, notices } = await prepareTape(drive, all);
    const { sourcePath } = options.tracked;
    const { segmentBytes } = parent.header.options;
    const source = { device, sourcePath, info, survey, segmentBytes, parent, notices };
    return await writeImage(drive, number, source, all, run);
  } finally {
    await closeAll(drive, volume, device, changed?.parent.checksums);
  }
}

/** Read before anything is written: it may be on the tape that is written to. */
async function readChangedImage(
  { parent: { uuid, place }, places }: CommitOptions,
  run: RunOptions,
): Promise<ChangedImage> {
  const image = await openTapeImage(place, { places });
  try {
    if (image.header.uuid !== uuid) {
      throw new ReelError(
        "not-found",
        `cannot commit on top of ${place}: another image is there now; the one that was changed is ${uuid}`,
      );
    }
    return { control: controlBlocks(image), parent: await readParent(image, run) };
  } finally {
    await image.close();
  }
}

/** The image is made as its parent was. */
function backupOptions(options: CommitOptions, { header }: Parent): BackupOptions {
  const { filePath, parent, places, ...told } = options;
  const { codec, codecLevel } = header;
  const { includeDeleted, codePage, timeZoneMinutes } = header.options;
  return {
    ...{ ...told, sourcePath: filePath, parent: parent.place, parentPlaces: places },
    ...{ codec, codecLevel, includeDeleted, codePage, timeZoneMinutes },
  };
}

async function openChanged(
  device: BlockDevice,
  { header }: Parent,
  { codePage, timeZoneMinutes }: BackupOptions,
): Promise<Volume> {
  const { segmentBytes } = header.options;
  const made = { codePage, timeZoneMinutes, segmentBytes };
  const isUnknown = header.volume.kind === UNKNOWN_KIND;
  const volume = await (isUnknown ? unknownFormat : { open: openForBackup }).open(device, made);
  const { blockSizeBytes } = volume.info;
  if (blockSizeBytes === header.blockSizeBytes) return volume;
  await volume.close();
  throw new ReelError(
    "invalid",
    `cannot commit ${device.name}: its blocks have ${blockSizeBytes} bytes now, and those of the ` +
      `image it was ${header.blockSizeBytes}; back it up in full with reelfs backup`,
  );
}

async function surveyChanged(
  volume: Volume,
  device: BlockDevice,
  changed: ChangedImage,
  options: BackupOptions,
  run: RunOptions,
): Promise<VolumeSurvey> {
  const { info } = volume;
  const survey =
    info.kind === UNKNOWN_KIND
      ? unknownSurvey(changed, options.tracked)
      : await volume.survey({ ...run, includeDeleted: options.includeDeleted });
  return withLearned(survey, { device, info }, options, run);
}

/** What was in use, and what was written. */
function unknownSurvey(
  { parent, control }: ChangedImage,
  tracked: TrackedVolume | undefined,
): VolumeSurvey {
  const { uuid, blockSizeBytes } = parent.header;
  const written = tracked?.changedSince(uuid, blockSizeBytes);
  if (written === undefined) {
    throw new ReelError("internal", `nobody knows what was changed in the image ${uuid}`);
  }
  const used = mappedBlocks(parent.map).union(written);
  return { used, control, clustersUsed: used.total, files: 1, directories: 0, problems: [] };
}

function mappedBlocks(map: BlockMap): ExtentSet {
  const mapped = new ExtentSetBuilder();
  for (let index = 0; index < map.length; index++) {
    const { start, count } = map.entryAt(index);
    mapped.add(start, count);
  }
  return mapped.build();
}
