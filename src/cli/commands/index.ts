/**
 * Every command, in the order of `reelfs --help`. A command's file is loaded at every start: what
 * it needs to do its work is imported in its `run`.
 */
import type { CommandDefinition } from "../command.ts";

export const COMMANDS: readonly CommandDefinition[] = [];
