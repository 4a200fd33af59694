/** Restoring what has no contents on the tape: symbolic links, pipes, devices; not sockets. */
import { isReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { Volume } from "../volume/volume.ts";
import type { EntryTable } from "./entry-table.ts";
import type { Executor } from "./execute.ts";
import type { LossCounter } from "./losses.ts";
import { ROW } from "./row-states.ts";
import type { RowStates } from "./row-states.ts";
import type { StagedFiles } from "./staged-files.ts";

export interface NodeParts {
  readonly volume: Volume;
  readonly table: EntryTable;
  readonly staged: StagedFiles;
  readonly executor: Executor;
  readonly rows: RowStates;
  readonly losses: LossCounter;
}

export async function restoreSymlinks(parts: NodeParts, options: RunOptions): Promise<void> {
  const { volume, table, staged, executor, rows } = parts;
  const make = async (row: number): Promise<boolean> => {
    const target = await volume.readLink?.(table.idOf(row));
    await staged.makeSymlink(row, target ?? "");
    return true;
  };
  await executor.restoreWithoutTape(rows.pendingOfKinds("symlink"), make, options);
}

/** Pipes and devices. Sockets are left out, as tar does it: they lead to programs long gone. */
export async function restoreSpecial(parts: NodeParts, options: RunOptions): Promise<void> {
  const { staged, executor, rows } = parts;
  for (const row of rows.pendingOfKinds("socket")) skip(row, "sockets", parts);
  const fifos = rows.pendingOfKinds("fifo");
  await staged.makeFifos(fifos);
  const finish = async (row: number): Promise<boolean> => {
    await staged.finishSpecial(row);
    return true;
  };
  await executor.restoreWithoutTape(fifos, finish, options);
  const make = async (row: number): Promise<boolean> => {
    try {
      await staged.makeDevice(row);
      return true;
    } catch (error) {
      if (!isReelError(error, "no-permission")) throw error;
      skip(row, "devices", parts);
      return false;
    }
  };
  await executor.restoreWithoutTape(rows.pendingOfKinds("block", "character"), make, options);
}

/** Leaves out a node with all its names, and counts it as lost. */
function skip(row: number, loss: "sockets" | "devices", { rows, losses }: NodeParts): void {
  for (const name of [row, ...rows.otherNamesOf(row)]) {
    losses[loss]++;
    rows.settle(name, ROW.skipped);
  }
}
