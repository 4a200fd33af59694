/** `reelfs backup`: a volume becomes an image on a tape. */
import { Option } from "commander";
import type { TapeDrive } from "../../tape/tape-drive.ts";
import type { BackupResult } from "../../tapeimage/backup.ts";
import { type CommandDefinition, EXIT, type OptionValues, type Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { parseLoaderTape, tapeFileOf, withTapeInDrive } from "../loader/loader-tape.ts";
import {
  argumentAt,
  flagOf,
  numberOf,
  parseTimeZone,
  parseWhole,
  textOf,
} from "../option-values.ts";
import { counted, formatDuration, formatSize, parseSize } from "../sizes.ts";
import { packageVersion } from "../version.ts";

/** A tape of a loader is labelled with the end of its bar code. */
const SERIAL_CHARS = 6;

export const backupCommand: CommandDefinition = {
  name: "backup",
  summary: "copy a volume to tape as an image that can be mounted",
  description: [
    "Copies the volume on SOURCE, a block device or a file, to the end of TAPE. The volume's filesystem says which blocks are in use; only those are copied, in one pass. Nothing is written to SOURCE. For a faithful image the volume must not be mounted for writing meanwhile.",
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
      command: "reelfs backup --level 9 --record-size 1M disk.img archive.tap",
      does: "Compress harder, in longer records.",
    },
  ],
  limitations: [
    "FAT12, FAT16 and FAT32 volumes are understood. A whole disk with a partition table is not: back up its partitions.",
    "TAPE is a tape file in the SIMH format (.tap). Physical drives and tapes that span several files are not written yet.",
  ],
  seeAlso: ["info", "verify", "mount", "restore-image", "loader"],
  configure(command) {
    command
      .argument("<source>", "block device or file that holds the volume")
      .argument("<tape>", "tape file to write to, or LOADER:BARCODE for a tape of a loader")
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
  },
  async run(args, options, terminal) {
    return backup(argumentAt(args, 0), argumentAt(args, 1), options, terminal);
  },
};

async function backup(
  sourcePath: string,
  tapePath: string,
  options: OptionValues,
  terminal: Terminal,
): Promise<number> {
  const { backupVolume } = await import("../../tapeimage/backup.ts");
  const { guardTape } = await import("../tape-guard.ts");
  const overwriteSerial = textOf(options, "overwrite");
  const newSerial = textOf(options, "serial");
  const inLoader = await parseLoaderTape(tapePath);
  const wishes = { overwriteSerial, newSerial };
  await guardTape(sourcePath, await tapeFileOf(tapePath), wishes);
  const startedMs = performance.now();
  const write = async (drive?: TapeDrive): Promise<BackupResult> =>
    backupVolume(
      {
        drive,
        sourcePath,
        tapePath,
        codec: textOf(options, "codec") === "none" ? "none" : "zstd",
        overwriteTape: overwriteSerial !== undefined,
        tapeSerial: newSerial ?? overwriteSerial ?? inLoader?.barcode.slice(-SERIAL_CHARS),
        codecLevel: numberOf(options, "level"),
        recordSizeBytes: numberOf(options, "recordSize"),
        includeDeleted: flagOf(options, "includeDeleted"),
        codePage: numberOf(options, "codePage"),
        timeZoneMinutes: numberOf(options, "timeZone"),
        tool: `reelfs ${packageVersion()}`,
      },
      { progress: terminal.progress, signal: terminal.signal },
    );
  const result = await (inLoader === undefined ? write() : withTapeInDrive(inLoader, write));
  const seconds = (performance.now() - startedMs) / 1000;
  for (const problem of result.problems) {
    terminal.warn(`reelfs backup: the volume has a flaw, which was copied as it is: ${problem}`);
  }
  const { volume } = result;
  const name = escapeName(volume.label === "" ? volume.serial : volume.label);
  const share = result.rawBytes === 0 ? 100 : (result.storedBytes / result.rawBytes) * 100;
  terminal.print(
    [
      `${escapeName(result.image)}: ${counted(volume.files, "file")} in ${counted(volume.directories, "folder")} of ${name} (${volume.kind}, ${formatSize(result.sizeBytes)})`,
      `${formatSize(result.rawBytes)} in use, ${formatSize(result.storedBytes)} on tape (${share.toFixed(0)}%), in ${formatDuration(seconds)}: ${formatSize(result.rawBytes / seconds)}/s`,
    ].join("\n"),
  );
  terminal.printJson({ ...result, seconds });
  return EXIT.done;
}
