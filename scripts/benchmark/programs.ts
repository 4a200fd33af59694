/** Programs of the system: run to their end, or served from for a while, and gone in any case. */
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The root of this checkout. */
export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const REELFS = join(ROOT, "dist/command/main.js");
const SAID_MAX_CHARACTERS = 64 * 1024;
const SAID_SHOWN_CHARACTERS = 500;
const DRAIN_MS = 200;
/** A program that was told to end and has not by then is killed. */
const PATIENCE_MS = 10_000;

export type Environment = Readonly<Record<string, string>>;

export interface StartOptions {
  readonly cwd?: string | undefined;
  /** For the child only, beside what this process has. */
  readonly env?: Environment | undefined;
}

export interface RunOptions extends StartOptions {
  /** The child is ended when it fires; the call throws once it is gone and writes no more. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * What every child gets: one language, one time zone, no look at drive letters of mtools, and no
 * certificates of this machine alone, which Node would decode at every start.
 */
const PLAIN = {
  ...{ LC_ALL: "C.UTF-8", TZ: "UTC", MTOOLS_SKIP_CHECK: "1" },
  NODE_EXTRA_CA_CERTS: undefined,
};

export function start(
  program: string,
  args: readonly string[],
  options: StartOptions = {},
): { child: ChildProcess; said: () => { stdout: string; stderr: string } } {
  const { cwd } = options;
  const child = spawn(program, args, {
    env: { ...process.env, ...PLAIN, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    ...(cwd === undefined ? {} : { cwd }),
  });
  const said = { stdout: "", stderr: "" };
  child.stdout.on("data", (bytes: Buffer) => {
    said.stdout = (said.stdout + bytes.toString()).slice(-SAID_MAX_CHARACTERS);
  });
  child.stderr.on("data", (bytes: Buffer) => {
    said.stderr = (said.stderr + bytes.toString()).slice(-SAID_MAX_CHARACTERS);
  });
  return { child, said: () => said };
}

/** Runs a program to its end; what it printed. Throws, with what it said, when it fails. */
export async function run(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { signal } = options;
  signal?.throwIfAborted();
  const { child, said } = start(program, args, options);
  const end = (): void => {
    child.kill("SIGTERM");
    setTimeout(() => child.kill("SIGKILL"), PATIENCE_MS).unref();
  };
  signal?.addEventListener("abort", end);
  try {
    const status = await statusOf(child);
    signal?.throwIfAborted();
    return outputOf([program, ...args], status, said());
  } finally {
    signal?.removeEventListener("abort", end);
    child.stdout?.destroy();
    child.stderr?.destroy();
  }
}

/** A daemon that it leaves behind may keep its pipes open: they are given a moment, no more. */
async function statusOf(child: ChildProcess): Promise<number | string> {
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code, signal) => {
      const status = code ?? signal ?? "?";
      const drained = setTimeout(resolve, DRAIN_MS, status);
      child.on("close", () => {
        clearTimeout(drained);
        resolve(status);
      });
    });
  });
}

function outputOf(
  command: readonly string[],
  status: number | string,
  { stdout, stderr }: { stdout: string; stderr: string },
): string {
  if (status === 0) return stdout;
  const words = command.join(" ").slice(0, SAID_SHOWN_CHARACTERS);
  const reason = stderr.trim().slice(-SAID_SHOWN_CHARACTERS);
  throw new Error(`${words}: status ${status}${reason === "" ? "" : `: ${reason}`}`);
}

/** Arguments of this Node for a script in TypeScript. */
export function scriptArguments(script: string, ...args: readonly string[]): string[] {
  return [...process.execArgv, join(ROOT, "scripts", script), ...args];
}

/** Arguments of this Node for the command `reelfs`. */
export function reelfsArguments(...args: readonly string[]): string[] {
  return [REELFS, ...args];
}

/** Is a program there? Debian keeps half of them where users do not look. */
export function hasProgram(name: string): boolean {
  return searchPath().some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function searchPath(): string[] {
  return (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
}
