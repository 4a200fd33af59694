/**
 * Programs of the system, started without a shell. They run beside this process, whose event loop
 * stays free: what they do reaches a mount that this process serves.
 *
 * libfuse opens /dev/fuse in a way that children inherit. A mount lives for as long as anybody has
 * it open; if a program outlived this process, say because it was killed, the mount would stay
 * without anybody to answer, and the program itself could wait for that answer for ever. So
 * programs get /dev/null in its place.
 */
import { type ChildProcessByStdio, spawn, type StdioOptions } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import type { Readable } from "node:stream";
import { ReelError, throwIfAborted } from "../errors.ts";
import { fuseDescriptors } from "../fuse/mount-tree.ts";

const OUTPUT_MAX_CHARACTERS = 64 * 1024;
/** A program may leave a daemon behind that keeps its standard error open (mount.ntfs). */
const AFTER_EXIT_MS = 200;

export interface ProgramOutcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  readonly signal?: AbortSignal | undefined;
  /** Takes standard output as it comes, instead of `stdout`. */
  readonly onOutput?: ((bytes: Buffer) => void) | undefined;
}

/**
 * Runs a program to its end.
 *
 * @throws ReelError "unsupported" when it is not installed, "aborted" when the signal fired: the
 *   program is then gone, too
 */
export async function runProgram(
  command: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<ProgramOutcome> {
  const { signal, onOutput } = options;
  throwIfAborted(signal, `cannot run ${command}`);
  const child = start(command, args);
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (bytes: Buffer) => {
    if (onOutput !== undefined) onOutput(bytes);
    else if (stdout.length < OUTPUT_MAX_CHARACTERS) stdout += bytes.toString();
  });
  child.stderr.on("data", (bytes: Buffer) => {
    if (stderr.length < OUTPUT_MAX_CHARACTERS) stderr += bytes.toString();
  });
  const stop = (): void => {
    child.kill("SIGKILL");
  };
  signal?.addEventListener("abort", stop, { once: true });
  try {
    const status = await new Promise<number | null>((resolve, reject) => {
      child.on("error", (error) => {
        reject(
          new ReelError("unsupported", `cannot run ${command}: is it installed?`, { cause: error }),
        );
      });
      child.on("close", resolve);
      child.on("exit", (code) => setTimeout(resolve, AFTER_EXIT_MS, code).unref());
    });
    throwIfAborted(signal, `cannot go on with ${command}`);
    return { status, stdout, stderr };
  } finally {
    signal?.removeEventListener("abort", stop);
    child.stdout.destroy();
    child.stderr.destroy();
  }
}

function start(
  command: string,
  args: readonly string[],
): ChildProcessByStdio<null, Readable, Readable> {
  const nothing = openSync("/dev/null", "r+");
  const stdio: StdioOptions = ["ignore", "pipe", "pipe"];
  for (const descriptor of fuseDescriptors()) {
    while (stdio.length < descriptor) stdio.push("ignore");
    stdio[descriptor] = nothing;
  }
  try {
    return spawn(command, args, {
      stdio: stdio as ["ignore", "pipe", "pipe"],
      env: { ...process.env, LC_ALL: "C" },
      // A working directory inside a mount would keep it busy.
      cwd: "/",
      // Ctrl-C is for this process, which then ends what it began, in order.
      detached: true,
    });
  } finally {
    closeSync(nothing);
  }
}

/** What a program said, in one line. */
export function saidBy(command: string, { status, stderr }: ProgramOutcome): string {
  const said = stderr.trim().replaceAll(/\s*\n\s*/g, "; ");
  return said === "" ? `${command} failed with status ${status ?? "?"}` : said;
}
