/**
 * One image on a tape: where it goes, what its header says, and the writing of it. Several may be
 * written one after another, as for a whole disk.
 */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { BlockDevice } from "../device/block-device.ts";
import { ExtentSet } from "../device/extents.ts";
import { ReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { TapeDrive } from "../tape/tape-drive.ts";
import type { VolumeInfo, VolumeSurvey } from "../volume/volume.ts";
import type { BackupOptions, BackupResult } from "./backup-options.ts";
import type { SourceRange } from "./exceptions.ts";
import { FORMAT_MAJOR, FORMAT_MINOR, RECORD_SIZE_DEFAULT, type ImageHeader } from "./header.ts";
import { layOutImage } from "./image-layout.ts";
import { ImageWriter, type ImageWriterRun } from "./image-writer.ts";
import { IncrementalWriter } from "./incremental/incremental-writer.ts";
import type { Parent } from "./incremental/parent.ts";

/** Problems of the volume that the header names one by one. */
const PROBLEMS_IN_HEADER_MAX = 100;

/** What goes into an image. */
export interface ImageContents {
  readonly device: BlockDevice;
  /** For the header: where it came from. */
  readonly sourcePath: string;
  readonly info: VolumeInfo;
  readonly survey: VolumeSurvey;
  /** Said of the image, beside the volume's own notices. */
  readonly notices?: readonly string[] | undefined;
  /** Members of the header for images of a whole disk, or of several devices. */
  readonly more?: Pick<ImageHeader, "disk" | "partition"> | undefined;
  readonly segmentBytes?: readonly number[] | undefined;
  /** Makes it an incremental image. */
  readonly parent?: Parent | undefined;
  /** Which part of the source it is. Default: all of it. */
  readonly sourceRange?: SourceRange | undefined;
}

/** Writes an image where the drive stands, which is where image `number` begins. */
export async function writeImage(
  drive: TapeDrive,
  number: number,
  contents: ImageContents,
  options: BackupOptions,
  run: RunOptions,
): Promise<BackupResult> {
  const header = makeHeader(options, contents, number);
  const { tracked, live } = options;
  const beforeTrailer = live && (async () => live.finish(contents.sourceRange));
  const ownRun = { ...run, tracked, beforeTrailer };
  const written = await writerFor(drive, header, contents, ownRun).write();
  return {
    uuid: header.uuid,
    image: `${options.tapePath}#${number}`,
    number,
    volume: header.volume,
    sizeBytes: header.sizeBytes,
    records: written.records,
    rawBytes: written.rawBytes,
    storedBytes: written.storedBytes,
    parent: header.chain[1],
    problems: header.volume.problems,
    notices: [
      ...(contents.info.notices ?? []),
      ...(contents.survey.notices ?? []),
      ...(contents.notices ?? []),
    ],
    exceptions: written.exceptions.paths,
    moreExceptions: written.exceptions.more,
  };
}

function writerFor(
  drive: TapeDrive,
  header: ImageHeader,
  { device, survey, parent }: ImageContents,
  run: ImageWriterRun,
): ImageWriter | IncrementalWriter {
  const { used, control } = clip(survey, header);
  if (parent !== undefined) {
    const data = used.subtract(control);
    const dirty = run.tracked?.changedSince(parent.header.uuid, header.blockSizeBytes);
    return new IncrementalWriter({ device, control, data, parent, dirty }, drive, header, run);
  }
  const layout = layOutImage({ used, control, ...header });
  const complete = {
    ...header,
    checksumChunkBlocks: layout.chunkBlocks,
    sections: layout.sections,
  };
  return new ImageWriter(device, drive, complete, layout, run);
}

function makeHeader(
  options: BackupOptions,
  { device, sourcePath, info, survey, more, segmentBytes, parent }: ImageContents,
  number: number,
): ImageHeader {
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
    source: { path: sourcePath, sizeBytes: device.sizeBytes },
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
    recordSizeBytes: options.recordSizeBytes ?? RECORD_SIZE_DEFAULT,
    codec: options.codec ?? "zstd",
    codecLevel: options.codecLevel ?? 1,
    checksumChunkBlocks: 0,
    sections: { map: none, control: none, data: none, checksums: none, trailer: none },
    options: {
      includeDeleted: options.includeDeleted === true,
      codePage: options.codePage,
      timeZoneMinutes: options.timeZoneMinutes,
      segmentBytes,
    },
    ...more,
    ...(parent === undefined ? {} : chainedTo(parent, uuid, options)),
  };
}

/** What an incremental image takes from its parent, so that their records are of one kind. */
function chainedTo(
  parent: Parent,
  uuid: string,
  options: BackupOptions,
): Pick<ImageHeader, "ancestors" | "chain" | "checksumChunkBlocks" | "layout" | "recordSizeBytes"> {
  const { recordSizeBytes, checksumChunkBlocks } = parent.header;
  if (options.recordSizeBytes !== undefined && options.recordSizeBytes !== recordSizeBytes) {
    throw new ReelError(
      "invalid",
      `records of ${options.recordSizeBytes} bytes are not possible: those of the parent have ` +
        `${recordSizeBytes}`,
    );
  }
  return {
    layout: "data-first",
    chain: [uuid, ...parent.chain.map((each) => each.uuid)],
    ancestors: parent.chain,
    recordSizeBytes,
    checksumChunkBlocks,
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
