/** `reelfs tape`: the tapes of loaders, and tape files of any format. */
import { commandGroup } from "../command.ts";
import {
  createTape,
  deleteTape,
  eraseTape,
  exportTape,
  importTapes,
  labelTape,
  protectTape,
} from "../loader/tape-commands.ts";
import {
  catTape,
  checkTapeCommand,
  convertTapeCommand,
  dumpTapeCommand,
  listTape,
  writeTape,
} from "../loader/tape-data-commands.ts";

export const tapeCommand = commandGroup(
  {
    name: "tape",
    summary: "make tapes in a loader, and look into, read and write any tape",
    description: [
      "Makes, deletes, labels and moves the tapes of a loader, and reads and writes what is on them. Commands that only read take any tape file as well: SIMH and E11, AWS and HET, or plain bytes.",
    ],
    examples: [
      { command: "reelfs tape create vtl1 --count 3", does: "Three new tapes." },
      { command: "reelfs tape ls vtl1:REEL0001", does: "What is on a tape." },
      {
        command: "tar c /home | reelfs tape write vtl1",
        does: "A tar on the tape in drive 0, over as many tapes as it takes.",
      },
      { command: "reelfs tape import vtl1 /mnt/REEL0009.tap", does: "Take a tape in." },
    ],
    limitations: ["Foreign tapes are read-only: convert them to write on them."],
    seeAlso: ["loader", "mt"],
  },
  [
    createTape,
    deleteTape,
    eraseTape,
    importTapes,
    exportTape,
    labelTape,
    protectTape,
    listTape,
    dumpTapeCommand,
    catTape,
    writeTape,
    checkTapeCommand,
    convertTapeCommand,
  ],
);
