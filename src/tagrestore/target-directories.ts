/**
 * The directory that files are restored to: which directories of the restore are there, and which
 * are to be made. No way into it leads through a symbolic link: each directory on the way to a file
 * is looked at, itself, before anything is made in it, and one that is a link (or no directory) is
 * refused with everything below it.
 *
 * The look and the use are two calls, for Node has no openat(2): somebody who may write to the
 * target directory while the restore runs could still put a link in between.
 */
import { readdir } from "node:fs/promises";
import path from "node:path";

import { ReelError, fromSystem } from "../errors.ts";
import type { EntryTable } from "./entry-table.ts";
import type { LossCounter } from "./losses.ts";
import { attributesToSet } from "./losses.ts";
import { isSafeName } from "./problems.ts";
import {
  DIRECTORY_FLAGS,
  close,
  fchmod,
  fchown,
  inParallel,
  isErrno,
  lstat,
  mkdir,
  open,
  setTimes,
} from "./raw-files.ts";
import type { XattrSetter, Xattrs } from "./set-xattrs.ts";

const CALLS_UNDER_WAY = 32;
/** Of a directory whose volume knows no permissions; the umask takes from it. */
const NEW_DIRECTORY_MODE = 0o777;
const PRIVATE_MODE = 0o700;

export class TargetDirectories {
  readonly #table: EntryTable;
  readonly #reservedName: string;
  readonly #losses: LossCounter;
  /** Full path of each directory of the restore that can be used, by row. */
  readonly #paths = new Map<number, string>();
  /** Directories that were there before the restore. */
  readonly #existing = new Set<number>();
  /** Directories that cannot be used, and why. */
  readonly #refused = new Map<number, ReelError>();
  /** Names in the directory looked at last. */
  #listed: { row: number; names: ReadonlySet<string> } | undefined;

  /** `reservedName`: of the staging folder in the root, which no file of the image may take. */
  constructor(root: string, table: EntryTable, reservedName: string, losses: LossCounter) {
    this.#table = table;
    this.#losses = losses;
    this.#reservedName = reservedName;
    this.#paths.set(0, root);
    this.#existing.add(0);
  }

  /** Why a directory cannot be used; undefined when it can. */
  refusalOf(row: number): ReelError | undefined {
    return this.#refused.get(row);
  }

  /** Full path of a file or directory. Throws why it can have none. */
  pathOf(row: number): string {
    const known = this.#paths.get(row);
    if (known !== undefined) return known;
    const parent = this.#table.parentOf(row);
    const refused = this.#refused.get(row) ?? this.#refused.get(parent);
    if (refused !== undefined) throw refused;
    const name = this.#table.nameOf(row);
    const parentPath = this.#paths.get(parent);
    if (parentPath === undefined || !isSafeName(name)) {
      throw new ReelError("invalid", `${JSON.stringify(name)} cannot be the name of a file`);
    }
    if (parent === 0 && name === this.#reservedName) {
      throw new ReelError("invalid", `the restore itself uses the name ${name}`);
    }
    return path.join(parentPath, name);
  }

  /**
   * Finds out which directories of the restore are there; returns the rows of those that are not,
   * parents before children. Nothing is made.
   */
  async inspect(): Promise<number[]> {
    const missing: number[] = [];
    const missingSet = new Set<number>();
    for (const row of this.#table.neededRows()) {
      if (row === 0 || !this.#table.isDirectory(row)) continue;
      try {
        const full = this.pathOf(row);
        if (missingSet.has(this.#table.parentOf(row)) || !(await isDirectory(full))) {
          missing.push(row);
          missingSet.add(row);
        } else {
          this.#existing.add(row);
        }
        this.#paths.set(row, full);
      } catch (error) {
        this.#refuse(row, error);
      }
    }
    return missing;
  }

  /** Makes the directories that `inspect` found missing. */
  async make(missing: readonly number[]): Promise<void> {
    for (const level of this.#levels(missing)) {
      await inParallel(level.length, CALLS_UNDER_WAY, async (index) => {
        const row = level[index] ?? 0;
        try {
          const refused = this.#refused.get(this.#table.parentOf(row));
          if (refused !== undefined) throw refused;
          await this.#makeOne(row, this.#paths.get(row) ?? "");
        } catch (error) {
          this.#refuse(row, error);
        }
      });
    }
  }

  /** Is a file of this name there already, as far as was known when its directory was looked at? */
  async holds(row: number): Promise<boolean> {
    const parent = this.#table.parentOf(row);
    if (!this.#existing.has(parent)) return false;
    if (this.#listed?.row !== parent) {
      // One that cannot be listed: what is in the way is then met when the file is published.
      const names = await readdir(this.pathOf(parent)).catch(() => []);
      this.#listed = { row: parent, names: new Set(names) };
    }
    return this.#listed.names.has(this.#table.nameOf(row));
  }

  /**
   * Gives the directories `rows` their owner, permissions, extended attributes and times, deepest
   * first (the last file published in a directory has changed its time). What they would not take
   * is counted.
   */
  async finish(
    rows: readonly number[],
    setter: XattrSetter,
    xattrsOf: (row: number) => Promise<Xattrs | undefined>,
  ): Promise<void> {
    for (const level of this.#levels(rows).reverse()) {
      for (let at = 0; at < level.length; at += CALLS_UNDER_WAY) {
        await this.#finishGroup(level.slice(at, at + CALLS_UNDER_WAY), setter, xattrsOf);
      }
    }
  }

  /** Directories are open while they are worked on, so that no link can come in between. */
  async #finishGroup(
    rows: readonly number[],
    setter: XattrSetter,
    xattrsOf: (row: number) => Promise<Xattrs | undefined>,
  ): Promise<void> {
    const descriptors = new Map<number, number>();
    const withXattrs: [row: number, xattrs: Xattrs][] = [];
    const each = async (work: (row: number, fd: number) => Promise<void>): Promise<void> => {
      const open = [...descriptors];
      await inParallel(open.length, CALLS_UNDER_WAY, async (index) => {
        const [row, fd] = open[index] ?? [0, 0];
        await work(row, fd).catch(() => this.#losses.permissions++);
      });
    };
    try {
      await inParallel(rows.length, CALLS_UNDER_WAY, async (index) => {
        const row = rows[index] ?? 0;
        const full = this.#paths.get(row);
        if (full === undefined) return;
        const fd = await open(full, DIRECTORY_FLAGS).catch(() => undefined);
        if (fd === undefined) {
          this.#losses.permissions++;
          return;
        }
        descriptors.set(row, fd);
        const xattrs = await xattrsOf(row);
        if (xattrs !== undefined) withXattrs.push([row, xattrs]);
      });
      await each(async (row, fd) => this.#setAttributes(row, fd));
      await setter.set(
        withXattrs.map(([, xattrs], index) => ({ name: `/proc/self/fd/${index + 3}`, xattrs })),
        {
          cwd: "/",
          follow: true,
          descriptors: withXattrs.map(([row]) => descriptors.get(row) ?? -1),
        },
      );
      await each(async (row, fd) =>
        setTimes(fd, this.#table.accessedMsOf(row), this.#table.modifiedMsOf(row)),
      );
    } finally {
      for (const fd of descriptors.values()) await close(fd);
    }
  }

  async #setAttributes(row: number, fd: number): Promise<void> {
    const { owner, mode } = attributesToSet(this.#table, row, this.#losses);
    if (owner !== undefined) await fchown(fd, owner.uid, owner.gid);
    if (mode !== undefined) await fchmod(fd, mode);
  }

  async #makeOne(row: number, full: string): Promise<void> {
    try {
      await mkdir(full, this.#modeToBegin(row));
    } catch (error) {
      if (!isErrno(error, "EEXIST") || !(await isDirectory(full))) throw error;
      // Somebody made it meanwhile, or the target takes two names for one.
      this.#existing.add(row);
    }
  }

  /**
   * A directory gets its own permissions when all is in it. Until then it is nobody else's: they may
   * be narrower than those of the files in it.
   */
  #modeToBegin(row: number): number {
    return this.#table.modeOf(row) === undefined ? NEW_DIRECTORY_MODE : PRIVATE_MODE;
  }

  #refuse(row: number, error: unknown): void {
    const doing = `cannot restore into ${this.#paths.get(row) ?? this.#table.pathOf(row)}`;
    this.#paths.delete(row);
    this.#refused.set(row, fromSystem(error, doing));
  }

  /** Rows by depth: those of one level do not wait for one another. */
  #levels(rows: readonly number[]): number[][] {
    const depths = new Map<number, number>([[0, 0]]);
    const depthOf = (row: number): number => {
      const known = depths.get(row);
      if (known !== undefined) return known;
      const depth = depthOf(this.#table.parentOf(row)) + 1;
      depths.set(row, depth);
      return depth;
    };
    const levels: number[][] = [];
    for (const row of rows) (levels[depthOf(row)] ??= []).push(row);
    return levels.filter((level) => (level as number[] | undefined) !== undefined);
  }
}

/** False when nothing is there. Throws for a symbolic link and for whatever is no directory. */
async function isDirectory(full: string): Promise<boolean> {
  try {
    const stat = await lstat(full);
    if (stat.isDirectory()) return true;
    const what = stat.isSymbolicLink() ? "a symbolic link" : "not a directory";
    throw new ReelError(
      "not-a-directory",
      `${full} is ${what}: nothing is restored through it; move it away, or restore elsewhere`,
    );
  } catch (error) {
    if (isErrno(error, "ENOENT")) return false;
    throw error;
  }
}
