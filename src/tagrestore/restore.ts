/**
 * Tagged restore from end to end: what is selected, what of it is there already, the plan, the pass,
 * and the finish.
 */
import { spawn } from "node:child_process";
import { mkdir, realpath } from "node:fs/promises";

import { ReelError, fromSystem } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { TapeImage } from "../tapeimage/tape-image.ts";
import type { Volume } from "../volume/volume.ts";
import type { EntryTable } from "./entry-table.ts";
import { Executor, ROW } from "./execute.ts";
import { RestoreJournal, stagingName } from "./journal.ts";
import type { Remains } from "./journal.ts";
import { collectLayouts } from "./layouts.ts";
import type { LayoutTable } from "./layouts.ts";
import { planRestore } from "./plan.ts";
import type { RestorePlan } from "./plan.ts";
import { locateRecords, tapeReads } from "./plan-statistics.ts";
import { problemOf } from "./problems.ts";
import type { RestoreProblem } from "./problems.ts";
import { inParallel, lstat, unlink } from "./raw-files.ts";
import { StagedFiles } from "./staged-files.ts";
import { TargetDirectories } from "./target-directories.ts";

const CHECKS_UNDER_WAY = 32;
/** Filesystems keep times to two seconds at worst (FAT). */
const TIME_TOLERANCE_MS = 2000;
const NOTHING = new Uint8Array(0);

/** What is restored from: an open image and the volume in it. The caller closes both. */
export interface RestoreSource {
  readonly image: TapeImage;
  readonly volume: Volume;
  /** Images of the chain, `image` first; only needed for an incremental image. */
  readonly chain?: readonly TapeImage[] | undefined;
}

export interface RestoreOptions extends RunOptions {
  /** Replace files that are there. */
  readonly overwrite?: boolean | undefined;
  /** Go on with a restore that did not finish. */
  readonly resume?: boolean | undefined;
  /** Gaps of the tape up to this size are read through; 0 for drives that locate at no cost. */
  readonly readThroughGapBytes?: number | undefined;
}

export interface RestoreSummary {
  /** Full path of the target directory. */
  readonly directory: string;
  /** Files restored by this run, and bytes of them that came from the tape. */
  readonly files: number;
  readonly bytes: number;
  /** Files that an earlier run, now resumed, had restored. */
  readonly filesResumed: number;
  readonly directoriesMade: number;
  /** Records that were needed and could be read, each of them once. */
  readonly records: number;
  /** Paths of files that were there already and were left alone. */
  readonly existing: readonly string[];
  /** Files that were not restored, and why. */
  readonly problems: readonly RestoreProblem[];
  /** Files and directories whose owner or permissions could not be set. */
  readonly attributesNotSet: number;
  /** False when the system would not say that everything is on stable storage. */
  readonly flushed: boolean;
}

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
  for (const row of table.neededRows()) if (table.kindOf(row) === "file") rows.push(row);
  const problems: RestoreProblem[] = [];
  const fail = (row: number, error: ReelError): number =>
    problems.push(problemOf(table.pathOf(row), error));
  const layouts = await collectLayouts(volume, table, Uint32Array.from(rows), fail, options);
  return { plan: planRestore(layouts, image.map), problems };
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
    throw new ReelError(
      failure.code,
      `${failure.message}; what was restored is whole, and --resume goes on from there`,
      { cause: error },
    );
  }
}

async function openTarget(directory: string): Promise<string> {
  const doing = `cannot restore to ${directory}`;
  try {
    await mkdir(directory, { recursive: true });
    return await realpath(directory);
  } catch (error) {
    const failure = fromSystem(error, doing);
    if (failure.code !== "exists") throw failure;
    throw new ReelError("not-a-directory", `${doing}: it is no folder; name another`, {
      cause: error,
    });
  }
}

class RestoreRun {
  readonly #source: RestoreSource;
  readonly #table: EntryTable;
  readonly #root: string;
  readonly #journal: RestoreJournal;
  readonly #options: RestoreOptions;
  readonly #directories: TargetDirectories;
  readonly #staged: StagedFiles;
  readonly #executor: Executor;
  readonly #rows: Uint8Array;
  readonly #replaceRows = new Set<number>();
  readonly #problems: RestoreProblem[] = [];
  readonly #existing: number[] = [];
  #files = 0;
  #filesResumed = 0;

  constructor(
    source: RestoreSource,
    table: EntryTable,
    root: string,
    journal: RestoreJournal,
    options: RestoreOptions,
  ) {
    this.#source = source;
    this.#table = table;
    this.#root = root;
    this.#journal = journal;
    this.#options = options;
    this.#rows = new Uint8Array(table.length);
    const reservedName = stagingName(source.image.header.uuid);
    this.#directories = new TargetDirectories(root, table, reservedName);
    this.#staged = new StagedFiles(journal.folder, table);
    this.#executor = new Executor({
      table,
      directories: this.#directories,
      staged: this.#staged,
      journal,
      overwrite: options.overwrite === true,
      replaceRows: this.#replaceRows,
      settle: (row, how, error) => {
        this.#settle(row, how, error);
      },
    });
  }

  async restore(): Promise<RestoreSummary> {
    const made = await this.#makeDirectories();
    if (this.#journal.remains !== undefined) await this.#takeUp(this.#journal.remains);
    await this.#findExisting();
    await this.#restoreOthers();
    const { bytes, records } = await this.#restoreFiles();
    const attributesNotSet = await this.#directories.finish(this.#directoriesToFinish(made));
    const flushed = await flushFilesystem(this.#root);
    await this.#journal.finish();
    return {
      directory: this.#root,
      files: this.#files,
      bytes,
      filesResumed: this.#filesResumed,
      directoriesMade: made.length,
      records,
      existing: this.#existing.map((row) => this.#table.pathOf(row)),
      problems: this.#problems,
      attributesNotSet: attributesNotSet + this.#staged.ownersNotSet,
      flushed,
    };
  }

  /** After a failure: nothing half-written stays, the journal does. */
  async abandon(): Promise<void> {
    await this.#staged.abandon();
    await this.#journal.close().catch(() => undefined);
  }

  async #makeDirectories(): Promise<readonly number[]> {
    const missing = await this.#directories.inspect();
    await this.#journal.append("directories", missing);
    await this.#directories.make(missing);
    for (const row of this.#table.neededRows()) {
      const refusal = this.#directories.refusalOf(row);
      if (refusal !== undefined) this.#settle(row, ROW.failed, refusal);
    }
    return missing;
  }

  /** The directories this restore made, in whichever run; with --overwrite all that it goes into. */
  #directoriesToFinish(made: readonly number[]): number[] {
    const ours = new Set([...(this.#journal.remains?.directories ?? []), ...made]);
    const rows: number[] = [];
    for (const row of this.#table.neededRows()) {
      if (row === 0 || !this.#table.isDirectory(row)) continue;
      if (this.#options.overwrite === true || ours.has(row)) rows.push(row);
    }
    return rows;
  }

  /** What an interrupted run published stays, if it still is what was published; the rest goes. */
  async #takeUp(remains: Remains): Promise<void> {
    for (const row of remains.staged) {
      const published = remains.published.has(row) && (await this.#isSameFile(row));
      await unlink(this.#staged.pathOf(row));
      if (published) this.#resumed(row);
    }
    const rows = [...remains.published].filter((row) => !remains.staged.has(row));
    await inParallel(rows.length, CHECKS_UNDER_WAY, async (index) => {
      await this.#checkPublished(rows[index] ?? 0);
    });
  }

  async #isSameFile(row: number): Promise<boolean> {
    try {
      const [staged, final] = await Promise.all([
        lstat(this.#staged.pathOf(row)),
        lstat(this.#directories.pathOf(row)),
      ]);
      return staged.ino === final.ino && staged.dev === final.dev;
    } catch {
      return false;
    }
  }

  async #checkPublished(row: number): Promise<void> {
    if (row >= this.#table.length || !this.#table.isNeeded(row)) return;
    const stat = await lstat(this.#finalPath(row) ?? "").catch(() => undefined);
    if (stat === undefined) return;
    const driftMs = Math.abs(stat.mtimeMs - this.#table.modifiedMsOf(row));
    // Somebody has worked on it since: it is theirs now.
    if (driftMs > TIME_TOLERANCE_MS) return;
    const isLink = this.#table.kindOf(row) === "symlink";
    if (isLink ? stat.isSymbolicLink() : stat.isFile() && stat.size === this.#table.sizeOf(row)) {
      this.#resumed(row);
    } else {
      // Our time but not our size: a power cut took the contents. It is ours to replace.
      this.#replaceRows.add(row);
    }
  }

  #resumed(row: number): void {
    this.#rows[row] = ROW.restored;
    this.#filesResumed++;
  }

  /** Settles the files that cannot be restored whatever the tape holds, and those that are there. */
  async #findExisting(): Promise<void> {
    const mayStay = this.#options.overwrite !== true;
    for (const row of this.#pending()) {
      if (this.#finalPath(row) === undefined) continue;
      if (mayStay && !this.#replaceRows.has(row) && (await this.#directories.holds(row))) {
        this.#settle(row, ROW.existing);
      }
    }
  }

  /** Path to restore a row to; settles the row as failed when there can be none. */
  #finalPath(row: number): string | undefined {
    try {
      return this.#directories.pathOf(row);
    } catch (error) {
      this.#settle(row, ROW.failed, fromSystem(error, `cannot restore ${this.#table.pathOf(row)}`));
      return undefined;
    }
  }

  /** Symbolic links; and everything that is neither that nor a file, which Node cannot make. */
  async #restoreOthers(): Promise<void> {
    const { volume } = this.#source;
    const links: number[] = [];
    for (const row of this.#pending()) {
      const kind = this.#table.kindOf(row);
      if (kind === "symlink" && volume.readLink !== undefined) links.push(row);
      else if (kind !== "file") {
        this.#settle(row, ROW.failed, new ReelError("unsupported", `a ${kind} cannot be restored`));
      }
    }
    const make = async (row: number): Promise<void> => {
      const target = await volume.readLink?.(this.#table.idOf(row));
      await this.#staged.makeSymlink(row, target ?? "");
    };
    await this.#executor.restoreWithoutTape(links, make, this.#options);
  }

  /** Where the pending files lie, and how to read them. */
  async #planFiles(): Promise<{ layouts: LayoutTable; plan: RestorePlan }> {
    const { volume, image } = this.#source;
    const fail = (row: number, error: ReelError): void => {
      this.#settle(row, ROW.failed, error);
    };
    const wanted = Uint32Array.from(this.#pending());
    const layouts = await collectLayouts(volume, this.#table, wanted, fail, this.#options);
    const plan = planRestore(layouts, image.map);
    // Blocks that are not on the tape are zeros, unless the map itself was lost and they are, too:
    // the image knows, and answers without moving the tape.
    const probe = new Uint8Array(1);
    let lost = 0;
    for (const [file, block] of plan.blocksOffTape) {
      try {
        await image.read(block * image.map.blockSizeBytes, probe);
      } catch (error) {
        this.#settle(layouts.rowOf(file), ROW.failed, fromSystem(error, "cannot read it"));
        lost++;
      }
    }
    return lost > 0 ? this.#planFiles() : { layouts, plan };
  }

  /** Bytes that came from the tape in files that are whole now, and the records they were read in. */
  async #restoreFiles(): Promise<{ bytes: number; records: number }> {
    const { image } = this.#source;
    const { layouts, plan } = await this.#planFiles();
    const sizes = new Map<number, number>();
    for (let file = 0; file < layouts.length; file++) {
      if (plan.bytesOfFile[file] === 0) sizes.set(layouts.rowOf(file), layouts.sizeOf(file));
    }
    const make = async (row: number): Promise<void> =>
      this.#staged.writeWhole(row, NOTHING, 0, sizes.get(row) ?? 0);
    await this.#executor.restoreWithoutTape([...sizes.keys()], make, this.#options);
    const chain = this.#source.chain ?? [image];
    const gapBytes = this.#options.readThroughGapBytes ?? 0;
    const reads =
      gapBytes === 0
        ? []
        : await locateRecords(plan, chain, this.#options).then((offsets) =>
            plan.images.map((each) => tapeReads(each, offsets, gapBytes)),
          );
    const records = await this.#executor.restoreFromTape(
      plan,
      layouts,
      chain,
      reads,
      this.#options,
    );
    let bytes = 0;
    for (let file = 0; file < layouts.length; file++) {
      if (this.#rows[layouts.rowOf(file)] === ROW.restored) bytes += plan.bytesOfFile[file] ?? 0;
    }
    return { bytes, records };
  }

  /** Files and links that nothing has been decided about. */
  *#pending(): Generator<number> {
    for (const row of this.#table.neededRows()) {
      if (this.#rows[row] === ROW.pending && !this.#table.isDirectory(row)) yield row;
    }
  }

  #settle(row: number, how: number, error?: ReelError): void {
    if (this.#rows[row] !== ROW.pending) return;
    this.#rows[row] = how;
    if (how === ROW.restored) this.#files++;
    else if (how === ROW.existing) this.#existing.push(row);
    else this.#problems.push(problemOf(this.#table.pathOf(row), error));
  }
}

/**
 * Brings everything restored to stable storage: one syncfs(2) by way of sync(1), which costs a
 * fraction of an fsync for each of a hundred thousand files and covers their directories too.
 */
async function flushFilesystem(directory: string): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn("sync", ["-f", "--", directory], { stdio: "ignore" });
    child.once("error", () => {
      resolve(false);
    });
    child.once("exit", (status) => {
      resolve(status === 0);
    });
  });
}
