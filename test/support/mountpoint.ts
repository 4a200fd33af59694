/**
 * Mounts for tests. The server always runs in a process of its own: a process that touches a mount
 * which it serves itself waits for ever.
 */
import { type ChildProcess, fork, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, rmSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { makeTempFolder } from "./temp.ts";
import { UMOUNT_FUNCTION } from "./end-kernel-mount.ts";
import { skipUnless } from "./skip.ts";

/** Why FUSE cannot be used here; undefined where it can. */
function fuseTrouble(): string | undefined {
  if (!existsSync("/dev/fuse")) return "there is no /dev/fuse";
  try {
    closeSync(openSync("/dev/fuse", "r+"));
  } catch {
    return "/dev/fuse may not be opened";
  }
  const found = spawnSync("fusermount3", ["-V"]).status === 0;
  return found ? undefined : "fusermount3 is missing: install fuse3";
}

/** In a before hook: skips what follows where nothing can be mounted. */
export function requireFuse(context: Mocha.Context): void {
  const trouble = fuseTrouble();
  skipUnless(context, trouble === undefined, trouble ?? "");
}

/** True when a command is installed. */
export function hasTool(name: string): boolean {
  return spawnSync("sh", ["-c", 'command -v "$0"', name]).status === 0;
}

export interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end; never in the folder of a mount. */
export async function runTool(
  command: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Ran> {
  const child = spawn(command, args, {
    cwd: options.cwd ?? "/",
    env: { ...process.env, LC_ALL: "C", ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const [status] = (await once(child, "close")) as [number | null];
  return { status, stdout, stderr };
}

/** Runs a shell command with the mount as $M; its output, or an error with what it said. */
export async function shell(script: string, mountpoint: string): Promise<string> {
  const { status, stdout, stderr } = await runTool("sh", ["-euc", UMOUNT_FUNCTION + script], {
    env: { M: mountpoint },
  });
  if (status !== 0) throw new Error(`status ${status ?? "?"}: ${stderr}${stdout}`);
  return stdout;
}

/** A folder with an empty mount point in it and a private runtime folder beside. */
export interface Place {
  readonly folder: string;
  readonly mountpoint: string;
  /** Environment in which records and sockets of mounts are kept apart from the machine's own. */
  readonly env: Readonly<Record<string, string>>;
  /** Unmounts what is left there, and removes the folder. */
  remove(): Promise<void>;
}

export async function makePlace(): Promise<Place> {
  const { folder, remove } = await makeTempFolder();
  const mountpoint = join(folder, "mnt");
  const runtime = join(folder, "run");
  await mkdir(mountpoint);
  await mkdir(runtime, { mode: 0o700 });
  return {
    folder,
    mountpoint,
    env: { XDG_RUNTIME_DIR: runtime },
    remove: async () => {
      if (await isMounted(mountpoint)) await runTool("fusermount3", ["-u", "-z", mountpoint]);
      // Never through a mount that did not go away: only an empty folder may stay.
      if (!(await isMounted(mountpoint))) await remove();
      else rmSync(runtime, { recursive: true, force: true });
    },
  };
}

export async function isMounted(mountpoint: string): Promise<boolean> {
  const mounts = await readFile("/proc/self/mountinfo", "utf8");
  return mounts.split("\n").some((line) => line.split(" ")[4] === mountpoint);
}

/** Starts a server script that sends a message when its mount is ready. */
export async function startServer(
  script: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<ChildProcess> {
  const child = fork(script, args, {
    execArgv: ["--import", import.meta.resolve("tsx")],
    env: { ...process.env, ...env },
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const word = await Promise.race([once(child, "message"), once(child, "exit")]);
  if (word[0] !== "ready") throw new Error(`the server did not start: ${JSON.stringify(word[0])}`);
  return child;
}

/** Asks a server to end, and waits until it has. */
export async function stopServer(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null) return child.exitCode;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  const [status] = (await ended) as [number | null];
  return status;
}
