/**
 * Where the benchmark works: a folder of its own, the programs it runs, what it has mounted. All of
 * it is gone at the end, however the end comes.
 */
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, realpath, rm, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  reelfsArguments,
  run,
  type RunOptions,
  scriptArguments,
  start,
  type StartOptions,
} from "./programs.ts";

/** How often a mount that comes up is looked for. */
const MOUNT_POLL_MS = 2;
const MOUNT_WAIT_MS = 120_000;
/** A daemon that has not gone by then after its mount did is ended. */
const DAEMON_WAIT_MS = 10_000;
const UNMOUNT_TRIES = 20;
const PAUSE_MS = 20;

/** A mount, and the process behind it. */
export interface Served {
  readonly mountpoint: string;
  readonly pid: number;
}

interface Daemon {
  readonly child: ChildProcess;
  readonly gone: Promise<void>;
}

export class Workshop {
  readonly folder: string;
  readonly #signal: AbortSignal;
  readonly #dropCaches: boolean;
  readonly #mountpoints = new Set<string>();
  readonly #daemons = new Map<string, Daemon>();
  #nextMount = 0;

  private constructor(folder: string, signal: AbortSignal, dropCaches: boolean) {
    this.folder = folder;
    this.#signal = signal;
    this.#dropCaches = dropCaches;
  }

  static async open(parent: string, signal: AbortSignal, dropCaches: boolean): Promise<Workshop> {
    return new Workshop(
      await mkdtemp(join(await realpath(parent), "reelfs-bench-")),
      signal,
      dropCaches,
    );
  }

  at(...names: readonly string[]): string {
    return join(this.folder, ...names);
  }

  async run(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
    return run(program, args, { ...options, signal: this.#signal });
  }

  /** The paths are $1, $2 and so on. */
  async shell(script: string, ...args: readonly string[]): Promise<string> {
    return this.run("bash", ["-c", `set -euo pipefail; ${script}`, "bench", ...args]);
  }

  async reelfs(...args: readonly string[]): Promise<string> {
    return this.run(process.execPath, reelfsArguments(...args));
  }

  /** A script of this repository. */
  async script(path: string, ...args: readonly string[]): Promise<string> {
    return this.run(process.execPath, scriptArguments(path, ...args));
  }

  /** Removes files and folders of this workshop that may not be there. */
  async remove(...paths: readonly string[]): Promise<void> {
    for (const path of paths) await rm(path, { recursive: true, force: true });
  }

  /**
   * Before what is measured: what will be read lies in the page cache, and nothing waits to be
   * written; or, if that was asked for, nothing is cached at all.
   */
  async settle(...paths: readonly string[]): Promise<void> {
    if (this.#dropCaches) {
      await this.run("sync", []);
      await writeFile("/proc/sys/vm/drop_caches", "3");
    } else if (paths.length > 0) {
      await this.shell('find "$@" -type f -exec cat {} + >/dev/null', ...paths);
    }
  }

  /** A new mount point, which is unmounted at the end if it still is one. */
  async newMountpoint(): Promise<string> {
    const mountpoint = this.at(`mnt${this.#nextMount++}`);
    await mkdir(mountpoint);
    this.#mountpoints.add(mountpoint);
    return mountpoint;
  }

  /** Starts a program that serves a mount for as long as it runs; returns when it is mounted. */
  async serve(
    mountpoint: string,
    program: string,
    args: readonly string[],
    options: StartOptions = {},
  ): Promise<number> {
    const { child, said } = start(program, args, options);
    let ended: string | undefined;
    const gone = new Promise<void>((resolve) => {
      child.on("error", (error) => {
        ended = error.message;
        resolve();
      });
      child.on("exit", (code, signal) => {
        ended ??= `status ${code ?? signal ?? "?"}: ${said().stderr.trim().slice(-500)}`;
        resolve();
      });
    });
    this.#daemons.set(mountpoint, { child, gone });
    const deadlineMs = performance.now() + MOUNT_WAIT_MS;
    while (!(await isMounted(mountpoint))) {
      this.#signal.throwIfAborted();
      if (ended !== undefined) throw new Error(`${program} did not mount: ${ended}`);
      if (performance.now() > deadlineMs) throw new Error(`${program} does not mount`);
      await sleep(MOUNT_POLL_MS);
    }
    return child.pid ?? 0;
  }

  /** Unmounts, and waits until the process that served it is gone. */
  async unmount({ mountpoint, pid }: Served): Promise<void> {
    for (let tries = 1; await isMounted(mountpoint); tries++) {
      try {
        await run("fusermount", ["-u", mountpoint]);
      } catch (error) {
        // Busy for a moment: somebody's descriptor is still being closed.
        if (tries >= UNMOUNT_TRIES && (await isMounted(mountpoint))) throw error;
        await sleep(PAUSE_MS);
      }
    }
    const daemon = this.#daemons.get(mountpoint);
    if (daemon !== undefined) await endOf(daemon);
    this.#daemons.delete(mountpoint);
    const deadlineMs = performance.now() + DAEMON_WAIT_MS;
    while (existsSync(`/proc/${pid}`) && performance.now() < deadlineMs) await sleep(PAUSE_MS);
    await rmdir(mountpoint);
    this.#mountpoints.delete(mountpoint);
  }

  /** Unmounts what is mounted, ends what was started, and removes the folder. */
  async close(): Promise<void> {
    for (const mountpoint of [...this.#mountpoints].reverse()) {
      if (!(await isMounted(mountpoint))) continue;
      await run("fusermount", ["-u", "-z", mountpoint]).catch(() => undefined);
    }
    for (const daemon of this.#daemons.values()) {
      daemon.child.kill("SIGTERM");
      await endOf(daemon);
    }
    for (const mountpoint of this.#mountpoints) {
      // What is still mounted is not to be emptied.
      if (await isMounted(mountpoint)) throw new Error(`cannot unmount ${mountpoint}`);
    }
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Waits for a daemon whose mount is gone; one that stays too long is ended. */
async function endOf({ child, gone }: Daemon): Promise<void> {
  const late = setTimeout(() => child.kill("SIGKILL"), DAEMON_WAIT_MS);
  await gone;
  clearTimeout(late);
}

async function isMounted(mountpoint: string): Promise<boolean> {
  const mounts = await readFile("/proc/self/mountinfo", "utf8");
  return mounts.split("\n").some((line) => line.split(" ")[4] === mountpoint);
}
