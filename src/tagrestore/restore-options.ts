/** What a restore takes, and what it tells when it is done. */
import type { RunOptions } from "../progress.ts";
import type { TapeImage } from "../tapeimage/tape-image.ts";
import type { Volume } from "../volume/volume.ts";
import type { RestoreLosses } from "./losses.ts";
import type { DriveTimes } from "./plan-statistics.ts";
import type { RestoreProblem } from "./problems.ts";
import type { StagedImage } from "./staged-image.ts";

/** What is restored from: an open image and the volume in it. The caller closes both. */
export interface RestoreSource {
  readonly image: TapeImage;
  readonly volume: Volume;
  /**
   * The image as the volume was opened on it. Without it, encoded files (compressed and the like)
   * are read one by one through the volume, and the tape moves for each.
   */
  readonly staging?: StagedImage | undefined;
}

export interface RestoreOptions extends RunOptions {
  /** Replace files that are there. */
  readonly overwrite?: boolean | undefined;
  /** Go on with a restore that did not finish. */
  readonly resume?: boolean | undefined;
  /**
   * The drive, where it takes its time: decides which gaps are read through, and whether the
   * records are read in one pass or by the shortest way between them. Without it a virtual tape: one
   * pass, no gap read.
   */
  readonly drive?: DriveTimes | undefined;
}

export interface RestoreSummary {
  /** Full path of the target directory. */
  readonly directory: string;
  /** Files restored by this run, and bytes of them that came from the tape. */
  readonly files: number;
  readonly bytes: number;
  /** Files that an earlier run, now resumed, had restored. */
  readonly filesResumed: number;
  readonly directoriesMade: number;
  /** Records that were needed and could be read, each of them once. */
  readonly records: number;
  /** Paths of files that were there already and were left alone. */
  readonly existing: readonly string[];
  /** Files that were not restored, and why. */
  readonly problems: readonly RestoreProblem[];
  /** What else could not be restored, by kind: owners as a user, and the like. */
  readonly losses: RestoreLosses;
  /** False when the system would not say that everything is on stable storage. */
  readonly flushed: boolean;
}
