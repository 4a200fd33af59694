/**
 * Builds the command line from the command definitions, runs it, and turns whatever happens into
 * words on standard error and an exit status.
 */
import { inspect } from "node:util";
import { type Argument, Command, CommanderError, type Option } from "commander";
import { isReelError } from "../errors.ts";
import {
  type Background,
  type CommandDefinition,
  EXIT,
  type OptionValues,
  READER_GONE_STATUS,
} from "./command.ts";
import { escapeControls, escapeLine } from "./escape-name.ts";
import { exitStatusOf, isAbortError } from "./exit-status.ts";
import type { OutputStream } from "./progress-bar.ts";
import { createTerminal } from "./terminal.ts";
import { packageVersion } from "./version.ts";

export interface Surroundings {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly signal: AbortSignal;
  /** Asks a person and gives the answer; undefined where nobody is there to be asked. */
  readonly ask?: ((question: string) => Promise<string>) | undefined;
  /** REELFS_DEBUG=1: errors come with their stack and causes. */
  readonly debug?: boolean | undefined;
  readonly background?: Background | undefined;
}

/** Why the signal fires when the program that read our output has ended: `reelfs ls | head`. */
export class ReaderGone extends Error {}

/** Why the signal fires when standard output takes nothing: `reelfs ls > FILE` on a full disk. */
export class NotPrinted extends Error {}

export const PROGRAM_NAME = "reelfs";
export const PROGRAM_SUMMARY = "backups on tape that feel like folders";

/** Runs one command line, without the node and script arguments; resolves to the exit status. */
export async function run(
  args: readonly string[],
  around: Surroundings,
  definitions: readonly CommandDefinition[],
): Promise<number> {
  let status: number = EXIT.done;
  let current = PROGRAM_NAME;
  const program = buildProgram(definitions, async (definition, values, options, name) => {
    current = name;
    const terminal = createTerminal({
      stdout: around.stdout,
      stderr: around.stderr,
      json: options["json"] === true,
      quiet: options["quiet"] === true,
      signal: around.signal,
      ask: around.ask,
      background: around.background,
    });
    try {
      status = await definition.run(values, options, terminal);
    } finally {
      terminal.finish();
    }
  });
  routeOutput(program, around);
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
    if (current === PROGRAM_NAME) current = commandOf(args, definitions);
    return report(error, { name: current, args }, around);
  }
  return status;
}

/** Called with the full name of the command, `reelfs loader create`. */
type Execute = (
  definition: CommandDefinition,
  values: readonly (string | readonly string[] | undefined)[],
  options: OptionValues,
  name: string,
) => Promise<void>;

/** The commander program: also what the man pages are made from. */
export function buildProgram(
  definitions: readonly CommandDefinition[],
  execute: Execute = async () => undefined,
): Command {
  const program = new Command(PROGRAM_NAME)
    .description(`${PROGRAM_NAME}: ${PROGRAM_SUMMARY}`)
    .version(packageVersion(), "--version", "print the version and exit")
    .helpOption("-h, --help", "show help and exit")
    .helpCommand("help [command]", "show help for a command")
    .usage(GROUP_USAGE)
    .configureHelp({ helpWidth: 80, argumentTerm, optionTerm, subcommandTerm });
  program.addHelpText("after", groupHelpText(PROGRAM_NAME));
  for (const definition of definitions) addCommand(program, PROGRAM_NAME, definition, execute);
  return program;
}

const GROUP_USAGE = "COMMAND [OPTIONS] [ARGUMENTS]";

function groupHelpText(name: string): string {
  return `\nTo see what a command does, with examples: ${name} COMMAND --help`;
}

function addCommand(
  parent: Command,
  parentName: string,
  definition: CommandDefinition,
  execute: Execute,
): void {
  const name = `${parentName} ${definition.name}`;
  const command = parent.createCommand(definition.name);
  parent.addCommand(command.copyInheritedSettings(parent));
  command
    .summary(definition.summary)
    .description(definition.description.join("\n\n"))
    .allowExcessArguments(false)
    .helpOption("-h, --help", "show help and exit")
    .addHelpText("after", examplesText(definition));
  definition.configure(command);
  if (definition.subcommands !== undefined) {
    command.usage(GROUP_USAGE).helpCommand(false).addHelpText("after", groupHelpText(name));
    for (const each of definition.subcommands) addCommand(command, name, each, execute);
    return;
  }
  command
    .usage(["[OPTIONS]", ...command.registeredArguments.map(argumentTerm)].join(" "))
    .option("--json", "print the facts as JSON on standard output")
    .option("-q, --quiet", "print nothing but warnings and errors")
    .action(async () => {
      await execute(definition, argumentsOf(command), command.opts<OptionValues>(), name);
    });
}

/** `TAPE`, `[PATH]`, `PATH...`: what stands for an argument in help and man pages. */
export function argumentTerm(argument: Argument): string {
  const name = argument.name().toUpperCase() + (argument.variadic ? "..." : "");
  return argument.required ? name : `[${name}]`;
}

/** `-l, --label TEXT`. */
export function optionTerm(option: Option): string {
  return option.flags.replace(
    /<([^>]+)>|\[([^\]]+)\]/g,
    (_, required?: string, optional?: string) =>
      required === undefined ? `[${(optional ?? "").toUpperCase()}]` : required.toUpperCase(),
  );
}

function subcommandTerm(command: Command): string {
  return command.name();
}

/** Values of the declared arguments, in order; one array for a variadic one. */
function argumentsOf(command: Command): (string | readonly string[] | undefined)[] {
  return command.processedArgs.map((value: unknown) =>
    Array.isArray(value) ? value.map(String) : typeof value === "string" ? value : undefined,
  );
}

function examplesText(definition: CommandDefinition): string {
  if (definition.examples.length === 0) return "";
  const lines = definition.examples.flatMap(({ command, does }) => [
    `  ${command}`,
    `      ${does}`,
  ]);
  return `\nExamples:\n${lines.join("\n")}`;
}

/** Commander's own words go to our streams, and its errors read as ours do. */
function routeOutput(program: Command, around: Surroundings): void {
  const helpWidth = Math.min(100, around.stdout.columns ?? 80);
  for (const [command, name] of commandsUnder(program, PROGRAM_NAME)) {
    command.exitOverride().configureOutput({
      writeOut: (text) => around.stdout.write(text),
      writeErr: (text) => around.stderr.write(text),
      getOutHelpWidth: () => helpWidth,
      getErrHelpWidth: () => helpWidth,
      outputError: (text, write) => {
        write(`${name}: ${escapeLine(usageSentence(text))}; see ${name} --help\n`);
      },
    });
    command.configureHelp({ ...command.configureHelp(), helpWidth });
  }
}

function* commandsUnder(command: Command, name: string): Generator<readonly [Command, string]> {
  yield [command, name];
  for (const each of command.commands) yield* commandsUnder(each, `${name} ${each.name()}`);
}

/** "error: unknown option '--jsn'\n(Did you mean --json?)" as one sentence. */
function usageSentence(text: string): string {
  return text
    .trim()
    .replace(/^error: /, "")
    .replace(/\.$/, "")
    .replace(". Allowed choices", "; allowed choices")
    .replace(/\n\((Did you mean .*\?)\)$/, (_, hint: string) => `; ${hint.replace(/^D/, "d")}`)
    .replace(/\?$/, "");
}

/** The command that a line names, for errors met before it began. */
function commandOf(args: readonly string[], definitions: readonly CommandDefinition[]): string {
  const names = [PROGRAM_NAME];
  let among: readonly CommandDefinition[] = definitions;
  for (const word of args) {
    const named = among.find((definition) => definition.name === word);
    if (named === undefined) break;
    names.push(named.name);
    among = named.subcommands ?? [];
  }
  return names.join(" ");
}

/** One sentence for each error, and the exit status. */
function report(
  error: unknown,
  { name, args }: { readonly name: string; readonly args: readonly string[] },
  around: Surroundings,
): number {
  const interrupted = isReelError(error, "aborted") || isAbortError(error);
  const reason: unknown = around.signal.reason;
  if (interrupted && reason instanceof ReaderGone) return READER_GONE_STATUS;
  const say = (text: string): unknown => around.stderr.write(`${name}: ${escapeLine(text)}\n`);
  if (interrupted && reason instanceof NotPrinted) {
    say(reason.message);
    return EXIT.failed;
  }
  if (around.debug === true) {
    around.stderr.write(`${name}: ${escapeControls(inspect(error, { depth: 6 }))}\n`);
  }
  for (const each of error instanceof AggregateError ? (error.errors as unknown[]) : [error]) {
    if (isReelError(each, "not-found") && args.some(isMangled)) say(each.message + MANGLED_HINT);
    else if (isReelError(each) && each.code !== "internal") say(each.message);
    else if (isAbortError(each)) say("interrupted");
    else say(bugSentence(each, around.debug === true));
  }
  return exitStatusOf(error);
}

/** What Node makes of bytes in an argument that are not UTF-8: the name is then another one. */
function isMangled(argument: string): boolean {
  return argument.includes("\ufffd");
}

const MANGLED_HINT =
  "; a name that is not UTF-8 cannot be given as an argument: rename it, or make a link to it";

function bugSentence(error: unknown, debug: boolean): string {
  const what = error instanceof Error ? error.message : String(error);
  const more = debug ? "" : "; run it again with REELFS_DEBUG=1 set to see where, and report it";
  return `this is a bug in ${PROGRAM_NAME}: ${what}${more}`;
}
