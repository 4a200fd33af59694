/** `reelfs restore`: files back from an image, in one pass over the tape. */
import { join } from "node:path";
import { ReelError } from "../../errors.ts";
import { TAPE_MODEL_NAMES } from "../../tape/time-model.ts";
import type { Selection, SelectionRequest } from "../../tagrestore/select.ts";
import type { StagedImage } from "../../tagrestore/staged-image.ts";
import type { DiskSet } from "../../tapeimage/disk-set.ts";
import type { FileTree } from "../../tree/file-tree.ts";
import type { Volume } from "../../volume/volume.ts";
import { type CommandDefinition, EXIT, type OptionValues, type Terminal } from "../command.ts";
import { tapeFileOf } from "../loader/loader-tape.ts";
import { addAncestorsOption, ancestorPlaces } from "../ancestor-options.ts";
import { flagOf, numberOf, parseTimeZone, parseWhole, textOf } from "../option-values.ts";
import { warnOfExceptions } from "../restore-exceptions.ts";
import { type RestoreSubject, showPlan } from "../restore-plan.ts";
import { type Outcome, tellRestored, warn } from "../restore-report.ts";
import { checkRestoreOptions, checkUuid, type Wanted, whatIsWanted } from "../restore-wanted.ts";
import { startCodecs } from "../start-codecs.ts";
import { askForTapeOn } from "../tape-options.ts";

const DRIVE_DEFAULT = "LTO-9";

export const restoreCommand: CommandDefinition = {
  name: "restore",
  summary: "restore chosen files from an image in one pass over the tape",
  description: [
    "Restores files and folders from IMAGE to the folder given with --to: /a/b in the image becomes DIR/a/b. Without PATHs everything is restored; a folder brings all that is in it. The work is ordered by where the data lie on the tape, not by file: every record that holds something wanted is read once, in rising order, in one pass.",
    "On a physical tape one pass is not always the quickest: tracks run to and fro, and for a few files scattered over a long tape going to whatever is nearest next takes as little as half the time. --plan shows what both would take on a kind of drive, beside reading file by file, and which of them is taken. A tape that is a file is always read in one pass.",
    "The backup of a whole disk is restored by partition: a PATH begins with p1, p2 and so on, and /p1/a becomes DIR/p1/a.",
    "A PATH may hold wildcards: * any characters, ? one character, [a-z] one of a class, ** as a whole component any number of folders. Quote them, so that the shell leaves them alone. Upper and lower case are the same where they are on the volume. A PATH that matches nothing is an error, and nothing is restored.",
    "What is in DIR already is left as it is and named, unless --overwrite is given. Nothing is ever restored through a symbolic link in DIR. A file gets its name when it is complete: an interrupted restore leaves no half-written files, and goes on with --resume and the same PATHs. Its notes are in DIR/.reelfs-restore-…; remove that folder to start anew instead. After a power cut the last of the notes may be gone: files that were complete then count as in DIR already, are named, and the exit status is 0 all the same; --overwrite restores them again.",
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
    "Times on the plan are estimates after published figures, for a tape that stands at its beginning. The shortest way is looked for on each tape with up to 4,096 places to go to; an image that goes on over several tapes is always read in one pass.",
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
    await startCodecs();
    checkRestoreOptions(args, options);
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
    const places = await ancestorPlaces(options);
    const set = await findDiskSet(spec, { places, askForTape: askForTapeOn(terminal) });
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

async function restoreFromImage(
  { spec, uuid, directory, request }: FromImage,
  options: OptionValues,
  terminal: Terminal,
): Promise<Outcome> {
  return withVolume(spec, { options, terminal }, async (image, volume, tree) => {
    checkUuid(image.name, image.header.uuid, uuid);
    const told = [...image.state.notices, ...(volume.info.notices ?? [])];
    for (const notice of told) warn(terminal, notice);
    const subject = { image, volume, told, selection: await selectIn(volume, request, terminal) };
    await warnOfExceptions(subject, tree, terminal);
    return flagOf(options, "plan")
      ? showPlan(subject, textOf(options, "drive") ?? DRIVE_DEFAULT, terminal)
      : restore(subject, directory, options, terminal);
  });
}

async function withVolume<T>(
  spec: string,
  { options, terminal }: { readonly options: OptionValues; readonly terminal: Terminal },
  body: (image: StagedImage, volume: Volume, tree: FileTree) => Promise<T>,
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
      return await body(image, opened.volume, opened.tree);
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

async function restore(
  { image, volume, selection, told }: RestoreSubject,
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
  return { facts, status: tellRestored(summary, { problems, told, seconds }, terminal) };
}
