/**
 * What a command is: one file in commands/ that exports one CommandDefinition. Help, man page and
 * argument parsing all come from it; `run` does the work and never touches process.* itself.
 */
import type { Command } from "commander";
import type { Progress } from "../progress.ts";
import type { WaitingParent } from "./waiting-parent.ts";

/** Exit statuses, the same for every command. */
export const EXIT = { done: 0, failed: 1, usage: 2, damaged: 3, interrupted: 130 } as const;

/** As a shell shows the end by SIGPIPE, which is what most programs come to then. */
export const READER_GONE_STATUS = 141;

/** Where a command's words go. */
export interface Terminal {
  /** One line (or several) on standard output; nothing with --quiet. */
  print(text: string): void;
  /** The command's facts as JSON on standard output, when --json was given. */
  printJson(value: unknown): void;
  /** A notice or warning of one line on standard error; also with --quiet. */
  warn(text: string): void;
  readonly json: boolean;
  readonly quiet: boolean;
  /** Standard output is a terminal. */
  readonly interactive: boolean;
  /** Draws a progress bar after a second, on a terminal, unless --quiet or --json. */
  readonly progress: Progress;
  /** Asks a person, on a terminal; undefined where there is none. */
  readonly ask?: ((question: string) => Promise<string>) | undefined;
  /** Fires at the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  readonly background?: Background | undefined;
}

/** How a mount comes to be served by a process that stays when the command has ended. */
export interface Background {
  /** In that process: the command that started it, and waits. */
  readonly parent?: WaitingParent | undefined;
  /** In the command: runs its command line in such a process; the exit status. */
  readonly start: () => Promise<number>;
}

/** Options as commander parsed them, by camel-cased name. */
export type OptionValues = Readonly<Record<string, unknown>>;

export interface CommandDefinition {
  readonly name: string;
  /** One line, for the list of commands. */
  readonly summary: string;
  /** Paragraphs for --help and the man page. */
  readonly description: readonly string[];
  readonly examples: readonly { readonly command: string; readonly does: string }[];
  /** What it cannot do, for the man page. */
  readonly limitations?: readonly string[];
  readonly seeAlso?: readonly string[];
  /** Adds arguments and options. --json, --quiet and --help are there already. */
  configure(command: Command): void;
  /** Returns an exit status; a thrown ReelError becomes one sentence and the status of its code. */
  run(
    args: readonly (string | readonly string[] | undefined)[],
    options: OptionValues,
    terminal: Terminal,
  ): Promise<number>;
  /** Commands of a group, `reelfs loader create`: made with commandGroup. */
  readonly subcommands?: readonly CommandDefinition[];
}

type GroupWords = Omit<CommandDefinition, "configure" | "run" | "subcommands">;

/** A command that is a name for several: `reelfs loader create`, `reelfs loader list`. */
export function commandGroup(
  words: GroupWords,
  subcommands: readonly CommandDefinition[],
): CommandDefinition {
  // Commander shows the help of a group that is called without a command.
  return { ...words, configure: () => undefined, run: async () => EXIT.usage, subcommands };
}
