/** How the restore of each row stands, and what that leaves to do. */
import type { ReelError } from "../errors.ts";
import type { EntryTable } from "./entry-table.ts";
import { problemOf } from "./problems.ts";
import type { RestoreProblem } from "./problems.ts";

/** How the restore of one file ended; rows start as pending. Skipped: on purpose, and counted. */
export const ROW = { pending: 0, restored: 1, existing: 2, failed: 3, skipped: 4 } as const;

export class RowStates {
  readonly #table: EntryTable;
  readonly #states: Uint8Array;
  readonly #existing: number[] = [];
  readonly #problems: RestoreProblem[] = [];
  #files = 0;
  #filesResumed = 0;

  constructor(table: EntryTable) {
    this.#table = table;
    this.#states = new Uint8Array(table.length);
  }

  /** Files restored by this run. */
  get files(): number {
    return this.#files;
  }

  /** Files that an earlier run had restored. */
  get filesResumed(): number {
    return this.#filesResumed;
  }

  /** Paths of files that were there already. */
  get existing(): string[] {
    return this.#existing.map((row) => this.#table.pathOf(row));
  }

  get problems(): readonly RestoreProblem[] {
    return this.#problems;
  }

  /** What becomes of a row is decided once. */
  settle(row: number, how: number, error?: ReelError): void {
    if (this.#states[row] !== ROW.pending) return;
    this.#states[row] = how;
    if (how === ROW.restored) this.#files++;
    else if (how === ROW.existing) this.#existing.push(row);
    else if (how === ROW.failed) this.#problems.push(problemOf(this.#table.pathOf(row), error));
  }

  /** An earlier run has restored the row. */
  resume(row: number): void {
    this.#states[row] = ROW.restored;
    this.#filesResumed++;
  }

  isRestored(row: number): boolean {
    return this.#states[row] === ROW.restored;
  }

  /** Rows that nothing has been decided about, directories aside. */
  *pending(): Generator<number> {
    for (const row of this.#table.neededRows()) {
      if (this.#isPending(row) && !this.#table.isDirectory(row)) yield row;
    }
  }

  /** Of a file with several names the first pending one is restored, and takes the others along. */
  *pendingFirstNames(): Generator<number> {
    for (const row of this.pending()) {
      const names = this.#table.linksOf(row);
      const first = names.find((each) => this.#isPending(each)) ?? row;
      if (first === row) yield row;
    }
  }

  pendingOfKinds(...kinds: readonly string[]): number[] {
    const rows: number[] = [];
    for (const row of this.pendingFirstNames()) {
      if (kinds.includes(this.#table.kindOf(row))) rows.push(row);
    }
    return rows;
  }

  /** Rows that still have to become names of the file of `row`. */
  otherNamesOf(row: number): readonly number[] {
    const names = this.#table.linksOf(row);
    if (names.length === 0) return names;
    return names.filter((each) => each !== row && this.#isPending(each));
  }

  #isPending(row: number): boolean {
    return this.#states[row] === ROW.pending;
  }
}
