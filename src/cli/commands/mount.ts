/** `reelfs mount`: an image becomes a folder. */
import type { Command } from "commander";
import { ReelError } from "../../errors.ts";
import type { ServedMount } from "../../fuse/serve-mount.ts";
import type { CommandDefinition, OptionValues, Terminal } from "../command.ts";
import { addAncestorsOption, ancestorPlaces, placeOf } from "../ancestor-options.ts";
import { escapeName } from "../escape-name.ts";
import {
  OVERLAY_BYTES_DEFAULT,
  addCacheOption,
  addForegroundOption,
  addOverlayOption,
  addOwnerOptions,
  errorsTo,
  runMounting,
} from "../mounting.ts";
import { argumentAt, flagOf, numberOf, parseTimeZone, parseWhole } from "../option-values.ts";
import { askForTapeOn, nobodyToAsk } from "../tape-options.ts";

const TIMEOUT_MAX_SECONDS = 86400;
/**
 * Of files on volumes that know no modes, before the umask: a program can be run from the mount, as
 * from a FAT volume that the kernel itself has mounted.
 */
const FILE_MODE = 0o777;

export const mountCommand: CommandDefinition = {
  name: "mount",
  summary: "show an image as a folder, to browse and to edit",
  description: [
    "Mounts an image on the empty folder MOUNTPOINT and returns when it can be used; a daemon serves it in the background until reelfs umount. Names, sizes and dates come from the start of the image; the tape moves only when files are read.",
    "The backup of a whole disk shows a folder for each partition: p1, p2, …, numbered as the system numbers them. What no format understands is one file in its folder, volume.img.",
    "A volume or a disk that was never backed up can be mounted, too: name its device, or a file that holds all its bytes. It is only ever read.",
    "The mount can be edited freely. Changes are kept beside the tape, in a temporary file of at most --overlay-size, and vanish when it is unmounted: the tape is never written. With --read-only nothing can be changed.",
    "Extended attributes tell where a file lies (getfattr -d FILE). Setting user.reelfs.tag, or reelfs tag, marks a file or folder for restore --tagged.",
  ],
  examples: [
    { command: "reelfs mount photos.tap /mnt/photos", does: "Mount the last image on a tape." },
    { command: "reelfs mount photos.tap#1 /mnt/old --read-only", does: "Mount an older image." },
    {
      command: "reelfs mount --history /tapes /mnt/history",
      does: "Every image of a volume, as /mnt/history/2026-11-21T10-42-31 and so on, and latest.",
    },
    {
      command: "reelfs mount disk.img /mnt/disk",
      does: "Look into a disk image that is no backup.",
    },
    {
      command: "sudo reelfs mount photos.tap /mnt/photos --allow-other --uid 1000 --gid 1000",
      does: "Mount for everybody, with the files belonging to user 1000.",
    },
  ],
  limitations: [
    "New hard links, pipes and device nodes cannot be made, and access control lists cannot be set; what the volume has of them is shown. Setting only one of access and modification time (touch -m; tar when it extracts) has no effect: cp -a and rsync set both; times are kept in milliseconds.",
    "An open file that is deleted shows as .fuse_hidden… in its folder until it is closed.",
    "The FUSE library of Debian is needed: packages libfuse2 (libfuse2t64 on newer releases) and fuse3.",
  ],
  seeAlso: ["umount", "mounts", "tag", "restore"],
  configure,
  async run(args, options, terminal) {
    const spec = argumentAt(args, 0);
    const mountpoint = argumentAt(args, 1);
    return runMounting<MountFacts>(
      {
        name: "mount",
        mount: async (warn) => mountImage(spec, mountpoint, options, { warn, terminal }),
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
    .argument("<image>", "TAPE for the last image on it, TAPE#N for image N, or a disk or volume")
    .argument("<mountpoint>", "an empty folder");
  addForegroundOption(command);
  command
    .option("-r, --read-only", "refuse changes")
    .option(
      "--history",
      "show every image of the volume, in a folder by its time; IMAGE is then a tape, a folder with tapes, or a loader",
    );
  addOwnerOptions(command, "files that have none");
  command
    .option(
      "--umask <octal>",
      "permissions to take from files that have none of their own (default: 022)",
      parseUmask,
    )
    .option("--allow-other", "let other users in, as far as permissions go");
  addCacheOption(command, "records of the tape", "32M");
  addOverlayOption(command);
  command
    .option(
      "--timeout <seconds>",
      "fail operations that take longer; 0 waits as long as the tape takes (default: 0)",
      (text: string) => parseWhole(text, "--timeout", 0, TIMEOUT_MAX_SECONDS),
    )
    .option(
      "--code-page <number>",
      "OEM code page of short FAT names (default: as backed up)",
      (text: string) => parseWhole(text, "--code-page", 1, 65535),
    )
    .option(
      "--time-zone <offset>",
      "time zone of the times on a FAT volume, as in +02:00 (default: as backed up)",
      (text: string) => parseTimeZone(text, "--time-zone"),
    );
  addAncestorsOption(command);
}

function parseUmask(text: string): number {
  if (/^0?[0-7]{1,3}$/.test(text)) return parseInt(text, 8);
  throw new ReelError(
    "invalid",
    `--umask: "${text}" is not possible; give octal digits, as in 022`,
  );
}

/** Facts of a mount, as --json gives them. */
interface MountFacts {
  readonly image: string;
  readonly mountpoint: string;
  readonly pid: number;
  readonly readOnly: boolean;
  readonly notices: readonly string[];
}

async function mountImage(
  spec: string,
  mountpoint: string,
  options: OptionValues,
  { warn, terminal }: { readonly warn: (message: string) => void; readonly terminal: Terminal },
): Promise<{
  served: ServedMount;
  facts: MountFacts;
}> {
  const { serveMount } = await import("../../fuse/serve-mount.ts");
  const { openBrowsable, openHistoryOf } = await import("../open-browsable.ts");
  const readOnly = flagOf(options, "readOnly") || flagOf(options, "history");
  const history = flagOf(options, "history");
  const places = await ancestorPlaces(options);
  const said: string[] = [];
  let opening = (message: string): void => void said.push(message);
  const told = {
    places,
    askForTape:
      askForTapeOn(terminal) ??
      nobodyToAsk((message) => {
        opening(message);
      }),
    cacheBytes: numberOf(options, "cacheSize"),
    codePage: numberOf(options, "codePage"),
    timeZoneMinutes: numberOf(options, "timeZone"),
    overlayBytes: readOnly
      ? undefined
      : (numberOf(options, "overlaySize") ?? OVERLAY_BYTES_DEFAULT),
  };
  const opened = history
    ? await openHistoryOf(spec, [await placeOf(spec), ...places], told)
    : await openBrowsable(spec, told);
  let notices: readonly string[];
  try {
    // Now, so that what is wrong with a partition is said here and not in a log.
    notices = [...opened.notices, ...((await opened.check?.()) ?? []), ...said];
    opening = warn;
  } catch (error) {
    await opened.tree.close();
    throw error;
  }
  const mount = await serveMount(opened.tree, mountpoint, {
    name: opened.spec,
    image: { spec: opened.spec, uuid: opened.uuid },
    readOnly,
    foldsCase: opened.foldsCase,
    fileMode: FILE_MODE,
    uid: numberOf(options, "uid"),
    gid: numberOf(options, "gid"),
    umask: numberOf(options, "umask"),
    allowOther: flagOf(options, "allowOther"),
    timeoutSeconds: numberOf(options, "timeout"),
    onError: errorsTo(warn),
    statistics: opened.statistics,
  });
  return {
    served: mount,
    facts: {
      image: opened.name,
      mountpoint: mount.mounted.mountpoint,
      pid: process.pid,
      readOnly,
      notices,
    },
  };
}

function show(facts: MountFacts, terminal: Terminal): void {
  for (const notice of facts.notices) terminal.warn(`reelfs mount: ${notice}`);
  terminal.printJson(facts);
  const how = facts.readOnly ? "read-only" : "changes vanish when it is unmounted";
  terminal.print(`${escapeName(facts.image)} is on ${escapeName(facts.mountpoint)}; ${how}`);
}
