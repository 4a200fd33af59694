/** Every command of a drive. */
import type { Command } from "../command.ts";
import { commonCommands } from "../common/commands.ts";
import { attributeCommands } from "./attribute-commands.ts";
import { mediumCommands } from "./medium.ts";
import { positionCommands } from "./position.ts";
import { readCommands } from "./read.ts";
import type { TapeUnit } from "./tape-unit.ts";
import { writeCommands } from "./write.ts";

export const tapeCommands: readonly Command<TapeUnit>[] = [
  ...commonCommands,
  ...readCommands,
  ...writeCommands,
  ...positionCommands,
  ...mediumCommands,
  ...attributeCommands,
];
