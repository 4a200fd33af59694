/** `reelfs info`: which images a tape holds, and what is in one. */
import type { CommandDefinition } from "../command.ts";
import { addAncestorsOption, ancestorPlaces } from "../ancestor-options.ts";
import { tapeFileOf } from "../loader/loader-tape.ts";
import { argumentAt, flagOf } from "../option-values.ts";
import { askForTapeOn } from "../tape-options.ts";

export const infoCommand: CommandDefinition = {
  name: "info",
  summary: "list the images on a tape, or show all about one",
  description: [
    "Lists the images on TAPE with their dates, volumes, sizes and states. With TAPE#N, shows all that the header of image N says, and what is wrong with it, if anything.",
    "Of a disk or volume that is no backup, shows its partitions, or what its filesystem says of itself.",
    "An image is complete; interrupted, when its backup did not finish or the tape was cut; or rebuilt, when its header was lost and what is known comes from its records. Whether its data are sound is for verify to say.",
  ],
  examples: [
    { command: "reelfs info photos.tap", does: "List the images on a tape." },
    { command: "reelfs info photos.tap#2", does: "Show all about the second image." },
    {
      command: "reelfs info /dev/sda",
      does: "Show the partitions of a disk, and what is on them.",
    },
    {
      command: "reelfs info --exceptions server.tap#3",
      does: "List the files that were open for writing while the volume was backed up.",
    },
    {
      command: "reelfs info --json photos.tap",
      does: "The same facts for a program: an object with an array of images.",
    },
  ],
  seeAlso: ["ls", "verify", "backup", "diff"],
  configure(command) {
    command
      .argument("<tape>", "tape file, TAPE#N for one image on it, or a disk or volume")
      .option(
        "--exceptions",
        "of an image, list files that were open for writing during the backup",
      )
      .option("--chain", "of an image, list those that it stands on, and whether they are there");
    addAncestorsOption(command);
  },
  async run(args, options, terminal) {
    const text = argumentAt(args, 0);
    const { openRawSource } = await import("../../tapeimage/find-source.ts");
    const raw = await openRawSource(text);
    if (raw !== undefined) {
      const { showRaw } = await import("../info/source.ts");
      return showRaw(raw, terminal);
    }
    const spec = await tapeFileOf(text);
    const library = await import("../../tapeimage/open-image.ts");
    const { path, number, places: more } = await library.parseImageSpec(spec);
    const lookup = {
      places: [...more, ...(await ancestorPlaces(options))],
      askForTape: askForTapeOn(terminal),
    };
    const wantsChain = flagOf(options, "chain");
    const wantsExceptions = flagOf(options, "exceptions");
    if (number === undefined && !wantsChain && !wantsExceptions) {
      const { showList } = await import("../info/tape.ts");
      return showList(path, await library.listTape(path, lookup), terminal);
    }
    const { showChain, showExceptions, showImage } = await import("../info/image.ts");
    const { images } = await library.listTape(path, lookup);
    // Opening says what listing cannot see, and why an image is not there.
    const image = await library.openTapeImage(spec, lookup);
    try {
      if (wantsExceptions) return showExceptions(image, terminal);
      if (wantsChain) return await showChain(image, terminal);
      const summary = images.find((each) => each.number === number);
      return await showImage(image, summary, terminal);
    } finally {
      await image.close();
    }
  },
};
