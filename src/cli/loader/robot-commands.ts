/** `reelfs loader load, unload, transfer, eject, insert`: what the robot does. */
import { ReelError } from "../../errors.ts";
import type { ElementAddress, ElementKind } from "../../vtl/tape-loader.ts";
import type { VirtualLoader } from "../../vtl/virtual-loader.ts";
import { type CommandDefinition, EXIT, type Terminal } from "../command.ts";
import { argumentAt } from "../option-values.ts";
import { homeOf } from "./mtx-text.ts";
import {
  LOADER_ARGUMENT,
  addConfigOption,
  elementOfNumber,
  parseDrive,
  parseElement,
  withLoader,
} from "./open-loader.ts";

const SLOT = "slot from 1; import/export elements follow the slots";

/** A command that finds out what goes where, and does it. */
function robotCommand(
  words: Pick<CommandDefinition, "name" | "summary" | "description" | "examples">,
  parameters: readonly (readonly [name: string, meaning: string])[],
  route: (
    loader: VirtualLoader,
    words: readonly (string | undefined)[],
  ) => Promise<readonly [ElementAddress, ElementAddress]>,
): CommandDefinition {
  return {
    ...words,
    configure(command) {
      command.argument("<loader>", LOADER_ARGUMENT);
      for (const [name, meaning] of parameters) command.argument(name, meaning);
      addConfigOption(command);
    },
    async run(args, options, terminal) {
      const given = args.slice(1).map((each) => (typeof each === "string" ? each : undefined));
      return withLoader(argumentAt(args, 0), options, terminal, async (loader) => {
        const [from, to] = await route(loader, given);
        await moveAndSay(loader, from, to, terminal);
        return EXIT.done;
      });
    },
  };
}

async function moveAndSay(
  loader: VirtualLoader,
  from: ElementAddress,
  to: ElementAddress,
  terminal: Terminal,
): Promise<void> {
  await loader.move(from, to);
  const { tape } = await loader.element(to);
  terminal.printJson({ barcode: tape?.barcode, from, to });
}

export const loadTape = robotCommand(
  {
    name: "load",
    summary: "put the tape in a slot into a drive",
    description: ["Takes the tape in a slot to a drive, and loads it."],
    examples: [{ command: "reelfs loader load vtl1 3 1", does: "From slot 3 into drive 1." }],
  },
  [
    ["<slot>", SLOT],
    ["[drive]", "drive, from 0 (the default)"],
  ],
  async ({ geometry }, [slot, drive]) => [
    parseElement(slot ?? "", geometry, "SLOT"),
    parseDrive(drive ?? "0", geometry),
  ],
);

export const unloadTape = robotCommand(
  {
    name: "unload",
    summary: "take the tape out of a drive, to a slot",
    description: ["Rewinds the tape in a drive and takes it to SLOT, or where it came from."],
    examples: [{ command: "reelfs loader unload vtl1", does: "Empty drive 0." }],
  },
  [
    ["[slot]", `${SLOT}; by default the one it came from`],
    ["[drive]", "drive, from 0 (the default)"],
  ],
  async (loader, [slot, drive]) => {
    const from = parseDrive(drive ?? "0", loader.geometry);
    if (slot !== undefined) return [from, parseElement(slot, loader.geometry, "SLOT")];
    const home = homeOf(await loader.element(from), await loader.elements());
    if (home !== undefined) return [from, home];
    throw new ReelError("exists", `cannot unload drive ${from.number}: no slot is empty`);
  },
);

export const transferTape = robotCommand(
  {
    name: "transfer",
    summary: "take a tape from one slot to another",
    description: ["Takes the tape in slot FROM to slot TO, without a drive."],
    examples: [{ command: "reelfs loader transfer vtl1 3 7", does: "From slot 3 to slot 7." }],
  },
  [
    ["<from>", SLOT],
    ["<to>", SLOT],
  ],
  async ({ geometry }, [from, to]) => [
    parseElement(from ?? "", geometry, "FROM"),
    parseElement(to ?? "", geometry, "TO"),
  ],
);

export const ejectTape = robotCommand(
  {
    name: "eject",
    summary: "take a tape to an import/export element",
    description: [
      "Takes the tape in a slot to import/export element ELEMENT, or the first empty one.",
    ],
    examples: [{ command: "reelfs loader eject vtl1 3", does: "Take the tape in slot 3 out." }],
  },
  [
    ["<slot>", SLOT],
    ["[element]", "import/export element, from 1"],
  ],
  async (loader, [slot, element]) => [
    parseElement(slot ?? "", loader.geometry, "SLOT"),
    element === undefined
      ? await firstElement(loader, "import-export", "empty")
      : parseMail(element, loader),
  ],
);

export const insertTape = robotCommand(
  {
    name: "insert",
    summary: "take a tape from an import/export element to a slot",
    description: [
      "Takes the tape in import/export element ELEMENT, or in the first full one, to SLOT, or to the first empty slot.",
    ],
    examples: [{ command: "reelfs loader insert vtl1", does: "Take in what lies there." }],
  },
  [
    ["[element]", "import/export element, from 1"],
    ["[slot]", "slot, from 1"],
  ],
  async (loader, [element, slot]) => [
    element === undefined
      ? await firstElement(loader, "import-export", "full")
      : parseMail(element, loader),
    slot === undefined
      ? await firstElement(loader, "storage", "empty")
      : parseElement(slot, loader.geometry, "SLOT"),
  ],
);

function parseMail(text: string, { geometry }: VirtualLoader): ElementAddress {
  const { slots, importExport } = geometry;
  if (importExport === 0) {
    throw new ReelError("invalid", "the loader has no import/export elements");
  }
  const { number } = parseElement(text, { ...geometry, slots: 0 }, "ELEMENT");
  return elementOfNumber(slots + number, geometry);
}

async function firstElement(
  loader: VirtualLoader,
  kind: ElementKind,
  state: "empty" | "full",
): Promise<ElementAddress> {
  const found = (await loader.elements()).find(
    (each) => each.kind === kind && (each.tape === undefined) === (state === "empty"),
  );
  if (found !== undefined) return { kind: found.kind, number: found.number };
  const noun = kind === "storage" ? "slot" : "import/export element";
  throw new ReelError(
    state === "empty" ? "exists" : "not-found",
    `no ${noun} of loader ${loader.name} is ${state}`,
  );
}
