/** `reelfs restore-image`: the whole volume back, as it was. */
import { type CommandDefinition, EXIT } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { tapeFileOf } from "../loader/loader-tape.ts";
import { argumentAt, flagOf } from "../option-values.ts";
import { formatDuration, formatSize } from "../sizes.ts";

export const restoreImageCommand: CommandDefinition = {
  name: "restore-image",
  summary: "write a whole image back to a disk or file",
  description: [
    "Writes every block of an image to TARGET in one pass over the tape. TARGET is a block device or file at least as large as the volume was, or a file that does not exist yet. What the volume did not use is left as it is: sparse in a new file.",
    "Nothing is written when TARGET is too small, is mounted, or holds a filesystem; --force allows the last.",
  ],
  examples: [
    {
      command: "reelfs restore-image photos.tap new-disk.img",
      does: "Make a file of the last image.",
    },
    {
      command: "reelfs restore-image photos.tap#1 /dev/sdb1 --force --verify",
      does: "Write the first image over what is on the partition, and compare.",
    },
  ],
  limitations: [
    "TARGET gets the volume's own size: a filesystem on a larger target does not grow by itself.",
  ],
  seeAlso: ["restore", "backup", "verify"],
  configure(command) {
    command
      .argument("<image>", "TAPE for the last image on it, TAPE#N for image N")
      .argument("<target>", "block device or file to write to")
      .option("--zero", "also clear what the volume did not use")
      .option("--verify", "read everything back from the target and compare")
      .option("--force", "write even where a filesystem is");
  },
  async run(args, options, terminal) {
    const { openTapeImage } = await import("../../tapeimage/open-image.ts");
    const { restoreImage } = await import("../../tapeimage/restore-image.ts");
    const targetPath = argumentAt(args, 1);
    const startedMs = performance.now();
    const image = await openTapeImage(await tapeFileOf(argumentAt(args, 0)));
    try {
      const { lostBlocks, ...facts } = await restoreImage(image, targetPath, {
        zero: flagOf(options, "zero"),
        verify: flagOf(options, "verify"),
        force: flagOf(options, "force"),
        progress: terminal.progress,
        signal: terminal.signal,
      });
      const seconds = (performance.now() - startedMs) / 1000;
      terminal.printJson({
        image: image.name,
        target: targetPath,
        ...facts,
        notices: image.state.notices,
        blocksLost: lostBlocks.total,
        seconds,
      });
      for (const notice of image.state.notices) terminal.warn(`reelfs restore-image: ${notice}`);
      for (const sentence of facts.damage) terminal.warn(`reelfs restore-image: ${sentence}`);
      const verified = facts.verified ? ", read back and compared" : "";
      terminal.print(
        `${escapeName(targetPath)}: ${formatSize(facts.bytesWritten)} restored from ${escapeName(image.name)} in ${formatDuration(seconds)}${verified}`,
      );
      if (lostBlocks.total === 0) return EXIT.done;
      const lostBytes = lostBlocks.total * image.header.blockSizeBytes;
      terminal.warn(
        `reelfs restore-image: ${formatSize(lostBytes)} could not be restored; "reelfs verify" names the files that are hit`,
      );
      return EXIT.damaged;
    } finally {
      await image.close();
    }
  },
};
