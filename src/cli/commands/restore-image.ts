/** `reelfs restore-image`: the whole volume back, as it was. */
import { ReelError } from "../../errors.ts";
import type { DiskSet } from "../../tapeimage/disk-set.ts";
import { type CommandDefinition, EXIT, type OptionValues, type Terminal } from "../command.ts";
import { addAncestorsOption, ancestorPlaces } from "../ancestor-options.ts";
import { escapeName } from "../escape-name.ts";
import { tapeFileOf } from "../loader/loader-tape.ts";
import { addTo, argumentAt, flagOf, listOf } from "../option-values.ts";
import { formatDuration, formatSize } from "../sizes.ts";
import { startCodecs } from "../start-codecs.ts";
import { askForTapeOn } from "../tape-options.ts";

export const restoreImageCommand: CommandDefinition = {
  name: "restore-image",
  summary: "write a whole image back to a disk or file",
  description: [
    "Writes every block of an image to TARGET in one pass over the tape. TARGET is a block device or file at least as large as the volume was, or a file that does not exist yet. What the volume did not use is left as it is: sparse in a new file.",
    "The backup of a whole disk is restored with --disk, onto a disk at least as large: partitions first, then the table. On a larger disk the second copy of a GPT goes to the new end; --grow-last lets the last partition reach that far, the filesystem in it keeps its size. Without --disk, TAPE#N restores one partition.",
    "A volume can go to several devices, joined in the order of the --segment options; TARGET may then be the first of them, or be left out. Any arrangement with enough room will do, but for a NetWare volume, which needs as many segments as it had, each at least as large.",
    "Nothing is written when TARGET is too small, is mounted, or holds a filesystem; --force allows the last.",
  ],
  examples: [
    {
      command: "reelfs restore-image --disk --grow-last disk.tap /dev/sdb",
      does: "Rebuild a disk on a larger one.",
    },
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
    "The system may not notice the partitions of a restored disk by itself: run partprobe TARGET.",
    "A disk with sectors of another size cannot take a partition table: restore its partitions one by one.",
    "TARGET gets the volume's own size: a filesystem on a larger target does not grow by itself.",
  ],
  seeAlso: ["restore", "backup", "verify"],
  configure(command) {
    command
      .argument("<image>", "TAPE for the last image on it, TAPE#N for image N")
      .argument("[target]", "block device or file to write to")
      .option("--disk", "rebuild a whole disk: its partition table and all its partitions")
      .option("--grow-last", "let the last partition reach to the end of a larger disk")
      .option(
        "--segment <device>",
        "a further device to go on on; give it once for each, in order",
        addTo,
      )
      .option("--zero", "also clear what the volume did not use")
      .option("--verify", "read everything back from the target and compare")
      .option("--force", "write even where a filesystem is");
    addAncestorsOption(command);
  },
  async run(args, options, terminal) {
    await startCodecs();
    const { findDiskSet } = await import("../../tapeimage/disk-set.ts");
    const spec = await tapeFileOf(argumentAt(args, 0));
    const segments = listOf(options, "segment");
    const targets = [...(typeof args[1] === "string" ? [args[1]] : []), ...segments];
    if (targets.length === 0) {
      throw new ReelError("invalid", "name the device or file to restore to, after the image");
    }
    const isDisk = flagOf(options, "disk");
    const set = await findDiskSet(spec, { askForTape: askForTapeOn(terminal) });
    if (!isDisk && flagOf(options, "growLast")) {
      throw new ReelError("invalid", "--grow-last is for --disk");
    }
    if (!isDisk) {
      if (set === undefined) return restoreVolume(spec, targets, options, terminal);
      throw new ReelError(
        "invalid",
        `${set.image} is a whole disk: restore it with --disk, or name the image of one partition, ` +
          `as in ${set.partitions.find(({ image }) => image !== undefined)?.image ?? set.image}`,
      );
    }
    if (set === undefined) {
      throw new ReelError("invalid", `${spec} is no backup of a whole disk: leave out --disk`);
    }
    if (targets.length > 1) throw new ReelError("invalid", "a disk goes to one target");
    return restoreWhole(set, targets[0] ?? "", options, terminal);
  },
};

async function restoreVolume(
  spec: string,
  targets: readonly string[],
  options: OptionValues,
  terminal: Terminal,
): Promise<number> {
  const { openTapeImage } = await import("../../tapeimage/open-image.ts");
  const { restoreImage } = await import("../../tapeimage/restore-image.ts");
  const startedMs = performance.now();
  const target = targets.join(" + ");
  const places = await ancestorPlaces(options);
  const image = await openTapeImage(spec, { places, askForTape: askForTapeOn(terminal) });
  try {
    const result = await restoreImage(image, targets, runOptions(options, terminal));
    const { lostBlocks, ...facts } = result;
    const seconds = (performance.now() - startedMs) / 1000;
    terminal.printJson({
      image: image.name,
      target,
      ...facts,
      notices: image.state.notices,
      blocksLost: lostBlocks.total,
      seconds,
    });
    warnOf("", image.state.notices, facts.damage, terminal);
    tellRestored(target, image.name, facts, seconds, terminal);
    return tellLost(lostBlocks.total * image.header.blockSizeBytes, terminal);
  } finally {
    await image.close();
  }
}

async function restoreWhole(
  set: DiskSet,
  target: string,
  options: OptionValues,
  terminal: Terminal,
): Promise<number> {
  const { restoreDisk } = await import("../../tapeimage/restore-disk.ts");
  const startedMs = performance.now();
  const { parts, notRestored, grown } = await restoreDisk(set, target, {
    ...runOptions(options, terminal),
    growLast: flagOf(options, "growLast"),
  });
  const seconds = (performance.now() - startedMs) / 1000;
  let [bytesWritten, lostBytes] = [0, 0];
  for (const part of parts) {
    bytesWritten += part.result.bytesWritten;
    lostBytes += part.lostBytes;
    const what = part.number === undefined ? "" : `partition ${part.number}: `;
    warnOf(what, part.notices, part.result.damage, terminal);
  }
  terminal.printJson({
    ...{ image: set.image, target, bytesWritten, seconds },
    verified: flagOf(options, "verify"),
    bytesLost: lostBytes,
    grown,
    notRestored,
    parts: parts.map(({ number, image, result, notices }) => {
      const { lostBlocks, ...facts } = result;
      return { number, image, ...facts, blocksLost: lostBlocks.total, notices };
    }),
  });
  for (const { number, reason } of notRestored) {
    terminal.warn(`reelfs restore-image: partition ${number} is not restored: ${reason}`);
  }
  tellRestored(
    target,
    set.image,
    { bytesWritten, verified: flagOf(options, "verify") },
    seconds,
    terminal,
  );
  if (grown !== undefined) {
    terminal.print(
      `partition ${grown.number} now has ${formatSize(grown.sizeBytes)}; the filesystem in it has its old size until it is grown, too`,
    );
  } else if (flagOf(options, "growLast")) {
    terminal.print("the last partition reaches to the end of the disk already");
  }
  return tellLost(lostBytes, terminal);
}

function runOptions(options: OptionValues, terminal: Terminal) {
  return {
    zero: flagOf(options, "zero"),
    verify: flagOf(options, "verify"),
    force: flagOf(options, "force"),
    progress: terminal.progress,
    signal: terminal.signal,
  };
}

function warnOf(
  what: string,
  notices: readonly string[],
  damage: readonly string[],
  terminal: Terminal,
): void {
  for (const sentence of new Set([...notices, ...damage])) {
    terminal.warn(`reelfs restore-image: ${what}${sentence}`);
  }
}

function tellRestored(
  target: string,
  image: string,
  facts: { readonly bytesWritten: number; readonly verified: boolean },
  seconds: number,
  terminal: Terminal,
): void {
  const verified = facts.verified ? ", read back and compared" : "";
  terminal.print(
    `${escapeName(target)}: ${formatSize(facts.bytesWritten)} restored from ${escapeName(image)} in ${formatDuration(seconds)}${verified}`,
  );
}

function tellLost(lostBytes: number, terminal: Terminal): number {
  if (lostBytes === 0) return EXIT.done;
  terminal.warn(
    `reelfs restore-image: ${formatSize(lostBytes)} could not be restored; "reelfs verify" names the files that are hit`,
  );
  return EXIT.damaged;
}
