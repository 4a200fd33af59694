/** `reelfs loader create, adopt, list, set, delete, inventory, info, status`. */
import type { Command } from "commander";
import type { InventoryReport } from "../../vtl/inventory.ts";
import type { NextTapePolicy } from "../../vtl/loader-config.ts";
import type { LoaderWishes, VirtualLoaderInformation } from "../../vtl/manage-loaders.ts";
import { type CommandDefinition, EXIT, type OptionValues, type Terminal } from "../command.ts";
import { escapeName } from "../escape-name.ts";
import { argumentAt, flagOf, parseWhole, textOf } from "../option-values.ts";
import { formatSize, parseSize } from "../sizes.ts";
import { tableLines } from "../table.ts";
import { mtxStatusLines } from "./mtx-text.ts";
import { LOADER_ARGUMENT, addConfigOption, withLoader } from "./open-loader.ts";

/** Larger than any of them may be: the library says which it may. */
const COUNT_MAX = 1_000_000;

function addWishOptions(command: Command): void {
  command
    .option("--slots <n>", "storage slots")
    .option("--drives <n>", "drives")
    .option("--import-export <n>", "import/export elements")
    .option("--capacity <size>", "capacity of new tapes, as in 100G; 0: as much as the disk holds")
    .option("--pattern <text>", "barcodes of new tapes, as in REEL%04d")
    .option("--next-tape <policy>", "when a tape is full: none, create or scratch-pool")
    .option("--scratch-slots <list>", "slots whose blank tapes are the pool, as in 5,6,7")
    .option("--early-warning <size>", "how far before the end of a tape writers are warned")
    .option("--warn-below <percent>", "warn when less of the file system is free")
    .option("--stop-below <percent>", "write nothing when less of the file system is free");
}

/** Capacity 0 is no limit, which the library is told in another way. */
function wishesOf(options: OptionValues): LoaderWishes {
  const count = (name: string, what: string): number | undefined => {
    const text = textOf(options, name);
    return text === undefined ? undefined : parseWhole(text, what, 0, COUNT_MAX);
  };
  const size = (name: string, what: string): number | undefined => {
    const text = textOf(options, name);
    return text === undefined ? undefined : parseSize(text, what);
  };
  const capacityBytes = size("capacity", "--capacity");
  const scratch = textOf(options, "scratchSlots");
  return {
    slots: count("slots", "--slots"),
    drives: count("drives", "--drives"),
    importExport: count("importExport", "--import-export"),
    capacityBytes: capacityBytes === 0 ? undefined : capacityBytes,
    barcodePattern: textOf(options, "pattern"),
    policies: {
      // The library checks it, and says what it may be.
      nextTape: textOf(options, "nextTape") as NextTapePolicy | undefined,
      scratchSlots: scratch === undefined ? undefined : numberList(scratch),
      earlyWarningBytes: size("earlyWarning", "--early-warning"),
      spaceWarnPercent: count("warnBelow", "--warn-below"),
      spaceStopPercent: count("stopBelow", "--stop-below"),
    },
  };
}

function numberList(text: string): number[] {
  if (text.trim() === "") return [];
  return text.split(",").map((each) => parseWhole(each.trim(), "--scratch-slots", 1, COUNT_MAX));
}

export const createLoader: CommandDefinition = {
  name: "create",
  summary: "make a loader in a folder",
  description: [
    "Makes a virtual loader. Tapes that lie in the folder already are taken over. What is not said comes from the defaults of the registry.",
  ],
  examples: [
    {
      command: "reelfs loader create vtl1 --path /srv/vtl1 --slots 24 --drives 2 --tapes 20",
      does: "24 slots, 20 of them with new tapes.",
    },
  ],
  configure(command) {
    command
      .argument("<name>", "its name")
      .option("--path <folder>", "its folder; by default one of its name, here")
      .option("--tapes <n>", "make so many tapes");
    addWishOptions(command);
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { createVirtualLoader } = await import("../../vtl/manage-loaders.ts");
    const name = argumentAt(args, 0);
    const path = textOf(options, "path") ?? name;
    const tapes = parseWhole(textOf(options, "tapes") ?? "0", "--tapes", 0, COUNT_MAX);
    const registryPath = textOf(options, "config");
    const report = await createVirtualLoader({
      ...wishesOf(options),
      name,
      path,
      tapes,
      registryPath,
    });
    return showInventory(report, terminal);
  },
};

export const adoptLoader: CommandDefinition = {
  name: "adopt",
  summary: "register a folder that is a loader, or make one of a folder with tapes",
  description: [
    "Registers the loader in a folder, as it is; a folder with tapes and no loader becomes one, with as many slots as it needs.",
  ],
  examples: [
    { command: "reelfs loader adopt /mnt/old-tapes", does: "Make a loader of a folder of tapes." },
  ],
  configure(command) {
    command
      .argument("<folder>", "the folder")
      .option("--name <name>", "its name, when it is not that of the folder");
    addWishOptions(command);
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { adoptVirtualLoader } = await import("../../vtl/manage-loaders.ts");
    const report = await adoptVirtualLoader({
      ...wishesOf(options),
      name: textOf(options, "name"),
      path: argumentAt(args, 0),
      registryPath: textOf(options, "config"),
    });
    return showInventory(report, terminal);
  },
};

export const listLoaders: CommandDefinition = {
  name: "list",
  summary: "list the registered loaders",
  description: ["Lists the loaders of the registry, with their folders and how full they are."],
  examples: [{ command: "reelfs loader list", does: "All loaders." }],
  configure: addConfigOption,
  async run(_args, options, terminal) {
    const { getVirtualLoaderInformation, openVirtualLoader } =
      await import("../../vtl/manage-loaders.ts");
    const { readRegistry } = await import("../../vtl/registry.ts");
    const { loaders, notice } = await readRegistry(textOf(options, "config"));
    if (notice !== undefined) terminal.warn(`reelfs: warning: ${notice}`);
    const facts: unknown[] = [];
    const rows: string[][] = [];
    for (const { name, path } of loaders) {
      try {
        await using loader = await openVirtualLoader(path);
        const info = await getVirtualLoaderInformation(loader);
        facts.push(info);
        rows.push([
          name,
          `${info.fullSlots}/${info.slots}`,
          `${info.loadedDrives}/${info.drives}`,
          path,
        ]);
      } catch (error) {
        const problem = error instanceof Error ? error.message : String(error);
        facts.push({ name, path, problem });
        rows.push([name, "?", "?", path]);
        terminal.warn(`reelfs loader list: ${problem}`);
      }
    }
    terminal.printJson(facts);
    const columns = [
      { title: "NAME" },
      { title: "SLOTS" },
      { title: "DRIVES" },
      { title: "FOLDER" },
    ];
    if (rows.length > 0) terminal.print(tableLines(columns, rows).join("\n"));
    return facts.length === rows.filter((row) => row[1] !== "?").length ? EXIT.done : EXIT.failed;
  },
};

export const loaderStatus: CommandDefinition = {
  name: "status",
  summary: "show which tape is where, as mtx status does",
  description: ["Prints what mtx status prints, in the same form; --json gives all that is known."],
  examples: [{ command: "reelfs loader status vtl1", does: "Slots and drives of a loader." }],
  configure(command) {
    command.argument("<loader>", LOADER_ARGUMENT);
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    return withLoader(argumentAt(args, 0), options, terminal, async (loader) => {
      const elements = await loader.elements();
      terminal.print(mtxStatusLines(loader.name, loader.geometry, elements).join("\n"));
      if (terminal.json) {
        const { name, serial, geometry } = loader;
        const warnings = await loader.warnings();
        terminal.printJson({ name, serial, ...geometry, elements, warnings });
      }
      return EXIT.done;
    });
  },
};

export const loaderInfo: CommandDefinition = {
  name: "info",
  summary: "show what a loader is",
  description: ["Shows the folder of a loader, its elements, its policies and the room it has."],
  examples: [{ command: "reelfs loader info vtl1", does: "What is known of a loader." }],
  configure(command) {
    command.argument("<loader>", LOADER_ARGUMENT);
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { getVirtualLoaderInformation } = await import("../../vtl/manage-loaders.ts");
    return withLoader(argumentAt(args, 0), options, terminal, async (loader) => {
      const info = await getVirtualLoaderInformation(loader);
      terminal.printJson(info);
      terminal.print(tableLines([{}, {}], infoRows(info)).join("\n"));
      return EXIT.done;
    });
  },
};

function infoRows(info: VirtualLoaderInformation): string[][] {
  const { policies, space } = info;
  const pool = policies.scratchSlots.length === 0 ? "" : ` (${policies.scratchSlots.join(", ")})`;
  return [
    ["Name", info.name],
    ["Folder", escapeName(info.path)],
    ["Serial", info.serial],
    ["Drive type", info.driveType],
    ["Slots", `${info.slots}, ${info.fullSlots} full`],
    ["Drives", `${info.drives}, ${info.loadedDrives} loaded`],
    ["Import/export", `${info.importExport}, ${info.fullImportExport} full`],
    [
      "Capacity",
      info.capacityBytes === undefined ? "as the disk holds" : formatSize(info.capacityBytes),
    ],
    ["Barcodes", info.barcodePattern],
    ["Next tape", `${policies.nextTape}${pool}`],
    ["Free", `${formatSize(space.freeBytes)} of ${formatSize(space.totalBytes)}`],
    ["Warn below", `${policies.spaceWarnPercent} %`],
    ["Stop below", `${policies.spaceStopPercent} %`],
  ];
}

export const inventoryLoader: CommandDefinition = {
  name: "inventory",
  summary: "look for tapes that were copied in, are missing, or are doubled",
  description: [
    "Looks what lies in the tapes folder. Tapes that were copied in get the first empty slots; those whose files are gone are taken off the slot map; of a tape with several files the first counts.",
  ],
  examples: [{ command: "reelfs loader inventory vtl1", does: "Find new tapes." }],
  configure(command) {
    command.argument("<loader>", LOADER_ARGUMENT);
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { inventoryVirtualLoader } = await import("../../vtl/inventory.ts");
    return withLoader(argumentAt(args, 0), options, terminal, async (loader) =>
      showInventory(await inventoryVirtualLoader(loader), terminal),
    );
  },
};

/** Exit status 1 where something needs a person. */
function showInventory(report: InventoryReport, terminal: Terminal): number {
  terminal.printJson(report);
  const place = ({ kind, number }: { kind: string; number: number }): string =>
    kind === "storage" ? `slot ${number}` : `${kind} ${number}`;
  for (const each of report.found) terminal.print(`found ${each.barcode}: ${place(each)}`);
  for (const each of report.missing)
    terminal.warn(`missing ${each.barcode}: was in ${place(each)}`);
  for (const { barcode, files } of report.doubled) {
    const [first, ...rest] = files.map(escapeName);
    terminal.warn(`doubled ${barcode}: ${first ?? ""} counts, and not ${rest.join(", ")}`);
  }
  for (const barcode of report.withoutSlot) terminal.warn(`no slot for ${barcode}`);
  for (const file of report.unusable) terminal.warn(`not a tape: ${escapeName(file)}`);
  const { missing, doubled, withoutSlot } = report;
  return missing.length + doubled.length + withoutSlot.length === 0 ? EXIT.done : EXIT.failed;
}

export const setLoader: CommandDefinition = {
  name: "set",
  summary: "change what a loader is",
  description: [
    "Changes what is given, and nothing else. Tapes that are there keep their capacity.",
  ],
  examples: [
    { command: "reelfs loader set vtl1 --slots 48", does: "More slots." },
    { command: "reelfs loader set vtl1 --next-tape create", does: "Make a tape when one is full." },
  ],
  configure(command) {
    command.argument("<loader>", LOADER_ARGUMENT).option("--name <name>", "its new name");
    addWishOptions(command);
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { setVirtualLoader } = await import("../../vtl/manage-loaders.ts");
    const capacity = textOf(options, "capacity");
    const unlimitedCapacity = capacity !== undefined && parseSize(capacity, "--capacity") === 0;
    return withLoader(argumentAt(args, 0), options, terminal, async (loader) => {
      const wishes = { ...wishesOf(options), name: textOf(options, "name"), unlimitedCapacity };
      await setVirtualLoader(loader, wishes, { registryPath: textOf(options, "config") });
      terminal.printJson(loader.folder.config);
      return EXIT.done;
    });
  },
};

export const deleteLoader: CommandDefinition = {
  name: "delete",
  summary: "forget a loader; its files stay unless --purge is given",
  description: [
    "Takes a loader off the registry. Its folder stays, and can be adopted again, unless --purge deletes its tapes and all that is its own.",
  ],
  examples: [{ command: "reelfs loader delete vtl1", does: "Forget it, and keep its tapes." }],
  configure(command) {
    command
      .argument("<loader>", LOADER_ARGUMENT)
      .option("--purge", "delete its tapes and its folder as well");
    addConfigOption(command);
  },
  async run(args, options) {
    const { deleteVirtualLoader } = await import("../../vtl/manage-loaders.ts");
    await deleteVirtualLoader(argumentAt(args, 0), {
      purge: flagOf(options, "purge"),
      registryPath: textOf(options, "config"),
    });
    return EXIT.done;
  },
};
