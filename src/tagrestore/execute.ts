/**
 * The executor: reads the records of a plan in the order that was chosen for it. Each record is read
 * once; every piece of it goes to its file (see tape-pass.ts), whichever came before, and files that
 * are whole get their final names.
 *
 * A record is held until its pieces are written. Small ones are copied, so that the next record need
 * not wait for them: with a few small files in each record the time went into waiting, not work.
 *
 * Files are published in groups, those of a few records: all are written to the staging folder, the
 * journal tells which are about to be published, then they are. So a group costs one append, and a
 * kill leaves nothing undecided (see journal.ts). A record that cannot be read costs the files
 * that have a piece in it, and only those.
 *
 * Files with extended attributes wait for one another: the tool that sets them is started once for
 * some hundred files. Of a file with several names one row is restored, and the others are linked
 * to it just before it is published.
 */
import { ReelError, fromSystem, throwIfAborted } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import { imageOfRecord } from "../tapeimage/incremental/chain-reader.ts";
import type { RecordVisitor, TapeImage } from "../tapeimage/tape-image.ts";
import { BackgroundWork } from "./background.ts";
import type { EncodedFiles } from "./encoded-files.ts";
import type { EntryTable } from "./entry-table.ts";
import type { RestoreJournal } from "./journal.ts";
import type { LayoutTable } from "./layouts.ts";
import { type Piece, PieceCursor } from "./piece-cursor.ts";
import type { RestorePlan } from "./plan.ts";
import { inParallel, isErrno } from "./raw-files.ts";
import { type ReadOrder, recordsIn } from "./read-order.ts";
import type { XattrSetter, Xattrs } from "./set-xattrs.ts";
import type { StagedFiles } from "./staged-files.ts";
import { TapePass } from "./tape-pass.ts";
import type { TargetDirectories } from "./target-directories.ts";

/** Operations under way at a time, of copied pieces and of others: together below the files kept open. */
const OPERATIONS_UNDER_WAY = 32;
/** Files without contents published in one group. */
const EMPTY_FILES_IN_GROUP = 512;
/** Files that are whole are published when there are so many, and after so many records. */
const FILES_IN_GROUP = 64;
const RECORDS_IN_GROUP = 16;
/** Pieces up to this size are copied out of their record. */
const COPIED_BYTES_MAX = 64 * 1024;
/** Files whose extended attributes are set together, and bytes of these that wait for it. */
const XATTR_FILES_IN_GROUP = 256;
const XATTR_BYTES_WAITING_MAX = 4 << 20;

/** What the target says when going on with the next file makes no sense. */
const FATAL_ERRNOS = ["ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE", "ENOMEM"] as const;

/** How the restore of one file ended; rows start as pending. Skipped: on purpose, and counted. */
export const ROW = { pending: 0, restored: 1, existing: 2, failed: 3, skipped: 4 } as const;

export interface ExecuteContext {
  readonly table: EntryTable;
  readonly directories: TargetDirectories;
  readonly staged: StagedFiles;
  readonly encoded: EncodedFiles;
  readonly xattrSetter: XattrSetter;
  readonly journal: RestoreJournal;
  /** Replace what is there: for all files, or for these rows. */
  readonly overwrite: boolean;
  readonly replaceRows: ReadonlySet<number>;
  /** Extended attributes of a row; undefined when there are none. */
  readonly xattrsOf: (row: number) => Promise<Xattrs | undefined>;
  /** Other rows to be made names of this row's file. */
  readonly otherNamesOf: (row: number) => readonly number[];
  /** Called once for each row that is settled. */
  readonly settle: (row: number, how: number, error?: ReelError) => void;
}

/** Anything that can deliver records of an image. */
export type RecordSource = Pick<TapeImage, "readRecords">;

export class Executor {
  readonly #context: ExecuteContext;
  /** Rows whose files are whole in the staging folder. */
  #whole: number[] = [];
  /** Those of them that wait for their extended attributes. */
  readonly #waiting = new Map<number, Xattrs>();
  #waitingBytes = 0;

  constructor(context: ExecuteContext) {
    this.#context = context;
  }

  /**
   * Restores files that take nothing from the tape: `make` stages one, or gives false when it has
   * settled the row itself.
   */
  async restoreWithoutTape(
    rows: readonly number[],
    make: (row: number) => Promise<boolean>,
    options: RunOptions,
  ): Promise<void> {
    for (let at = 0; at < rows.length; at += EMPTY_FILES_IN_GROUP) {
      throwIfAborted(options.signal, "restoring");
      const group = rows.slice(at, at + EMPTY_FILES_IN_GROUP);
      await inParallel(group.length, OPERATIONS_UNDER_WAY, async (index) => {
        const row = group[index] ?? 0;
        await this.#attempt(this.#allNamesOf(row), async () => {
          if (await make(row)) this.#whole.push(row);
        });
      });
      await this.#publishWhole();
    }
    await this.#publishWaiting();
  }

  /**
   * Reads the records of the plan in the order given. Returns how many records held something
   * wanted and could be read.
   */
  async restoreFromTape(
    plan: RestorePlan,
    order: ReadOrder,
    source: RecordSource,
    options: RunOptions,
  ): Promise<number> {
    let records = 0;
    const { layouts } = plan;
    const { staged, encoded } = this.#context;
    const pass = new TapePass({ staged, encoded, plan, progress: options.progress });
    const cursors = new Map(plan.images.map((each) => [each.image, new PieceCursor(each)]));
    const take = async (piece: Piece, content: Uint8Array | ReelError): Promise<void> => {
      const row = layouts.rowOf(piece.file);
      await this.#attempt(this.#allNamesOf(row), async () => {
        if (await pass.take(row, piece, content)) this.#whole.push(row);
      });
    };
    const background = new BackgroundWork(OPERATIONS_UNDER_WAY);
    let recordsWaiting = 0;
    const visit: RecordVisitor = async (record, content) => {
      const pieces = cursors.get(imageOfRecord(record))?.piecesOf(record) ?? [];
      if (pieces.length > 0 && !(content instanceof ReelError)) records++;
      const [small, others] = partition(pieces, (piece) => canWait(piece, content, layouts));
      for (const piece of small) {
        const { offsetInRecord, length } = piece;
        const bytes = copyOf(content, offsetInRecord, length);
        await background.begin(async () => take({ ...piece, offsetInRecord: 0 }, bytes));
      }
      await inParallel(others.length, OPERATIONS_UNDER_WAY, async (at) => {
        const piece = others[at];
        if (piece !== undefined) await take(piece, content);
      });
      if (this.#whole.length >= FILES_IN_GROUP || ++recordsWaiting >= RECORDS_IN_GROUP) {
        recordsWaiting = 0;
        await this.#publishWhole();
      }
      pass.tellProgress();
    };
    try {
      await source.readRecords(recordsIn(plan, order), visit, { signal: options.signal });
      await background.end();
    } catch (error) {
      await background.settle();
      // What is whole need not be read again when the restore goes on.
      await this.#publishWhole().catch(() => undefined);
      throw error;
    }
    await this.#publishWhole();
    await this.#publishWaiting();
    return records;
  }

  #allNamesOf(row: number): readonly number[] {
    return [row, ...this.#context.otherNamesOf(row)];
  }

  /** Runs `work` for a file; its failure is the file's alone unless the target itself has failed. */
  async #attempt(names: readonly number[], work: () => Promise<void>): Promise<void> {
    const { settle, staged, table } = this.#context;
    try {
      await work();
    } catch (error) {
      const failure = fromSystem(error, `cannot restore ${table.pathOf(names[0] ?? 0)}`);
      if (isFatal(failure)) throw failure;
      for (const row of names) {
        settle(row, ROW.failed, failure);
        await staged.discard(row);
      }
    }
  }

  async #publishWhole(): Promise<void> {
    const rows = this.#whole;
    if (rows.length === 0) return;
    this.#whole = [];
    const ready: number[] = [];
    const found = await Promise.all(rows.map(async (row) => this.#context.xattrsOf(row)));
    for (const [index, row] of rows.entries()) {
      const xattrs = found[index];
      if (xattrs === undefined) {
        ready.push(row);
        continue;
      }
      this.#waiting.set(row, xattrs);
      for (const value of xattrs.values()) this.#waitingBytes += value.length;
    }
    await this.#publish(ready);
    const isFull =
      this.#waiting.size >= XATTR_FILES_IN_GROUP || this.#waitingBytes > XATTR_BYTES_WAITING_MAX;
    if (isFull) await this.#publishWaiting();
  }

  async #publishWaiting(): Promise<void> {
    if (this.#waiting.size === 0) return;
    const { staged, xattrSetter } = this.#context;
    await staged.setXattrs(this.#waiting, xattrSetter);
    const rows = [...this.#waiting.keys()];
    this.#waiting.clear();
    this.#waitingBytes = 0;
    await this.#publish(rows);
  }

  async #publish(rows: readonly number[]): Promise<void> {
    if (rows.length === 0) return;
    const { journal, staged } = this.#context;
    const namesOf = rows.map((row) => this.#allNamesOf(row));
    await journal.append("files", namesOf.flat());
    await inParallel(rows.length, OPERATIONS_UNDER_WAY, async (index) => {
      const [row = 0, ...others] = namesOf[index] ?? [];
      for (const other of others) {
        await this.#attempt([other], async () => {
          await staged.linkTo(other, row);
          await this.#publishOne(other);
        });
      }
      await this.#attempt([row], async () => this.#publishOne(row));
    });
  }

  async #publishOne(row: number): Promise<void> {
    const { directories, staged, settle, overwrite, replaceRows } = this.#context;
    const replace = overwrite || replaceRows.has(row);
    if (await staged.publish(row, directories.pathOf(row), replace)) {
      settle(row, ROW.restored);
    } else {
      await staged.discard(row);
      settle(row, ROW.existing);
    }
  }
}

/**
 * May a piece be written while the next record comes? Those of encoded files may not: the room they
 * wait in is planned record by record.
 */
function canWait(piece: Piece, content: Uint8Array | ReelError, layouts: LayoutTable): boolean {
  if (content instanceof ReelError || layouts.isEncoded(piece.file)) return false;
  const isThere = piece.offsetInRecord + piece.length <= content.length;
  return isThere && piece.length <= COPIED_BYTES_MAX;
}

/** A Buffer's own slice would be no copy. */
function copyOf(content: Uint8Array | ReelError, offset: number, length: number): Uint8Array {
  if (content instanceof ReelError) throw content;
  return Uint8Array.from(content.subarray(offset, offset + length));
}

function partition<T>(items: readonly T[], isFirst: (item: T) => boolean): [T[], T[]] {
  const parts: [T[], T[]] = [[], []];
  for (const item of items) parts[isFirst(item) ? 0 : 1].push(item);
  return parts;
}

function isFatal(error: ReelError): boolean {
  if (error.code === "damaged") return false;
  return error.code === "aborted" || error.code === "closed" || isErrno(error, ...FATAL_ERRNOS);
}
