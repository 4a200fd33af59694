/** `reelfs expose`: an image becomes a file that holds the raw volume, or a mount of the kernel's. */
import { join } from "node:path";
import type { Command } from "commander";
import { ReelError } from "../../errors.ts";
import type { ExposedSource } from "../../expose/expose-source.ts";
import type { Servable } from "../../fuse/daemon.ts";
import type { CommandDefinition, OptionValues, Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { tapeFileOf } from "../loader/loader-tape.ts";
import {
  OVERLAY_BYTES_DEFAULT,
  addCacheOption,
  addForegroundOption,
  addOverlayOption,
  addOwnerOptions,
  errorsTo,
  runMounting,
} from "../mounting.ts";
import { argumentAt, flagOf, numberOf, parseWhole } from "../option-values.ts";
import { askForTapeOn, nobodyToAsk } from "../tape-options.ts";

const PARTITION_MAX = 65535;

export const exposeCommand: CommandDefinition = {
  name: "expose",
  summary: "show an image as a raw volume, or have the kernel mount it",
  description: [
    "Mounts a folder with one file on the empty folder MOUNTPOINT: volume.img, all bytes of the volume. Every program that opens image files can work on it: the loop device of the kernel, mtools, ntfs-3g, fuse2fs, qemu, fsck, forensic tools. It is the way into volumes whose filesystem ReelFS does not know. Blocks are read from the tape when they are asked for; those that were not in use read as zeros.",
    "A whole disk is disk.img: the backup of a disk is put together again from its images, with zeros where a partition was left out. --partition takes one partition of it, as volume.img.",
    "The file can be written. What is written is kept beside the tape, in a temporary file of at most --overlay-size, and vanishes when it is unmounted: tape and source are never written. reelfs commit keeps it, as an incremental image. With --read-only the file refuses it.",
    "With --loop (as root) the kernel mounts the volume itself, by a loop device: MOUNTPOINT shows its files. With --read-only it is mounted read-only, and only the replay of a journal is written, to the temporary file.",
    "A daemon serves either in the background until reelfs umount; reelfs mounts lists them.",
  ],
  examples: [
    {
      command: "reelfs expose photos.tap /mnt/raw; mdir -i /mnt/raw/volume.img ::",
      does: "Look into a FAT volume with mtools.",
    },
    {
      command: "sudo reelfs expose --loop --read-only server.tap#2 /mnt/server",
      does: "Have the kernel mount an older image, of XFS, btrfs or what else it knows.",
    },
    {
      command: "qemu-system-x86_64 -hda /mnt/raw/disk.img",
      does: "Boot from the backup of a whole disk that is exposed on /mnt/raw.",
    },
    {
      command: "reelfs expose /dev/sdb1 /mnt/raw; e2fsck -fy /mnt/raw/volume.img",
      does: "Try a repair of a volume without touching it.",
    },
  ],
  limitations: [
    "volume.img keeps its size: programs that cut or extend what they open (cp, dd without conv=notrunc) are refused.",
    "With --loop set-user-ID programs and device nodes of the volume have no effect, and access times are not kept.",
    "The FUSE library of Debian is needed: packages libfuse2 (libfuse2t64 on newer releases) and fuse3; with --loop also mount.",
  ],
  seeAlso: ["commit", "mount", "mounts", "umount", "backup"],
  configure,
  async run(args, options, terminal) {
    const spec = argumentAt(args, 0);
    const mountpoint = argumentAt(args, 1);
    return runMounting<ExposeFacts>(
      {
        name: "expose",
        mount: async (warn) => expose(spec, mountpoint, options, { warn, terminal }),
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
    .argument(
      "<image>",
      "TAPE for the last image on it, TAPE#N for image N; or a raw volume or disk: a file or block device",
    )
    .argument("<mountpoint>", "an empty folder");
  addForegroundOption(command);
  command
    .option("-l, --loop", "have the kernel mount the volume on MOUNTPOINT (as root)")
    .option("-p, --partition <number>", "of a whole disk, only this partition", (text: string) =>
      parseWhole(text, "--partition", 1, PARTITION_MAX),
    )
    .option("-r, --read-only", "refuse changes")
    .option("--allow-other", "let other users in, as far as the mode of volume.img goes");
  addOwnerOptions(command, "volume.img");
  addCacheOption(command, "records of the tape", "32M");
  addOverlayOption(command);
}

/** Facts of what is exposed, as --json gives them. */
interface ExposeFacts {
  readonly image: string;
  readonly mountpoint: string;
  /** The file with the volume; not with --loop. */
  readonly file?: string | undefined;
  /** With --loop. */
  readonly loopDevice?: string | undefined;
  readonly sizeBytes: number;
  readonly pid: number;
  readonly readOnly: boolean;
  readonly notices: readonly string[];
}

interface How {
  readonly warn: (message: string) => void;
  readonly terminal: Terminal;
}

interface Served extends Servable {
  readonly facts: Pick<ExposeFacts, "mountpoint" | "file" | "loopDevice">;
}

async function expose(
  spec: string,
  mountpoint: string,
  options: OptionValues,
  how: How,
): Promise<{ served: Servable; facts: ExposeFacts }> {
  const { openExposedSource } = await import("../../expose/expose-source.ts");
  const source = await openExposedSource(await tapeFileOf(spec), {
    cacheBytes: numberOf(options, "cacheSize"),
    partition: numberOf(options, "partition"),
    askForTape: askForTapeOn(how.terminal) ?? nobodyToAsk(how.warn),
  });
  const served = flagOf(options, "loop")
    ? await exposeLoop(source, mountpoint, options, how)
    : await exposeFile(source, mountpoint, options, how);
  const facts: ExposeFacts = {
    image: source.name,
    ...served.facts,
    sizeBytes: source.device.sizeBytes,
    pid: process.pid,
    readOnly: flagOf(options, "readOnly"),
    notices: source.notices,
  };
  return { served, facts };
}

/** The file, on the mount point. */
async function exposeFile(
  source: ExposedSource,
  mountpoint: string,
  options: OptionValues,
  { warn }: How,
): Promise<Served> {
  const { overlayOn } = await import("../../expose/expose-source.ts");
  const { DeviceTree } = await import("../../expose/device-tree.ts");
  const { serveMount } = await import("../../fuse/serve-mount.ts");
  const { device, fileName, modifiedMs } = source;
  const { commitRefused, ExposedImage, isCommittable } =
    await import("../../track/exposed-image.ts");
  const readOnly = flagOf(options, "readOnly");
  const overlay = readOnly ? undefined : await overlayOn(device, overlayBytesOf(options));
  const changed =
    overlay !== undefined && isCommittable(source, readOnly)
      ? new ExposedImage(overlay, source)
      : undefined;
  const tree =
    changed?.tree() ??
    new DeviceTree(overlay === undefined ? { device } : { overlay }, { fileName, modifiedMs });
  const { mountpointOf } = await import("../../fuse/mountinfo.ts");
  const folder = await mountpointOf(mountpoint);
  const mount = await serveMount(tree, mountpoint, {
    name: source.spec,
    image: { spec: source.spec, uuid: source.uuid },
    readOnly,
    // One name, in one spelling: the kernel may remember all it has read.
    foldsCase: false,
    uid: numberOf(options, "uid"),
    gid: numberOf(options, "gid"),
    allowOther: flagOf(options, "allowOther"),
    onError: errorsTo(warn),
    statistics: source.statistics,
    extension: changed?.control({ folder }) ?? commitRefused(source, readOnly),
  });
  const place = mount.mounted.mountpoint;
  return {
    finished: mount.finished,
    unmount: async (how) => mount.unmount(how),
    facts: { mountpoint: place, file: join(place, fileName) },
  };
}

/** The volume's own tree, on the mount point. */
async function exposeLoop(
  source: ExposedSource,
  mountpoint: string,
  options: OptionValues,
  { warn, terminal: { signal } }: How,
): Promise<Served> {
  if (source.partitions !== undefined) {
    await source.device.close();
    const numbers = source.partitions.join(", ");
    throw new ReelError(
      "invalid",
      `cannot mount ${source.name}: it is a whole disk; choose one of its partitions (${numbers}) with --partition`,
    );
  }
  const { overlayOn } = await import("../../expose/expose-source.ts");
  const { serveLoop } = await import("../../expose/serve-loop.ts");
  const overlay = await overlayOn(source.device, overlayBytesOf(options));
  const { name, spec, uuid, fileName, modifiedMs, statistics } = source;
  const { commitRefused, ExposedImage, isCommittable } =
    await import("../../track/exposed-image.ts");
  const readOnly = flagOf(options, "readOnly");
  const changed = isCommittable(source, readOnly) ? new ExposedImage(overlay, source) : undefined;
  const loop = await serveLoop(changed?.device ?? overlay, mountpoint, {
    ...{ name, fileName, modifiedMs, statistics, signal, readOnly },
    image: { spec, uuid },
    onError: errorsTo(warn),
    treeOf: changed && ((onReleased) => changed.tree(onReleased)),
    extension: (folder, mountedOn) =>
      changed?.control({ folder, mountedOn }) ?? commitRefused(source, readOnly),
  });
  return {
    finished: loop.finished,
    unmount: async (how) => loop.unmount(how),
    facts: { mountpoint: loop.mountpoint, loopDevice: loop.loopDevice },
  };
}

function overlayBytesOf(options: OptionValues): number {
  return numberOf(options, "overlaySize") ?? OVERLAY_BYTES_DEFAULT;
}

function show(facts: ExposeFacts, terminal: Terminal): void {
  for (const notice of facts.notices) terminal.warn(`reelfs expose: ${notice}`);
  terminal.printJson(facts);
  const how = facts.readOnly ? "read-only" : "changes vanish when it is unmounted";
  const where = facts.file ?? facts.mountpoint;
  terminal.print(
    `${escapeName(facts.image)} is ${facts.file === undefined ? "on" : "in"} ${escapeName(where)}; ${how}`,
  );
}
