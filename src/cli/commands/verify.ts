/** `reelfs verify`: reads an image from end to end and says what is damaged. */
import type { VerifyResult } from "../../tapeimage/verify.ts";
import { type CommandDefinition, EXIT, type Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import type { LostFiles } from "../lost-files.ts";
import { tapeFileOf } from "../loader/loader-tape.ts";
import { argumentAt } from "../option-values.ts";
import { counted, formatDuration } from "../sizes.ts";

export const verifyCommand: CommandDefinition = {
  name: "verify",
  summary: "read a whole image and say what is damaged",
  description: [
    "Reads every record of an image, compares each with its checksum and all of them with the hash in the trailer. Says which records are damaged or missing, and which files lie in them. Nothing is written.",
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
  },
  async run(args, _options, terminal) {
    const { openTapeImage } = await import("../../tapeimage/open-image.ts");
    const { verifyImage } = await import("../../tapeimage/verify.ts");
    const { findLostFiles } = await import("../lost-files.ts");
    const startedMs = performance.now();
    const image = await openTapeImage(await tapeFileOf(argumentAt(args, 0)));
    try {
      const { progress, signal } = terminal;
      const result = await verifyImage(image, { progress, signal });
      const lost = await findLostFiles(image, result.lostBlocks, { signal });
      const seconds = (performance.now() - startedMs) / 1000;
      show(image.name, [...image.state.notices], result, lost, seconds, terminal);
      return result.sound ? EXIT.done : EXIT.damaged;
    } finally {
      await image.close();
    }
  },
};

function show(
  name: string,
  notices: readonly string[],
  result: VerifyResult,
  lost: LostFiles,
  seconds: number,
  terminal: Terminal,
): void {
  const { lostBlocks, ...facts } = result;
  terminal.printJson({
    image: name,
    ...facts,
    notices,
    blocksLost: lostBlocks.total,
    filesLost: lost.paths,
    filesLostTruncated: lost.more,
    seconds,
  });
  const records = `${counted(result.recordsRead, "record")} read in ${formatDuration(seconds)}`;
  if (result.sound) {
    terminal.print(`${escapeName(name)}: sound, ${records}`);
    return;
  }
  for (const notice of notices) terminal.warn(`reelfs verify: ${notice}`);
  for (const sentence of result.damage) terminal.warn(`reelfs verify: ${sentence}`);
  if (lost.unreadable !== undefined) {
    terminal.warn(`reelfs verify: the files cannot be listed: ${lost.unreadable}`);
  }
  for (const path of lost.paths) terminal.print(`hit: ${escapeName(path)}`);
  if (lost.more) terminal.print(`hit: more than ${lost.paths.length.toLocaleString("en")} files`);
  terminal.print(
    `${escapeName(name)}: damaged, ${counted(result.recordsDamaged, "record")} lost, ${records}`,
  );
}
