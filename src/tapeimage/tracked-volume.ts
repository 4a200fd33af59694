/** What a backup of a tracked volume and its tracker tell each other, and in which order it reads. */
import type { ExtentSet } from "../device/extents.ts";

/** Sections that are read in rising order, each by itself. */
export type ReadSection = "data" | "control";

/** A volume of which somebody knows what was written, and who keeps it as it is for the backup. */
export interface TrackedVolume {
  /** For the header: where the volume is. What is read may be elsewhere. */
  readonly sourcePath: string;
  /**
   * The blocks that have changed since the image of this UUID was made, and perhaps some more.
   * Undefined: that is not known.
   */
  changedSince(uuid: string, blockSizeBytes: number): ExtentSet | undefined;
  /** Told once, when it is known what will be read. */
  plan(blocks: Readonly<Record<ReadSection, ExtentSet>>, blockSizeBytes: number): Promise<void>;
  /** Told often: all of the section before that byte of the volume has been read for good. */
  passed(section: ReadSection, offsetBytes: number): void;
}

/** Turns reads that end in any order into how far all before have ended. */
export class ReadPrefix {
  readonly #underWay: { readonly endBytes: number; ended: boolean }[] = [];
  readonly #passed: (offsetBytes: number) => void;

  constructor(passed: (offsetBytes: number) => void) {
    this.#passed = passed;
  }

  /** To be called in rising order; what is returned, when the read has ended. */
  begin(endBytes: number): () => void {
    const read = { endBytes, ended: false };
    this.#underWay.push(read);
    return () => {
      read.ended = true;
      let passedBytes: number | undefined;
      while (this.#underWay[0]?.ended === true) passedBytes = this.#underWay.shift()?.endBytes;
      if (passedBytes !== undefined) this.#passed(passedBytes);
    };
  }
}
