/**
 * In a daemon: the command that started it (background.ts), which waits to hear that it serves, or
 * why not. What is printed until then is the command's to print, as if it had done the work itself;
 * what is printed afterwards goes to the daemon's log.
 */
import { closeSync, readFileSync, renameSync, writeSync } from "node:fs";
import { fromSystem, isReelError, ReelError } from "../errors.ts";
import { type Answer, ANSWER_DESCRIPTOR, DAEMON_WORD, tailOf } from "./daemon-answer.ts";
import { keepThreadsLean } from "./lean-heap.ts";
import type { OutputStream } from "./progress-bar.ts";

const LOG_DESCRIPTOR = 2;

export class WaitingParent {
  readonly #log: string;
  #stdout = "";
  #stderr = "";
  #answered = false;

  /** `log`: the file that this process writes to. */
  constructor(log: string) {
    this.#log = log;
  }

  /** What was said to a daemon, and the rest: arguments of the command. */
  static find(args: readonly string[]): {
    readonly parent: WaitingParent | undefined;
    readonly args: readonly string[];
  } {
    const [first = "", ...rest] = args;
    if (!first.startsWith(DAEMON_WORD)) return { parent: undefined, args };
    return { parent: new WaitingParent(first.slice(DAEMON_WORD.length)), args: rest };
  }

  readonly stdout: OutputStream = {
    write: (text) => {
      if (this.#answered) writeToLog(text);
      else this.#stdout += text;
    },
  };

  readonly stderr: OutputStream = {
    write: (text) => {
      if (this.#answered) writeToLog(text);
      else this.#stderr += text;
    },
  };

  /** Lets the command go: the mount can be used. From now on the log is at `log`. */
  ready(log: string): void {
    try {
      renameSync(this.#log, log);
    } catch (error) {
      throw fromSystem(error, `cannot make the log ${log}`);
    }
    keepThreadsLean();
    this.#answer(true, 0);
  }

  /** Lets it go, if it still waits: there is no mount. */
  end(status: number): void {
    if (!this.#answered) this.#answer(false, status);
  }

  /** The error, with what libfuse left in the log. */
  explain(error: unknown): unknown {
    if (!isReelError(error, "io")) return error;
    const tail = tailOf(readFileSync(this.#log, "utf8"));
    if (tail === "") return error;
    return new ReelError("io", `${error.message}: ${tail}`, { cause: error });
  }

  #answer(serving: boolean, status: number): void {
    this.#answered = true;
    const answer: Answer = { serving, status, stdout: this.#stdout, stderr: this.#stderr };
    let rest = Buffer.from(`${JSON.stringify(answer)}\n`);
    try {
      while (rest.length > 0) rest = rest.subarray(writeSync(ANSWER_DESCRIPTOR, rest));
      closeSync(ANSWER_DESCRIPTOR);
    } catch {
      // The command is gone, and nobody is left to tell.
    }
  }
}

/** A disk that is full must not end a mount. */
function writeToLog(text: string): void {
  try {
    writeSync(LOG_DESCRIPTOR, text);
  } catch {
    // There is nowhere to say it.
  }
}
