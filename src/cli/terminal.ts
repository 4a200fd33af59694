/** The Terminal that commands write to: two streams, a progress bar, and what --quiet leaves. */
import type { Progress } from "../progress.ts";
import type { Background, Terminal } from "./command.ts";
import { escapeControls, escapeJson, escapeLine } from "./escape-name.ts";
import { type OutputStream, ProgressBar } from "./progress-bar.ts";

export interface TerminalOptions {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly signal: AbortSignal;
  /** Asks a person; undefined where nobody can be asked. */
  readonly ask?: ((question: string) => Promise<string>) | undefined;
  /** Clock of the progress bar in milliseconds. */
  readonly now?: (() => number) | undefined;
  readonly background?: Background | undefined;
}

export interface OwnedTerminal extends Terminal {
  /** Removes the progress bar; called when the command is over. */
  finish(): void;
}

/**
 * With --json standard output carries JSON and nothing else, so that it can be parsed whole.
 * Text is made safe for a terminal on its way out; JSON escapes by its own rules.
 */
export function createTerminal(options: TerminalOptions): OwnedTerminal {
  const { stdout, stderr, json, quiet } = options;
  const bar =
    stderr.isTTY === true && !quiet && !json ? new ProgressBar(stderr, options.now) : undefined;
  const progress: Progress = (event) => bar?.update(event);
  const { ask } = options;
  return {
    ask:
      ask === undefined
        ? undefined
        : async (question) => {
            bar?.clear();
            return ask(escapeControls(question));
          },
    print(text) {
      if (quiet || json) return;
      bar?.clear();
      stdout.write(`${escapeControls(text)}\n`);
    },
    printJson(value) {
      if (json) stdout.write(`${escapeJson(JSON.stringify(value, undefined, 2))}\n`);
    },
    warn(text) {
      bar?.clear();
      stderr.write(`${escapeLine(text)}\n`);
    },
    json,
    quiet,
    interactive: stdout.isTTY === true,
    progress,
    signal: options.signal,
    background: options.background,
    finish() {
      bar?.clear();
    },
  };
}
