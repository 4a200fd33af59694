/**
 * What a survey notes of each file record, a few bytes each in typed arrays, in pages that are made
 * where records are in use. At the end it tells which files a walk from the root meets.
 */
import { ROOT_RECORD } from "./node.ts";

const PAGE_RECORDS = 4096;

/** What a record is. */
export const RECORD_KIND = {
  none: 0,
  file: 1,
  directory: 2,
  /** In use, but it cannot be read. */
  damaged: 3,
} as const;

/** Found when directories are resolved. */
const REACH = { unknown: 0, reached: 1, lost: 2 } as const;

class Page {
  readonly kinds = new Uint8Array(PAGE_RECORDS);
  readonly reach = new Uint8Array(PAGE_RECORDS);
  /** Of the record, and as the directory entry that leads to it has it. */
  readonly sequences = new Uint16Array(PAGE_RECORDS);
  readonly listedSequences = new Uint16Array(PAGE_RECORDS);
  /** The parent that a directory itself names. */
  readonly parents = new Uint32Array(PAGE_RECORDS);
  /** The directory that lists it; 0: none does. No directory is record 0. */
  readonly listedBy = new Uint32Array(PAGE_RECORDS);
}

export interface TableCounts {
  readonly files: number;
  readonly directories: number;
}

/** What is wrong between a record and the directories. */
export type TableFault = "stale" | "missing" | "misplaced" | "orphan";

export class SurveyTable {
  readonly #pages = new Map<number, Page>();

  addFile(number: number, sequence: number): void {
    const { page, at } = this.#at(number);
    page.kinds[at] = RECORD_KIND.file;
    page.sequences[at] = sequence;
  }

  addDirectory(number: number, sequence: number, parent: number): void {
    const { page, at } = this.#at(number);
    page.kinds[at] = RECORD_KIND.directory;
    page.sequences[at] = sequence;
    page.parents[at] = parent;
  }

  addDamaged(number: number): void {
    const { page, at } = this.#at(number);
    page.kinds[at] = RECORD_KIND.damaged;
  }

  /** Notes an entry of a directory. Of a record in several, the one its parent has counts. */
  list(number: number, sequence: number, directory: number): void {
    const { page, at } = this.#at(number);
    if (page.kinds[at] === RECORD_KIND.directory && page.listedBy[at] === page.parents[at]) return;
    page.listedBy[at] = directory;
    page.listedSequences[at] = sequence;
  }

  /** Counts what a walk from the root meets; every other record is told to `report`. */
  count(report: (number: number, fault: TableFault, directory: number) => void): TableCounts {
    let files = 0;
    let directories = 0;
    for (const [index, page] of this.#pages) {
      for (let at = 0; at < PAGE_RECORDS; at++) {
        const number = index * PAGE_RECORDS + at;
        const kind = page.kinds[at] ?? RECORD_KIND.none;
        const directory = page.listedBy[at] ?? 0;
        if (number === ROOT_RECORD || (kind === RECORD_KIND.none && directory === 0)) continue;
        const found = faultAt(page, at);
        if (found !== undefined) {
          report(number, found, directory);
        } else if (this.isReached(directory)) {
          if (kind === RECORD_KIND.directory) directories++;
          else files++;
        }
      }
    }
    return { files, directories };
  }

  /** Does a walk from the root meet this file? Only after all records were added. */
  isShown(number: number): boolean {
    const { page, at } = this.#at(number);
    return faultAt(page, at) === undefined && this.isReached(page.listedBy[at] ?? 0);
  }

  /** Is it the root, or a directory below it? */
  isReached(directory: number): boolean {
    const way: number[] = [];
    let outcome: number = REACH.unknown;
    for (let number = directory; outcome === REACH.unknown;) {
      const { page, at } = this.#at(number);
      outcome = page.reach[at] ?? REACH.unknown;
      if (outcome !== REACH.unknown) break;
      if (number === ROOT_RECORD) outcome = REACH.reached;
      else if (page.kinds[at] !== RECORD_KIND.directory || faultAt(page, at) !== undefined) {
        outcome = REACH.lost;
      }
      // Whoever comes back here while looking has found a loop.
      page.reach[at] = REACH.lost;
      way.push(number);
      number = page.listedBy[at] ?? 0;
    }
    for (const number of way) {
      const { page, at } = this.#at(number);
      page.reach[at] = outcome;
    }
    return outcome === REACH.reached;
  }

  #at(number: number): { readonly page: Page; readonly at: number } {
    const index = Math.floor(number / PAGE_RECORDS);
    let page = this.#pages.get(index);
    if (page === undefined) {
      page = new Page();
      this.#pages.set(index, page);
    }
    return { page, at: number % PAGE_RECORDS };
  }
}

function faultAt(page: Page, at: number): TableFault | undefined {
  const kind = page.kinds[at];
  const directory = page.listedBy[at] ?? 0;
  if (kind === RECORD_KIND.none) return "missing";
  if (directory === 0) return "orphan";
  if (kind === RECORD_KIND.damaged) return undefined;
  const listed = page.listedSequences[at];
  if (listed !== 0 && listed !== page.sequences[at]) return "stale";
  const isPlaced = kind !== RECORD_KIND.directory || page.parents[at] === directory;
  return isPlaced ? undefined : "misplaced";
}
