/** What a backup is told, and what it tells: of a volume, and of a whole disk. */
import type { BlockDevice } from "../device/block-device.ts";
import type { ExtentSet } from "../device/extents.ts";
import { ReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import { encodeVolumeLabel } from "../tape/labels.ts";
import type { TapeWriteOptions } from "../tape/set/open-for-writing.ts";
import type { TapeDrive } from "../tape/tape-drive.ts";
import type { VolumeOptions } from "../volume/volume.ts";
import type { TrackedVolume } from "./tracked-volume.ts";
import type { LiveSource } from "./exceptions.ts";
import { RECORD_SIZE_MAX, RECORD_SIZE_MIN, type Codec, type ImageHeader } from "./header.ts";

const CODEC_LEVEL_MAX = 19;

export interface BackupOptions extends Omit<VolumeOptions, "segmentBytes"> {
  readonly sourcePath: string;
  /** Further devices that hold the volume, in order after the first. */
  readonly moreSegments?: readonly string[] | undefined;
  readonly tapePath: string;
  /** Start the tape anew; what it holds is lost. Otherwise the image is appended. */
  readonly overwriteTape?: boolean | undefined;
  /** Volume serial for the label of a new tape, up to 6 letters, digits and the like. */
  readonly tapeSerial?: string | undefined;
  readonly codec?: Codec | undefined;
  readonly codecLevel?: number | undefined;
  readonly recordSizeBytes?: number | undefined;
  readonly includeDeleted?: boolean | undefined;
  /**
   * The image to make an incremental backup against, "photos.tap#2", or "auto" for the newest of the
   * same volume. Without one, and when "auto" finds none, the backup is full.
   */
  readonly parent?: string | undefined;
  /** Tapes, and folders with tapes, where the parent and its ancestors are looked for. */
  readonly parentPlaces?: readonly string[] | undefined;
  /** The volume is tracked: `sourcePath` shows it as it was when the backup began. */
  readonly tracked?: TrackedVolume | undefined;
  /** The source may be in use: who knows what was open for writing, and ends a freeze. */
  readonly live?: LiveSource | undefined;
  /**
   * Of a volume that no format knows: finds the blocks that mounting and walking it needs, in units
   * of `blockSizeBytes`; they become the control set.
   */
  readonly learn?: LearnControl | undefined;
  /** What wrote the image, for the header: "reelfs 1.2.3". */
  readonly tool?: string | undefined;
  /** The drive to write to instead of opening the tape path; closed at the end. */
  readonly drive?: TapeDrive | undefined;
  /** How much the tape holds, and what to go on on when it is full. */
  readonly tapes?: Pick<TapeWriteOptions, "capacityBytes" | "nextTape"> | undefined;
}

/** What `learn` found out about a volume. */
export interface LearnedControl {
  readonly control: ExtentSet;
  readonly files: number;
  readonly directories: number;
  readonly problems: readonly string[];
}

export type LearnControl = (
  device: BlockDevice,
  blockSizeBytes: number,
  run: RunOptions,
) => Promise<LearnedControl>;

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
  /** UUID of the image it was made against. */
  readonly parent?: string | undefined;
  readonly problems: readonly string[];
  /** What a person must know of how the source was read. */
  readonly notices: readonly string[];
  /** Files that were open for writing meanwhile, from the root of the volume. */
  readonly exceptions: readonly string[];
  /** There were more of them than the image says. */
  readonly moreExceptions: boolean;
}

/** How the tape is opened. */
export function writeOptions({ tapes, overwriteTape }: BackupOptions): TapeWriteOptions {
  return { ...tapes, anew: overwriteTape };
}

/** @throws ReelError "invalid" */
export function checkBackupOptions(options: BackupOptions): void {
  const size = options.recordSizeBytes;
  const isPossible =
    size === undefined ||
    (size >= RECORD_SIZE_MIN && size <= RECORD_SIZE_MAX && Number.isInteger(Math.log2(size)));
  if (!isPossible) {
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
}
