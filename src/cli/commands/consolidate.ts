/** `reelfs consolidate`: a chain of images becomes one full image. */
import { ReelError } from "../../errors.ts";
import type { TapeDrive } from "../../tape/tape-drive.ts";
import type { ImageDevice } from "../../tapeimage/image-device.ts";
import type { ConsolidatedImage } from "../../tapeimage/incremental/consolidate.ts";
import { addAncestorsOption, ancestorPlaces } from "../ancestor-options.ts";
import { type CommandDefinition, EXIT, type OptionValues, type Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { parseLoaderTape, tapeFileOf, withTapeInDrive } from "../loader/loader-tape.ts";
import { argumentAt } from "../option-values.ts";
import { counted, formatDuration, formatSize } from "../sizes.ts";
import { packageVersion } from "../version.ts";

export const consolidateCommand: CommandDefinition = {
  name: "consolidate",
  summary: "make one full image of a chain of incremental ones",
  description: [
    "Reads an image and those it points into, and writes a full image that shows just the same to the end of TAPE. The volume itself is not needed. Each tape of the chain is passed over once; records that are whole are copied without being compressed again.",
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
    "A damaged record ends it: a full image leaves nothing out in silence.",
  ],
  seeAlso: ["backup", "info", "diff"],
  configure(command) {
    command
      .argument("<image>", "TAPE for the last image on it, TAPE#N for image N")
      .argument("<tape>", "tape file to write to, or LOADER:BARCODE for a tape of a loader");
    addAncestorsOption(command);
  },
  async run(args, options, terminal) {
    return consolidate(argumentAt(args, 0), argumentAt(args, 1), options, terminal);
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
  await guardTape((await parseImageSpec(spec)).path, targetFile, {});
  const places = await ancestorPlaces(options);
  const startedMs = performance.now();
  const image = await openTapeImage(spec, { places });
  try {
    for (const missing of (await image.missingAncestors()).values()) throw missing;
    const onTarget = await image.usesTape(targetFile);
    if (onTarget) {
      throw new ReelError("invalid", `cannot write to ${target}: an image of the chain is on it`);
    }
    const write = async (drive?: TapeDrive): Promise<Written> =>
      writeTo(drive, targetFile, image, terminal);
    const inLoader = await parseLoaderTape(target);
    const written = await (inLoader === undefined ? write() : withTapeInDrive(inLoader, write));
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
  path: string,
  image: ImageDevice,
  { progress, signal }: Terminal,
): Promise<Written> {
  const { consolidateImage } = await import("../../tapeimage/incremental/consolidate.ts");
  const { openTapeForWriting } = await import("../../tape/set/open-for-writing.ts");
  const { prepareTape } = await import("../../tapeimage/write-image.ts");
  const drive = given ?? (await openTapeForWriting(path));
  try {
    const number = await prepareTape(drive, {});
    const tool = `reelfs ${packageVersion()}`;
    const written = await consolidateImage(image, drive, { number, tool }, { progress, signal });
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
