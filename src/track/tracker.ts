/**
 * The tracker of one source, from its start to its clean stop: takes what was saved, tracks, saves.
 * When it is killed nothing is saved, and the next one begins with everything changed.
 */
import { realpath } from "node:fs/promises";
import { resolve } from "node:path";
import type { WritableBlockDevice } from "../device/block-device.ts";
import { openWritableFileDevice } from "../device/file-device.ts";
import { closeAll, fromSystem } from "../errors.ts";
import { DirtyBitmap } from "./dirty-bitmap.ts";
import { saveDirt, type SourceFacts, sourceFacts, takeDirt } from "./dirty-file.ts";
import { lockSource, type SourceLock } from "./source-lock.ts";
import { type Dirt, TrackedDevice } from "./tracked-device.ts";

const STATE_SUFFIX = ".reelfs-dirty";

export interface TrackerOptions {
  /** Where the bitmap is kept between two runs. Default: beside the source. */
  readonly statePath?: string | undefined;
}

export class Tracker {
  /** Absolute, without links. */
  readonly sourcePath: string;
  readonly device: TrackedDevice;
  readonly notices: readonly string[];
  readonly modifiedMs: number;
  readonly #statePath: string;
  readonly #source: SourceFacts;
  readonly #lock: SourceLock;
  #closing: Promise<void> | undefined;

  private constructor(parts: {
    readonly sourcePath: string;
    readonly statePath: string;
    readonly source: SourceFacts;
    readonly device: TrackedDevice;
    readonly lock: SourceLock;
    readonly notices: readonly string[];
  }) {
    this.sourcePath = parts.sourcePath;
    this.device = parts.device;
    this.notices = parts.notices;
    this.modifiedMs = Number(parts.source.modifiedNs / 1_000_000n);
    this.#statePath = parts.statePath;
    this.#source = parts.source;
    this.#lock = parts.lock;
  }

  /**
   * Opens a source for reading and writing, and goes on where the last tracker of it stopped, if
   * nothing speaks against it; `notices` say what does.
   *
   * @throws ReelError "busy" when it is tracked already or, a device, mounted; as
   *   openWritableFileDevice
   */
  static async open(source: string, options: TrackerOptions = {}): Promise<Tracker> {
    const sourcePath = await realpath(source).catch((error: unknown) => {
      throw fromSystem(error, `cannot track ${source}`);
    });
    const statePath = resolve(options.statePath ?? `${sourcePath}${STATE_SUFFIX}`);
    const lock = await lockSource(sourcePath);
    let base: WritableBlockDevice | undefined;
    try {
      const { isBlockDevice } = await sourceFacts(sourcePath);
      base = await openWritableFileDevice(sourcePath, { exclusive: isBlockDevice });
      const facts = await sourceFacts(sourcePath);
      const taken = await takeDirt(statePath, base.sizeBytes, facts);
      const isKnown = "bitmap" in taken;
      const dirt: Dirt = isKnown
        ? taken
        : { bitmap: new DirtyBitmap(base.sizeBytes), image: undefined };
      const notices = isKnown ? [] : [`everything counts as changed: ${taken.doubt}`];
      const device = new TrackedDevice(base, dirt);
      return new Tracker({ sourcePath, statePath, source: facts, device, lock, notices });
    } catch (error) {
      await closeAll(base, lock);
      throw error;
    }
  }

  /**
   * Stops cleanly: gives up a backup under way, sees everything to the source, and saves what has
   * changed.
   */
  async close(): Promise<void> {
    this.#closing ??= this.#stop();
    return this.#closing;
  }

  async #stop(): Promise<void> {
    try {
      try {
        await this.device.flush();
      } finally {
        await this.device.close();
      }
      const { bitmap, image } = this.device.dirt;
      // What is not known, or would not be believed, need not be saved.
      if (image === undefined || this.#source.isBlockDevice) return;
      await saveDirt(this.#statePath, this.sourcePath, { bitmap, image });
    } finally {
      await this.#lock.close();
    }
  }
}
