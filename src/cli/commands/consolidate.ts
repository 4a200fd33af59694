/** `reelfs consolidate`: a chain of images becomes one full image. */
import { ReelError } from "../../errors.ts";
import type { TapeWriteOptions } from "../../tape/set/open-for-writing.ts";
import type { TapeDrive } from "../../tape/tape-drive.ts";
import type { ChooseNextTape } from "../../tape/tape-set.ts";
import type { ImageDevice } from "../../tapeimage/image-device.ts";
import type { ConsolidatedImage } from "../../tapeimage/incremental/consolidate.ts";
import { addAncestorsOption, ancestorPlaces } from "../ancestor-options.ts";
import { type CommandDefinition, EXIT, type OptionValues, type Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { parseLoaderTape, tapeFileOf, withTapeInDrive } from "../loader/loader-tape.ts";
import { counted, formatDuration, formatSize } from "../sizes.ts";
import { startCodecs } from "../start-codecs.ts";
import { addTapesOptions, askForTapeOn, tapesOf, told, withTapeOf } from "../tape-options.ts";
import { packageVersion } from "../version.ts";

export const consolidateCommand: CommandDefinition = {
  name: "consolidate",
  summary: "make one full image of a chain of incremental ones",
  description: [
    "Reads an image and those it points into, and writes a full image that shows just the same to the end of TAPE. The volume itself is not needed. Each tape of the chain is passed over once; records that are whole are copied without being compressed again.",
    "When TAPE is full, the image goes on on the next tape: a loader supplies it by itself; for tape files, --tape-capacity says how much one holds, and --tapes which come next, as for reelfs backup.",
    "The image it was made from stays. The new one is of the same moment, and can be the parent of later incremental backups.",
  ],
  examples: [
    {
      command: "reelfs consolidate daily.tap full.tap",
      does: "Make a full image of the newest state on daily.tap.",
    },
    {
      command: "reelfs consolidate daily.tap#5 vtl1:REEL0009 --ancestors /tapes",
      does: "Make one of an older state, on a tape of a loader; ancestors are looked for in /tapes.",
    },
  ],
  limitations: [
    "TAPE must be another tape than those of the chain: one tape cannot be read and written at a time.",
    "Interrupted, it leaves an image that is known to be incomplete; the images it was made from are as they were.",
    "A damaged record ends it: a full image leaves nothing out in silence.",
  ],
  seeAlso: ["backup", "info", "diff"],
  configure(command) {
    command
      .argument("<image>", "TAPE for the last image on it, TAPE#N for image N")
      .argument("[tape]", "tape file to write to, or LOADER:BARCODE for a tape of a loader");
    addTapesOptions(command);
    addAncestorsOption(command);
  },
  async run(args, options, terminal) {
    await startCodecs();
    const [image, tape] = withTapeOf(args, options);
    if (typeof image !== "string" || typeof tape !== "string") {
      throw new ReelError("invalid", "name the tape to write to, after the image");
    }
    return consolidate(image, tape, options, terminal);
  },
};

async function consolidate(
  source: string,
  target: string,
  options: OptionValues,
  terminal: Terminal,
): Promise<number> {
  const { openTapeImage, parseImageSpec } = await import("../../tapeimage/open-image.ts");
  const { guardTape } = await import("../tape-guard.ts");
  const spec = await tapeFileOf(source);
  const targetFile = await tapeFileOf(target);
  const whyNotSource = "the image to be consolidated is on it; name another tape";
  await guardTape((await parseImageSpec(spec)).path, targetFile, { whyNotSource });
  const places = await ancestorPlaces(options);
  const startedMs = performance.now();
  const image = await openTapeImage(spec, { places, askForTape: askForTapeOn(terminal) });
  try {
    for (const missing of (await image.missingAncestors()).values()) throw missing;
    const onTarget = await image.usesTape(targetFile);
    if (onTarget) {
      const why = "an image of the chain is on it; name another tape";
      throw new ReelError("invalid", `cannot write to ${target}: ${why}`);
    }
    const tapes = await tapesOf(options, target, terminal, "consolidate");
    const write = async (drive?: TapeDrive): Promise<Written> =>
      writeTo(drive, { path: targetFile, tapes, image }, terminal);
    const inLoader = await parseLoaderTape(target);
    const observe = (choose: ChooseNextTape): ChooseNextTape =>
      told(choose, terminal, "consolidate");
    const written = await (inLoader === undefined
      ? write()
      : withTapeInDrive(inLoader, write, { observe }));
    const seconds = (performance.now() - startedMs) / 1000;
    show(`${target}#${written.number}`, written, seconds, terminal);
    return EXIT.done;
  } finally {
    await image.close();
  }
}

type Written = ConsolidatedImage & { readonly number: number };

async function writeTo(
  given: TapeDrive | undefined,
  to: {
    readonly path: string;
    readonly tapes: TapeWriteOptions | undefined;
    readonly image: ImageDevice;
  },
  terminal: Terminal,
): Promise<Written> {
  const { progress, signal } = terminal;
  const { consolidateImage } = await import("../../tapeimage/incremental/consolidate.ts");
  const { openTapeForWriting } = await import("../../tape/set/open-for-writing.ts");
  const { prepareTape } = await import("../../tapeimage/prepare-tape.ts");
  const drive = given ?? (await openTapeForWriting(to.path, to.tapes));
  try {
    const { number, notices } = await prepareTape(drive, {});
    for (const notice of notices) terminal.warn(`reelfs consolidate: ${notice}`);
    const tool = `reelfs ${packageVersion()}`;
    const written = await consolidateImage(to.image, drive, { number, tool }, { progress, signal });
    return { ...written, number };
  } finally {
    await drive.close();
  }
}

function show(name: string, written: Written, seconds: number, terminal: Terminal): void {
  const { recordsCopied, recordsGathered, rawBytes, storedBytes } = written;
  terminal.print(
    [
      `${escapeName(name)}: ${formatSize(rawBytes)} in use, ${formatSize(storedBytes)} on tape, in ${formatDuration(seconds)}`,
      `${counted(recordsCopied, "record")} of data copied as they were, ${recordsGathered} put together`,
    ].join("\n"),
  );
  terminal.printJson({ image: name, ...written, seconds });
}
