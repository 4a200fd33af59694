/** Runs a tool of the system and takes what it says line by line, however much that is. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { ReelError, throwIfAborted } from "../../errors.ts";

/** A tool that has not ended by then is ended, and its answer is worth nothing. */
const TOOL_TIME_MS = 10 * 60 * 1000;
/** That is more than any volume has to say. */
const OUTPUT_BYTES_MAX = 4 * 1024 ** 3;
/** Of no line is more looked at. */
const LINE_CHARS_MAX = 4096;
const COMPLAINT_CHARS_MAX = 300;
/** Where Debian keeps such tools; not on the PATH of an ordinary user. */
const MORE_PATH = "/usr/sbin:/sbin";

export interface ToolLines {
  readonly command: string;
  readonly args: readonly string[];
  /** Gets each line without its end. Returns true when nothing more is wanted. */
  readonly onLine: (line: string) => boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Runs a tool to its end, or until no more of it is wanted.
 *
 * @throws ReelError "unsupported" when it is not installed; "io" when it fails or has anything at all
 *   to complain of; "timeout"; "aborted"; what `onLine` throws. The tool is gone by then.
 */
export async function readToolLines(tool: ToolLines): Promise<void> {
  const { command, signal } = tool;
  const doing = `asking ${command} for the free blocks`;
  throwIfAborted(signal, doing);
  const child = start(tool);
  const end: Ending = { complaint: "", hasEnough: false };
  takeOutput(child, tool, end);
  const timer = setTimeout(() => {
    end.failure = new ReelError(
      "timeout",
      `${command} took more than ${TOOL_TIME_MS / 60_000} minutes`,
    );
    child.kill("SIGKILL");
  }, TOOL_TIME_MS);
  const onAbort = (): void => {
    child.kill("SIGKILL");
  };
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const status = await statusOf(child, command);
    throwIfAborted(signal, doing);
    if (end.failure !== undefined) throw end.failure;
    if (end.hasEnough) return;
    const said = end.complaint.trim().slice(0, COMPLAINT_CHARS_MAX);
    if (said !== "") {
      throw new ReelError("io", `${command} complains: ${said.replaceAll(/\s*\n\s*/g, "; ")}`);
    }
    if (status !== 0) throw new ReelError("io", `${command} failed with status ${status ?? "?"}`);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

type Tool = ChildProcessByStdio<null, Readable, Readable>;

/** How it came to an end, if not by itself. */
interface Ending {
  /** The beginning of what it wrote to standard error. */
  complaint: string;
  hasEnough: boolean;
  failure?: Error;
}

function start({ command, args }: ToolLines): Tool {
  return spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, LC_ALL: "C", PATH: `${process.env["PATH"] ?? ""}:${MORE_PATH}` },
    cwd: "/",
    // Ctrl-C is for this process, which then ends the tool.
    detached: true,
  });
}

function takeOutput(child: Tool, { command, onLine }: ToolLines, end: Ending): void {
  const lines = new LineSplitter((line) => {
    if (end.hasEnough || end.failure !== undefined) return;
    end.hasEnough = onLine(line);
    if (end.hasEnough) child.kill("SIGKILL");
  });
  let outputBytes = 0;
  child.stdout.on("data", (bytes: Buffer) => {
    try {
      outputBytes += bytes.length;
      if (outputBytes > OUTPUT_BYTES_MAX) throw new ReelError("io", `${command} does not end`);
      lines.push(bytes);
    } catch (error) {
      end.failure = error instanceof Error ? error : new Error(String(error));
      child.kill("SIGKILL");
    }
  });
  child.stderr.on("data", (bytes: Buffer) => {
    if (end.complaint.length < COMPLAINT_CHARS_MAX) end.complaint += bytes.toString();
  });
}

async function statusOf(child: Tool, command: string): Promise<number | null> {
  return new Promise((resolve, reject) => {
    child.on("error", (error) => {
      reject(
        new ReelError("unsupported", `${command} cannot be run: is it installed?`, {
          cause: error,
        }),
      );
    });
    child.on("close", resolve);
  });
}

/** Gives out lines as they become whole. */
class LineSplitter {
  readonly #onLine: (line: string) => void;
  #rest = "";

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  push(bytes: Buffer): void {
    const text = this.#rest + bytes.toString("latin1");
    let from = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
      this.#onLine(text.slice(from, end));
      from = end + 1;
    }
    this.#rest = text.slice(from, from + LINE_CHARS_MAX);
  }
}
