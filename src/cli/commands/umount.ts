/** `reelfs umount`: ends a mount, and clears what a killed daemon left. */
import { type CommandDefinition, EXIT } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { argumentAt, flagOf } from "../option-values.ts";

export const umountCommand: CommandDefinition = {
  name: "umount",
  summary: "end a mount",
  description: [
    "Unmounts MOUNTPOINT and returns when its daemon has closed the tape. Changes that were made in the mount vanish. When the mount is busy, the processes that hold it are named, and it stays.",
    "A mount whose daemon was killed is cleared away.",
  ],
  examples: [
    { command: "reelfs umount /mnt/photos", does: "End a mount." },
    {
      command: "reelfs umount --lazy /mnt/photos",
      does: "Take a busy mount out of sight; it ends when the last process lets go of it.",
    },
  ],
  seeAlso: ["mount", "mounts"],
  configure(command) {
    command
      .argument("<mountpoint>", "where it is mounted")
      .option("-z, --lazy", "take it out of sight now, end it when nobody uses it any more");
  },
  async run(args, options, terminal) {
    const { endMount } = await import("../../fuse/end-mount.ts");
    const { mountpoint, done } = await endMount(argumentAt(args, 0), {
      lazy: flagOf(options, "lazy"),
    });
    terminal.printJson({ mountpoint, done });
    const note = done === "cleared" ? " (its daemon was gone already)" : "";
    terminal.print(`${escapeName(mountpoint)} is unmounted${note}`);
    return EXIT.done;
  },
};
