/**
 * Names that were made in a directory and removed from it after it was last written, to be applied
 * while it is read.
 *
 * As a mount does it: a name that is there already is not made again, and one that leads to another
 * inode than the note says is not removed. So what becomes of a name depends on what it led to
 * before, and the changes of each name are kept in order until that is known.
 */
import { foldCase } from "./case-fold.ts";

interface NameChange {
  readonly isMade: boolean;
  /** Its bytes, one to a character (latin1). */
  readonly name: string;
  readonly inode: number;
}

export interface MadeName {
  readonly name: Buffer;
  readonly inode: number;
}

export class NameChanges {
  readonly #changes: NameChange[] = [];

  add(isMade: boolean, name: string, inode: number): void {
    this.#changes.push({ isMade, name, inode });
  }

  get length(): number {
    return this.#changes.length;
  }

  /** Begins a reading of the directory; `isFolding`: names are the same in either case there. */
  begin(isFolding: boolean): NamesToChange {
    return new NamesToChange(this.#changes, isFolding);
  }
}

export class NamesToChange {
  readonly #isFolding: boolean;
  readonly #byName = new Map<string, NameChange[]>();
  readonly #made: MadeName[] = [];

  constructor(changes: readonly NameChange[], isFolding: boolean) {
    this.#isFolding = isFolding;
    for (const change of changes) {
      const key = this.#keyOf(change.name);
      const sameName = this.#byName.get(key);
      if (sameName === undefined) this.#byName.set(key, [change]);
      else sameName.push(change);
    }
  }

  /** Is a name that the directory has still there, and leads where it did? */
  keeps(name: Buffer, inode: number): boolean {
    const key = this.#keyOf(name.toString("latin1"));
    const changes = this.#byName.get(key);
    if (changes === undefined) return true;
    this.#byName.delete(key);
    const result = resultOf(changes, inode);
    if (result === "as before") return true;
    if (result !== undefined) this.#made.push(result);
    return false;
  }

  /** The names that were made, when all that the directory has were asked for. */
  made(): readonly MadeName[] {
    for (const changes of this.#byName.values()) {
      const result = resultOf(changes, undefined);
      if (typeof result === "object") this.#made.push(result);
    }
    this.#byName.clear();
    return this.#made;
  }

  #keyOf(name: string): string {
    return this.#isFolding ? foldCase(Buffer.from(name, "latin1").toString("utf8")) : name;
  }
}

/** What became of a name that led to inode `before`, or was not there. */
function resultOf(
  changes: readonly NameChange[],
  before: number | undefined,
): MadeName | "as before" | undefined {
  let inode = before;
  let made: string | undefined;
  for (const change of changes) {
    if (change.isMade && inode === undefined) {
      inode = change.inode;
      made = change.name;
    } else if (!change.isMade && inode === change.inode) {
      inode = undefined;
      made = undefined;
    }
  }
  if (inode === undefined) return undefined;
  return made === undefined ? "as before" : { name: Buffer.from(made, "latin1"), inode };
}
