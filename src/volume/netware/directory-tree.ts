/**
 * Which records are in which directory. A record names its parent, so to list a directory all
 * records must have been seen: they are read once, and linked in two arrays (the first child of
 * each record, the next child of the same parent). What has one parent can be in one place only,
 * and what is in a loop of parents cannot be reached from the root; so a walk from there ends.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { RecordFile } from "./record-file.ts";
import { kindOf, RECORD_BYTES, ROOT_RECORD, TYPE } from "./records.ts";
import { u32 } from "./fields.ts";

const NONE = 0xffffffff;
/** Pages after which the event loop gets a turn: a few milliseconds. */
const PAGES_PER_TURN = 16;

export class DirectoryTree {
  /** Records of files and directories, the root left out, wherever they hang. */
  readonly nodeCount: number;
  /** Numbers of the records of deleted files, rising. */
  readonly deleted: Uint32Array;
  readonly #firstChild: Uint32Array;
  readonly #nextSibling: Uint32Array;

  private constructor(
    firstChild: Uint32Array,
    nextSibling: Uint32Array,
    nodeCount: number,
    deleted: Uint32Array,
  ) {
    this.#firstChild = firstChild;
    this.#nextSibling = nextSibling;
    this.nodeCount = nodeCount;
    this.deleted = deleted;
  }

  /** Reads all records. Throws what reading them throws. */
  static async read(records: RecordFile): Promise<DirectoryTree> {
    const { recordCount } = records;
    const firstChild = new Uint32Array(recordCount).fill(NONE);
    const nextSibling = new Uint32Array(recordCount).fill(NONE);
    const deleted: number[] = [];
    let nodeCount = 0;
    // From the end on, so that children put before the others come in rising order.
    for (let page = records.pageCount - 1; page >= 0; page--) {
      const view = await records.page(page);
      if (page % PAGES_PER_TURN === PAGES_PER_TURN - 1) await nextTurn();
      const first = records.firstRecordOf(page);
      const count = Math.min(view.byteLength / RECORD_BYTES, recordCount - first);
      for (let i = count - 1; i >= 0; i--) {
        const kind = kindOf(view, i * RECORD_BYTES, first + i, recordCount);
        if (kind === "deleted") deleted.push(first + i);
        if ((kind !== "file" && kind !== "directory") || first + i === ROOT_RECORD) continue;
        const parent = u32(view, i * RECORD_BYTES + TYPE.offset);
        nextSibling[first + i] = firstChild[parent] ?? NONE;
        firstChild[parent] = first + i;
        nodeCount++;
      }
    }
    return new DirectoryTree(
      firstChild,
      nextSibling,
      nodeCount,
      Uint32Array.from(deleted.reverse()),
    );
  }

  /** Numbers of the records in a directory, rising. */
  *childrenOf(record: number): Generator<number> {
    let child = this.#firstChild[record] ?? NONE;
    while (child !== NONE) {
      yield child;
      child = this.#nextSibling[child] ?? NONE;
    }
  }
}
