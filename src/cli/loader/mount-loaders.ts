/** `reelfs loader mount`: loaders become folders. */
import type { Command } from "commander";
import { ReelError, closeAll } from "../../errors.ts";
import type { ServedMount } from "../../fuse/serve-mount.ts";
import type { VirtualLoader } from "../../vtl/virtual-loader.ts";
import { type CommandDefinition, EXIT, type OptionValues, type Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { flagOf, numberOf, parseWhole, textOf } from "../option-values.ts";
import { parseSize } from "../sizes.ts";
import { LOADER_ARGUMENT, addConfigOption } from "./open-loader.ts";

const ID_MAX = 2 ** 32 - 2;
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
  command
    .argument(
      "<name...>",
      `${LOADER_ARGUMENT}; behind the last one the mount point, an empty folder`,
    )
    .option("-f, --foreground", "serve in this process, until it is interrupted or unmounted")
    .option("-r, --read-only", "refuse changes")
    .option("--simple", "show tapes and what is on them, without slots and drives")
    .option("--allow-other", "let other users in, as far as permissions go")
    .option("--uid <number>", "owner of what has none (default: you)", (text: string) =>
      parseWhole(text, "--uid", 0, ID_MAX),
    )
    .option("--gid <number>", "group of what has none (default: yours)", (text: string) =>
      parseWhole(text, "--gid", 0, ID_MAX),
    )
    .option(
      "--cache-size <size>",
      "memory for indexes and images of tapes (default: 256M)",
      (text: string) => parseSize(text, "--cache-size"),
    );
  addConfigOption(command);
}

/** Facts of a mount, as --json gives them and the daemon tells its parent. */
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
  return flagOf(options, "foreground")
    ? serve(names, mountpoint, options, terminal)
    : startDaemon(names, mountpoint, options, terminal);
}

async function startDaemon(
  names: readonly string[],
  mountpoint: string,
  options: OptionValues,
  terminal: Terminal,
): Promise<number> {
  const { startInBackground } = await import("../../fuse/daemon.ts");
  const { mountFiles } = await import("../../fuse/registry.ts");
  const { mountpointOf } = await import("../../fuse/mountinfo.ts");
  const { log } = await mountFiles(await mountpointOf(mountpoint));
  const chosen = [...optionArguments(options), "--", ...names, mountpoint];
  const { facts } = await startInBackground({
    args: ["loader", "mount", "--foreground", "--quiet", ...chosen],
    log,
    signal: terminal.signal,
  });
  show(facts as unknown as LoaderMountFacts, terminal);
  return EXIT.done;
}

/** The options again, as the daemon's command line. */
function optionArguments(options: OptionValues): string[] {
  const words: string[] = [];
  const add = (name: string, value: string | undefined): void => {
    if (value !== undefined) words.push(`--${name}=${value}`);
  };
  if (flagOf(options, "readOnly")) words.push("--read-only");
  if (flagOf(options, "simple")) words.push("--simple");
  if (flagOf(options, "allowOther")) words.push("--allow-other");
  add("uid", numberOf(options, "uid")?.toString());
  add("gid", numberOf(options, "gid")?.toString());
  add("cache-size", numberOf(options, "cacheSize")?.toString());
  add("config", textOf(options, "config"));
  return words;
}

async function serve(
  names: readonly string[],
  mountpoint: string,
  options: OptionValues,
  terminal: Terminal,
): Promise<number> {
  const { reportFailure, reportReady, serveUntilUnmounted } = await import("../../fuse/daemon.ts");
  const warn = (message: string): void => {
    terminal.warn(`reelfs loader mount: ${message}`);
  };
  let served: { mount: ServedMount; facts: LoaderMountFacts };
  try {
    served = await mountTreeOf(names, mountpoint, options, warn);
  } catch (error) {
    await reportFailure(error);
    throw error;
  }
  await reportReady({ ...served.facts });
  show(served.facts, terminal);
  await serveUntilUnmounted(served.mount, warn);
  const { removeRecord } = await import("../../fuse/registry.ts");
  await removeRecord(served.facts.mountpoint);
  return EXIT.done;
}

async function mountTreeOf(
  names: readonly string[],
  mountpoint: string,
  options: OptionValues,
  warn: (message: string) => void,
): Promise<{ mount: ServedMount; facts: LoaderMountFacts }> {
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
    onError: (operation, error) => {
      warn(`${operation}: ${error instanceof Error ? error.message : String(error)}`);
    },
    statistics: () => ({ loaders: opened.statistics() }),
  });
  const { mountpoint: place } = mount.mounted;
  const facts = { loaders: shown, mountpoint: place, pid: process.pid, readOnly, warnings };
  return { mount, facts };
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
