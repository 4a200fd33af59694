/**
 * Watches which files of a source are open for writing, for as long as a backup reads it: at the
 * beginning, from time to time, and at the end. A file that is opened, written and closed between
 * two looks is not seen.
 */
import { EXCEPTIONS_MAX, type ImageExceptions, type SourceRange } from "../tapeimage/exceptions.ts";
import { type MountedVolume, mountedOn } from "./mounted-volumes.ts";
import { lookAtOpenFiles } from "./open-files.ts";

const LOOK_EVERY_MS = 2000;
/** Looking takes at most this share of the time. */
const LOOK_SHARE = 0.05;

export interface WatchOptions {
  /** Where to look for what is mounted: block devices and files. */
  readonly sources: readonly string[];
  /** False: look at the beginning only; nothing that is written later can be in the image. */
  readonly again: boolean;
  readonly everyMs?: number | undefined;
}

interface Seen {
  readonly offsetBytes: number;
  readonly paths: Set<string>;
}

export class ExceptionWatch {
  /** Volumes of the source that were mounted for writing at any look, by their device. */
  readonly writable = new Map<string, MountedVolume>();
  /** At the last look: processes that this user may not look into. */
  hiddenProcesses = 0;
  readonly #options: WatchOptions;
  readonly #seen = new Map<string, Seen>();
  #count = 0;
  #more = false;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #stopped = false;

  private constructor(options: WatchOptions) {
    this.#options = options;
  }

  /** Returns after the first look. @throws ReelError "io" when the table of mounts cannot be read */
  static async begin(options: WatchOptions): Promise<ExceptionWatch> {
    const watch = new ExceptionWatch(options);
    await watch.look();
    if (options.again) watch.#schedule(0);
    return watch;
  }

  /** Looks now; one that is under way is waited for first, however it ends. */
  async look(): Promise<void> {
    await this.#looking?.catch(() => undefined);
    this.#looking = this.#lookOnce();
    await this.#looking;
  }

  /** What was seen on volumes that begin in that part of the source. */
  exceptions(range?: SourceRange): ImageExceptions {
    const paths: string[] = [];
    for (const seen of this.#seen.values()) {
      if (!isWithinRange(seen.offsetBytes, range)) continue;
      for (const path of seen.paths) paths.push(path);
    }
    return { paths, more: this.#more };
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#looking?.catch(() => undefined);
  }

  async #lookOnce(): Promise<void> {
    const volumes = (await mountedOn(this.#options.sources)).filter(({ writable }) => writable);
    for (const volume of volumes) this.writable.set(volume.device, volume);
    if (volumes.length === 0) return;
    const { hiddenProcesses, cut } = await lookAtOpenFiles(volumes, {
      note: (volume, path) => {
        this.#note(volume, path);
      },
    });
    this.hiddenProcesses = hiddenProcesses;
    this.#more ||= cut;
  }

  #note({ device, offsetBytes }: MountedVolume, path: string): void {
    const seen = this.#seen.get(device) ?? { offsetBytes, paths: new Set<string>() };
    this.#seen.set(device, seen);
    if (seen.paths.has(path)) return;
    if (this.#count >= EXCEPTIONS_MAX) {
      this.#more = true;
      return;
    }
    this.#count++;
    seen.paths.add(path);
  }

  #schedule(lookTookMs: number): void {
    if (this.#stopped) return;
    const waitMs = Math.max(this.#options.everyMs ?? LOOK_EVERY_MS, lookTookMs / LOOK_SHARE);
    this.#timer = setTimeout(() => {
      const begunMs = performance.now();
      this.look()
        // The look at the end tells what is wrong.
        .catch(() => undefined)
        .finally(() => {
          this.#schedule(performance.now() - begunMs);
        });
    }, waitMs);
    this.#timer.unref();
  }
}

export function isWithinRange(offsetBytes: number, range: SourceRange | undefined): boolean {
  if (range === undefined) return true;
  return offsetBytes >= range.startBytes && offsetBytes < range.endBytes;
}
