/** Where steps work, and how they run the command: in this process, or in one that may be killed. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { COMMANDS } from "../../src/cli/commands/index.ts";
import { run } from "../../src/cli/program.ts";
import { FakeStream } from "../../test/cli/fake-stream.ts";
import { compileScript } from "../../test/support/compiled-script.ts";
import { Finding, must } from "./kind.ts";

const SCRIPT = fileURLToPath(new URL("../../test/e2e/expose-cli.ts", import.meta.url));
const PACKAGE = new URL("../../package.json", import.meta.url);
/** Longer than anything takes with volumes of this size, on a busy machine. */
const COMMAND_MS_MAX = 120_000;

export interface Ran {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Comes before node, as in ["strace", "-f"]. */
  readonly under?: readonly string[];
  readonly nodeOptions?: readonly string[];
  /** Called as soon as it runs. */
  readonly started?: (child: ChildProcess) => void;
}

export class Workshop {
  readonly folder: string;
  readonly #script: string;
  #steps = 0;

  private constructor(folder: string, script: string) {
    this.folder = folder;
    this.#script = script;
  }

  static async make(): Promise<Workshop> {
    const folder = await mkdtemp(join(tmpdir(), "reelfs-torture-"));
    const compiled = join(folder, "compiled");
    await mkdir(compiled);
    const script = await compileScript(SCRIPT, compiled);
    await copyFile(PACKAGE, join(compiled, "package.json"));
    await mkdir(join(folder, "run"), { mode: 0o700 });
    return new Workshop(folder, script);
  }

  /** Where records of mounts are, apart from the machine's own. */
  get env(): Readonly<Record<string, string>> {
    return { XDG_RUNTIME_DIR: join(this.folder, "run"), UV_THREADPOOL_SIZE: "4" };
  }

  async newFolder(): Promise<string> {
    const folder = join(this.folder, `step-${++this.#steps}`);
    await mkdir(folder);
    return folder;
  }

  /** The command in this process: quick, for those that serve no mount and are not killed. */
  async here(...args: string[]): Promise<Ran> {
    const [stdout, stderr] = [new FakeStream(), new FakeStream()];
    const before = process.env["XDG_RUNTIME_DIR"];
    process.env["XDG_RUNTIME_DIR"] = this.env["XDG_RUNTIME_DIR"];
    const limit = new AbortController();
    const what = args.join(" ");
    try {
      const running = run(args, { stdout, stderr, signal: limit.signal }, COMMANDS);
      const status = await withLimit(running, what).catch((error: unknown) => {
        limit.abort();
        throw error;
      });
      return checkWords(args, { status, signal: null, stdout: stdout.text, stderr: stderr.text });
    } finally {
      if (before === undefined) delete process.env["XDG_RUNTIME_DIR"];
      else process.env["XDG_RUNTIME_DIR"] = before;
    }
  }

  /** One that has nothing to complain of: what samples are made with. */
  async succeed(...args: string[]): Promise<string> {
    const ran = await this.here(...args);
    must(ran.status === 0, `reelfs ${args.join(" ")}: status ${String(ran.status)}: ${ran.stderr}`);
    return ran.stdout;
  }

  /** The command in a process of its own. */
  async apart(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const line = [
      ...(options.under ?? []),
      process.execPath,
      ...(options.nodeOptions ?? []),
      this.#script,
      ...args,
    ];
    return checkWords(args, await this.tool(line, options));
  }

  /** Any program; its end is waited for, but not for ever. */
  async tool([command = "", ...args]: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const child = spawn(command, args, {
      cwd: "/",
      env: { ...process.env, LC_ALL: "C", ...this.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    const closed = once(child, "close") as Promise<[number | null, NodeJS.Signals | null]>;
    options.started?.(child);
    try {
      const [status, signal] = await withLimit(closed, `${command} ${args.join(" ")}`);
      return { status, signal, stdout, stderr };
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

async function withLimit<T>(running: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Finding(`hangs: ${what} has not ended after ${COMMAND_MS_MAX / 1000} s`));
    }, COMMAND_MS_MAX);
  });
  try {
    return await Promise.race([running, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** As a shell, and strace, show the end by SIGKILL. */
const KILLED_STATUS = 137;
const STATUSES = [0, 1, 2, 3, 130];
/** Signs that a person was told of the program, not of what happened. */
const POOR_WORDS = [
  /^ +at .+:\d+:\d+\)?$/m,
  /\bundefined\b/,
  /\bNaN\b/,
  /\[object /,
  /this is a bug/,
  /\bTypeError\b|\bRangeError\b|\bReelError\b/,
  /heap out of memory/,
  /Unknown system error/,
  /Unhandled|uncaught/i,
];

/** A command that was not killed ends with a status of ours, and says in good words what happened. */
function checkWords(args: readonly string[], ran: Ran): Ran {
  if (ran.signal === "SIGKILL" || ran.status === KILLED_STATUS) return ran;
  const what = `reelfs ${args.join(" ")}`;
  const said = `${ran.stderr}${ran.stdout}`;
  must(
    ran.status !== null && STATUSES.includes(ran.status),
    `${what} ended with ${String(ran.status ?? ran.signal)}: ${said.slice(-2000)}`,
  );
  for (const poor of POOR_WORDS) must(!poor.test(ran.stderr), `${what} says: ${ran.stderr}`);
  must(ran.status === 0 || said.trim() !== "", `${what}: status ${ran.status} without a word`);
  must(ran.status !== 1 || ran.stderr.trim() !== "", `${what}: it failed without a word`);
  return ran;
}
