/** `reelfs loader mount`: loaders become folders. */
import type { Command } from "commander";
import { ReelError, closeAll } from "../../errors.ts";
import type { ServedMount } from "../../fuse/serve-mount.ts";
import type { VirtualLoader } from "../../vtl/virtual-loader.ts";
import type { CommandDefinition, OptionValues, Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import {
  addCacheOption,
  addForegroundOption,
  addOwnerOptions,
  errorsTo,
  runMounting,
} from "../mounting.ts";
import { flagOf, numberOf, textOf } from "../option-values.ts";
import { LOADER_ARGUMENT, addConfigOption } from "./open-loader.ts";

const LOADERS_MAX = 1000;

export const mountLoadersCommand: CommandDefinition = {
  name: "mount",
  summary: "show loaders as folders, and move tapes by mv",
  description: [
    "Mounts loaders on the empty folder MOUNTPOINT, each as a folder of its name, and returns when they can be used; a daemon serves them in the background until reelfs umount. Every tape is a file in the folder of its slot, drive or import/export element, and mv between those folders is the robot. cp puts a tape into a slot, rm deletes one, chmod a-w protects it.",
    "What is on each tape lies in tapes/BARCODE: its labels, tape files and records, the files of tars, and the volumes of images. It is read from the tapes as they are now, also while a backup writes to them.",
    "What is refused says why in status.txt of its loader. With --simple only the tapes' contents are shown.",
  ],
  examples: [
    { command: "reelfs loader mount vtl1 /mnt/vtl", does: "Show a loader." },
    {
      command: "mv /mnt/vtl/vtl1/slots/001/REEL0001.tap /mnt/vtl/vtl1/drives/0/",
      does: "Load a tape.",
    },
    { command: "reelfs loader mount --simple vtl1 vtl2 /mnt/tapes", does: "Browse tapes." },
  ],
  limitations: [
    "When a copied tape turns out to be none, cp has ended already: status.txt says so, and the copy is kept in the folder refused of the loader.",
    "Files that are stored in a tar with holes are listed, and cannot be read; extract them from the tape file with tar.",
  ],
  seeAlso: ["umount", "mounts", "loader", "mount"],
  configure,
  async run(args, options, terminal) {
    const words = args.flatMap((each) => each ?? []);
    const mountpoint = words.at(-1);
    const names = words.slice(0, -1);
    if (mountpoint === undefined || names.length === 0) {
      throw new ReelError("invalid", "name one loader or more, and an empty folder behind them");
    }
    return mountLoaders(names, mountpoint, options, terminal);
  },
};

function configure(command: Command): void {
  command.argument(
    "<name...>",
    `${LOADER_ARGUMENT}; behind the last one the mount point, an empty folder`,
  );
  addForegroundOption(command);
  command
    .option("-r, --read-only", "refuse changes")
    .option("--simple", "show tapes and what is on them, without slots and drives")
    .option("--allow-other", "let other users in, as far as permissions go");
  addOwnerOptions(command, "what has none");
  addCacheOption(command, "indexes and images of tapes", "256M");
  addConfigOption(command);
}

/** Facts of a mount, as --json gives them. */
interface LoaderMountFacts {
  readonly loaders: readonly string[];
  readonly mountpoint: string;
  readonly pid: number;
  readonly readOnly: boolean;
  readonly warnings: readonly string[];
}

/** Mounts the loaders of these names, or folders; in the background unless `foreground`. */
export async function mountLoaders(
  names: readonly string[],
  mountpoint: string,
  options: OptionValues,
  terminal: Terminal,
): Promise<number> {
  if (names.length > LOADERS_MAX) {
    throw new ReelError("invalid", `cannot mount ${names.length} loaders; at most ${LOADERS_MAX}`);
  }
  return runMounting<LoaderMountFacts>(
    {
      name: "loader mount",
      mount: async (warn) => mountTreeOf(names, mountpoint, options, warn),
      show: (facts) => {
        show(facts, terminal);
      },
    },
    options,
    terminal,
  );
}

async function mountTreeOf(
  names: readonly string[],
  mountpoint: string,
  options: OptionValues,
  warn: (message: string) => void,
): Promise<{ served: ServedMount; facts: LoaderMountFacts }> {
  const { serveMount } = await import("../../fuse/serve-mount.ts");
  const { openLoaderTree } = await import("../../vtl/tree/loader-tree.ts");
  const simple = flagOf(options, "simple");
  const readOnly = flagOf(options, "readOnly") || simple;
  const loaders = await openLoaders(names, textOf(options, "config"));
  const warnings = (await Promise.all(loaders.map(async (each) => each.warnings()))).flat();
  const shown = loaders.map(({ name }) => name);
  const [first] = loaders;
  const opened = await openLoaderTree(loaders, {
    simple,
    readOnly,
    cacheBytes: numberOf(options, "cacheSize"),
    log: warn,
  });
  const mount = await serveMount(opened.tree, mountpoint, {
    name: `loader ${shown.join(" ")}`,
    image: { spec: `loader ${shown.join(", ")}`, uuid: first?.serial ?? "" },
    readOnly,
    changesOutside: true,
    uid: numberOf(options, "uid"),
    gid: numberOf(options, "gid"),
    allowOther: flagOf(options, "allowOther"),
    onError: errorsTo(warn),
    statistics: () => ({ loaders: opened.statistics() }),
  });
  const { mountpoint: place } = mount.mounted;
  const facts = { loaders: shown, mountpoint: place, pid: process.pid, readOnly, warnings };
  return { served: mount, facts };
}

/** All of them, or none. */
async function openLoaders(
  names: readonly string[],
  registryPath: string | undefined,
): Promise<VirtualLoader[]> {
  const { openVirtualLoader } = await import("../../vtl/manage-loaders.ts");
  const loaders: VirtualLoader[] = [];
  try {
    for (const name of names) loaders.push(await openVirtualLoader(name, { registryPath }));
    return loaders;
  } catch (error) {
    await closeAll(...loaders);
    throw error;
  }
}

function show(facts: LoaderMountFacts, terminal: Terminal): void {
  for (const warning of facts.warnings) terminal.warn(`reelfs: warning: ${warning}`);
  terminal.printJson(facts);
  const what = facts.loaders.map(escapeName).join(", ");
  terminal.print(
    `${what} ${facts.loaders.length === 1 ? "is" : "are"} on ${escapeName(facts.mountpoint)}`,
  );
}
