/** One run of a restore, in its order: directories, what is there already, then files. */
import { fromSystem, isReelError, ReelError } from "../errors.ts";
import { chooseOrder } from "./choose-order.ts";
import { compare, takeUp } from "./earlier-run.ts";
import { EncodedFiles } from "./encoded-files.ts";
import type { EntryTable } from "./entry-table.ts";
import { Executor } from "./execute.ts";
import { fileThreads } from "./file-threads.ts";
import { flushFilesystem } from "./flush.ts";
import type { RestoreJournal } from "./journal.ts";
import { stagingName } from "./journal.ts";
import { collectLayouts } from "./layouts.ts";
import { LossCounter } from "./losses.ts";
import { restoreSpecial, restoreSymlinks } from "./nodes-without-contents.ts";
import { OtherCopies } from "./other-copy.ts";
import { placesOf, planRestore } from "./plan.ts";
import type { RestorePlan } from "./plan.ts";
import { locateRecords } from "./plan-statistics.ts";
import { type ReadOrder, singlePass } from "./read-order.ts";
import type { RestoreOptions, RestoreSource, RestoreSummary } from "./restore-options.ts";
import { ROW, RowStates } from "./row-states.ts";
import { XattrSetter } from "./set-xattrs.ts";
import type { Xattrs } from "./set-xattrs.ts";
import { StagedFiles } from "./staged-files.ts";
import { TargetDirectories } from "./target-directories.ts";
import { waitingBytesMax } from "./waiting-bytes.ts";

export class RestoreRun {
  /** What was restored may not be stored: any file may have lost its contents. */
  isDoubtful = false;
  readonly #source: RestoreSource;
  readonly #table: EntryTable;
  readonly #root: string;
  readonly #journal: RestoreJournal;
  readonly #options: RestoreOptions;
  readonly #rows: RowStates;
  readonly #losses = new LossCounter();
  readonly #xattrSetter = new XattrSetter(this.#losses);
  readonly #directories: TargetDirectories;
  readonly #staged: StagedFiles;
  readonly #encoded: EncodedFiles;
  readonly #otherCopies: OtherCopies;
  readonly #executor: Executor;
  /** What an earlier run left half done under its final name. */
  readonly #replaceRows = new Set<number>();

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
    this.#rows = new RowStates(table);
    const reservedName = stagingName(source.image.header.uuid);
    this.#directories = new TargetDirectories(root, table, reservedName, this.#losses);
    this.#staged = new StagedFiles(journal.folder, table, this.#losses);
    this.#otherCopies = new OtherCopies(source.volume, this.#staged);
    this.#encoded = new EncodedFiles({
      volume: source.volume,
      device: source.staging,
      table,
      staged: this.#staged,
      directory: journal.folder,
      signal: options.signal,
    });
    this.#executor = new Executor({
      table,
      directories: this.#directories,
      staged: this.#staged,
      encoded: this.#encoded,
      xattrSetter: this.#xattrSetter,
      journal,
      overwrite: options.overwrite === true,
      replaceRows: this.#replaceRows,
      xattrsOf: async (row) => this.#xattrsOf(row),
      otherNamesOf: (row) => this.#rows.otherNamesOf(row),
      settle: (row, how, error) => {
        if (how === ROW.failed && this.#otherCopies.note(row, error)) return;
        this.#rows.settle(row, how, error);
      },
    });
  }

  async restore(): Promise<RestoreSummary> {
    fileThreads().start();
    const made = await this.#makeDirectories();
    await this.#takeUpEarlierRun();
    await this.#findExisting();
    await this.#linkToResumed();
    const nodes = {
      ...{ volume: this.#source.volume, table: this.#table, staged: this.#staged },
      ...{ executor: this.#executor, rows: this.#rows, losses: this.#losses },
    };
    await restoreSymlinks(nodes, this.#options);
    await restoreSpecial(nodes, this.#options);
    const { bytes, records } = await this.#restoreFiles();
    await this.#encoded.close();
    await this.#directories.finish(this.#directoriesToFinish(made), this.#xattrSetter, (row) =>
      this.#xattrsOf(row),
    );
    const flushed = await this.#flush();
    await this.#journal.finish();
    for (const row of this.#table.neededRows()) {
      if (this.#table.isRenamed(row)) this.#losses.names++;
    }
    const { files, filesResumed, existing, problems } = this.#rows;
    return {
      ...{ directory: this.#root, files, bytes, filesResumed, directoriesMade: made.length },
      ...{ records, existing, problems, losses: this.#losses.counts(), flushed },
    };
  }

  /** False when the system would not say. Whoever resumes after a failure trusts no file. */
  async #flush(): Promise<boolean> {
    const { isConfirmed, failure } = await flushFilesystem(this.#root);
    if (failure === undefined) return isConfirmed;
    // Where not even this can be written, a start of the machine is due, which counts as much.
    await this.#journal.doubt().catch(() => undefined);
    this.isDoubtful = true;
    throw new ReelError("io", `cannot make what was restored to ${this.#root} durable: ${failure}`);
  }

  /** After a failure: nothing half-written stays, the journal does. */
  async abandon(): Promise<void> {
    await this.#staged.abandon();
    await this.#encoded.close().catch(() => undefined);
    await this.#journal.close().catch(() => undefined);
  }

  async #makeDirectories(): Promise<readonly number[]> {
    const missing = await this.#directories.inspect();
    await this.#journal.append("directories", missing);
    await this.#directories.make(missing);
    for (const row of this.#table.neededRows()) {
      const refusal = this.#directories.refusalOf(row);
      if (refusal !== undefined) this.#rows.settle(row, ROW.failed, refusal);
    }
    return missing;
  }

  async #takeUpEarlierRun(): Promise<void> {
    if (this.#journal.remains === undefined) return;
    await takeUp(this.#journal.remains, {
      table: this.#table,
      directories: this.#directories,
      staged: this.#staged,
      resumed: (row) => {
        this.#rows.resume(row);
      },
      replace: (row) => this.#replaceRows.add(row),
    });
  }

  /** Settles the files that cannot be restored whatever the tape holds, and those that are there. */
  async #findExisting(): Promise<void> {
    const mayStay = this.#options.overwrite !== true;
    for (const row of this.#rows.pending()) {
      if (this.#finalPath(row) === undefined) continue;
      if (mayStay && !this.#replaceRows.has(row) && (await this.#directories.holds(row))) {
        this.#rows.settle(row, ROW.existing);
      }
    }
  }

  /** Path to restore a row to; settles the row as failed when there can be none. */
  #finalPath(row: number): string | undefined {
    try {
      return this.#directories.pathOf(row);
    } catch (error) {
      const failure = fromSystem(error, `cannot restore ${this.#table.pathOf(row)}`);
      this.#rows.settle(row, ROW.failed, failure);
      return undefined;
    }
  }

  /** Names of files that an earlier run restored under another name: nothing is read for them. */
  async #linkToResumed(): Promise<void> {
    if (this.#rows.filesResumed === 0) return;
    const linked: number[] = [];
    for (const row of this.#rows.pendingFirstNames()) {
      const names = this.#table.linksOf(row);
      const resumed = names.find((each) => this.#rows.isRestored(each));
      if (resumed === undefined) continue;
      if (!(await this.#staged.linkFrom(row, this.#directories.pathOf(resumed)))) continue;
      const found = await compare(row, this.#staged.pathOf(row), this.#table);
      if (found === "same") linked.push(row);
      else await this.#staged.discard(row);
    }
    const isStaged = async (): Promise<boolean> => Promise.resolve(true);
    await this.#executor.restoreWithoutTape(linked, isStaged, this.#options);
  }

  /** Bytes that came from the tape in files that are whole now, and the records they were read in. */
  async #restoreFiles(): Promise<{ bytes: number; records: number }> {
    const { image } = this.#source;
    const plan = await this.#planFiles();
    const { layouts } = plan;
    const order = await this.#orderOf(plan);
    this.#encoded.begin(layouts, waitingBytesMax(plan, order));
    await this.#restoreWithoutTape(plan);
    const records = await this.#executor.restoreFromTape(plan, order, image, this.#options);
    const idOf = (row: number): number => this.#table.idOf(row);
    await this.#otherCopies.restore(layouts, idOf, this.#executor, this.#options);
    let bytes = 0;
    for (let file = 0; file < layouts.length; file++) {
      if (this.#rows.isRestored(layouts.rowOf(file))) bytes += plan.bytesOfFile[file] ?? 0;
    }
    return { bytes, records };
  }

  /** Where the pending files lie, and how to read them. */
  async #planFiles(): Promise<RestorePlan> {
    const { volume, image, staging } = this.#source;
    const fail = (row: number, error: ReelError): void => {
      for (const name of [row, ...this.#rows.otherNamesOf(row)]) {
        this.#rows.settle(name, ROW.failed, error);
      }
    };
    const wanted = Uint32Array.from(this.#rows.pendingFirstNames());
    const layouts = await collectLayouts(volume, this.#table, wanted, fail, this.#options);
    const plan = planRestore(layouts, image.map, {
      control: image.header.sections.control,
      places: await placesOf(image),
      leaveEncoded: staging === undefined,
    });
    // Blocks that are not on the tape are zeros, unless the map itself was lost and they are, too:
    // the image knows, and answers without moving the tape.
    const probe = new Uint8Array(1);
    let lost = 0;
    for (const [file, block] of plan.blocksOffTape) {
      try {
        await image.read(block * image.map.blockSizeBytes, probe);
      } catch (error) {
        fail(layouts.rowOf(file), fromSystem(error, "cannot read it"));
        lost++;
      }
    }
    return lost > 0 ? this.#planFiles() : plan;
  }

  async #orderOf(plan: RestorePlan): Promise<ReadOrder> {
    const { drive } = this.#options;
    if (drive === undefined) return singlePass(plan);
    const offsets = await locateRecords(plan, this.#source.image, this.#options);
    const { taken } = await chooseOrder(plan, offsets, drive, this.#options);
    return taken;
  }

  /** Files that are empty or all hole, and encoded ones that the plan leaves to the volume. */
  async #restoreWithoutTape({ layouts, bytesOfFile }: RestorePlan): Promise<void> {
    const empty: [row: number, sizeBytes: number][] = [];
    const encoded = new Map<number, number>();
    for (let file = 0; file < layouts.length; file++) {
      if (bytesOfFile[file] !== 0) continue;
      const [row, sizeBytes] = [layouts.rowOf(file), layouts.sizeOf(file)];
      if (layouts.isEncoded(file)) encoded.set(row, sizeBytes);
      else empty.push([row, sizeBytes]);
    }
    await this.#executor.restoreEmpty(empty, this.#options);
    const decode = async (row: number): Promise<boolean> => {
      await this.#encoded.decodeResident(row, encoded.get(row) ?? 0);
      return true;
    };
    await this.#executor.restoreWithoutTape([...encoded.keys()], decode, this.#options);
  }

  async #xattrsOf(row: number): Promise<Xattrs | undefined> {
    try {
      const xattrs = await this.#source.volume.xattrs?.(this.#table.idOf(row));
      return xattrs === undefined || xattrs.size === 0 ? undefined : xattrs;
    } catch (error) {
      if (!isReelError(error, "damaged") && !isReelError(error, "unsupported")) throw error;
      // The file itself is whole: that they are damaged costs its attributes.
      this.#losses.xattrs++;
      return undefined;
    }
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
}
