/** `reelfs track`: a volume is written through a file, and it is known what was written. */
import { join } from "node:path";
import type { Command } from "commander";
import type { ServedMount } from "../../fuse/serve-mount.ts";
import type { CommandDefinition, OptionValues, Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { addForegroundOption, errorsTo, runMounting } from "../mounting.ts";
import { argumentAt, flagOf, textOf } from "../option-values.ts";

export const trackCommand: CommandDefinition = {
  name: "track",
  summary: "note what is written to a volume, so that backups need not look for it",
  description: [
    "Mounts a folder with the file volume.img on the empty folder MOUNTPOINT. What is read from it and written to it is read from and written to SOURCE, a volume in a file or block device, at once; fsync(2) reaches it, too. On the way is noted which blocks were written.",
    "reelfs backup --tracked MOUNTPOINT then reads only what has changed since the last such backup, and has an image of the volume as it was at one moment, however much is written meanwhile.",
    "When the tracker is unmounted, its notes are saved in the file SOURCE.reelfs-dirty (or --state), and taken from there when it starts again. When it was killed, or SOURCE was changed while nobody tracked it, nothing is taken for granted: everything counts as changed, and the next backup compares the whole volume.",
    "A daemon serves in the background until reelfs umount.",
  ],
  examples: [
    { command: "reelfs track server.img /mnt/server", does: "Track a volume in a file." },
    {
      command: "sudo mount -o loop /mnt/server/volume.img /srv",
      does: "Use it: what the kernel writes goes through the tracker.",
    },
    {
      command: "reelfs backup --tracked /mnt/server --parent auto server.tap",
      does: "Back it up while it is in use, reading what has changed.",
    },
  ],
  limitations: [
    "SOURCE must be written through volume.img alone while it is tracked: what others write to it is not seen. A block device is opened so that it cannot be mounted meanwhile.",
    "After a restart of the tracker everything on a block device counts as changed: it does not tell whether it was written meanwhile.",
    "A filesystem that is mounted from volume.img holds changes back in memory: call sync before the backup, or the image is as after a power failure.",
    "volume.img keeps its size. A disk with partitions cannot be backed up with --tracked: track its partitions.",
  ],
  seeAlso: ["backup", "umount", "mounts", "expose"],
  configure,
  async run(args, options, terminal) {
    const source = argumentAt(args, 0);
    const mountpoint = argumentAt(args, 1);
    return runMounting<TrackFacts>(
      {
        name: "track",
        mount: async (warn) => trackVolume(source, mountpoint, options, warn),
        show: (facts) => {
          show(facts, terminal);
        },
      },
      options,
      terminal,
    );
  },
};

function configure(command: Command): void {
  command
    .argument("<source>", "the volume: a file or a block device")
    .argument("<mountpoint>", "an empty folder");
  addForegroundOption(command);
  command
    .option("--state <file>", "where the notes are kept between two runs")
    .option("--allow-other", "let other users in, as far as the mode of volume.img goes");
}

/** As --json gives them. */
interface TrackFacts {
  readonly source: string;
  readonly mountpoint: string;
  readonly file: string;
  readonly sizeBytes: number;
  readonly pid: number;
  /** UUID of the image since which changes are known. */
  readonly image?: string | undefined;
  readonly blockSizeBytes: number;
  readonly blocksChanged: number;
  readonly notices: readonly string[];
}

async function trackVolume(
  source: string,
  mountpoint: string,
  options: OptionValues,
  warn: (message: string) => void,
): Promise<{ served: ServedMount; facts: TrackFacts }> {
  const { Tracker } = await import("../../track/tracker.ts");
  const { serveTracker } = await import("../../track/serve-tracker.ts");
  const { VOLUME_FILE } = await import("../../track/track-tree.ts");
  const tracker = await Tracker.open(source, { statePath: textOf(options, "state") });
  const served = await serveTracker(tracker, mountpoint, {
    allowOther: flagOf(options, "allowOther"),
    onError: errorsTo(warn),
  });
  const { mountpoint: place } = served.mounted;
  const { bitmap, image } = tracker.device.dirt;
  return {
    served,
    facts: {
      source: tracker.sourcePath,
      mountpoint: place,
      file: join(place, VOLUME_FILE),
      sizeBytes: tracker.device.sizeBytes,
      pid: process.pid,
      image,
      blockSizeBytes: bitmap.blockSizeBytes,
      blocksChanged: image === undefined ? bitmap.blocks : bitmap.count,
      notices: tracker.notices,
    },
  };
}

function show(facts: TrackFacts, terminal: Terminal): void {
  for (const notice of facts.notices) terminal.warn(`reelfs track: ${notice}`);
  terminal.printJson(facts);
  terminal.print(`${escapeName(facts.source)} is tracked in ${escapeName(facts.file)}`);
}
