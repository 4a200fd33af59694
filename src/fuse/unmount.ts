/**
 * Taking a mount down, by fusermount (for everybody) or umount (for root), started without a shell.
 * Both run beside this process, whose event loop stays free to serve what the kernel still asks.
 */
import { spawn } from "node:child_process";
import { setTimeout as wait } from "node:timers/promises";
import { ReelError } from "../errors.ts";
import { describeHolders } from "./mount-holders.ts";
import { mountAt, readMounts } from "./mountinfo.ts";

const STDERR_MAX_BYTES = 4096;
/**
 * Programs that look at every mount in passing, to measure disks or to index them, keep one busy for
 * a moment. So a mount that nobody is seen to hold is tried again before it counts as busy.
 */
const BUSY_TRIES = 10;
const BUSY_WAIT_MS = 100;

export interface UnmountOptions {
  /** Take it out of sight now; it ends when the last process lets go of it. */
  readonly lazy?: boolean | undefined;
}

/**
 * Unmounts what is mounted at `mountpoint` (an absolute path without links).
 *
 * @throws ReelError "busy" with the processes that hold it, "not-found" when nothing is mounted
 *   there, "no-permission" when it is somebody else's.
 */
export async function unmountPath(mountpoint: string, options: UnmountOptions = {}): Promise<void> {
  const lazy = options.lazy === true;
  const before = await topMount(mountpoint);
  if (before === undefined) {
    throw new ReelError("not-found", `cannot unmount ${mountpoint}: nothing is mounted there`);
  }
  for (let tries = 1; ; tries++) {
    const failures = await tryUnmount(mountpoint, before, lazy);
    if (failures === undefined) return;
    const said = failures.join("; ");
    if (!/busy/i.test(said)) throw explain(mountpoint, said);
    const holders = await describeHolders(mountpoint);
    if (holders !== undefined || tries === BUSY_TRIES) throw busy(mountpoint, holders);
    await wait(BUSY_WAIT_MS);
  }
}

/** What each of the commands said, or undefined when it is unmounted. */
async function tryUnmount(
  mountpoint: string,
  before: string,
  lazy: boolean,
): Promise<string[] | undefined> {
  const failures: string[] = [];
  for (const [command, args] of commandsFor(mountpoint, lazy)) {
    const failure = await runQuietly(command, args);
    // Some tools fail after they have done it, others do it although they complain.
    if (failure === undefined || (await topMount(mountpoint)) !== before) return undefined;
    failures.push(failure);
    if (/busy/i.test(failure)) break;
  }
  return failures;
}

async function topMount(mountpoint: string): Promise<string | undefined> {
  return mountAt(mountpoint, await readMounts())?.device;
}

function commandsFor(mountpoint: string, lazy: boolean): [string, string[]][] {
  const flags = lazy ? ["-u", "-z", "--", mountpoint] : ["-u", "--", mountpoint];
  const plain = ["--", mountpoint];
  return [
    ["fusermount3", flags],
    ["fusermount", flags],
    ["umount", lazy ? ["-l", ...plain] : plain],
  ];
}

function busy(mountpoint: string, holders: string | undefined): ReelError {
  const who = holders ?? "it is used by a process that you may not look at; try again as root";
  return new ReelError("busy", `cannot unmount ${mountpoint}: it is busy: ${who}`);
}

function explain(mountpoint: string, said: string): ReelError {
  if (/permitted|denied|must be superuser|not found in/i.test(said)) {
    return new ReelError(
      "no-permission",
      `cannot unmount ${mountpoint}: ${said}; do it as the user who mounted it, or as root`,
    );
  }
  return new ReelError("io", `cannot unmount ${mountpoint}: ${said}`);
}

/** Runs a program; what it said when it failed, undefined when it did not. */
async function runQuietly(command: string, args: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, LC_ALL: "C" },
      // A working directory inside the mount would keep it busy.
      cwd: "/",
    });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (said.length < STDERR_MAX_BYTES) said += text;
    });
    child.on("error", (error) => {
      resolve(error.message);
    });
    child.on("close", (status) => {
      resolve(status === 0 ? undefined : said.trim() || `${command} failed`);
    });
  });
}
