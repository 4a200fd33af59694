/** `reelfs tags`: what is marked in a mount. */
import { type CommandDefinition, EXIT } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { argumentAt } from "../option-values.ts";

export const tagsCommand: CommandDefinition = {
  name: "tags",
  summary: "list what is marked for restore in a mount",
  description: [
    "Lists the files and folders that are marked in a mount, one path a line, relative to its root. What was renamed in the mount is followed by its path in the image.",
  ],
  examples: [{ command: "reelfs tags /mnt/photos", does: "List the marks." }],
  seeAlso: ["tag", "untag", "restore"],
  configure(command) {
    command.argument("<mountpoint>", "where the image is mounted");
  },
  async run(args, _options, terminal) {
    const { controlRequest, listTags } = await import("../../fuse/control.ts");
    const { mountpointOf } = await import("../../fuse/mountinfo.ts");
    const mountpoint = await mountpointOf(argumentAt(args, 0));
    const { image } = await controlRequest(mountpoint, { op: "status" });
    const tags = await listTags(mountpoint);
    terminal.printJson({ mountpoint, image, tags });
    for (const { path, imagePath } of tags) {
      const moved = path === imagePath ? "" : `  (in the image: ${escapeName(imagePath)})`;
      terminal.print(`${escapeName(path)}${moved}`);
    }
    return EXIT.done;
  },
};
