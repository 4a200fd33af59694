/**
 * The executor: makes the planned pass over the tape. Each record is read once; every piece of it
 * goes to its file at its offset, and files that are whole get their final names.
 *
 * Files are published in groups, one for each record: all are written to the staging folder, the
 * journal tells which are about to be published, then they are. So a group costs one append, and a
 * kill leaves nothing undecided (see journal.ts). A record that cannot be read costs the files
 * that have a piece in it, and only those.
 */
import { ReelError, fromSystem, throwIfAborted } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { TapeImage } from "../tapeimage/tape-image.ts";
import type { EntryTable } from "./entry-table.ts";
import type { RestoreJournal } from "./journal.ts";
import type { LayoutTable } from "./layouts.ts";
import { PieceCursor, recordsOf } from "./plan.ts";
import type { Piece, RecordRuns, RestorePlan } from "./plan.ts";
import { inParallel, isErrno } from "./raw-files.ts";
import type { StagedFiles } from "./staged-files.ts";
import type { TargetDirectories } from "./target-directories.ts";

/** File operations under way at a time; must be below the number of files kept open. */
const OPERATIONS_UNDER_WAY = 32;
/** Files without contents published in one group. */
const EMPTY_FILES_IN_GROUP = 512;

/** What the target says when going on with the next file makes no sense. */
const FATAL_ERRNOS = ["ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE", "ENOMEM"] as const;

/** How the restore of one file ended; rows start as pending. */
export const ROW = { pending: 0, restored: 1, existing: 2, failed: 3 } as const;

export interface ExecuteContext {
  readonly table: EntryTable;
  readonly directories: TargetDirectories;
  readonly staged: StagedFiles;
  readonly journal: RestoreJournal;
  /** Replace what is there: for all files, or for these rows. */
  readonly overwrite: boolean;
  readonly replaceRows: ReadonlySet<number>;
  /** Called once for each row that is settled. */
  readonly settle: (row: number, how: number, error?: ReelError) => void;
}

/** Anything that can deliver records of an image. */
export type RecordSource = Pick<TapeImage, "readRecords">;

export class Executor {
  readonly #context: ExecuteContext;
  /** Rows whose files are whole in the staging folder. */
  #whole: number[] = [];

  constructor(context: ExecuteContext) {
    this.#context = context;
  }

  /** Restores files that take nothing from the tape: `make` stages one. */
  async restoreWithoutTape(
    rows: readonly number[],
    make: (row: number) => Promise<void>,
    options: RunOptions,
  ): Promise<void> {
    for (let at = 0; at < rows.length; at += EMPTY_FILES_IN_GROUP) {
      throwIfAborted(options.signal, "restoring");
      const group = rows.slice(at, at + EMPTY_FILES_IN_GROUP);
      await inParallel(group.length, OPERATIONS_UNDER_WAY, async (index) => {
        const row = group[index] ?? 0;
        await this.#attempt(row, async () => {
          await make(row);
          this.#whole.push(row);
        });
      });
      await this.#publishWhole();
    }
  }

  /**
   * One pass over each image of the plan. `reads` gives the records to read of plan.images[i].
   * Returns how many records held something wanted and could be read.
   */
  async restoreFromTape(
    plan: RestorePlan,
    layouts: LayoutTable,
    chain: readonly RecordSource[],
    reads: readonly RecordRuns[],
    options: RunOptions,
  ): Promise<number> {
    let records = 0;
    const pass = new TapePass(this.#context, plan, layouts, options);
    for (const [index, each] of plan.images.entries()) {
      const source = chain[each.image];
      if (source === undefined) {
        throw new ReelError("not-found", `image ${each.image} of the chain is not at hand`);
      }
      const cursor = new PieceCursor(each);
      await source.readRecords(
        recordsOf(reads[index] ?? each.needed),
        async (record, content) => {
          const pieces = cursor.piecesOf(record);
          if (pieces.length > 0 && !(content instanceof ReelError)) records++;
          await inParallel(pieces.length, OPERATIONS_UNDER_WAY, async (at) => {
            const piece = pieces[at];
            if (piece === undefined) return;
            const row = layouts.rowOf(piece.file);
            await this.#attempt(row, async () => {
              if (await pass.take(row, piece, content)) this.#whole.push(row);
            });
          });
          await this.#publishWhole();
          pass.tellProgress();
        },
        { signal: options.signal },
      );
    }
    return records;
  }

  /** Runs `work` for a file; its failure is the file's alone unless the target itself has failed. */
  async #attempt(row: number, work: () => Promise<void>): Promise<void> {
    const { settle, staged, table } = this.#context;
    try {
      await work();
    } catch (error) {
      const failure = fromSystem(error, `cannot restore ${table.pathOf(row)}`);
      if (isFatal(failure)) throw failure;
      settle(row, ROW.failed, failure);
      await staged.discard(row);
    }
  }

  async #publishWhole(): Promise<void> {
    const rows = this.#whole;
    if (rows.length === 0) return;
    this.#whole = [];
    const { directories, journal, staged, settle, overwrite, replaceRows } = this.#context;
    await journal.append("files", rows);
    await inParallel(rows.length, OPERATIONS_UNDER_WAY, async (index) => {
      const row = rows[index] ?? 0;
      await this.#attempt(row, async () => {
        const replace = overwrite || replaceRows.has(row);
        if (await staged.publish(row, directories.pathOf(row), replace)) {
          settle(row, ROW.restored);
        } else {
          await staged.discard(row);
          settle(row, ROW.existing);
        }
      });
    });
  }
}

/** What a pass knows of each file: how much of it is still to come. */
class TapePass {
  readonly #context: ExecuteContext;
  readonly #plan: RestorePlan;
  readonly #layouts: LayoutTable;
  readonly #options: RunOptions;
  /** By file: bytes still to come; -1 once the file is lost. */
  readonly #missing: Float64Array;
  #doneBytes = 0;

  constructor(
    context: ExecuteContext,
    plan: RestorePlan,
    layouts: LayoutTable,
    options: RunOptions,
  ) {
    this.#context = context;
    this.#plan = plan;
    this.#layouts = layouts;
    this.#options = options;
    this.#missing = plan.bytesOfFile.slice();
  }

  /** Writes a piece to its file; true when that made the file whole. Throws when the file is lost. */
  async take(row: number, piece: Piece, content: Uint8Array | ReelError): Promise<boolean> {
    const { staged } = this.#context;
    const { file, fileOffset, offsetInRecord, length } = piece;
    this.#doneBytes += length;
    if ((this.#missing[file] ?? -1) < 0) return false;
    try {
      // Whatever kept the record from being read: to the file it is damage, not a failing target.
      if (content instanceof ReelError) {
        throw new ReelError("damaged", content.message, { cause: content });
      }
      const end = offsetInRecord + length;
      if (end > content.length) {
        throw new ReelError(
          "damaged",
          `its record on the tape ends at ${content.length}, not ${end}`,
        );
      }
      const bytes = content.subarray(offsetInRecord, end);
      if (length === this.#plan.bytesOfFile[file]) {
        this.#missing[file] = 0;
        await staged.writeWhole(row, bytes, fileOffset, this.#layouts.sizeOf(file));
        return true;
      }
      await staged.writePart(row, bytes, fileOffset);
      const missing = this.#missing[file] ?? -1;
      // Another piece of the same record may have lost the file meanwhile.
      if (missing < 0) return false;
      this.#missing[file] = missing - length;
      if (missing > length) return false;
      await staged.finishParts(row, this.#layouts.sizeOf(file));
      return true;
    } catch (error) {
      this.#missing[file] = -1;
      throw error;
    }
  }

  tellProgress(): void {
    const { progress } = this.#options;
    progress?.({ phase: "restoring", done: this.#doneBytes, total: this.#plan.bytes });
  }
}

function isFatal(error: ReelError): boolean {
  if (error.code === "damaged") return false;
  return error.code === "aborted" || error.code === "closed" || isErrno(error, ...FATAL_ERRNOS);
}
