/** `reelfs changer`: the interface of mtx-changer, which Bacula and Bareos call. */
import { ReelError } from "../../errors.ts";
import type { VirtualLoader } from "../../vtl/virtual-loader.ts";
import { type CommandDefinition, EXIT, type Terminal } from "../command.ts";
import { changerList, changerListAll, homeNumber } from "../loader/mtx-text.ts";
import {
  LOADER_ARGUMENT,
  addConfigOption,
  parseDrive,
  parseElement,
  withLoader,
} from "../loader/open-loader.ts";
import { argumentAt } from "../option-values.ts";

const COMMANDS = ["loaded", "load", "unload", "list", "listall", "slots", "transfer"] as const;

export const changerCommand: CommandDefinition = {
  name: "changer",
  summary: "drive a loader as mtx-changer does, for Bacula and Bareos",
  description: [
    "Takes the arguments of the mtx-changer script and gives its answers. COMMAND is one of loaded, load, unload, list, listall, slots and transfer. Slots count from 1, import/export elements follow the slots, drives count from 0.",
    "loaded prints the slot whose tape is in DRIVE, or 0. list prints slot:barcode for every tape in a slot or a drive. listall prints D:drive:F:slot:barcode or D:drive:E for each drive, S:slot:F:barcode or S:slot:E for each slot, and the same with I for import/export elements. slots prints how many slots there are, import/export included. transfer moves a tape from SLOT to the slot named in the place of DEVICE.",
  ],
  examples: [
    { command: "reelfs changer vtl1 listall", does: "All drives and slots." },
    { command: "reelfs changer vtl1 load 3 /dev/null 0", does: "Load the tape in slot 3." },
    {
      command: `Changer Command = "/usr/bin/reelfs changer %c %o %S %a %d"`,
      does: "In the Autochanger resource of bacula-sd.conf, with Changer Device = vtl1.",
    },
  ],
  limitations: [
    "DEVICE is taken for the sake of its callers; nothing is done with it but in transfer.",
  ],
  seeAlso: ["loader", "mt"],
  configure(command) {
    command
      .argument("<changer>", LOADER_ARGUMENT)
      .argument("<command>", COMMANDS.join(", "))
      .argument("[slot]", "slot, from 1")
      .argument("[device]", "archive device; for transfer the slot to move to")
      .argument("[drive]", "drive, from 0 (the default)");
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const [, command, slot, device, drive] = args.map((each) =>
      typeof each === "string" ? each : undefined,
    );
    return withLoader(argumentAt(args, 0), options, terminal, async (loader) => {
      const call = { command: command ?? "", slot, device, drive: drive ?? "0" };
      await run(loader, call, terminal);
      return EXIT.done;
    });
  },
};

interface Call {
  readonly command: string;
  readonly slot: string | undefined;
  readonly device: string | undefined;
  readonly drive: string;
}

async function run(loader: VirtualLoader, call: Call, terminal: Terminal): Promise<void> {
  const { geometry } = loader;
  switch (call.command) {
    case "slots": {
      const slots = geometry.slots + geometry.importExport;
      terminal.print(String(slots));
      terminal.printJson(slots);
      return;
    }
    case "loaded": {
      const drive = parseDrive(call.drive, geometry);
      const elements = await loader.elements();
      const number = homeNumber(await loader.element(drive), elements, geometry);
      terminal.print(String(number));
      terminal.printJson(number);
      return;
    }
    case "list":
      printLines(changerList(geometry, await loader.elements()), terminal);
      return;
    case "listall":
      printLines(changerListAll(geometry, await loader.elements()), terminal);
      return;
    case "load":
      await loader.move(
        parseElement(call.slot ?? "", geometry, "SLOT"),
        parseDrive(call.drive, geometry),
      );
      return;
    case "unload":
      await loader.move(
        parseDrive(call.drive, geometry),
        parseElement(call.slot ?? "", geometry, "SLOT"),
      );
      return;
    case "transfer":
      await loader.move(
        parseElement(call.slot ?? "", geometry, "SLOT"),
        parseElement(call.device ?? "", geometry, "the slot to transfer to"),
      );
      return;
    default:
      throw new ReelError(
        "invalid",
        `"${call.command}" is not a command of a changer; use one of ${COMMANDS.join(", ")}`,
      );
  }
}

function printLines(lines: readonly string[], terminal: Terminal): void {
  if (lines.length > 0) terminal.print(lines.join("\n"));
  terminal.printJson(lines);
}
