/** `reelfs mt`: a drive of a virtual loader as mt drives a real one. */
import { type CommandDefinition, EXIT } from "../command.ts";
import { MT_OPERATIONS, findMtOperation, mtStatus } from "../loader/mt-operations.ts";
import { addConfigOption, parseDriveTarget, withLoader } from "../loader/open-loader.ts";
import { argumentAt, parseWhole } from "../option-values.ts";

const COUNT_MAX = 999_999_999_999_999;

export const mtCommand: CommandDefinition = {
  name: "mt",
  summary: "position the tape in a drive of a loader, and see where it stands",
  description: [
    `Does one OPERATION with a drive, as mt does with a real one: ${MT_OPERATIONS.map(operationText).join("; ")}.`,
    "Between two commands a tape stands where it was left, until it is unloaded or the machine is started again; then it is at its beginning. Blocks are records and filemarks, counted from 0.",
  ],
  examples: [
    { command: "reelfs mt vtl1 status", does: "The state of drive 0." },
    { command: "reelfs mt vtl1:1 fsf 2", does: "Forward over two filemarks in drive 1." },
    { command: "reelfs mt vtl1 offline", does: "Rewind and unload the tape in drive 0." },
  ],
  seeAlso: ["loader", "tape"],
  configure(command) {
    command
      .argument("<drive>", "LOADER for its drive 0, LOADER:N for drive N")
      .argument("<operation>", "what to do")
      .argument("[count]", "how often, how many, or where to");
    addConfigOption(command);
  },
  async run(args, options, terminal) {
    const target = parseDriveTarget(argumentAt(args, 0));
    const operation = findMtOperation(argumentAt(args, 1));
    const given =
      typeof args[2] === "string" ? parseWhole(args[2], "COUNT", 0, COUNT_MAX) : undefined;
    return withLoader(target.loader, options, terminal, async (loader) => {
      const drive = loader.drive(target.drive);
      const text = await operation.run(drive, given ?? operation.count ?? 1);
      if (text !== undefined) terminal.print(text);
      if (terminal.json) terminal.printJson(await mtStatus(drive));
      return EXIT.done;
    });
  },
};

function operationText({ names, does }: (typeof MT_OPERATIONS)[number]): string {
  return `${names.join(", ")}: ${does}`;
}
