/** Backs up a volume: survey, lay out, write. The source is only ever opened for reading. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { BlockDevice } from "../device/block-device.ts";
import { ExtentSet } from "../device/extents.ts";
import { openFileDevice } from "../device/file-device.ts";
import { closeAll, isReelError, ReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import { encodeVolumeLabel, writeLabel } from "../tape/labels.ts";
import { openSimhTape } from "../tape/simh-tape.ts";
import type { TapeDrive } from "../tape/tape-drive.ts";
import { openVolume } from "../volume/formats.ts";
import type { Volume, VolumeOptions, VolumeSurvey } from "../volume/volume.ts";
import { findLastImage } from "./find-image.ts";
import {
  FORMAT_MAJOR,
  FORMAT_MINOR,
  RECORD_SIZE_DEFAULT,
  RECORD_SIZE_MAX,
  RECORD_SIZE_MIN,
  type Codec,
  type ImageHeader,
} from "./header.ts";
import { layOutImage } from "./image-layout.ts";
import { ImageWriter } from "./image-writer.ts";

/** Problems of the volume that the header names one by one. */
const PROBLEMS_IN_HEADER_MAX = 100;
const CODEC_LEVEL_MAX = 19;

export interface BackupOptions extends VolumeOptions {
  readonly sourcePath: string;
  readonly tapePath: string;
  /** Start the tape anew; what it holds is lost. Otherwise the image is appended. */
  readonly overwriteTape?: boolean | undefined;
  /** Volume serial for the label of a new tape, up to 6 letters, digits and the like. */
  readonly tapeSerial?: string | undefined;
  readonly codec?: Codec | undefined;
  readonly codecLevel?: number | undefined;
  readonly recordSizeBytes?: number | undefined;
  readonly includeDeleted?: boolean | undefined;
  /** What wrote the image, for the header: "reelfs 1.2.3". */
  readonly tool?: string | undefined;
  /** The drive to write to instead of opening the tape path; closed at the end. */
  readonly drive?: TapeDrive | undefined;
}

export interface BackupResult {
  readonly uuid: string;
  /** "photos.tap#2". */
  readonly image: string;
  readonly number: number;
  readonly volume: ImageHeader["volume"];
  readonly sizeBytes: number;
  readonly records: number;
  readonly rawBytes: number;
  readonly storedBytes: number;
  readonly problems: readonly string[];
}

/**
 * Writes a full image of the volume on `sourcePath` to the end of the tape.
 *
 * @throws ReelError of the source ("unsupported", "damaged", "io"), of the tape ("no-space",
 *   "end-of-medium", "busy"), "aborted" when the signal fired. The tape then holds an interrupted
 *   image, which can be browsed as far as it goes.
 */
export async function backupVolume(
  options: BackupOptions,
  run: RunOptions = {},
): Promise<BackupResult> {
  const recordSizeBytes = checkOptions(options);
  const device = await openFileDevice(options.sourcePath);
  let volume: Volume | undefined;
  let drive = options.drive;
  try {
    volume = await openVolume(device, options);
    const survey = await volume.survey({ ...run, includeDeleted: options.includeDeleted });
    drive ??= await openSimhTape(options.tapePath, { mode: "write", create: true });
    const number = await prepareTape(drive, options);
    const header = makeHeader(options, { device, volume, survey, number, recordSizeBytes });
    const clipped = clip(survey, header);
    const layout = layOutImage({ ...clipped, ...header });
    const complete = {
      ...header,
      checksumChunkBlocks: layout.chunkBlocks,
      sections: layout.sections,
    };
    const written = await new ImageWriter(device, drive, complete, layout, run).write();
    return {
      uuid: header.uuid,
      image: `${options.tapePath}#${number}`,
      number,
      volume: header.volume,
      sizeBytes: header.sizeBytes,
      records: written.records,
      rawBytes: written.rawBytes,
      storedBytes: written.storedBytes,
      problems: header.volume.problems,
    };
  } finally {
    await closeAll(drive, volume, device);
  }
}

function checkOptions(options: BackupOptions): number {
  const size = options.recordSizeBytes ?? RECORD_SIZE_DEFAULT;
  if (size < RECORD_SIZE_MIN || size > RECORD_SIZE_MAX || !Number.isInteger(Math.log2(size))) {
    throw new ReelError(
      "invalid",
      `a record of ${size} bytes is not possible: choose a power of two from 64K to 4M`,
    );
  }
  const level = options.codecLevel ?? 1;
  if (!Number.isInteger(level) || level < 1 || level > CODEC_LEVEL_MAX) {
    throw new ReelError("invalid", `compression level ${level}: choose 1 to ${CODEC_LEVEL_MAX}`);
  }
  if (options.tapeSerial !== undefined) encodeVolumeLabel(options.tapeSerial);
  return size;
}

/** Leaves the drive where the image begins; returns the image's number on the tape. */
async function prepareTape(drive: TapeDrive, options: BackupOptions): Promise<number> {
  await drive.rewind();
  if (options.overwriteTape === true) {
    await writeLabel(drive, options.tapeSerial ?? "REELFS");
    return 1;
  }
  const end = await drive.spaceToEndOfData();
  if (end.object === 0) {
    await writeLabel(drive, options.tapeSerial ?? "REELFS");
    return 1;
  }
  const number = await nextNumber(drive);
  await drive.spaceToEndOfData();
  await closeTapeFile(drive);
  return number;
}

async function nextNumber(drive: TapeDrive): Promise<number> {
  try {
    return (await findLastImage(drive)).number + 1;
  } catch (error) {
    if (isReelError(error, "not-found")) return 1;
    throw error;
  }
}

/** An interrupted image has no filemark: it gets one, so that the next image is its own tape file. */
async function closeTapeFile(drive: TapeDrive): Promise<void> {
  const last = await drive.read(Buffer.alloc(1), { reverse: true });
  await drive.spaceToEndOfData();
  if (last.kind === "record") await drive.writeFilemarks(1);
}

function makeHeader(
  options: BackupOptions,
  from: {
    device: BlockDevice;
    volume: Volume;
    survey: VolumeSurvey;
    number: number;
    recordSizeBytes: number;
  },
): ImageHeader {
  const { device, volume, survey, number, recordSizeBytes } = from;
  const { info } = volume;
  const uuid = randomUUID();
  const none = { firstRecord: 0, records: 0, items: 0 };
  const blocksThere = Math.floor(device.sizeBytes / info.blockSizeBytes);
  const problems = survey.problems.map(({ where, message }) => `${where}: ${message}`);
  return {
    format: "reelfs-image",
    version: [FORMAT_MAJOR, FORMAT_MINOR],
    uuid,
    number,
    chain: [uuid],
    created: new Date().toISOString(),
    host: hostname(),
    tool: options.tool ?? "reelfs",
    source: { path: options.sourcePath, sizeBytes: device.sizeBytes },
    volume: {
      kind: info.kind,
      label: info.label,
      serial: info.serial,
      clusterSizeBytes: info.clusterSizeBytes,
      clustersUsed: survey.clustersUsed,
      files: survey.files,
      directories: survey.directories,
      problems: problems.slice(0, PROBLEMS_IN_HEADER_MAX),
    },
    sizeBytes: Math.min(info.blockCount, blocksThere) * info.blockSizeBytes,
    blockSizeBytes: info.blockSizeBytes,
    recordSizeBytes,
    codec: options.codec ?? "zstd",
    codecLevel: options.codecLevel ?? 1,
    checksumChunkBlocks: 0,
    sections: { map: none, control: none, data: none, checksums: none, trailer: none },
    options: {
      includeDeleted: options.includeDeleted === true,
      codePage: options.codePage,
      timeZoneMinutes: options.timeZoneMinutes,
    },
  };
}

/** A volume may claim more than its device holds: what is not there cannot be saved. */
function clip(survey: VolumeSurvey, header: ImageHeader): { used: ExtentSet; control: ExtentSet } {
  const all = ExtentSet.from([[0, header.sizeBytes / header.blockSizeBytes]]);
  const inside = (set: ExtentSet): ExtentSet => (set.end <= all.end ? set : set.intersect(all));
  return {
    used: inside(survey.used).union(inside(survey.control)),
    control: inside(survey.control),
  };
}
