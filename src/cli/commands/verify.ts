/** `reelfs verify`: reads an image from end to end and says what is damaged. */
import type { DiskSet } from "../../tapeimage/disk-set.ts";
import type { TapeLookup } from "../../tapeimage/open-image.ts";
import type { VerifyResult } from "../../tapeimage/verify.ts";
import { type CommandDefinition, EXIT, type Terminal } from "../command.ts";
import { addAncestorsOption, ancestorPlaces } from "../ancestor-options.ts";
import { escapeName } from "../escape-name.ts";
import type { LostFiles } from "../lost-files.ts";
import { tapeFileOf } from "../loader/loader-tape.ts";
import { argumentAt } from "../option-values.ts";
import { counted, formatDuration } from "../sizes.ts";
import { startCodecs } from "../start-codecs.ts";
import { askForTapeOn } from "../tape-options.ts";

export const verifyCommand: CommandDefinition = {
  name: "verify",
  summary: "read a whole image and say what is damaged",
  description: [
    "Reads every record of an image, compares each with its checksum and all of them with the hash in the trailer. Says which records are damaged or missing, and which files lie in them. Nothing is written.",
    "The backup of a whole disk is checked with the images of all its partitions.",
  ],
  examples: [
    { command: "reelfs verify photos.tap", does: "Check the last image on a tape." },
    { command: "reelfs verify photos.tap#1", does: "Check the first." },
    {
      command: "reelfs verify --quiet photos.tap || echo damaged",
      does: "In a script: the exit status is 3 when anything is damaged.",
    },
  ],
  limitations: [
    "A file that the source volume already held damaged is not found here: verify compares the tape with what was written to it.",
  ],
  seeAlso: ["info", "backup", "restore"],
  configure(command) {
    command.argument("<image>", "TAPE for the last image on it, TAPE#N for image N");
    addAncestorsOption(command);
  },
  async run(args, options, terminal) {
    await startCodecs();
    const { findDiskSet } = await import("../../tapeimage/disk-set.ts");
    const spec = await tapeFileOf(argumentAt(args, 0));
    const lookup = {
      places: await ancestorPlaces(options),
      askForTape: askForTapeOn(terminal),
    };
    const set = await findDiskSet(spec, lookup);
    if (set !== undefined) return verifyDisk(set, terminal);
    const verified = await verifyOne(spec, terminal, lookup);
    terminal.printJson(factsOf(verified));
    show(verified, terminal);
    return verified.result.sound ? EXIT.done : EXIT.damaged;
  },
};

interface Verified {
  readonly name: string;
  readonly notices: readonly string[];
  readonly result: VerifyResult;
  readonly lost: LostFiles;
  readonly seconds: number;
}

async function verifyOne(spec: string, terminal: Terminal, lookup: TapeLookup): Promise<Verified> {
  const { openTapeImage } = await import("../../tapeimage/open-image.ts");
  const { verifyImage } = await import("../../tapeimage/verify.ts");
  const { findLostFiles } = await import("../lost-files.ts");
  const startedMs = performance.now();
  const image = await openTapeImage(spec, lookup);
  try {
    const { progress, signal } = terminal;
    const result = await verifyImage(image, { progress, signal });
    const lost = await findLostFiles(image, result.lostBlocks, { signal });
    const seconds = (performance.now() - startedMs) / 1000;
    return { name: image.name, notices: image.state.notices, result, lost, seconds };
  } finally {
    await image.close();
  }
}

/** All images of a disk, one after another; one that is not there is no sound one. */
async function verifyDisk(set: DiskSet, terminal: Terminal): Promise<number> {
  const verified = [await verifyOne(set.image, terminal, set.lookup)];
  const missing: string[] = [];
  for (const { image, facts, problem = "" } of set.partitions) {
    if (image !== undefined) verified.push(await verifyOne(image, terminal, set.lookup));
    else if (facts.image !== undefined) missing.push(`partition ${facts.number}: ${problem}`);
  }
  const sound = missing.length === 0 && verified.every(({ result }) => result.sound);
  terminal.printJson({ image: set.image, sound, missing, images: verified.map(factsOf) });
  for (const each of verified) show(each, terminal);
  for (const sentence of missing) terminal.warn(`reelfs verify: ${sentence}`);
  return sound ? EXIT.done : EXIT.damaged;
}

function factsOf({ name, notices, result, lost, seconds }: Verified): Record<string, unknown> {
  const { lostBlocks, ...facts } = result;
  return {
    image: name,
    ...facts,
    notices,
    blocksLost: lostBlocks.total,
    filesLost: lost.paths,
    filesLostTruncated: lost.more,
    seconds,
  };
}

function show({ name, notices, result, lost, seconds }: Verified, terminal: Terminal): void {
  const records = `${counted(result.recordsRead, "record")} read in ${formatDuration(seconds)}`;
  if (result.sound) {
    terminal.print(`${escapeName(name)}: sound, ${records}`);
    return;
  }
  // A tape that is not there is a notice, and the damage of each record on it.
  for (const sentence of new Set([...notices, ...result.damage])) {
    terminal.warn(`reelfs verify: ${sentence}`);
  }
  if (lost.unreadable !== undefined) {
    terminal.warn(`reelfs verify: the files cannot be listed: ${lost.unreadable}`);
  }
  for (const path of lost.paths) terminal.print(`hit: ${escapeName(path)}`);
  if (lost.more) terminal.print(`hit: more than ${lost.paths.length.toLocaleString("en")} files`);
  terminal.print(
    `${escapeName(name)}: damaged, ${counted(result.recordsDamaged, "record")} lost, ${records}`,
  );
}
