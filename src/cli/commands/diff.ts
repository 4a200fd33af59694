/** `reelfs diff`: which files differ between two images. */
import type { TreeDifference } from "../../tree/compare-trees.ts";
import { addAncestorsOption, ancestorPlaces } from "../ancestor-options.ts";
import { type CommandDefinition, EXIT } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { argumentAt } from "../option-values.ts";
import { counted } from "../sizes.ts";
import { askForTapeOn } from "../tape-options.ts";

const LETTER = { added: "+", removed: "-", changed: "M" } as const;

export const diffCommand: CommandDefinition = {
  name: "diff",
  summary: "name the files that differ between two images",
  description: [
    "Compares the files of two images of one volume, or of any two things that reelfs ls can list: names, kinds, sizes, times, permissions and owners. One line for each file: + was added, - was removed, M has changed. Names come from the start of the images; no file is read.",
  ],
  examples: [
    {
      command: "reelfs diff daily.tap#3 daily.tap#4",
      does: "What the fourth backup found changed since the third.",
    },
    {
      command: "reelfs diff --json daily.tap#1 /dev/sdb1 | jq -r '.[].path'",
      does: "What has changed on the volume since the first backup, for a script.",
    },
  ],
  limitations: [
    "A file that was written without its size or time changing is not found: reelfs verify and the checksums of an incremental backup go by contents, this goes by names.",
  ],
  seeAlso: ["ls", "backup", "mount"],
  configure(command) {
    command
      .argument("<image1>", "the earlier: TAPE, TAPE#N, or a volume")
      .argument("<image2>", "the later");
    addAncestorsOption(command);
  },
  async run(args, options, terminal) {
    const { openBrowsable } = await import("../open-browsable.ts");
    const { compareTrees } = await import("../../tree/compare-trees.ts");
    const lookup = {
      places: await ancestorPlaces(options),
      askForTape: askForTapeOn(terminal),
    };
    const earlier = await openBrowsable(argumentAt(args, 0), lookup);
    try {
      const later = await openBrowsable(argumentAt(args, 1), lookup);
      try {
        for (const notice of [...earlier.notices, ...later.notices]) {
          terminal.warn(`reelfs diff: ${notice}`);
        }
        let unlisted = 0;
        const fail = (path: string, error: Error): void => {
          unlisted++;
          terminal.warn(`reelfs diff: cannot list ${escapeName(path)}: ${error.message}`);
        };
        const facts: unknown[] = [];
        const counts = { added: 0, removed: 0, changed: 0 };
        const { signal } = terminal;
        for await (const each of compareTrees(earlier.tree, later.tree, fail, { signal })) {
          counts[each.change]++;
          if (terminal.json) facts.push(factsOf(each));
          else terminal.print(lineOf(each));
        }
        terminal.printJson(facts);
        terminal.print(
          `${counted(counts.added, "file")} added, ${counts.removed} removed, ${counts.changed} changed`,
        );
        return unlisted === 0 ? EXIT.done : EXIT.damaged;
      } finally {
        await later.tree.close();
      }
    } finally {
      await earlier.tree.close();
    }
  },
};

function lineOf({ change, path, stat }: TreeDifference): string {
  return `${LETTER[change]} ${escapeName(path)}${stat.kind === "directory" ? "/" : ""}`;
}

function factsOf({ change, path, stat, attributes }: TreeDifference): Record<string, unknown> {
  const { kind, sizeBytes } = stat;
  return { change, path, kind, sizeBytes, attributes };
}
