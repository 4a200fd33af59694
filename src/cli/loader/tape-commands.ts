/** `reelfs tape create, delete, erase, import, export, label, protect`: the tapes of a loader. */
import type { Command } from "commander";
import type { FullElement } from "../../vtl/slot-map.ts";
import type { VirtualLoader } from "../../vtl/virtual-loader.ts";
import { type CommandDefinition, EXIT, type OptionValues, type Terminal } from "../command.ts";
import { argumentAt, flagOf, parseWhole, textOf } from "../option-values.ts";
import { parseSize } from "../sizes.ts";
import { LOADER_ARGUMENT, addConfigOption, parseElement, withLoader } from "./open-loader.ts";

const TAPES_MAX = 10_000;

function listOf(value: string | readonly string[] | undefined): readonly string[] {
  if (value === undefined) return [];
  return typeof value === "string" ? [value] : value;
}

/** People type barcodes in small letters. */
function barcodesOf(value: string | readonly string[] | undefined): string[] {
  return listOf(value).map((each) => each.toUpperCase());
}

function showPlaced(placed: readonly FullElement[], terminal: Terminal): void {
  terminal.printJson(
    placed.map(({ kind, number, tape }) => ({ barcode: tape.barcode, kind, number })),
  );
  for (const { kind, number, tape } of placed) {
    terminal.print(`${tape.barcode}: ${kind === "storage" ? "slot" : kind} ${number}`);
  }
}

export const createTape: CommandDefinition = {
  name: "create",
  summary: "make empty tapes",
  description: [
    "Makes tapes with the next free barcodes of the loader's pattern, in its first empty slots: all of them, or none.",
  ],
  examples: [{ command: "reelfs tape create vtl1 --count 3", does: "Three new tapes." }],
  configure(command) {
    command
      .argument("<loader>", LOADER_ARGUMENT)
      .argument("[barcodes...]", "their barcodes, instead of the next ones of the pattern")
      .option("--count <n>", "how many (1 without it)")
      .option("--slot <n>", "the slot for a single tape")
      .option("--capacity <size>", "how much each holds, instead of the loader's capacity");
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { createVirtualTapes } = await import("../../vtl/virtual-tapes.ts");
    const barcodes = barcodesOf(args[1]);
    const count = textOf(options, "count");
    const capacity = textOf(options, "capacity");
    const slot = textOf(options, "slot");
    return withLoader(argumentAt(args, 0), options, terminal, async (loader) => {
      const tapes = await createVirtualTapes(loader, {
        barcodes: barcodes.length > 0 ? barcodes : undefined,
        count: count === undefined ? undefined : parseWhole(count, "--count", 1, TAPES_MAX),
        capacityBytes: capacity === undefined ? undefined : parseSize(capacity, "--capacity"),
        element: slot === undefined ? undefined : parseElement(slot, loader.geometry, "--slot"),
      });
      showPlaced(tapes, terminal);
      return EXIT.done;
    });
  },
};

/** A command that does one thing to each of some tapes. */
function eachTape(
  words: Pick<CommandDefinition, "name" | "summary" | "description" | "examples">,
  addOptions: (command: Command) => void,
  apply: (loader: VirtualLoader, barcode: string, options: OptionValues) => Promise<unknown>,
): CommandDefinition {
  return {
    ...words,
    configure(command) {
      command
        .argument("<loader>", LOADER_ARGUMENT)
        .argument("<barcodes...>", "barcodes of the tapes");
      addOptions(command);
      addConfigOption(command);
    },
    async run(args, options, terminal) {
      return withLoader(argumentAt(args, 0), options, terminal, async (loader) => {
        const results: unknown[] = [];
        for (const barcode of barcodesOf(args[1])) {
          results.push({ barcode, ...((await apply(loader, barcode, options)) as object) });
        }
        terminal.printJson(results);
        return EXIT.done;
      });
    },
  };
}

export const deleteTape = eachTape(
  {
    name: "delete",
    summary: "delete tapes and what is on them",
    description: ["Deletes tapes for good. A tape in a drive, or a write-protected one, is kept."],
    examples: [{ command: "reelfs tape delete vtl1 REEL0003", does: "Delete one tape." }],
  },
  () => undefined,
  async (loader, barcode) => {
    const { deleteVirtualTape } = await import("../../vtl/virtual-tapes.ts");
    await deleteVirtualTape(loader, barcode);
    return {};
  },
);

export const eraseTape = eachTape(
  {
    name: "erase",
    summary: "make tapes blank",
    description: ["Takes everything off tapes, which stay where they are."],
    examples: [{ command: "reelfs tape erase vtl1 REEL0003", does: "Make one tape blank." }],
  },
  () => undefined,
  async (loader, barcode) => {
    const { eraseVirtualTape } = await import("../../vtl/virtual-tapes.ts");
    await eraseVirtualTape(loader, barcode);
    return {};
  },
);

export const protectTape = eachTape(
  {
    name: "protect",
    summary: "write-protect tapes, or let them be written again",
    description: ["Sets the write protection of tapes; with --off, takes it away."],
    examples: [{ command: "reelfs tape protect vtl1 REEL0003", does: "Keep it as it is." }],
  },
  (command) => {
    command.option("--off", "let them be written again");
  },
  async (loader, barcode, options) => {
    const { protectVirtualTape } = await import("../../vtl/virtual-tapes.ts");
    await protectVirtualTape(loader, barcode, !flagOf(options, "off"));
    return { writeProtected: !flagOf(options, "off") };
  },
);

export const labelTape = eachTape(
  {
    name: "label",
    summary: "write a volume label on blank tapes",
    description: [
      "Writes an ANSI VOL1 label and a filemark at the beginning of each tape. The serial in it is the barcode, of which a label holds the last six characters.",
    ],
    examples: [{ command: "reelfs tape label vtl1 REEL0003", does: "The serial is EL0003." }],
  },
  (command) => {
    command
      .option("--serial <text>", "the serial, for a single tape")
      .option("--force", "also where a tape holds something, which is gone then");
  },
  async (loader, barcode, options) => {
    const { labelVirtualTape } = await import("../../vtl/virtual-tapes.ts");
    const serial = textOf(options, "serial");
    return {
      serial: await labelVirtualTape(loader, barcode, { serial, force: flagOf(options, "force") }),
    };
  },
);

export const importTapes: CommandDefinition = {
  name: "import",
  summary: "take tape files into a loader",
  description: [
    "Moves tape files into the loader, into its first empty slots. A tape's barcode is the name of its file, without .tap. Foreign tapes (.aws, .het, .e11) are taken in as well, and can be read.",
  ],
  examples: [{ command: "reelfs tape import vtl1 /mnt/*.tap", does: "Take in a folder of tapes." }],
  configure(command) {
    command
      .argument("<loader>", LOADER_ARGUMENT)
      .argument("<files...>", "tape files")
      .option("--copy", "leave the files where they are")
      .option("--slot <n>", "the slot for a single tape")
      .option("--barcode <text>", "the barcode of a single tape");
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { importVirtualTapes } = await import("../../vtl/import-export.ts");
    const slot = textOf(options, "slot");
    return withLoader(argumentAt(args, 0), options, terminal, async (loader) => {
      const placed = await importVirtualTapes(loader, listOf(args[1]), {
        copy: flagOf(options, "copy"),
        barcode: textOf(options, "barcode")?.toUpperCase(),
        element: slot === undefined ? undefined : parseElement(slot, loader.geometry, "--slot"),
      });
      showPlaced(placed, terminal);
      return EXIT.done;
    });
  },
};

export const exportTape: CommandDefinition = {
  name: "export",
  summary: "take a tape out of a loader, into a file",
  description: ["Moves a tape's file out of the loader. It must not be in a drive."],
  examples: [
    { command: "reelfs tape export vtl1 REEL0003 /mnt/REEL0003.tap", does: "Take one tape out." },
  ],
  configure(command) {
    command
      .argument("<loader>", LOADER_ARGUMENT)
      .argument("<barcode>", "barcode of the tape")
      .argument("<file>", "where to; nothing is replaced");
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const { exportVirtualTape } = await import("../../vtl/import-export.ts");
    const barcode = argumentAt(args, 1).toUpperCase();
    return withLoader(argumentAt(args, 0), options, terminal, async (loader) => {
      const path = await exportVirtualTape(loader, barcode, argumentAt(args, 2));
      terminal.printJson({ barcode, path });
      return EXIT.done;
    });
  },
};
