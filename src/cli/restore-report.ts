/** What a restore tells when it is done: a sentence, what was left out or lost, and a status. */
import type { RestoreLosses } from "../tagrestore/losses.ts";
import type { RestoreProblem } from "../tagrestore/problems.ts";
import type { RestoreSummary } from "../tagrestore/restore.ts";
import { EXIT, type Terminal } from "./command.ts";
import { escapeName } from "./escape-name.ts";
import { counted, formatDuration, formatSize, withCommas } from "./sizes.ts";

/** Lines about single files on standard error, of each kind; --json names them all. */
const NAMES_SHOWN_MAX = 20;

/** What a restore, or the plan of one, found out, and the exit status for it. */
export interface Outcome {
  readonly facts: Readonly<Record<string, unknown>>;
  readonly status: number;
}

export function warn(terminal: Terminal, text: string): void {
  terminal.warn(`reelfs restore: ${text}`);
}

/** What is told before a restore, or found out besides. */
export interface RestoreReport {
  /** Those of the selection, too. */
  readonly problems: readonly RestoreProblem[];
  /** Sentences that the person has read already: they are not repeated for each file. */
  readonly told: readonly string[];
  readonly seconds: number;
}

/** Tells what was restored and what was not. */
export function tellRestored(
  summary: RestoreSummary,
  { problems, told, seconds }: RestoreReport,
  terminal: Terminal,
): number {
  const { existing, losses } = summary;
  terminal.print(sentence(summary, seconds));
  for (const path of existing.slice(0, NAMES_SHOWN_MAX)) {
    warn(terminal, `${escapeName(path)} is there already and was left as it is`);
  }
  if (existing.length > NAMES_SHOWN_MAX) {
    const more = count(existing.length - NAMES_SHOWN_MAX);
    warn(terminal, `${more} more files are there already; --overwrite replaces, --json names them`);
  }
  for (const line of lossLines(losses)) warn(terminal, line);
  if (!summary.flushed) {
    warn(terminal, `the system did not confirm that all is on disk; run "sync" to be sure`);
  }
  return tellProblems(problems, told, terminal);
}

function sentence(summary: RestoreSummary, seconds: number): string {
  const { files, bytes, filesResumed, records, directory } = summary;
  const before = filesResumed > 0 ? ` (${count(filesResumed)} more were there from before)` : "";
  return `${counted(files, "file")}${before}, ${formatSize(bytes)} from ${counted(records, "record")}, restored to ${escapeName(directory)} in ${formatDuration(seconds)}`;
}

/** What files have on the volume and not here, one line for each kind of it. */
function lossLines(losses: RestoreLosses): string[] {
  const { owners, setIds, permissions, xattrs, devices, sockets, links, names } = losses;
  const told: readonly (readonly [number, string])[] = [
    [owners, `${counted(owners, "owner")} not set: only root gives files away`],
    [setIds, `set-user-ID and set-group-ID not set on ${counted(setIds, "program")} of others`],
    [permissions, `permissions or times of ${counted(permissions, "folder")} could not be set`],
    [xattrs, `${counted(xattrs, "extended attribute")} could not be set`],
    [devices, `${counted(devices, "device")} not made: only root makes devices`],
    [sockets, `${counted(sockets, "socket")} left out: they mean nothing without their program`],
    [
      names,
      `${counted(names, "name")} ${names === 1 ? "is" : "are"} not UTF-8 and ${names === 1 ? "was" : "were"} changed`,
    ],
    [links, `${counted(links, "hard link")} restored as files of their own`],
  ];
  return told.flatMap(([number, line]) => (number > 0 ? [line] : []));
}

export function count(value: number): string {
  return withCommas(value);
}

/**
 * Names what was not restored, up to a bound, and gives the exit status for it. A reason that was
 * told already, as that of a tape that is not there, is told again only where there are several.
 */
export function tellProblems(
  problems: readonly RestoreProblem[],
  told: readonly string[],
  terminal: Terminal,
): number {
  const known = told.filter((reason) => problems.some(({ message }) => message === reason));
  const rank = ({ message }: RestoreProblem): number => known.indexOf(message);
  const ordered = problems.toSorted((a, b) => rank(a) - rank(b));
  let heading: string | undefined;
  for (const { path, message } of ordered.slice(0, NAMES_SHOWN_MAX)) {
    const isKnown = known.includes(message);
    if (isKnown && known.length > 1 && message !== heading) warn(terminal, message);
    heading = message;
    warn(terminal, `${escapeName(path)} is not restored${isKnown ? "" : `: ${message}`}`);
  }
  if (problems.length > NAMES_SHOWN_MAX) {
    const more = count(problems.length - NAMES_SHOWN_MAX);
    warn(terminal, `${more} more files are not restored; --json names them all`);
  }
  if (problems.some((problem) => problem.code === "damaged")) return EXIT.damaged;
  return problems.length > 0 ? EXIT.failed : EXIT.done;
}
