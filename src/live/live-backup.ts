/**
 * A backup of a source that may be mounted meanwhile: what can be done to have it of one moment, and
 * what is known of it where nothing is done.
 *
 *     fsfreeze   writers wait until all has been read    files open at the freeze are noted
 *     lvm        a snapshot is read                      files open at the snapshot are noted
 *     neither    the volume changes while it is read     files are looked for again and again
 */
import { stat } from "node:fs/promises";
import { ReelError } from "../errors.ts";
import { runProgram, saidBy } from "../expose/run-program.ts";
import type { ImageExceptions, LiveSource, SourceRange } from "../tapeimage/exceptions.ts";
import { ExceptionWatch } from "./exception-watch.ts";
import { FrozenVolumes } from "./frozen-volumes.ts";
import { logicalVolumeAt, LvmSnapshot } from "./lvm-snapshot.ts";
import { type MountedVolume, mountedOn } from "./mounted-volumes.ts";

export interface LiveBackupOptions {
  /** The devices and files of the source, in order. */
  readonly sources: readonly string[];
  /** Where to look for what is mounted; default: on the sources. */
  readonly mountedFrom?: readonly string[] | undefined;
  readonly freeze?: "fsfreeze" | "lvm" | undefined;
  /** Something else keeps the source as it is: what is written later is not in the image. */
  readonly isSnapshot?: boolean | undefined;
  /** Of the snapshot with "lvm". */
  readonly snapshotBytes?: number | undefined;
  /** What is written to meanwhile, and must not be frozen. */
  readonly writesTo: readonly string[];
  /** Takes what a person must know, a sentence each. */
  readonly warn: (text: string) => void;
  readonly signal?: AbortSignal | undefined;
}

interface Held {
  readonly frozen?: FrozenVolumes | undefined;
  readonly snapshot?: LvmSnapshot | undefined;
}

export class LiveBackup implements LiveSource {
  readonly sourcePath: string;
  /** What to read instead of the sources. */
  readonly sources: readonly string[];
  /** Fires when what was frozen no longer is: the backup must end. */
  readonly lost: AbortSignal;
  readonly #watch: ExceptionWatch;
  readonly #held: Held;
  readonly #isChanging: boolean;
  readonly #warn: LiveBackupOptions["warn"];
  /** Devices of the volumes that a person was warned of. */
  readonly #warned = new Set<string>();

  private constructor(options: LiveBackupOptions, watch: ExceptionWatch, held: Held) {
    const { sources } = options;
    this.#warn = options.warn;
    const { frozen, snapshot } = held;
    this.sourcePath = sources[0] ?? "";
    this.sources = snapshot === undefined ? sources : [snapshot.path];
    this.lost = (frozen ?? snapshot)?.lost ?? new AbortController().signal;
    this.#watch = watch;
    this.#held = held;
    this.#isChanging = isChanging(options, held);
    this.#warnOfVolumes();
  }

  /**
   * Freezes, where asked to, and looks at what is open. To be called just before the source is read.
   *
   * @throws ReelError of freezing or of making the snapshot; nothing is then held any more
   */
  static async begin(options: LiveBackupOptions): Promise<LiveBackup> {
    const held = await hold(options);
    try {
      const sources = options.mountedFrom ?? options.sources;
      if (held.snapshot === undefined) await dropCached(options, held);
      const watch = await ExceptionWatch.begin({ sources, again: isChanging(options, held) });
      return new LiveBackup(options, watch, held);
    } catch (error) {
      await release(held);
      throw error;
    }
  }

  async finish(range?: SourceRange): Promise<ImageExceptions> {
    await this.#held.snapshot?.check();
    if (this.#isChanging) await this.#watch.look();
    this.#warnOfVolumes();
    await this.#held.frozen?.thaw(range);
    return this.#watch.exceptions(range);
  }

  /** Thaws what is frozen, and removes the snapshot: nobody may have it open any more. */
  async close(): Promise<void> {
    await this.#watch.stop();
    await release(this.#held);
  }

  /** Also of what was mounted while the backup ran. */
  #warnOfVolumes(): void {
    if (!this.#isChanging) return;
    for (const volume of this.#watch.writable.values()) {
      if (this.#warned.has(volume.device)) continue;
      this.#warned.add(volume.device);
      this.#warn(warningOf(volume, this.#watch.hiddenProcesses));
    }
  }
}

/** Is what is read written to meanwhile, where it is mounted? */
function isChanging({ isSnapshot }: LiveBackupOptions, { frozen, snapshot }: Held): boolean {
  return frozen === undefined && snapshot === undefined && isSnapshot !== true;
}

async function hold(options: LiveBackupOptions): Promise<Held> {
  const { freeze, sources, signal } = options;
  const [source = "", ...more] = sources;
  if (freeze === undefined) return {};
  if (freeze === "lvm") {
    if (more.length > 0) {
      throw new ReelError("invalid", "--freeze lvm makes a snapshot of one volume, not of several");
    }
    const origin = await logicalVolumeAt(source);
    return { snapshot: await LvmSnapshot.create(origin, options.snapshotBytes, signal) };
  }
  const writable = (await mountedOn(sources)).filter((volume) => volume.writable);
  if (writable.length === 0) {
    throw new ReelError(
      "invalid",
      `cannot freeze ${source}: it is not mounted for writing; leave out --freeze`,
    );
  }
  return { frozen: await FrozenVolumes.freeze(writable, options) };
}

async function release({ frozen, snapshot }: Held): Promise<void> {
  await frozen?.thaw();
  await snapshot?.remove();
}

/**
 * A filesystem writes the contents of files around the cache of its block device. What was read from
 * the device before, by an earlier backup, would be read again as it was then.
 *
 * @throws ReelError "io" where the volume is frozen: only what is read anew is of that moment
 */
async function dropCached(options: LiveBackupOptions, { frozen }: Held): Promise<void> {
  for (const source of options.sources) {
    const found = await stat(source).catch(() => undefined);
    if (found?.isBlockDevice() !== true) continue;
    // It may also be mounted where only other processes see it, in a container.
    const outcome = await runProgram("blockdev", ["--flushbufs", source]);
    if (outcome.status === 0 || (await mountedOn([source])).length === 0) continue;
    const why = saidBy("blockdev", outcome);
    if (frozen !== undefined) {
      throw new ReelError("io", `cannot read ${source} anew: ${why}; unmount it for the backup`);
    }
    options.warn(
      `${source} may be read as it was some time ago, from memory: ${why}; back it up as root`,
    );
  }
}

function warningOf({ source, mountpoint }: MountedVolume, hiddenProcesses: number): string {
  return (
    `${source} is mounted for writing on ${mountpoint}: what is written there during the backup may ` +
    `be in the image by halves. Unmount it, mount it read-only, or use --freeze fsfreeze or ` +
    `--freeze lvm. Files that are open for writing are noted: see reelfs info --exceptions` +
    (hiddenProcesses === 0 ? "" : `, but ${ofHidden(hiddenProcesses)} ${whoMayLook()}`)
  );
}

function ofHidden(processes: number): string {
  return processes === 1 ? "those of 1 process" : `those of ${processes} processes`;
}

function whoMayLook(): string {
  return process.getuid?.() === 0 ? "cannot be seen" : "only root can see";
}
