/**
 * A state of the system that must not outlive a backup: a frozen filesystem, a snapshot. A small
 * process of its own brings it about and ends it, so that it ends in any case:
 *
 *     backup ──stdin──► keeper: begin command; waits for the end of its input; end command
 *
 * The kernel closes the input when the backup ends in whatever way, killed too. Begin and end are in
 * one hand: no begin can come after the end. The keeper is in a session of its own and takes no notice
 * of Ctrl-C or SIGTERM; those are for the backup. When the keeper itself is killed, the backup runs
 * the end command. Commands are argument lists, and no shell sees them.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { ReelError, throwIfAborted } from "../errors.ts";
import { runProgram, saidBy } from "../expose/run-program.ts";

export type CommandLine = readonly [command: string, ...args: string[]];

export interface HeldStateOptions {
  /** For messages: "freeze /mnt/photos", "keep a snapshot of vg/home". */
  readonly doing: string;
  readonly begin: CommandLine;
  readonly end: CommandLine;
  /** How often the end command is tried, half a second apart. Default: once. */
  readonly endTries?: number | undefined;
  /** What a person can do where the end command fails. */
  readonly byHand: string;
  readonly signal?: AbortSignal | undefined;
}

/** What a command of the keeper came to. */
interface Outcome {
  readonly status: number | null;
  readonly stderr: string;
}

/**
 * The keeper's program, as text: it needs no file and no loader, wherever this one runs from.
 * It prints one line of JSON when it has begun, and one when it has ended.
 */
const KEEPER = `
const { spawnSync } = require("node:child_process");
const { writeSync } = require("node:fs");
const { begin, end, tries } = JSON.parse(process.argv[1]);
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => {});
const say = (outcome) => {
  try { writeSync(1, JSON.stringify(outcome) + "\\n"); } catch { /* nobody listens any more */ }
};
const run = ([command, ...args]) => {
  const options = { stdio: ["ignore", "ignore", "pipe"], encoding: "utf8", cwd: "/" };
  const { status, stderr, error } = spawnSync(command, args, options);
  return { status, stderr: error ? "cannot run " + command + ": is it installed?" : stderr };
};
const finish = (left) => {
  const outcome = run(end);
  if (outcome.status !== 0 && left > 1) return void setTimeout(finish, 500, left - 1);
  say(outcome);
  process.exit(0);
};
const begun = run(begin);
say(begun);
if (begun.status !== 0) process.exit(1);
let over = false;
const once = () => { if (!over) { over = true; finish(tries); } };
process.stdin.on("end", once).on("error", once).resume();
`;

export class HeldState {
  /** Fires when the state has ended before its time. */
  readonly lost: AbortSignal;
  /** Of the keeper, for tests. */
  readonly pid: number;
  readonly #options: HeldStateOptions;
  readonly #keeper: Keeper;
  #ending: Promise<void> | undefined;

  private constructor(keeper: Keeper, options: HeldStateOptions) {
    this.#keeper = keeper;
    this.#options = options;
    this.pid = keeper.pid;
    const lost = new AbortController();
    this.lost = lost.signal;
    void keeper.ended.then(() => {
      if (this.#ending !== undefined) return;
      const error = new ReelError(
        "io",
        `cannot ${options.doing} any longer: the process that kept it was killed`,
      );
      this.#ending = this.#endByHand().then(() => {
        throw error;
      });
      this.#ending.catch(() => undefined);
      lost.abort(error);
    });
  }

  /**
   * @throws ReelError "unsupported" with what the command says when it fails, "aborted"; the state is
   *   then ended
   */
  static async begin(options: HeldStateOptions): Promise<HeldState> {
    const { doing, signal } = options;
    throwIfAborted(signal, `cannot ${doing}`);
    const keeper = new Keeper(options);
    const begun = await keeper.nextOutcome();
    if (begun?.status !== 0) {
      await keeper.ended;
      const why = begun === undefined ? "its process was killed" : said(options.begin, begun);
      throw new ReelError("unsupported", `cannot ${doing}: ${why}`);
    }
    const state = new HeldState(keeper, options);
    if (signal?.aborted === true) await state.end();
    throwIfAborted(signal, `cannot ${doing}`);
    return state;
  }

  /**
   * Ends it; later calls have the outcome of the first.
   *
   * @throws ReelError "io" when the end command fails, or the state had ended before
   */
  async end(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async #end(): Promise<void> {
    this.#keeper.release();
    const outcome = await this.#keeper.nextOutcome();
    await this.#keeper.ended;
    if (outcome === undefined) return this.#endByHand();
    this.#check(outcome);
  }

  async #endByHand(): Promise<void> {
    const [command, ...args] = this.#options.end;
    this.#check(await runProgram(command, args));
  }

  #check(outcome: Outcome): void {
    if (outcome.status === 0) return;
    const { doing, byHand, end } = this.#options;
    throw new ReelError("io", `cannot end what was to ${doing}: ${said(end, outcome)}; ${byHand}`);
  }
}

function said([command]: CommandLine, outcome: Outcome): string {
  return saidBy(command, { ...outcome, stdout: "" });
}

/** The process, and the lines that it prints. */
class Keeper {
  readonly pid: number;
  /** Settles when the process is gone and all that it said is here. */
  readonly ended: Promise<unknown>;
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor({ begin, end, endTries = 1 }: HeldStateOptions) {
    const facts = JSON.stringify({ begin, end, tries: endTries });
    this.#child = spawn(process.execPath, ["-e", KEEPER, facts], {
      stdio: ["pipe", "pipe", "ignore"],
      env: { ...process.env, LC_ALL: "C", NODE_OPTIONS: "" },
      cwd: "/",
      detached: true,
    });
    this.pid = this.#child.pid ?? 0;
    this.ended = once(this.#child, "close").catch(() => undefined);
    this.#child.stdin.on("error", () => undefined);
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  release(): void {
    this.#child.stdin.end();
  }

  /** Undefined when the process is gone without a word. */
  async nextOutcome(): Promise<Outcome | undefined> {
    const line = await this.#lines.next();
    return line.done === true ? undefined : (JSON.parse(line.value) as Outcome);
  }
}
