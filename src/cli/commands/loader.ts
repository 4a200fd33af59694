/** `reelfs loader`: tape libraries that are folders. */
import { commandGroup } from "../command.ts";
import {
  adoptLoader,
  createLoader,
  deleteLoader,
  inventoryLoader,
  listLoaders,
  loaderInfo,
  loaderStatus,
  setLoader,
} from "../loader/loader-commands.ts";
import { mountLoadersCommand } from "../loader/mount-loaders.ts";
import {
  ejectTape,
  insertTape,
  loadTape,
  transferTape,
  unloadTape,
} from "../loader/robot-commands.ts";

export const loaderCommand = commandGroup(
  {
    name: "loader",
    summary: "make and run tape libraries that are folders",
    description: [
      "A virtual loader is a folder that behaves as a tape library: slots, drives, import/export elements, and a robot that moves tapes between them. Its tapes are SIMH tape files in the folder tapes inside it. A loader is named as in the registry of loaders, or by its folder, with a / in it.",
      "Every change is whole or not made at all, also when the machine stops in the middle. Two commands that change one loader wait for each other.",
    ],
    examples: [
      {
        command: "reelfs loader create vtl1 --path /srv/vtl1 --slots 24 --drives 2 --tapes 20",
        does: "A library with 20 tapes.",
      },
      { command: "reelfs loader load vtl1 1", does: "Put the tape in slot 1 into drive 0." },
      { command: "reelfs loader status vtl1", does: "Which tape is where." },
      { command: "reelfs loader unload vtl1", does: "Put it back where it was." },
    ],
    seeAlso: ["tape", "mt", "changer"],
  },
  [
    createLoader,
    adoptLoader,
    listLoaders,
    loaderStatus,
    loaderInfo,
    inventoryLoader,
    setLoader,
    deleteLoader,
    loadTape,
    unloadTape,
    transferTape,
    ejectTape,
    insertTape,
    mountLoadersCommand,
  ],
);
