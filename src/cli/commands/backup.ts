/** `reelfs backup`: a volume becomes an image on a tape. */
import { Option } from "commander";
import type { TapeDrive } from "../../tape/tape-drive.ts";
import { ReelError } from "../../errors.ts";
import type { BackupOptions, BackupResult, LearnControl } from "../../tapeimage/backup-options.ts";
import type { TrackedBackup } from "../../track/tracked-backup.ts";
import type { DiskBackupResult } from "../../tapeimage/backup-disk.ts";
import { type CommandDefinition, EXIT, type OptionValues, type Terminal } from "../command.ts";
import { tellDisk, tellVolume } from "../backup-report.ts";
import { addFreezeOptions, checkFreeze, withLive } from "../freeze-options.ts";
import { addAncestorsOption, ancestorPlaces } from "../ancestor-options.ts";
import { parseLoaderTape, tapeFileOf, withTapeInDrive } from "../loader/loader-tape.ts";
import { addTapesOptions, tapesOf, told as tellingNext, withTapeOf } from "../tape-options.ts";
import {
  addTo,
  argumentAt,
  flagOf,
  listOf,
  numberOf,
  parsePartitions,
  parseTimeZone,
  parseWhole,
  textOf,
} from "../option-values.ts";
import { parseSize } from "../sizes.ts";
import { startCodecs } from "../start-codecs.ts";
import { packageVersion } from "../version.ts";

/** A tape of a loader is labelled with the end of its bar code. */
const SERIAL_CHARS = 6;

export const backupCommand: CommandDefinition = {
  name: "backup",
  summary: "copy a volume to tape as an image that can be mounted",
  description: [
    "Copies the volume on SOURCE, a block device or a file, to the end of TAPE. The volume's filesystem says which blocks are in use; only those are copied, in one pass. Nothing is written to SOURCE. For a faithful image the volume must not be mounted for writing meanwhile, or be frozen.",
    "With --freeze fsfreeze all that would write to the mounted volume waits until it is read; it is thawed in any case, also when the backup is killed. The tape, temporary files and output must lie elsewhere. With --freeze lvm a snapshot of the logical volume is made, read and removed. Without either, a volume that is mounted for writing is backed up with a warning. In all cases the image names the files that were open for writing: see reelfs info --exceptions.",
    "A disk with partitions is copied whole: first its partition table with boot code and whatever else lies outside the partitions, then each partition as an image of its own. Together they can be mounted and restored as a disk, alone each as a volume.",
    "What no format understands (encrypted volumes, parts of an LVM or a RAID, other filesystems) is copied as it is, without its zeros, and shown as one file. Free blocks of XFS and Btrfs are left out where xfs_db or btrfs can be asked about them and nothing speaks against their answer; --include-deleted keeps them. Of swap space only the header is kept. A volume that lies on several devices is given with --segment, once for each device in order; SOURCE may then be the first of them, or be left out.",
    "When TAPE is full, the image goes on on the next tape. A loader supplies it by itself, as its policy says; for tape files, --tape-capacity says how much one holds, and --tapes which come next; when they are used up, a person at the terminal is asked. The tapes know one another: name the first of them to read or write the set.",
    "A TAPE that does not exist is made. One that does keeps what it holds: the image is appended, and named TAPE#2, TAPE#3 and so on. To start a tape anew, name the serial of the tape to be erased with --overwrite; a tape of another serial, or without one, is left alone.",
  ],
  examples: [
    { command: "reelfs backup /dev/sdb1 photos.tap", does: "Back up a memory card." },
    {
      command: "reelfs backup photos.img photos.tap",
      does: "Back up again, or back up an image file: a second image on the same tape.",
    },
    {
      command: "reelfs backup --overwrite REELFS photos.img photos.tap",
      does: "Erase the tape with the serial REELFS, and write one image to it.",
    },
    {
      command: "reelfs backup /dev/sdb1 vtl1:REEL0001",
      does: "Back up to a tape of a virtual loader; the robot loads it and puts it back.",
    },
    {
      command: "reelfs backup --exclude 3 /dev/sda disk.tap",
      does: "Back up a whole disk but for its third partition.",
    },
    {
      command: "reelfs backup --segment /dev/sdb1 --segment /dev/sdc1 server.tap",
      does: "Back up a volume that lies on two devices.",
    },
    {
      command: "reelfs backup --parent auto /dev/sdb1 photos.tap",
      does: "Store what has changed since the last backup; the image shows the whole volume all the same.",
    },
    {
      command: "reelfs backup --tracked /mnt/server --parent auto server.tap",
      does: "Back up a volume in use that reelfs track serves, reading only what was written.",
    },
    {
      command: "reelfs backup --freeze fsfreeze /dev/sdb1 photos.tap",
      does: "Back up a mounted volume as it is at one moment, while its writers wait; as root.",
    },
    {
      command: "reelfs backup --freeze lvm --freeze-size 20G /dev/vg/home home.tap",
      does: "Back up a snapshot of a logical volume, with room for 20 GB of changes.",
    },
    {
      command: "reelfs backup --tapes a.tap,b.tap,c.tap --tape-capacity 100G /dev/sdb1",
      does: "Back up to three tapes of 100 GB; name a.tap to read them.",
    },
    {
      command: "reelfs backup --level 9 --record-size 1M disk.img archive.tap",
      does: "Compress harder, in longer records.",
    },
  ],
  limitations: [
    "Files that are open for writing are looked for every two seconds or so: one that is opened, written and closed between two looks is not noted. A frozen volume is of one moment, but a program may have been in the midst of writing a file.",
    "An incremental image needs the images it is made against for as long as it is used: keep their tapes, or consolidate them.",
    "To find what is in use a volume of unknown kind is read twice, from end to end. Of space that belongs to no partition, only 32 MiB at either end of each gap are copied.",
    "TAPE is a tape file in the SIMH format (.tap). Physical drives are not written yet.",
    "How much a tape file holds is not kept with it: give --tape-capacity again when you append to it.",
  ],
  seeAlso: ["info", "verify", "track", "mount", "diff", "consolidate", "restore-image", "loader"],
  configure(command) {
    command
      .argument("<source>", "block device or file that holds the volume or disk")
      .argument("[tape]", "tape file to write to, or LOADER:BARCODE for a tape of a loader")
      .option(
        "--segment <device>",
        "a further device that the volume goes on on; give it once for each, in order",
        addTo,
      )
      .option("--only <numbers>", "of a disk, save these partitions only, as in 1,3")
      .option("--exclude <numbers>", "of a disk, do not save these partitions")
      .option("--serial <serial>", "serial for the label of a new tape, up to 6 letters and digits")
      .option("--overwrite <serial>", "erase the tape that has this serial, and start it anew")
      .addOption(
        new Option("--codec <name>", "how records are compressed (default: zstd)").choices([
          "zstd",
          "none",
        ]),
      )
      .option("--level <number>", "level of compression, 1 to 19 (default: 1)", (text: string) =>
        parseWhole(text, "--level", 1, 19),
      )
      .option(
        "--record-size <size>",
        "bytes in a record before compression, 64K to 4M (default: 256K)",
        (text: string) => parseSize(text, "--record-size"),
      )
      .option(
        "--parent <image>",
        'make an incremental image: store only what has changed since IMAGE; "auto" takes the newest of the volume',
      )
      .option(
        "--tracked <mountpoint>",
        "back up the volume that reelfs track serves there, as it is now; leave SOURCE out",
      )
      .option(
        "--learn",
        "of a volume that ReelFS cannot read but the kernel can (XFS, btrfs), find out what mounting and listing it takes, so that expose --loop needs nothing else; as root",
      )
      .option("--include-deleted", "also copy what deleted files still seem to occupy")
      .option(
        "--code-page <number>",
        "OEM code page of short FAT names (default: 437)",
        (text: string) => parseWhole(text, "--code-page", 1, 65535),
      )
      .option(
        "--time-zone <offset>",
        "time zone of the times on a FAT volume, as in +02:00 (default: UTC)",
        (text: string) => parseTimeZone(text, "--time-zone"),
      );
    addFreezeOptions(command);
    addTapesOptions(command);
    addAncestorsOption(command);
  },
  async run(args, options, terminal) {
    const tracked = textOf(options, "tracked");
    // What a tracker reports is little as a rule.
    if (tracked === undefined) await startCodecs();
    checkFreeze(options, tracked !== undefined);
    return tracked === undefined
      ? backup(
          sourcesAndTape(withTapeOf(args, options), listOf(options, "segment")),
          options,
          terminal,
        )
      : backupTracked(tracked, args, options, terminal);
  },
};

interface Endpoints {
  /** Several: the segments of one volume. */
  readonly sources: readonly string[];
  readonly tapePath: string;
  readonly tracked?: TrackedBackup | undefined;
}

/** With --segment the only argument is the tape, or the first segment comes before it. */
function sourcesAndTape(
  args: readonly (string | readonly string[] | undefined)[],
  segments: readonly string[],
): Endpoints {
  const first = argumentAt(args, 0);
  const second = args[1];
  if (typeof second === "string") return { sources: [first, ...segments], tapePath: second };
  if (segments.length > 0) return { sources: segments, tapePath: first };
  throw new ReelError("invalid", "name the tape to write to, after the source");
}

/** The tape is the only argument: what is backed up is what the tracker serves. */
async function backupTracked(
  mountpoint: string,
  args: readonly (string | readonly string[] | undefined)[],
  options: OptionValues,
  terminal: Terminal,
): Promise<number> {
  if (typeof args[1] === "string" || listOf(options, "segment").length > 0) {
    throw new ReelError("invalid", "with --tracked, name the tape alone: the volume is tracked");
  }
  const tapePath = argumentAt(args, 0);
  await using tracked = await beginTracked(mountpoint, options);
  return await backup({ sources: [tracked.filePath], tapePath, tracked }, options, terminal);
}

async function beginTracked(mountpoint: string, options: OptionValues): Promise<TrackedBackup> {
  const { TrackedBackup } = await import("../../track/tracked-backup.ts");
  const { mountpointOf } = await import("../../fuse/mountinfo.ts");
  return TrackedBackup.begin(await mountpointOf(mountpoint), {
    freeze: textOf(options, "freeze") === "copy" ? "copy" : "wait",
    cacheBytes: numberOf(options, "freezeSize"),
  });
}

async function backup(
  { sources, tapePath, tracked }: Endpoints,
  options: OptionValues,
  terminal: Terminal,
): Promise<number> {
  const { backupVolume } = await import("../../tapeimage/backup.ts");
  const { backupDisk, holdsPartitions } = await import("../../tapeimage/backup-disk.ts");
  const { guardTape } = await import("../tape-guard.ts");
  const overwriteSerial = textOf(options, "overwrite");
  const newSerial = textOf(options, "serial");
  const inLoader = await parseLoaderTape(tapePath);
  const wishes = { overwriteSerial, newSerial };
  const tapeFile = await tapeFileOf(tapePath);
  const guarded = tracked === undefined ? sources : [tracked.sourcePath];
  for (const source of guarded) await guardTape(source, tapeFile, wishes);
  const [sourcePath = "", ...moreSegments] = sources;
  const isDisk = moreSegments.length === 0 && (await holdsPartitions(sourcePath));
  if (isDisk && tracked !== undefined) {
    throw new ReelError(
      "unsupported",
      `${tracked.sourcePath} is a disk with partitions: track a partition to back it up with --tracked`,
    );
  }
  const chosen = partitionsOf(options, isDisk, sourcePath);
  const startedMs = performance.now();
  const wish = { sources, tapeFile, tracked };
  const write = async (drive?: TapeDrive): Promise<BackupResult | DiskBackupResult> => {
    const told = {
      drive,
      tapePath,
      tapes: await tapesOf(options, tapePath, terminal),
      tracked,
      overwriteTape: overwriteSerial !== undefined,
      tapeSerial: newSerial ?? overwriteSerial ?? inLoader?.barcode.slice(-SERIAL_CHARS),
      ...(await parentOf(options, tapeFile)),
      ...(await imageOptions(options)),
    };
    return withLive(wish, options, terminal, async (live) => {
      const [sourcePath = "", ...moreSegments] = live.sources;
      const ends = [terminal.signal, live.lost, ...(tracked === undefined ? [] : [tracked.lost])];
      const run = { progress: terminal.progress, signal: AbortSignal.any(ends) };
      return isDisk
        ? backupDisk({ ...told, sourcePath, live, ...chosen }, run)
        : backupVolume({ ...told, sourcePath, live, moreSegments }, run);
    });
  };
  const result = await (inLoader === undefined
    ? write()
    : withTapeInDrive(inLoader, write, {
        anew: overwriteSerial !== undefined,
        observe: (choose) => tellingNext(choose, terminal),
      }));
  // The tape is closed by now: what the image holds need not be remembered any more.
  if (tracked !== undefined && "uuid" in result) {
    await tracked.done(result.uuid).catch((error: unknown) => {
      terminal.warn(`reelfs backup: ${error instanceof Error ? error.message : String(error)}`);
    });
  }
  const seconds = (performance.now() - startedMs) / 1000;
  if ("partitions" in result) tellDisk(result, seconds, terminal);
  else tellVolume(result, seconds, terminal);
  return EXIT.done;
}

/** How the volume is read, and what its image is like. */
async function imageOptions(options: OptionValues): Promise<Partial<BackupOptions>> {
  return {
    codec: textOf(options, "codec") === "none" ? "none" : "zstd",
    codecLevel: numberOf(options, "level"),
    recordSizeBytes: numberOf(options, "recordSize"),
    includeDeleted: flagOf(options, "includeDeleted"),
    learn: flagOf(options, "learn") ? await learnThroughKernel() : undefined,
    codePage: numberOf(options, "codePage"),
    timeZoneMinutes: numberOf(options, "timeZone"),
    tool: `reelfs ${packageVersion()}`,
  };
}

async function learnThroughKernel(): Promise<LearnControl> {
  const { learnControlSet } = await import("../../expose/learn.ts");
  return async (device, blockSizeBytes, run) => learnControlSet(device, { blockSizeBytes }, run);
}

/** Where "auto" looks for a parent: on the tape that is written to, and in the places named. */
async function parentOf(
  options: OptionValues,
  tapeFile: string,
): Promise<{ parent?: string; parentPlaces?: readonly string[] }> {
  const parent = textOf(options, "parent");
  if (parent === undefined) return {};
  return {
    parent: parent === "auto" ? parent : await tapeFileOf(parent),
    parentPlaces: [tapeFile, ...(await ancestorPlaces(options))],
  };
}

interface ChosenPartitions {
  readonly only?: readonly number[] | undefined;
  readonly exclude?: readonly number[] | undefined;
}

function partitionsOf(
  options: OptionValues,
  isDisk: boolean,
  sourcePath: string,
): ChosenPartitions {
  const numbers = (name: string): readonly number[] | undefined => {
    const text = textOf(options, name);
    return text === undefined ? undefined : parsePartitions(text, `--${name}`);
  };
  const [only, exclude] = [numbers("only"), numbers("exclude")];
  if (!isDisk && (only ?? exclude) !== undefined) {
    throw new ReelError(
      "invalid",
      `--only and --exclude are for a disk, and ${sourcePath} has no partitions`,
    );
  }
  return { only, exclude };
}
