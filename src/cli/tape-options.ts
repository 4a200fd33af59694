/** The options of a command that writes on over several tapes. */
import type { Command } from "commander";
import { ReelError } from "../errors.ts";
import type { AskForTape } from "../tape/set/set-files.ts";
import type { ChooseNextTape, TapeRequest } from "../tape/tape-set.ts";
import type { OptionValues, Terminal } from "./command.ts";
import { escapeName } from "./escape-name.ts";
import { numberOf, textOf } from "./option-values.ts";
import { counted, formatSize, parseSize } from "./sizes.ts";

/** The smallest tape that holds labels and a record. */
const CAPACITY_BYTES_MIN = 64 * 1024;

type Arguments = readonly (string | readonly string[] | undefined)[];

export function addTapesOptions(command: Command): void {
  command
    .option(
      "--tapes <tapes>",
      "tapes to go on on, one after another, when one is full, as in b.tap,c.tap; without TAPE the first of them is TAPE",
    )
    .option(
      "--tape-capacity <size>",
      "bytes that TAPE and each new tape hold, 64K or more (default: as much as the disk)",
      parseCapacity,
    );
}

function parseCapacity(text: string): number {
  const sizeBytes = parseSize(text, "--tape-capacity");
  if (sizeBytes >= CAPACITY_BYTES_MIN) return sizeBytes;
  throw new ReelError("invalid", `--tape-capacity: ${text} is too small for a tape: 64K or more`);
}

/** The tapes that --tapes names. */
export function namesOf(options: OptionValues): string[] {
  return (textOf(options, "tapes") ?? "").split(",").filter((name) => name !== "");
}

/** SOURCE and TAPE, where TAPE may be the first of --tapes. */
export function withTapeOf(args: Arguments, options: OptionValues): Arguments {
  const [first] = namesOf(options);
  return args[1] === undefined && first !== undefined && options["segment"] === undefined
    ? [args[0], first]
    : args;
}

/** For BackupOptions.tapes. Without the options a tape is as long as the disk, and never full. */
export async function tapesOf(
  options: OptionValues,
  tapePath: string,
  terminal: Terminal,
  command = "backup",
): Promise<{ capacityBytes?: number | undefined; nextTape?: ChooseNextTape } | undefined> {
  const capacityBytes = numberOf(options, "tapeCapacity");
  const names = namesOf(options);
  if (capacityBytes === undefined && names.length === 0) return undefined;
  const { nextOfFiles } = await import("../tape/set/open-for-writing.ts");
  const further = names[0] === tapePath ? names.slice(1) : names;
  const { ask } = terminal;
  const person =
    ask === undefined
      ? undefined
      : async (sequence: number, previous: string): Promise<string | undefined> => {
          const answer = await ask(
            `${escapeName(previous)} is full. Tape ${sequence} to go on on (empty: none): `,
          );
          return answer.trim() === "" ? undefined : answer.trim();
        };
  const next = nextOfFiles(further, capacityBytes, person);
  return { capacityBytes, nextTape: told(next, terminal, command) };
}

/** What a person has answered, by the tape: each command opens its tapes more than once. */
const answers = new WeakMap<Terminal, Map<string, string | undefined>>();

/** For OpenImageOptions: a person at the terminal brings the tapes that are not found. */
export function askForTapeOn(terminal: Terminal): AskForTape | undefined {
  const { ask } = terminal;
  if (ask === undefined) return undefined;
  const known = answers.get(terminal) ?? new Map<string, string | undefined>();
  answers.set(terminal, known);
  // What was said of a tape holds for every later search; in the same one it was of no use.
  const told = new WeakSet<TapeRequest>();
  return async (request) => {
    const key = `${request.set} ${request.sequence}`;
    const isNew = told.has(request) || !known.has(key);
    told.add(request);
    if (isNew) known.set(key, await askFor(request, ask));
    return known.get(key);
  };
}

/** For a mount in the background: nobody can be asked, which is said once. */
export function nobodyToAsk(warn: (message: string) => void): AskForTape {
  let isSaid = false;
  return async () => {
    if (!isSaid) {
      warn(
        "a mount in the background cannot ask for a tape that is missing: bring it, unmount, and " +
          "mount again; or mount with --foreground, at a terminal",
      );
    }
    isSaid = true;
    return Promise.resolve(undefined);
  };
}

async function askFor(
  { sequence, name, serial, first, objects, bytes }: TapeRequest,
  ask: NonNullable<Terminal["ask"]>,
): Promise<string | undefined> {
  const [tape, of] = [name, first].map(escapeName);
  const records = objects === undefined ? "" : `, for ${counted(objects, "record")}`;
  const size = bytes === undefined ? "" : ` (${formatSize(bytes)})`;
  const answer = await ask(
    `Tape ${sequence} of the set that begins on ${of ?? ""} is needed${records}${size}: ` +
      `${tape ?? ""}, serial ${escapeName(serial)}.\nIts file (empty: go on without it): `,
  );
  return answer.trim() === "" ? undefined : answer.trim();
}

/** Says which tape is next. */
export function told(
  choose: ChooseNextTape,
  terminal: Terminal,
  command = "backup",
): ChooseNextTape {
  return async (sequence, previous) => {
    const next = await choose(sequence, previous);
    if (next !== undefined && !terminal.quiet) {
      const [full, tape] = [previous.name, next.name].map(escapeName);
      terminal.warn(
        `reelfs ${command}: ${full ?? ""} is full; going on on tape ${sequence}, ${tape ?? ""}`,
      );
    }
    return next;
  };
}
