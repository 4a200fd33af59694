/**
 * What fast commits changed, by inode: the replay of the notes that ext4 writes between full
 * commits. Nothing is written anywhere: inodes, block maps and directories are read as they were at
 * the last full commit, and these changes are made to them when they are.
 *
 * An inode's note has its fields, but the map of its blocks is that of the last full commit with
 * the ranges laid over it. (The root of the extents in the note may lead to tree blocks that never
 * got to the disk.) With a `create` the inode is a new one: what its place in the table holds is of
 * another file, or nothing. A new directory has the names that were made in it and no blocks: its
 * first one, with "." and "..", is no more on the disk than what was to go into it.
 *
 * In one thing this is not what the kernel makes of such a journal: a file that was made without a
 * name (O_TMPFILE) and was given one later is there. The kernel makes the name before it has looked
 * at the inode, does not find it, and drops the file, although fsync said that it was safe.
 */
import type { FastNote } from "./journal/fast-commit-notes.ts";
import { NameChanges } from "./name-changes.ts";
import { PaintedRanges } from "./painted-ranges.ts";

/** What became of one inode. */
export interface InodeChange {
  /** Its fields, if they changed: as many bytes as the note has. */
  readonly raw: Uint8Array | undefined;
  /** Nothing of what its place in the table holds belongs to it. */
  readonly isNew: boolean;
  /** A name of it was removed. */
  readonly wasUnlinked: boolean;
  readonly ranges: PaintedRanges;
  /** For a directory. */
  readonly names: NameChanges;
}

class CollectedChange implements InodeChange {
  raw: Uint8Array | undefined;
  isNew = false;
  wasUnlinked = false;
  ranges = new PaintedRanges();
  names = new NameChanges();
  /** Ranges that were there when its fields were noted last. */
  #rangesBefore = 0;

  setFields(raw: Uint8Array): void {
    this.raw = raw;
    this.#rangesBefore = this.ranges.length;
  }

  /** Its last fields, and the ranges since, are those of a new inode. */
  create(): void {
    if (this.raw === undefined) return;
    this.isNew = true;
    this.ranges.removeFirst(this.#rangesBefore);
    this.#rangesBefore = 0;
    this.names = new NameChanges();
  }
}

export class FastChanges {
  /** Notes that name an inode which cannot have changed so. */
  readonly misplaced: number;
  readonly #inodes = new Map<number, CollectedChange>();
  readonly #placed: FastNote[] = [];

  /** `faultOfNumber`: why a directory cannot name an inode, if so. */
  constructor(notes: readonly FastNote[], faultOfNumber: (inode: number) => string | undefined) {
    let misplaced = 0;
    for (const note of notes) {
      const isDirectorySound =
        !("directory" in note) || faultOfNumber(note.directory) === undefined;
      if (isDirectorySound && faultOfNumber(note.inode) === undefined) this.#make(note);
      else misplaced++;
    }
    this.misplaced = misplaced;
  }

  get(inode: number): InodeChange | undefined {
    return this.#inodes.get(inode);
  }

  /**
   * The blocks that were given to files, rising, as [start, count]: the bitmaps need not have them.
   * They are as the notes say, and may lie outside the volume.
   */
  *blocks(): Generator<readonly [start: number, count: number]> {
    const places = this.#placed.filter((note) => note.kind === "range");
    places.sort((a, b) => (a.physical ?? 0) - (b.physical ?? 0));
    let start = 0;
    let end = 0;
    for (const { physical = 0, count } of places) {
      if (physical > end) {
        if (end > start) yield [start, end - start];
        start = physical;
      }
      end = Math.max(end, physical + count);
    }
    if (end > start) yield [start, end - start];
  }

  #make(note: FastNote): void {
    const change = this.#changeOf(note.inode);
    switch (note.kind) {
      case "inode":
        change.setFields(note.raw);
        break;
      case "range":
        change.ranges.add(note.logical, note.count, note.physical);
        if (note.physical !== undefined) this.#placed.push(note);
        break;
      case "unlink":
        change.wasUnlinked = true;
        this.#changeOf(note.directory).names.add(false, note.name, note.inode);
        break;
      case "create":
        change.create();
        this.#changeOf(note.directory).names.add(true, note.name, note.inode);
        break;
      case "link":
        this.#changeOf(note.directory).names.add(true, note.name, note.inode);
        break;
    }
  }

  #changeOf(inode: number): CollectedChange {
    let change = this.#inodes.get(inode);
    if (change === undefined) {
      change = new CollectedChange();
      this.#inodes.set(inode, change);
    }
    return change;
  }
}
