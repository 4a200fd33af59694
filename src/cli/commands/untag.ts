/** `reelfs untag`: takes marks away. */
import type { CommandDefinition } from "../command.ts";
import { changeTags } from "./tag.ts";

export const untagCommand: CommandDefinition = {
  name: "untag",
  summary: "take the mark for restore away",
  description: [
    "Takes the mark of reelfs tag from files and folders inside a ReelFS mount. A file in a marked folder has no mark of its own: untag the folder.",
  ],
  examples: [{ command: "reelfs untag /mnt/photos/DCIM", does: "Take one mark away." }],
  seeAlso: ["tag", "tags"],
  configure(command) {
    command.argument("<path...>", "files and folders inside a mount");
  },
  async run(args, _options, terminal) {
    return changeTags("untag", args[0], terminal);
  },
};
