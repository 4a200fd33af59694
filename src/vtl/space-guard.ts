/**
 * Keeps a loader from filling the file system it lies on: below one threshold every status warns
 * and writers get early warning, below the other records are refused. What is asked of the system
 * is a sample, taken at every filemark and every so many bytes, more often as the end comes near;
 * a record is refused before any of it is written, and filemarks never are, so that what was being
 * written can be ended as it should.
 */
import { statfs } from "node:fs/promises";
import { ReelError, fromSystem } from "../errors.ts";
import { formatBytes } from "./format-bytes.ts";

export interface SpaceSample {
  readonly totalBytes: number;
  /** What an ordinary user may still write. */
  readonly freeBytes: number;
}

export interface SpaceLimits {
  readonly spaceWarnPercent: number;
  readonly spaceStopPercent: number;
}

export type SampleSpace = (path: string) => Promise<SpaceSample>;

export type SpaceLevel = "enough" | "low" | "exhausted";

export interface SpaceStatus extends SpaceSample {
  readonly level: SpaceLevel;
  readonly freePercent: number;
  /** For people; undefined while there is enough. */
  readonly warning?: string | undefined;
}

/** Bytes that may be written between two samples. */
const SAMPLE_BYTES_MAX = 16 * 1024 * 1024;
const SAMPLE_BYTES_MIN = 64 * 1024;
/** A sample is due after this part of what may still be written. */
const SAMPLE_FRACTION = 1 / 8;

export async function sampleSpace(path: string): Promise<SpaceSample> {
  try {
    const { bsize, blocks, bavail } = await statfs(path);
    return { totalBytes: blocks * bsize, freeBytes: bavail * bsize };
  } catch (error) {
    throw fromSystem(error, `cannot see how much room is left at ${path}`);
  }
}

/** What a sample means. A file system that tells no size has room enough. */
export function judgeSpace(path: string, sample: SpaceSample, limits: SpaceLimits): SpaceStatus {
  const { totalBytes, freeBytes } = sample;
  const freePercent = totalBytes > 0 ? (freeBytes / totalBytes) * 100 : 100;
  const level =
    freePercent < limits.spaceStopPercent
      ? "exhausted"
      : freePercent < limits.spaceWarnPercent
        ? "low"
        : "enough";
  if (level === "enough") return { ...sample, level, freePercent };
  const left = `${formatBytes(freeBytes)} (${freePercent.toFixed(1)} %) are free at ${path}`;
  const warning =
    level === "exhausted"
      ? `${left}: below ${limits.spaceStopPercent} % nothing is written`
      : `${left}: less than ${limits.spaceWarnPercent} %; below ${limits.spaceStopPercent} % ` +
        `nothing will be written`;
  return { ...sample, level, freePercent, warning };
}

export class SpaceGuard {
  readonly #path: string;
  readonly #limits: () => SpaceLimits;
  readonly #sample: SampleSpace;
  #status: SpaceStatus | undefined;
  #bytesToSample = 0;

  constructor(path: string, limits: () => SpaceLimits, sample: SampleSpace = sampleSpace) {
    this.#path = path;
    this.#limits = limits;
    this.#sample = sample;
  }

  /** As it was when last looked at. */
  get isLow(): boolean {
    return this.#status !== undefined && this.#status.level !== "enough";
  }

  /** Looks now. */
  async status(): Promise<SpaceStatus> {
    const limits = this.#limits();
    const status = judgeSpace(this.#path, await this.#sample(this.#path), limits);
    const stopBytes = (status.totalBytes * limits.spaceStopPercent) / 100;
    const roomBytes = (status.freeBytes - stopBytes) * SAMPLE_FRACTION;
    this.#bytesToSample = Math.min(Math.max(roomBytes, SAMPLE_BYTES_MIN), SAMPLE_BYTES_MAX);
    this.#status = status;
    return status;
  }

  /** Throws "no-space", naming the threshold, where nothing more may be written. */
  async check(doing: string): Promise<void> {
    // What was exhausted may have been helped: looked at each time.
    if (this.#status === undefined || this.#status.level === "exhausted") await this.status();
    if (this.#status?.level !== "exhausted") return;
    throw new ReelError(
      "no-space",
      `${doing}: ${this.#status.warning ?? ""}; delete or export tapes, or lower spaceStopPercent`,
    );
  }

  /** How many records of these sizes may be written until it looks again: at least one. */
  countToSample(sizesBytes: readonly number[]): number {
    let bytes = 0;
    for (const [index, sizeBytes] of sizesBytes.entries()) {
      bytes += sizeBytes;
      if (bytes >= this.#bytesToSample) return index + 1;
    }
    return sizesBytes.length;
  }

  /** So many bytes were written. */
  async wrote(bytes: number): Promise<void> {
    this.#bytesToSample -= bytes;
    if (this.#bytesToSample <= 0) await this.status();
  }
}
