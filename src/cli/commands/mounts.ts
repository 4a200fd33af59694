/** `reelfs mounts`: what is mounted where. */
import { type CommandDefinition, EXIT } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { formatDate } from "../sizes.ts";
import { tableLines } from "../table.ts";

export const mountsCommand: CommandDefinition = {
  name: "mounts",
  summary: "list what is mounted where",
  description: [
    "Lists the ReelFS mounts on this machine. A mount is serving, or stale: its daemon was killed, and reelfs umount clears it away. Of mounts of other users only place and name are known.",
  ],
  examples: [{ command: "reelfs mounts", does: "List all mounts." }],
  seeAlso: ["mount", "umount"],
  configure: () => undefined,
  async run(_args, _options, terminal) {
    const { listMounts, sweepRecords } = await import("../../fuse/registry.ts");
    await sweepRecords();
    const mounts = await listMounts();
    terminal.printJson({
      mounts: mounts.map(({ mountpoint, state, source, record }) => ({
        mountpoint,
        state,
        image: record?.image.spec ?? source,
        uuid: record?.image.uuid,
        pid: record?.pid,
        readOnly: record?.readOnly,
        since: record?.since,
      })),
    });
    if (mounts.length === 0) {
      terminal.print("nothing is mounted");
      return EXIT.done;
    }
    const rows = mounts.map(({ mountpoint, state, source, record }) => [
      escapeName(mountpoint),
      escapeName(record?.image.spec ?? source),
      state,
      record?.readOnly === true ? "read-only" : "",
      record === undefined ? "" : String(record.pid),
      record === undefined ? "" : formatDate(Date.parse(record.since)),
    ]);
    const titles = ["mountpoint", "image", "state", "", "pid", "since"];
    terminal.print(
      tableLines(
        titles.map((title) => ({ title })),
        rows,
      ).join("\n"),
    );
    return EXIT.done;
  },
};
