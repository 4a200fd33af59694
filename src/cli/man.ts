/**
 * Man pages, in roff with the man(7) macros, from the same definitions as --help: what commander
 * lists as arguments and options is what the page lists. Pages carry no date, so that the same
 * source always gives the same page.
 */
import type { Command } from "commander";
import type { CommandDefinition } from "./command.ts";
import { EXIT_MEANINGS } from "./exit-status.ts";
import {
  argumentTerm,
  buildProgram,
  optionTerm,
  PROGRAM_NAME,
  PROGRAM_SUMMARY,
} from "./program.ts";
import { packageVersion } from "./version.ts";

/** The pages of all commands and the overview: file name ("reelfs-backup.1") to text. */
export function manPages(definitions: readonly CommandDefinition[]): ReadonlyMap<string, string> {
  const program = buildProgram(definitions);
  const pages = new Map<string, string>([
    [`${PROGRAM_NAME}.1`, overviewPage(definitions, program)],
  ]);
  for (const definition of definitions) {
    const command = program.commands.find((each) => each.name() === definition.name);
    if (command === undefined) continue;
    const makePage = definition.subcommands === undefined ? commandPage : groupPage;
    pages.set(`${pageName(definition.name)}.1`, makePage(definition, command));
  }
  return pages;
}

function commandPage(definition: CommandDefinition, command: Command): string {
  return page(pageName(definition.name), [
    section("NAME", [`${roff(pageName(definition.name))} \\- ${roff(definition.summary)}`]),
    section("SYNOPSIS", [`\\fB${PROGRAM_NAME} ${roff(definition.name)}\\fR ${synopsis(command)}`]),
    section("DESCRIPTION", paragraphs(definition.description)),
    section("ARGUMENTS", argumentItems(command)),
    section("OPTIONS", optionItems(command)),
    section("EXAMPLES", exampleItems(definition)),
    section("EXIT STATUS", exitItems()),
    section("LIMITATIONS", paragraphs(definition.limitations ?? [])),
    section("SEE ALSO", [references(definition.seeAlso ?? [])]),
  ]);
}

/** One page for a group, with a part for each of its commands. */
function groupPage(definition: CommandDefinition, group: Command): string {
  const name = `${PROGRAM_NAME} ${definition.name}`;
  return page(pageName(definition.name), [
    section("NAME", [`${roff(pageName(definition.name))} \\- ${roff(definition.summary)}`]),
    section("SYNOPSIS", [`\\fB${roff(name)}\\fR ${italic("COMMAND")} [OPTIONS] [ARGUMENTS]`]),
    section("DESCRIPTION", paragraphs(definition.description)),
    section(
      "COMMANDS",
      (definition.subcommands ?? []).flatMap((each) => {
        const command = group.commands.find((found) => found.name() === each.name);
        return command === undefined ? [] : subcommandPart(name, each, command);
      }),
    ),
    section("OPTIONS", optionItems(group)),
    section("EXAMPLES", exampleItems(definition)),
    section("EXIT STATUS", exitItems()),
    section("LIMITATIONS", paragraphs(definition.limitations ?? [])),
    section("SEE ALSO", [references(definition.seeAlso ?? [])]),
  ]);
}

function subcommandPart(group: string, definition: CommandDefinition, command: Command): string[] {
  return [
    `.SS ${roff(definition.name)}`,
    `\\fB${roff(group)} ${roff(definition.name)}\\fR ${synopsis(command)}`,
    ...definition.description.flatMap((text) => [".PP", roff(text)]),
    ...argumentItems(command),
    ...optionItems(command),
    ...exampleItems(definition),
  ];
}

function overviewPage(definitions: readonly CommandDefinition[], program: Command): string {
  return page(PROGRAM_NAME, [
    section("NAME", [`${PROGRAM_NAME} \\- ${roff(PROGRAM_SUMMARY)}`]),
    section("SYNOPSIS", [`\\fB${PROGRAM_NAME}\\fR ${italic("COMMAND")} [OPTIONS] [ARGUMENTS]`]),
    section("DESCRIPTION", paragraphs(OVERVIEW)),
    section(
      "COMMANDS",
      definitions.flatMap((each) => item(`\\fB${roff(each.name)}\\fR`, roff(each.summary))),
    ),
    section("OPTIONS", optionItems(program)),
    section("NAMES OF IMAGES", paragraphs(IMAGE_NAMES)),
    section("EXIT STATUS", exitItems()),
    section(
      "ENVIRONMENT",
      ENVIRONMENT.flatMap(([name, meaning]) => item(bold(name), roff(meaning))),
    ),
    section("SEE ALSO", [definitions.map((each) => pageReference(each.name)).join(",\n")]),
  ]);
}

const OVERVIEW = [
  "reelfs copies a volume to tape as a block image that knows the volume's filesystem. Such an image can be mounted: folders and file names come from the start of the image, which is read once, and the tape moves only when a file's contents are read. Files that belong together come back in one pass over the tape; the whole volume comes back as it was.",
  "A tape is a SIMH tape file (.tap): a sequence of records and filemarks, as on a real tape. Nothing is ever written to the source of a backup, nor to the tape of a mounted image.",
];

const IMAGE_NAMES = [
  "TAPE names the last image on a tape; TAPE#N names image number N, counted from 1 in the order they were written. In most shells # needs no quotes in the middle of a word.",
];

const ENVIRONMENT: readonly (readonly [string, string])[] = [
  ["REELFS_DEBUG", "Set to 1, errors are printed with their stack and causes."],
];

function page(name: string, sections: readonly string[]): string {
  const head = [
    `.\\" Made from the command definitions by scripts/man.ts; changes here are lost.`,
    `.TH ${name.toUpperCase().replaceAll("-", "\\-")} 1 "" "${PROGRAM_NAME} ${packageVersion()}" "User Commands"`,
    // No hyphenation and a ragged margin: options and paths stay whole.
    ".nh",
    ".ad l",
  ];
  return `${[...head, ...sections.filter((each) => each !== "")].join("\n")}\n`;
}

function section(title: string, lines: readonly string[]): string {
  return lines.length === 0 ? "" : [`.SH ${title}`, ...lines].join("\n");
}

function paragraphs(texts: readonly string[]): string[] {
  return texts.flatMap((text, index) => (index === 0 ? [roff(text)] : [".PP", roff(text)]));
}

function item(term: string, text: string): string[] {
  return [".TP", term, text];
}

function synopsis(command: Command): string {
  const terms = command.createHelp().visibleArguments(command).map(argumentTerm);
  return ["[OPTIONS]", ...terms].map((term) => term.replace(/[A-Z]+/g, italic)).join(" ");
}

function argumentItems(command: Command): string[] {
  const help = command.createHelp();
  return help
    .visibleArguments(command)
    .flatMap((each) => item(italic(argumentTerm(each)), roff(help.argumentDescription(each))));
}

function optionItems(command: Command): string[] {
  const help = command.createHelp();
  return help.visibleOptions(command).flatMap((each) =>
    item(
      roff(optionTerm(each)).replace(/\\-[\\\w-]*/g, (flag) => `\\fB${flag}\\fR`),
      roff(help.optionDescription(each)),
    ),
  );
}

function exampleItems(definition: CommandDefinition): string[] {
  return definition.examples.flatMap(({ command, does }) => item(bold(command), roff(does)));
}

function exitItems(): string[] {
  return EXIT_MEANINGS.flatMap(([status, meaning]) => item(bold(String(status)), roff(meaning)));
}

/** "umount", "reelfs umount" and "reelfs-umount(1)" are all the page of that command. */
function references(names: readonly string[]): string {
  const ours = new Set<string>([`\\fB${PROGRAM_NAME}\\fR(1)`]);
  for (const name of names) ours.add(pageReference(name));
  return [...ours].join(",\n");
}

function pageReference(name: string): string {
  const other = /^(.+)\((\d)\)$/.exec(name);
  if (other !== null) return `${bold(other[1] ?? "")}(${other[2] ?? "1"})`;
  return `${bold(pageName(name.replace(/^reelfs[ -]/, "")))}(1)`;
}

function pageName(command: string): string {
  return `${PROGRAM_NAME}-${command}`;
}

function bold(text: string): string {
  return `\\fB${roff(text)}\\fR`;
}

function italic(text: string): string {
  return `\\fI${roff(text)}\\fR`;
}

/** Text that roff prints as it stands. */
function roff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("'", "\\(aq")
    .replaceAll("`", "\\(ga")
    .replaceAll("~", "\\(ti")
    .replaceAll("^", "\\(ha")
    .replaceAll("\n", " ")
    .replace(/[^ -~]/gu, (found) => `\\[u${codeOf(found)}]`)
    .replace(/^\./, "\\&.");
}

/** Four hexadecimal digits or more, as groff_char(7) wants them. */
function codeOf(character: string): string {
  return (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0");
}
