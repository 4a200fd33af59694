/** `reelfs restore`: files back from an image, in one pass over the tape. */
import { readFile, realpath } from "node:fs/promises";
import { join } from "node:path";
import { fromSystem, ReelError } from "../../errors.ts";
import { TAPE_MODEL_NAMES } from "../../tape/time-model.ts";
import type { RestoreLosses } from "../../tagrestore/losses.ts";
import type { OrderStatistics } from "../../tagrestore/plan-statistics.ts";
import type { RestoreProblem } from "../../tagrestore/problems.ts";
import type { RestoreSummary } from "../../tagrestore/restore.ts";
import type { Selection, SelectionRequest } from "../../tagrestore/select.ts";
import type { StagedImage } from "../../tagrestore/staged-image.ts";
import type { DiskSet } from "../../tapeimage/disk-set.ts";
import type { Volume } from "../../volume/volume.ts";
import { type CommandDefinition, EXIT, type OptionValues, type Terminal } from "../command.ts";
import { tapeFileOf } from "../loader/loader-tape.ts";
import { addAncestorsOption, ancestorPlaces } from "../ancestor-options.ts";
import { escapeName } from "../escape-name.ts";
import { flagOf, numberOf, parseTimeZone, parseWhole, textOf } from "../option-values.ts";
import { counted, formatDuration, formatSize } from "../sizes.ts";
import { tableLines } from "../table.ts";
import { askForTapeOn } from "../tape-options.ts";

const DRIVE_DEFAULT = "LTO-9";
/** Lines about single files on standard error, of each kind; --json names them all. */
const NAMES_SHOWN_MAX = 20;
const LIST_BYTES_MAX = 256 * 1024 * 1024;

export const restoreCommand: CommandDefinition = {
  name: "restore",
  summary: "restore chosen files from an image in one pass over the tape",
  description: [
    "Restores files and folders from IMAGE to the folder given with --to: /a/b in the image becomes DIR/a/b. Without PATHs everything is restored; a folder brings all that is in it. The work is ordered by where the data lie on the tape, not by file: every record that holds something wanted is read once, in rising order, in one pass.",
    "The backup of a whole disk is restored by partition: a PATH begins with p1, p2 and so on, and /p1/a becomes DIR/p1/a.",
    "A PATH may hold wildcards: * any characters, ? one character, [a-z] one of a class, ** as a whole component any number of folders. Quote them, so that the shell leaves them alone. Upper and lower case are the same where they are on the volume. A PATH that matches nothing is an error, and nothing is restored.",
    "What is in DIR already is left as it is and named, unless --overwrite is given. Nothing is ever restored through a symbolic link in DIR. A file gets its name when it is complete: an interrupted restore leaves no half-written files, and goes on with --resume and the same PATHs. Its notes are in DIR/.reelfs-restore-…; remove that folder to start anew instead.",
    "A damaged record of the tape costs the files that have a part in it. They are named, all others are restored, and the exit status is 3.",
  ],
  examples: [
    { command: "reelfs restore photos.tap --to out", does: "Restore everything." },
    {
      command: "reelfs restore photos.tap --to out '/DCIM/**/*.jpg' /README.TXT",
      does: "Restore all JPEG files below /DCIM, and one other.",
    },
    {
      command: "reelfs restore --plan --drive LTO-9 photos.tap /DCIM",
      does: "Show what restoring /DCIM from a physical tape would take.",
    },
    {
      command: "reelfs restore photos.tap --to out --files-from list.txt",
      does: "Restore the files named in list.txt, one on each line.",
    },
    {
      command: "reelfs restore --tagged /mnt/photos --to out",
      does: "Restore the files that were tagged in a mount.",
    },
    {
      command: "reelfs restore photos.tap --to out --resume",
      does: "Go on with a restore that was interrupted.",
    },
  ],
  limitations: [
    "The read-only attribute of FAT takes away the permission to write; the attributes hidden, system and archive are not restored.",
    "As an ordinary user everything restored is yours, and devices are left out: a summary says how many. Root gives files their owners, and set-user-ID bits with them. Extended attributes and access control lists need setfattr (package attr). Sockets are never restored.",
    "Compressed files of a volume wait in DIR, in their compressed form, until all of one is read; --plan says how much room that takes at most.",
    "Somebody else who may write to DIR while the restore runs can replace a folder in it by a link: restore to a folder of your own.",
    "Times on the plan are estimates after published figures, for a tape that stands at its beginning.",
  ],
  seeAlso: ["mount", "tag", "ls", "restore-image", "verify"],
  configure(command) {
    command
      .argument("[image]", "TAPE for the last image on it, TAPE#N for image N")
      .argument("[paths...]", "paths and globs in the image; all of it without")
      .option("--to <dir>", "folder to restore to; made when it is not there")
      .option("--files-from <file>", "also restore the paths in FILE (- for standard input)")
      .option("-0, --null", "the paths in FILE end with NUL, not newline")
      .option("--tagged <mountpoint>", "restore what is tagged in a mount, from its image")
      .option("--plan", "show what the restore would take, and restore nothing")
      .option(
        "--drive <name>",
        `kind of drive for the plan, of ${TAPE_MODEL_NAMES.join(", ")} (default: ${DRIVE_DEFAULT})`,
      )
      .option("--overwrite", "replace files that are there")
      .option("--resume", "go on with an interrupted restore")
      .option(
        "--code-page <number>",
        "OEM code page of short FAT names (default: as backed up)",
        (text: string) => parseWhole(text, "--code-page", 1, 65535),
      )
      .option(
        "--time-zone <offset>",
        "time zone of the times on a FAT volume (default: as backed up)",
        (text: string) => parseTimeZone(text, "--time-zone"),
      );
    addAncestorsOption(command);
  },
  async run(args, options, terminal) {
    checkOptions(args, options);
    const wanted = await whatIsWanted(args, options);
    const { describeRaw } = await import("../open-browsable.ts");
    const raw = await describeRaw(wanted.spec);
    if (raw !== undefined) {
      throw new ReelError(
        "invalid",
        `${wanted.spec} is ${raw} and no backup: mount it, and copy what you need from there`,
      );
    }
    const { findDiskSet } = await import("../../tapeimage/disk-set.ts");
    const spec = await tapeFileOf(wanted.spec);
    const set = await findDiskSet(spec);
    if (set !== undefined) return restoreFromDisk(set, wanted, options, terminal);
    const from = { ...wanted, spec, directory: textOf(options, "to") ?? "" };
    const { facts, status } = await restoreFromImage(from, options, terminal);
    terminal.printJson(facts);
    return status;
  },
};

interface FromImage {
  readonly spec: string;
  /** What the image must be, where that is known. */
  readonly uuid?: string | undefined;
  /** Where its root goes. */
  readonly directory: string;
  readonly request: SelectionRequest;
}

/** What a restore, or the plan of one, found out, and the exit status for it. */
interface Outcome {
  readonly facts: Readonly<Record<string, unknown>>;
  readonly status: number;
}

async function restoreFromImage(
  { spec, uuid, directory, request }: FromImage,
  options: OptionValues,
  terminal: Terminal,
): Promise<Outcome> {
  return withVolume(spec, { options, terminal }, async (image, volume) => {
    checkUuid(image.name, image.header.uuid, uuid);
    const notices = [...image.state.notices, ...(volume.info.notices ?? [])];
    for (const notice of notices) warn(terminal, notice);
    const subject = { image, volume, selection: await selectIn(volume, request, terminal) };
    return flagOf(options, "plan")
      ? showPlan(subject, textOf(options, "drive") ?? DRIVE_DEFAULT, terminal)
      : restore(subject, directory, options, terminal);
  });
}

async function withVolume<T>(
  spec: string,
  { options, terminal }: { readonly options: OptionValues; readonly terminal: Terminal },
  body: (image: StagedImage, volume: Volume) => Promise<T>,
): Promise<T> {
  const { openTapeImage } = await import("../../tapeimage/open-image.ts");
  const { openImageTree } = await import("../../tree/image-tree.ts");
  const { StagedImage } = await import("../../tagrestore/staged-image.ts");
  const image = new StagedImage(
    await openTapeImage(spec, {
      places: await ancestorPlaces(options),
      askForTape: askForTapeOn(terminal),
    }),
  );
  try {
    const opened = await openImageTree(image, {
      codePage: numberOf(options, "codePage"),
      timeZoneMinutes: numberOf(options, "timeZone"),
    });
    try {
      return await body(image, opened.volume);
    } finally {
      await opened.close();
    }
  } finally {
    await image.close();
  }
}

async function selectIn(
  volume: Volume,
  request: SelectionRequest,
  { signal }: Terminal,
): Promise<Selection> {
  const { selectEntries } = await import("../../tagrestore/select.ts");
  return selectEntries(volume, request, { signal });
}

/** Partition by partition, in the order of the tape: p1 goes to DIR/p1. */
async function restoreFromDisk(
  set: DiskSet,
  wanted: Wanted,
  options: OptionValues,
  terminal: Terminal,
): Promise<number> {
  const { distribute, savedInTapeOrder, settle } = await import("../disk-selection.ts");
  checkUuid(set.image, set.header.uuid, wanted.uuid);
  const saved = savedInTapeOrder(set);
  const specOf = (folder: string): string => saved.get(folder) ?? "";
  const requests = await settle(
    distribute(wanted.request, [...saved.keys()]),
    async (folder, each) =>
      withVolume(specOf(folder), { options, terminal }, async (_, volume) =>
        selectIn(volume, each, terminal),
      ),
  );
  const partitions: Record<string, unknown>[] = [];
  let status: number = EXIT.done;
  for (const [folder, request] of requests) {
    const directory = join(textOf(options, "to") ?? "", folder);
    const from = { spec: specOf(folder), directory, request };
    const outcome = await restoreFromImage(from, options, terminal);
    partitions.push({ partition: folder, ...outcome.facts });
    if (status !== EXIT.damaged && outcome.status !== EXIT.done) status = outcome.status;
  }
  terminal.printJson({ image: set.image, partitions });
  return status;
}

interface Subject {
  readonly image: StagedImage;
  readonly volume: Volume;
  readonly selection: Selection;
}

interface Wanted {
  readonly spec: string;
  /** What the image must be, where that is known. */
  readonly uuid?: string;
  readonly request: SelectionRequest;
}

function warn(terminal: Terminal, text: string): void {
  terminal.warn(`reelfs restore: ${text}`);
}

type Arguments = readonly (string | readonly string[] | undefined)[];

/** Options that make no sense together, found before anything is opened. */
function checkOptions(args: Arguments, options: OptionValues): void {
  const has = (name: string): boolean => textOf(options, name) !== undefined;
  const complain = (message: string): never => {
    throw new ReelError("invalid", message);
  };
  if (has("tagged") && (args[0] !== undefined || has("filesFrom"))) {
    complain("--tagged says which image and which files; name no others with it");
  }
  if (!has("tagged") && args[0] === undefined) complain("name the image to restore from");
  if (!has("to") && !flagOf(options, "plan")) complain("say where to restore to with --to DIR");
  if (has("drive") && !flagOf(options, "plan")) complain("--drive is for --plan");
  if (flagOf(options, "null") && !has("filesFrom")) complain("--null is for --files-from");
}

async function whatIsWanted(args: Arguments, options: OptionValues): Promise<Wanted> {
  const mountpoint = textOf(options, "tagged");
  if (mountpoint !== undefined) return taggedIn(mountpoint);
  const spec = typeof args[0] === "string" ? args[0] : "";
  const patterns = typeof args[1] === "object" && args[1].length > 0 ? args[1] : undefined;
  const listPath = textOf(options, "filesFrom");
  const paths =
    listPath === undefined ? undefined : await readList(listPath, flagOf(options, "null"));
  return { spec, request: { patterns, paths } };
}

async function taggedIn(mountpoint: string): Promise<Wanted> {
  const { taggedPaths } = await import("../../fuse/control.ts");
  const full = await realpath(mountpoint).catch((error: unknown) => {
    throw fromSystem(error, `cannot restore what is tagged in ${mountpoint}`);
  });
  const { image, paths } = await taggedPaths(full);
  if (paths.length === 0) {
    throw new ReelError(
      "not-found",
      `nothing is tagged in ${mountpoint}; tag files there with "reelfs tag" first`,
    );
  }
  return { spec: image.spec, uuid: image.uuid, request: { paths } };
}

/** "photos.tap" names its last image, which may be another by now. */
function checkUuid(name: string, uuid: string, wanted: string | undefined): void {
  if (wanted === undefined || wanted === uuid) return;
  throw new ReelError(
    "not-found",
    `${name} is not the image that is mounted: the tape was changed since; mount it again`,
  );
}

async function readList(listPath: string, nulls: boolean): Promise<string[]> {
  let bytes: Buffer;
  try {
    bytes = await readFile(listPath === "-" ? "/dev/stdin" : listPath);
  } catch (error) {
    throw fromSystem(error, `cannot read the list of files ${listPath}`);
  }
  if (bytes.length > LIST_BYTES_MAX) {
    throw new ReelError("invalid", `${listPath}: longer than ${formatSize(LIST_BYTES_MAX)}`);
  }
  const paths = bytes.toString("utf8").split(nulls ? "\0" : /\r?\n/);
  const named = paths.filter((path) => path !== "");
  if (named.length === 0) throw new ReelError("invalid", `${listPath} names no files`);
  return named;
}

async function showPlan(subject: Subject, drive: string, terminal: Terminal): Promise<Outcome> {
  const { tapeModel } = await import("../../tape/time-model.ts");
  const { planSelection } = await import("../../tagrestore/restore.ts");
  const { locateRecords, planStatistics, tapeReads } =
    await import("../../tagrestore/plan-statistics.ts");
  const { image, volume, selection } = subject;
  const model = tapeModel(drive);
  const { signal } = terminal;
  const { plan, problems } = await planSelection(volume, image, selection.table, { signal });
  const offsets = await locateRecords(plan, image, { signal });
  const { tapeOrder, fileOrder } = planStatistics(plan, offsets, model);
  const reads = plan.images.flatMap((each) => {
    const { firstRecords, counts } = tapeReads(each, offsets, model.readThroughGapBytes);
    return Array.from(firstRecords, (firstRecord, i) => ({ firstRecord, records: counts[i] ?? 0 }));
  });
  const { files, directories } = selection;
  const all = [...selection.problems, ...problems];
  const facts = {
    image: image.name,
    drive: model.name,
    files,
    directories,
    bytes: plan.bytes,
    temporaryBytes: plan.waitingBytesMax,
    tapeOrder,
    fileOrder,
    reads,
    problems: all,
  };
  const row = (name: string, value: (order: OrderStatistics) => string): string[] => [
    name,
    value(tapeOrder),
    value(fileOrder),
  ];
  const lines = tableLines(
    [
      { title: "" },
      { title: "in tape order", right: true },
      { title: "file by file", right: true },
    ],
    [
      row("records", (order) => count(order.records)),
      row("read through", (order) => count(order.recordsReadThrough)),
      row("passes", (order) => count(order.passes)),
      row("locates", (order) => count(order.locates)),
      row("distance", (order) => formatSize(order.distanceBytes)),
      row(`time on ${model.name}`, (order) => formatDuration(order.seconds)),
    ],
  );
  const head = `${escapeName(image.name)}: ${counted(files, "file")}, ${formatSize(plan.bytes)} to read`;
  if (plan.waitingBytesMax > 0) {
    lines.push(`temporary space for compressed files: ${formatSize(plan.waitingBytesMax)}`);
  }
  terminal.print([head, ...lines].join("\n"));
  return { facts, status: tellProblems(all, terminal) };
}

async function restore(
  { image, volume, selection }: Subject,
  directory: string,
  options: OptionValues,
  terminal: Terminal,
): Promise<Outcome> {
  const { restoreSelection } = await import("../../tagrestore/restore.ts");
  const startedMs = performance.now();
  const source = { image, volume, staging: image };
  const summary = await restoreSelection(source, selection.table, directory, {
    overwrite: flagOf(options, "overwrite"),
    resume: flagOf(options, "resume"),
    progress: terminal.progress,
    signal: terminal.signal,
  });
  const seconds = (performance.now() - startedMs) / 1000;
  const problems = [...selection.problems, ...summary.problems];
  const facts = { image: image.name, ...summary, problems, seconds };
  terminal.print(sentence(summary, seconds));
  const { existing, losses } = summary;
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
  return { facts, status: tellProblems(problems, terminal) };
}

function sentence(summary: RestoreSummary, seconds: number): string {
  const { files, bytes, filesResumed, records, directory } = summary;
  const before = filesResumed > 0 ? ` (${count(filesResumed)} more were there from before)` : "";
  return `${counted(files, "file")}${before}, ${formatSize(bytes)} from ${counted(records, "record")}, restored to ${escapeName(directory)} in ${formatDuration(seconds)}`;
}

/** What files have on the volume and not here, one line for each kind of it. */
function lossLines(losses: RestoreLosses): string[] {
  const { owners, setIds, permissions, xattrs, devices, sockets, links } = losses;
  const told: readonly (readonly [number, string])[] = [
    [owners, `${counted(owners, "owner")} not set: only root gives files away`],
    [setIds, `set-user-ID and set-group-ID not set on ${counted(setIds, "program")} of others`],
    [permissions, `permissions or times of ${counted(permissions, "folder")} could not be set`],
    [xattrs, `${counted(xattrs, "extended attribute")} could not be set`],
    [devices, `${counted(devices, "device")} not made: only root makes devices`],
    [sockets, `${counted(sockets, "socket")} left out: they mean nothing without their program`],
    [links, `${counted(links, "hard link")} restored as files of their own`],
  ];
  return told.flatMap(([number, line]) => (number > 0 ? [line] : []));
}

function count(value: number): string {
  return value.toLocaleString("en");
}

/** Names what was not restored, up to a bound, and gives the exit status for it. */
function tellProblems(problems: readonly RestoreProblem[], terminal: Terminal): number {
  for (const { path, message } of problems.slice(0, NAMES_SHOWN_MAX)) {
    warn(terminal, `${escapeName(path)} is not restored: ${message}`);
  }
  if (problems.length > NAMES_SHOWN_MAX) {
    const more = count(problems.length - NAMES_SHOWN_MAX);
    warn(terminal, `${more} more files are not restored; --json names them all`);
  }
  if (problems.some((problem) => problem.code === "damaged")) return EXIT.damaged;
  return problems.length > 0 ? EXIT.failed : EXIT.done;
}
