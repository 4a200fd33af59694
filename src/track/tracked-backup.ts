/**
 * The backup's side of a tracked volume: begins, reads the snapshot's file in the mount, tells how
 * far it is, and at last that its image is whole.
 */
import { resolve } from "node:path";
import type { ExtentSet } from "../device/extents.ts";
import { fromSystem, isReelError, ReelError } from "../errors.ts";
import { type ControlClient, openControl } from "../fuse/control.ts";
import type { ReadSection, TrackedVolume } from "../tapeimage/tracked-volume.ts";
import { rescaled, withRunsAtMost } from "./dirty-bitmap.ts";
import type { Freeze } from "./snapshot.ts";
import { type BeginOperation, type BegunBackup, flat, RUNS_MAX, setOf } from "./track-control.ts";

/** The daemon cuts off who is silent for 30 seconds. */
const ALIVE_MS = 8000;

export interface TrackedBackupOptions {
  readonly freeze: Freeze;
  /** Room for originals with "copy". */
  readonly cacheBytes?: number | undefined;
  /** Of what: a volume that is tracked, which is the default, or an image that is exposed. */
  readonly operation?: BeginOperation | undefined;
}

const REFUSALS: Readonly<Record<BeginOperation, (mountpoint: string) => string>> = {
  "track-begin": (mountpoint) =>
    `cannot back up what is on ${mountpoint} as a tracked volume: it is no mount of reelfs track`,
  "commit-begin": (mountpoint) =>
    `cannot commit what was changed on ${mountpoint}: it is no mount of reelfs expose`,
};

export class TrackedBackup implements TrackedVolume {
  /** What to back up: the volume as it was at the beginning. */
  readonly filePath: string;
  readonly sourcePath: string;
  /** The image since which changes are known, and where it was; undefined: nothing is known. */
  readonly since: { readonly uuid: string; readonly place: string | undefined } | undefined;
  /** What a person must know of how it began. */
  readonly notices: readonly string[];
  /** Fires when the tracker is gone: there is nothing left to read then. */
  readonly lost: AbortSignal;
  readonly #client: ControlClient;
  readonly #begun: BegunBackup;
  readonly #dirty: ExtentSet;
  readonly #alive: NodeJS.Timeout;
  /** What is to be told of each section, and what has been. */
  readonly #reached: Record<ReadSection, number> = { data: 0, control: 0 };
  readonly #told: Record<ReadSection, number> = { data: 0, control: 0 };
  #isTelling = false;

  private constructor(mountpoint: string, client: ControlClient, begun: BegunBackup) {
    this.filePath = resolve(mountpoint, begun.file);
    this.sourcePath = begun.sourcePath;
    const { image: uuid, imagePlace: place } = begun;
    this.since = uuid === null ? undefined : { uuid, place: place ?? undefined };
    this.notices = begun.notices;
    this.#client = client;
    this.#begun = begun;
    this.#dirty = setOf(begun.dirty);
    const lost = new AbortController();
    this.lost = lost.signal;
    void client.ended.then(() => {
      clearInterval(this.#alive);
      lost.abort(new ReelError("closed", `the tracker on ${mountpoint} has ended`));
    });
    this.#alive = setInterval(() => {
      client.request({ op: "track-alive" }).catch(() => undefined);
    }, ALIVE_MS);
    this.#alive.unref();
  }

  /**
   * Has the tracker of the mount at `mountpoint` (absolute, without links) begin.
   *
   * @throws ReelError "busy" while another backup is under way, "unsupported" for a mount that is no
   *   tracker's, and as `openControl`
   */
  static async begin(mountpoint: string, options: TrackedBackupOptions): Promise<TrackedBackup> {
    const client = await openControl(mountpoint);
    const { operation = "track-begin", freeze, cacheBytes } = options;
    try {
      const begun = await client.request({ op: operation, freeze, cacheBytes });
      return new TrackedBackup(mountpoint, client, begun as BegunBackup);
    } catch (error) {
      client.close();
      if (!isReelError(error, "invalid")) throw error;
      throw new ReelError("unsupported", REFUSALS[operation](mountpoint), { cause: error });
    }
  }

  changedSince(uuid: string, blockSizeBytes: number): ExtentSet | undefined {
    const { image, blockSizeBytes: dirtyBytes, sizeBytes } = this.#begun;
    if (image !== uuid) return undefined;
    return rescaled(this.#dirty, dirtyBytes, blockSizeBytes, sizeBytes);
  }

  async plan(
    blocks: Readonly<Record<ReadSection, ExtentSet>>,
    blockSizeBytes: number,
  ): Promise<void> {
    const { blockSizeBytes: heldBytes, sizeBytes } = this.#begun;
    const sent = (set: ExtentSet): number[] =>
      flat(withRunsAtMost(rescaled(set, blockSizeBytes, heldBytes, sizeBytes), RUNS_MAX));
    const [data, control] = [sent(blocks.data), sent(blocks.control)];
    await this.#client.request({ op: "track-plan", data, control });
  }

  passed(section: ReadSection, offsetBytes: number): void {
    // A block of which only a part has been passed is still needed.
    this.#reached[section] = Math.floor(offsetBytes / this.#begun.blockSizeBytes);
    if (!this.#isTelling) void this.#tell();
  }

  /**
   * The image of that UUID is whole, and on the tape.
   *
   * @param place where it is, absolute, for the next to find it
   * @throws ReelError when the tracker is gone
   */
  async done(image: string, place?: string): Promise<void> {
    try {
      await this.#client.request({ op: "track-done", image, place });
    } catch (error) {
      const { message } = fromSystem(error, "the tracker could not be told");
      throw new ReelError(
        "closed",
        `the image ${image} is whole, but ${message}; the next backup will compare the whole volume`,
        { cause: error },
      );
    }
  }

  /** Without `done` before: the backup has failed, and nothing is forgotten. */
  async close(): Promise<void> {
    clearInterval(this.#alive);
    this.#client.close();
    await this.#client.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** One message at a time, with what is reached by then. */
  async #tell(): Promise<void> {
    this.#isTelling = true;
    try {
      for (let isNews = true; isNews;) {
        isNews = false;
        for (const section of ["data", "control"] as const) {
          const block = this.#reached[section];
          if (block === this.#told[section]) continue;
          this.#told[section] = block;
          isNews = true;
          await this.#client.request({ op: "track-passed", section, block });
        }
      }
    } catch {
      // The connection is gone; `lost` says so.
    } finally {
      this.#isTelling = false;
    }
  }
}
