/** Runs a tool of the system that does what Node cannot. */
import { spawn } from "node:child_process";

/** What is kept of what a tool says. */
const ERROR_TEXT_MAX = 1 << 20;

export interface ToolResult {
  /** Undefined: it is not installed, or a signal ended it. */
  readonly status: number | undefined;
  readonly isInstalled: boolean;
  /** What it wrote to standard error, in English. */
  readonly errors: string;
}

export interface ToolOptions {
  readonly cwd: string;
  /** Its standard input. */
  readonly input?: Uint8Array | undefined;
  /** Descriptors that it gets as 3, 4 and so on. */
  readonly descriptors?: readonly number[] | undefined;
}

/** Never throws: the result says what went wrong. No shell is involved. */
export async function runTool(
  tool: string,
  args: readonly string[],
  options: ToolOptions,
): Promise<ToolResult> {
  return new Promise((resolve) => {
    const child = spawn(tool, args, {
      cwd: options.cwd,
      env: { ...process.env, LC_ALL: "C" },
      stdio: ["pipe", "ignore", "pipe", ...(options.descriptors ?? [])],
    });
    let errors = "";
    child.stderr?.setEncoding("latin1").on("data", (text: string) => {
      if (errors.length < ERROR_TEXT_MAX) errors += text;
    });
    child.once("error", (error) => {
      resolve({ status: undefined, isInstalled: false, errors: error.message });
    });
    child.once("close", (status) => {
      resolve({ status: status ?? undefined, isInstalled: true, errors });
    });
    // A tool that ends early breaks the pipe; its status tells why.
    child.stdin?.once("error", () => undefined);
    child.stdin?.end(options.input ?? "");
  });
}
