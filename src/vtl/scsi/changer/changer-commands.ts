/** Every command of a changer. */
import type { Command } from "../command.ts";
import { commonCommands } from "../common/commands.ts";
import type { ChangerUnit } from "./changer-unit.ts";
import { elementStatusCommands } from "./element-status.ts";
import { moveCommands } from "./move.ts";

export const changerCommands: readonly Command<ChangerUnit>[] = [
  ...commonCommands,
  ...moveCommands,
  ...elementStatusCommands,
];
