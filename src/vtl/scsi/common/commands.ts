/** The commands that drive and changer share. */
import type { Command } from "../command.ts";
import type { LogicalUnit } from "../logical-unit.ts";
import { basicCommands } from "./basic.ts";
import { diagnosticCommands } from "./diagnostic.ts";
import { inquiryCommands } from "./inquiry.ts";
import { logCommands } from "./logs.ts";
import { modeSelectCommands } from "./mode-select.ts";
import { modeSenseCommands } from "./mode-sense.ts";
import { persistentReserveInCommands } from "./persistent-reserve-in.ts";
import { persistentReserveOutCommands } from "./persistent-reserve-out.ts";
import { reserveCommands } from "./reserve.ts";
import { supportedOperationsCommands } from "./supported-operations.ts";

export const commonCommands: readonly Command<LogicalUnit>[] = [
  ...basicCommands,
  ...inquiryCommands,
  ...modeSenseCommands,
  ...modeSelectCommands,
  ...logCommands,
  ...diagnosticCommands,
  ...reserveCommands,
  ...persistentReserveInCommands,
  ...persistentReserveOutCommands,
  ...supportedOperationsCommands,
];
