/** One run of a restore, in its order: directories, what is there already, then files. */
import { fromSystem, isReelError, ReelError } from "../errors.ts";
import { compare, takeUp } from "./earlier-run.ts";
import { EncodedFiles } from "./encoded-files.ts";
import type { RunOptions } from "../progress.ts";
import type { TapeImage } from "../tapeimage/tape-image.ts";
import type { Volume } from "../volume/volume.ts";
import type { EntryTable } from "./entry-table.ts";
import { Executor, ROW } from "./execute.ts";
import { flushFilesystem } from "./flush.ts";
import type { RestoreJournal } from "./journal.ts";
import { stagingName } from "./journal.ts";
import { collectLayouts } from "./layouts.ts";
import { LossCounter } from "./losses.ts";
import type { RestoreLosses } from "./losses.ts";
import { chooseOrder } from "./choose-order.ts";
import { placesOf, planRestore } from "./plan.ts";
import type { RestorePlan } from "./plan.ts";
import { type DriveTimes, locateRecords } from "./plan-statistics.ts";
import { OtherCopies } from "./other-copy.ts";
import { problemOf } from "./problems.ts";
import type { RestoreProblem } from "./problems.ts";
import { type ReadOrder, singlePass } from "./read-order.ts";
import { XattrSetter } from "./set-xattrs.ts";
import type { Xattrs } from "./set-xattrs.ts";
import { StagedFiles } from "./staged-files.ts";
import type { StagedImage } from "./staged-image.ts";
import { TargetDirectories } from "./target-directories.ts";
import { waitingBytesMax } from "./waiting-bytes.ts";

const NOTHING = new Uint8Array(0);

/** What is restored from: an open image and the volume in it. The caller closes both. */
export interface RestoreSource {
  readonly image: TapeImage;
  readonly volume: Volume;
  /**
   * The image as the volume was opened on it. Without it, encoded files (compressed and the like)
   * are read one by one through the volume, and the tape moves for each.
   */
  readonly staging?: StagedImage | undefined;
}

export interface RestoreOptions extends RunOptions {
  /** Replace files that are there. */
  readonly overwrite?: boolean | undefined;
  /** Go on with a restore that did not finish. */
  readonly resume?: boolean | undefined;
  /**
   * The drive, where it takes its time: decides which gaps are read through, and whether the
   * records are read in one pass or by the shortest way between them. Without it a virtual tape: one
   * pass, no gap read.
   */
  readonly drive?: DriveTimes | undefined;
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
  /** What else could not be restored, by kind: owners as a user, and the like. */
  readonly losses: RestoreLosses;
  /** False when the system would not say that everything is on stable storage. */
  readonly flushed: boolean;
}

export class RestoreRun {
  /** What was restored may not be stored: any file may have lost its contents. */
  isDoubtful = false;
  readonly #source: RestoreSource;
  readonly #table: EntryTable;
  readonly #root: string;
  readonly #journal: RestoreJournal;
  readonly #options: RestoreOptions;
  readonly #losses = new LossCounter();
  readonly #xattrSetter = new XattrSetter(this.#losses);
  readonly #directories: TargetDirectories;
  readonly #staged: StagedFiles;
  readonly #encoded: EncodedFiles;
  readonly #executor: Executor;
  readonly #rows: Uint8Array;
  readonly #replaceRows = new Set<number>();
  readonly #problems: RestoreProblem[] = [];
  readonly #existing: number[] = [];
  #files = 0;
  readonly #otherCopies: OtherCopies;
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
      otherNamesOf: (row) => this.#otherNamesOf(row),
      settle: (row, how, error) => {
        if (how === ROW.failed && this.#otherCopies.note(row, error)) return;
        this.#settle(row, how, error);
      },
    });
  }

  async restore(): Promise<RestoreSummary> {
    const made = await this.#makeDirectories();
    for (const row of this.#table.neededRows()) {
      if (this.#table.isRenamed(row)) this.#losses.names++;
    }
    if (this.#journal.remains !== undefined) {
      await takeUp(this.#journal.remains, {
        table: this.#table,
        directories: this.#directories,
        staged: this.#staged,
        resumed: (row) => {
          this.#resumed(row);
        },
        replace: (row) => this.#replaceRows.add(row),
      });
    }
    await this.#findExisting();
    await this.#linkToResumed();
    await this.#restoreSymlinks();
    await this.#restoreSpecial();
    const { bytes, records } = await this.#restoreFiles();
    await this.#encoded.close();
    await this.#directories.finish(this.#directoriesToFinish(made), this.#xattrSetter, (row) =>
      this.#xattrsOf(row),
    );
    const flushed = await this.#flush();
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
      losses: this.#losses.counts(),
      flushed,
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

  /** Rows that still have to become names of the file of `row`. */
  #otherNamesOf(row: number): readonly number[] {
    const names = this.#table.linksOf(row);
    if (names.length === 0) return names;
    return names.filter((each) => each !== row && this.#rows[each] === ROW.pending);
  }

  /** Of a file with several names the first pending one is restored, and takes the others along. */
  *#pendingFirstNames(): Generator<number> {
    for (const row of this.#pending()) {
      const names = this.#table.linksOf(row);
      const first = names.find((each) => this.#rows[each] === ROW.pending) ?? row;
      if (first === row) yield row;
    }
  }

  /** Names of files that an earlier run restored under another name: nothing is read for them. */
  async #linkToResumed(): Promise<void> {
    if (this.#filesResumed === 0) return;
    const linked: number[] = [];
    for (const row of this.#pendingFirstNames()) {
      const names = this.#table.linksOf(row);
      const resumed = names.find((each) => this.#rows[each] === ROW.restored);
      if (resumed === undefined) continue;
      if (!(await this.#staged.linkFrom(row, this.#directories.pathOf(resumed)))) continue;
      const found = await compare(row, this.#staged.pathOf(row), this.#table);
      if (found === "same") linked.push(row);
      else await this.#staged.discard(row);
    }
    const isStaged = async (): Promise<boolean> => Promise.resolve(true);
    await this.#executor.restoreWithoutTape(linked, isStaged, this.#options);
  }

  async #restoreSymlinks(): Promise<void> {
    const { volume } = this.#source;
    const make = async (row: number): Promise<boolean> => {
      const target = await volume.readLink?.(this.#table.idOf(row));
      await this.#staged.makeSymlink(row, target ?? "");
      return true;
    };
    const links = this.#pendingOfKinds("symlink");
    await this.#executor.restoreWithoutTape(links, make, this.#options);
  }

  /** Pipes and devices. Sockets are left out, as tar does it: they lead to programs long gone. */
  async #restoreSpecial(): Promise<void> {
    for (const row of this.#pendingOfKinds("socket")) {
      for (const name of [row, ...this.#otherNamesOf(row)]) this.#skip(name, "sockets");
    }
    const fifos = this.#pendingOfKinds("fifo");
    await this.#staged.makeFifos(fifos);
    const finish = async (row: number): Promise<boolean> => {
      await this.#staged.finishSpecial(row);
      return true;
    };
    await this.#executor.restoreWithoutTape(fifos, finish, this.#options);
    const make = async (row: number): Promise<boolean> => {
      try {
        await this.#staged.makeDevice(row);
        return true;
      } catch (error) {
        if (!isReelError(error, "no-permission")) throw error;
        for (const name of [row, ...this.#otherNamesOf(row)]) this.#skip(name, "devices");
        return false;
      }
    };
    const devices = this.#pendingOfKinds("block", "character");
    await this.#executor.restoreWithoutTape(devices, make, this.#options);
  }

  #skip(row: number, loss: "sockets" | "devices"): void {
    this.#losses[loss]++;
    this.#settle(row, ROW.skipped);
  }

  /** Where the pending files lie, and how to read them. */
  async #planFiles(): Promise<RestorePlan> {
    const { volume, image, staging } = this.#source;
    const fail = (row: number, error: ReelError): void => {
      for (const name of [row, ...this.#otherNamesOf(row)]) this.#settle(name, ROW.failed, error);
    };
    const wanted = Uint32Array.from(this.#pendingFirstNames());
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

  /** Bytes that came from the tape in files that are whole now, and the records they were read in. */
  async #restoreFiles(): Promise<{ bytes: number; records: number }> {
    const { image } = this.#source;
    const plan = await this.#planFiles();
    const { layouts } = plan;
    const order = await this.#orderOf(plan);
    this.#encoded.begin(layouts, waitingBytesMax(plan, order));
    await this.#restoreWithoutTape(plan);
    const records = await this.#executor.restoreFromTape(plan, order, image, this.#options);
    await this.#restoreFromOtherCopies(plan);
    let bytes = 0;
    for (let file = 0; file < layouts.length; file++) {
      if (this.#rows[layouts.rowOf(file)] === ROW.restored) bytes += plan.bytesOfFile[file] ?? 0;
    }
    return { bytes, records };
  }

  async #restoreFromOtherCopies({ layouts }: RestorePlan): Promise<void> {
    const files = new Map<number, number>();
    for (let file = 0; file < layouts.length; file++) {
      const row = layouts.rowOf(file);
      if (this.#otherCopies.has(row)) files.set(row, file);
    }
    this.#otherCopies.close();
    const make = async (row: number): Promise<boolean> => {
      const { signal } = this.#options;
      const file = files.get(row) ?? 0;
      if (layouts.isEncoded(file)) throw this.#otherCopies.faultOf(row);
      const sizeBytes = layouts.sizeOf(file);
      await this.#otherCopies.stage(row, this.#table.idOf(row), sizeBytes, signal);
      return true;
    };
    await this.#executor.restoreWithoutTape([...files.keys()], make, this.#options);
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
    const files = new Map<number, number>();
    for (let file = 0; file < layouts.length; file++) {
      if (bytesOfFile[file] === 0) files.set(layouts.rowOf(file), file);
    }
    const make = async (row: number): Promise<boolean> => {
      const file = files.get(row) ?? 0;
      const sizeBytes = layouts.sizeOf(file);
      if (layouts.isEncoded(file)) await this.#encoded.decodeResident(row, sizeBytes);
      else await this.#staged.writeWhole(row, NOTHING, 0, sizeBytes);
      return true;
    };
    await this.#executor.restoreWithoutTape([...files.keys()], make, this.#options);
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

  #pendingOfKinds(...kinds: readonly string[]): number[] {
    const rows: number[] = [];
    for (const row of this.#pendingFirstNames()) {
      if (kinds.includes(this.#table.kindOf(row))) rows.push(row);
    }
    return rows;
  }

  /** Rows that nothing has been decided about, directories aside. */
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
    else if (how === ROW.failed) this.#problems.push(problemOf(this.#table.pathOf(row), error));
  }
}
