/** `reelfs commit`: what was changed in an exposed image becomes an incremental image. */
import { readlink, realpath } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { Command } from "commander";
import { isReelError, ReelError } from "../../errors.ts";
import type { TapeDrive } from "../../tape/tape-drive.ts";
import type { BackupResult, LearnControl } from "../../tapeimage/backup-options.ts";
import type { CommitOptions } from "../../tapeimage/commit-volume.ts";
import type { TrackedBackup } from "../../track/tracked-backup.ts";
import { addAncestorsOption, ancestorPlaces } from "../ancestor-options.ts";
import { type CommandDefinition, EXIT, type OptionValues, type Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { parseLoaderTape, tapeFileOf, withTapeInDrive } from "../loader/loader-tape.ts";
import { argumentAt, flagOf, textOf } from "../option-values.ts";
import { formatDuration, formatSize } from "../sizes.ts";
import { addTapesOptions, namesOf, tapesOf, told, withTapeOf } from "../tape-options.ts";
import { packageVersion } from "../version.ts";

/** A tape of a loader is labelled with the end of its bar code. */
const SERIAL_CHARS = 6;
/** As many as the kernel follows (path_resolution(7)). */
const LINKS_MAX = 40;

export const commitCommand: CommandDefinition = {
  name: "commit",
  summary: "keep what was changed in an exposed image, as an incremental image",
  description: [
    "MOUNTPOINT is where reelfs expose shows an image. What was written to its volume.img, or with --loop to its files, is written to the end of TAPE as an incremental image; its parent is the image that is exposed. TAPE may be the tape of that image, or another; one that does not exist is made.",
    "The new image is of one moment, that at which commit begins: what is written meanwhile is not in it. The exposure goes on. Committed again, it makes an image of what was changed since then.",
    "When commit is interrupted, nothing has been kept and nothing is lost: what was changed is still there, to be committed again, for as long as the image is exposed.",
    "A volume that reelfs expose --loop has mounted is frozen for the moment at which commit begins. Whatever else uses volume.img (a loop device, a virtual machine) must have written what it holds back: unmount it there, or call sync.",
  ],
  examples: [
    {
      command: "mcopy -i /mnt/raw/volume.img NEW.TXT ::; reelfs commit /mnt/raw photos.tap",
      does: "Add a file to the FAT volume that is exposed on /mnt/raw, and keep it.",
    },
    {
      command: "sudo reelfs commit /mnt/server vtl1:REEL0007",
      does: "Keep what was changed in the files on /mnt/server, which reelfs expose --loop shows, on a tape of a loader.",
    },
  ],
  limitations: [
    "What was changed in the files of reelfs mount cannot be committed: it lies over files, and ReelFS writes no filesystem. Expose the image instead, and let the kernel, mtools or another driver change volume.img.",
    "Of a whole disk, expose one partition with --partition.",
    "What was erased in the volume is not in the new image, as in any backup: blocks that are not in use read as zeros.",
  ],
  seeAlso: ["expose", "backup", "diff", "consolidate", "info"],
  configure,
  async run(args, options, terminal) {
    const [mountpoint, tape] = withTapeOf(args, options);
    if (typeof mountpoint !== "string") return commit(argumentAt(args, 0), "", options, terminal);
    if (typeof tape !== "string") {
      throw new ReelError("invalid", "name the tape to write to, after the mount point");
    }
    return commit(mountpoint, tape, options, terminal);
  },
};

function configure(command: Command): void {
  command
    .argument("<mountpoint>", "where reelfs expose shows the image")
    .argument("[tape]", "tape file to write to, or LOADER:BARCODE for a tape of a loader")
    .option("--serial <serial>", "serial for the label of a new tape, up to 6 letters and digits")
    .option(
      "--learn",
      "of a volume that ReelFS cannot read but the kernel can (XFS, btrfs), find out anew what mounting and listing it takes; as root",
    );
  addTapesOptions(command);
  addAncestorsOption(command);
}

async function commit(
  mountpoint: string,
  tape: string,
  options: OptionValues,
  terminal: Terminal,
): Promise<number> {
  const { commitVolume, guardTape } = await load();
  const startedMs = performance.now();
  const serial = textOf(options, "serial");
  const inLoader = await parseLoaderTape(tape);
  const tapeFile = await tapeFileOf(tape);
  await refuseWithin(mountpoint, [tapeFile, ...namesOf(options)]);
  await using changed = await begin(mountpoint);
  await guardTape(changed.sourcePath, tapeFile, { newSerial: serial });
  const parent = parentOf(changed);
  for (const notice of await noticesOf(changed)) terminal.warn(`reelfs commit: ${notice}`);
  const write = async (drive?: TapeDrive): Promise<BackupResult> =>
    commitVolume(
      {
        ...{ drive, parent, filePath: changed.filePath, tracked: changed },
        tapePath: tapeFile,
        tapes: await tapesOf(options, tape, terminal, "commit"),
        tapeSerial: serial ?? inLoader?.barcode.slice(-SERIAL_CHARS),
        places: await ancestorPlaces(options),
        learn: flagOf(options, "learn") ? await learnThroughKernel() : undefined,
        tool: `reelfs ${packageVersion()}`,
      },
      {
        progress: terminal.progress,
        signal: AbortSignal.any([terminal.signal, changed.lost]),
      },
    );
  const result = await (inLoader === undefined
    ? write()
    : withTapeInDrive(inLoader, write, {
        observe: (choose) => told(choose, terminal, "commit"),
      }));
  await remember(changed, result, tapeFile, terminal);
  show(result, { changed, tape, parent: parent.place, startedMs }, terminal);
  return EXIT.done;
}

/** What `commit` needs beyond what every start of the program loads. */
async function load() {
  const { commitVolume } = await import("../../tapeimage/commit-volume.ts");
  const { guardTape } = await import("../tape-guard.ts");
  return { commitVolume, guardTape };
}

/** What is written to the tape must not be one of the changes that are read: it would never end. */
async function refuseWithin(mountpoint: string, tapeFiles: readonly string[]): Promise<void> {
  const { isWithin, mountpointOf } = await import("../../fuse/mountinfo.ts");
  const place = await mountpointOf(mountpoint);
  for (const tapeFile of tapeFiles) {
    if (!isWithin(await folderWritten(tapeFile), place)) continue;
    throw new ReelError(
      "invalid",
      `cannot write to ${tapeFile}: it lies in what is committed; name a tape somewhere else`,
    );
  }
}

/** The folder in which a file is, or would be made: where its links lead, also if to nothing yet. */
async function folderWritten(file: string, links = 0): Promise<string> {
  const folder = await realpath(dirname(file)).catch(() => undefined);
  if (folder === undefined || links === LINKS_MAX) return folder ?? "";
  const target = await readlink(file).catch(() => undefined);
  return target === undefined ? folder : folderWritten(resolve(folder, target), links + 1);
}

/** @throws ReelError "unsupported" for a mount of files, with what to do */
async function begin(mountpoint: string): Promise<TrackedBackup> {
  const { TrackedBackup } = await import("../../track/tracked-backup.ts");
  const { mountpointOf } = await import("../../fuse/mountinfo.ts");
  const place = await mountpointOf(mountpoint);
  try {
    return await TrackedBackup.begin(place, { operation: "commit-begin", freeze: "copy" });
  } catch (error) {
    if (!isReelError(error, "unsupported") || !isReelError(error.cause, "invalid")) throw error;
    const { statusAt } = await import("../../fuse/registry.ts");
    const image = (await statusAt(place))?.record?.image.spec ?? "IMAGE";
    throw new ReelError(
      "unsupported",
      `cannot commit what was changed on ${mountpoint}: it lies over files, and ReelFS writes no ` +
        `filesystem; expose the image as a volume (reelfs expose ${image} FOLDER), make the changes ` +
        `in FOLDER/volume.img with the kernel, mtools or another driver, and commit FOLDER`,
      { cause: error },
    );
  }
}

function parentOf({ since, sourcePath }: TrackedBackup): CommitOptions["parent"] {
  if (since?.place !== undefined) return { uuid: since.uuid, place: since.place };
  throw new ReelError("unsupported", `nobody knows which image was changed on ${sourcePath}`);
}

/** What it was not told by those who use the file. */
async function noticesOf({ notices, sourcePath }: TrackedBackup): Promise<readonly string[]> {
  const { loopDevicesOn } = await import("../../device/loop-devices.ts");
  const users = (await loopDevicesOn(sourcePath)).map(({ path }) => path);
  if (users.length === 0) return notices;
  return [
    ...notices,
    `${sourcePath} is in use by ${users.join(", ")}: what the kernel still held back of it is not ` +
      `in the image; unmount it first, or call sync`,
  ];
}

async function learnThroughKernel(): Promise<LearnControl> {
  const { learnControlSet } = await import("../../expose/learn.ts");
  return async (device, blockSizeBytes, run) => learnControlSet(device, { blockSizeBytes }, run);
}

/** From now on counts what is changed on top of the new image. */
async function remember(
  changed: TrackedBackup,
  { uuid, number }: BackupResult,
  tapeFile: string,
  terminal: Terminal,
): Promise<void> {
  try {
    await changed.done(uuid, `${resolve(tapeFile)}#${number}`);
  } catch (error) {
    terminal.warn(`reelfs commit: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function show(
  result: BackupResult,
  about: {
    readonly changed: TrackedBackup;
    readonly tape: string;
    readonly parent: string;
    readonly startedMs: number;
  },
  terminal: Terminal,
): void {
  const image = `${about.tape}#${result.number}`;
  const seconds = (performance.now() - about.startedMs) / 1000;
  for (const notice of result.notices) terminal.warn(`reelfs commit: ${notice}`);
  for (const problem of result.problems) {
    terminal.warn(`reelfs commit: the volume has a flaw, which was copied as it is: ${problem}`);
  }
  const stored = `${formatSize(result.rawBytes)}, ${formatSize(result.storedBytes)} on tape`;
  terminal.print(
    [
      `${escapeName(image)}: what was changed in ${escapeName(about.parent)} on ${escapeName(about.changed.sourcePath)}`,
      `${stored}, in ${formatDuration(seconds)}`,
    ].join("\n"),
  );
  terminal.printJson({ ...result, image, parentImage: about.parent, seconds });
}
