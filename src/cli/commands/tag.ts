/** `reelfs tag`: marks files in a mount for restore. */
import type { TagFailure } from "../../fuse/tag-paths.ts";
import { type CommandDefinition, EXIT, type Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";

export const tagCommand: CommandDefinition = {
  name: "tag",
  summary: "mark files in a mount for restore --tagged",
  description: [
    "Marks files and folders inside a ReelFS mount. A folder stands for all that is in it. Tags follow files that are renamed in the mount, and end with the mount. Setting the extended attribute user.reelfs.tag does the same.",
  ],
  examples: [
    { command: "reelfs tag /mnt/photos/DCIM/*.JPG", does: "Mark some files." },
    {
      command: "reelfs restore --tagged /mnt/photos --to out",
      does: "Restore what is marked, in one pass over the tape.",
    },
    {
      command: "setfattr -n user.reelfs.tag /mnt/photos/DCIM",
      does: "Mark a folder without reelfs.",
    },
  ],
  limitations: [
    "On a read-only mount only this command can set tags; setfattr is refused there.",
    "What is tagged in a mount --history, or of a volume that was never backed up, cannot be restored by its tags: mount one image, or copy the files from the mount.",
  ],
  seeAlso: ["untag", "tags", "restore", "mount"],
  configure(command) {
    command.argument("<path...>", "files and folders inside a mount");
  },
  async run(args, _options, terminal) {
    return changeTags("tag", args[0], terminal);
  },
};

/** Tags or untags paths, and says what became of them. */
export async function changeTags(
  op: "tag" | "untag",
  paths: string | readonly string[] | undefined,
  terminal: Terminal,
): Promise<number> {
  const { tagPaths } = await import("../../fuse/tag-paths.ts");
  const { done, failed } = await tagPaths(op, typeof paths === "string" ? [paths] : (paths ?? []));
  terminal.printJson({ done, failed });
  const what = op === "tag" ? "tagged" : "untagged";
  if (done > 0) terminal.print(`${done.toLocaleString("en")} ${what}`);
  for (const each of failed) terminal.warn(`reelfs ${op}: ${sentence(each)}`);
  return failed.length === 0 ? EXIT.done : EXIT.failed;
}

function sentence({ path, message }: TagFailure): string {
  return message.includes(path) ? message : `${escapeName(path)}: ${message}`;
}
