/**
 * Tagged restore from end to end: what is selected, what of it is there already, the plan, the pass,
 * and the finish.
 */
import { mkdir, realpath, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";

import { ReelError, fromSystem } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { TapeImage } from "../tapeimage/tape-image.ts";
import type { Volume } from "../volume/volume.ts";
import type { EntryTable } from "./entry-table.ts";
import { RestoreJournal } from "./journal.ts";
import { collectLayouts } from "./layouts.ts";
import { placesOf, planRestore } from "./plan.ts";
import type { RestorePlan } from "./plan.ts";
import { problemOf } from "./problems.ts";
import type { RestoreProblem } from "./problems.ts";
import { isErrno } from "./raw-files.ts";
import { RestoreRun } from "./restore-run.ts";
import type { RestoreOptions, RestoreSource, RestoreSummary } from "./restore-run.ts";

export type { RestoreOptions, RestoreSource, RestoreSummary } from "./restore-run.ts";

export interface SelectionPlan {
  readonly plan: RestorePlan;
  readonly problems: readonly RestoreProblem[];
}

/** Plans a restore of everything in the table without touching any target. */
export async function planSelection(
  volume: Volume,
  image: TapeImage,
  table: EntryTable,
  options: RunOptions = {},
): Promise<SelectionPlan> {
  const rows: number[] = [];
  for (const row of table.neededRows()) {
    const isOtherName = (table.linksOf(row)[0] ?? row) !== row;
    if (table.kindOf(row) === "file" && !isOtherName) rows.push(row);
  }
  const problems: RestoreProblem[] = [];
  const fail = (row: number, error: ReelError): number =>
    problems.push(problemOf(table.pathOf(row), error));
  const layouts = await collectLayouts(volume, table, Uint32Array.from(rows), fail, options);
  const places = await placesOf(image);
  const { control } = image.header.sections;
  return { plan: planRestore(layouts, image.map, { control, places }), problems };
}

/**
 * Restores what the table names to `directory`, made if need be: /a/b becomes directory/a/b.
 * What cannot be restored is in the summary; thrown are failures of the target as a whole, "exists"
 * for an unfinished restore without `resume`, and "aborted".
 */
export async function restoreSelection(
  source: RestoreSource,
  table: EntryTable,
  directory: string,
  options: RestoreOptions = {},
): Promise<RestoreSummary> {
  const root = await openTarget(directory);
  const { uuid } = source.image.header;
  const identity = { image: uuid, selection: table.hash() };
  const journal = await RestoreJournal.open(root, identity, options.resume === true);
  const run = new RestoreRun(source, table, root, journal, options);
  try {
    return await run.restore();
  } catch (error) {
    await run.abandon();
    const failure = fromSystem(error, `cannot restore to ${root}`);
    const rest = run.isDoubtful
      ? "any file may have lost its contents, and --resume restores them again"
      : "what was restored is whole, and --resume goes on from there";
    throw new ReelError(failure.code, `${failure.message}; ${rest}`, { cause: error });
  }
}

/**
 * As mkdir(1) -p. The recursive mkdir of Node says "no such file or directory" of whatever keeps it
 * from making one: a filesystem that is full or read-only, a quota.
 */
async function makeFolders(folder: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    if (isErrno(error, "ENOENT")) {
      await makeFolders(dirname(folder));
      await makeFolders(folder);
    } else if (!(await isFolder(folder))) {
      throw error;
    }
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

async function openTarget(directory: string): Promise<string> {
  const doing = `cannot restore to ${directory}`;
  try {
    await makeFolders(resolve(directory));
    return await realpath(directory);
  } catch (error) {
    const failure = fromSystem(error, doing);
    if (failure.code !== "exists") throw failure;
    throw new ReelError("not-a-directory", `${doing}: it is no folder; name another`, {
      cause: error,
    });
  }
}
