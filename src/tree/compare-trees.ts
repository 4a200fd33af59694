/**
 * What differs between two trees, by names and attributes: nothing is read of the files themselves.
 * Both are walked at the same time, folder by folder, in the order of names, so that memory is that
 * of the folders on the way.
 */
import { isReelError, ReelError, throwIfAborted } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { FileTree, NodeId, NodeStat, TreeEntry } from "./file-tree.ts";

export interface TreeDifference {
  readonly change: "added" | "removed" | "changed";
  /** "/DCIM/A.JPG". */
  readonly path: string;
  /** Of the tree that has it, the later one where both do. */
  readonly stat: NodeStat;
  /** Which attributes differ, where both have it. */
  readonly attributes: readonly (typeof COMPARED)[number][];
}

const COMPARED = ["kind", "sizeBytes", "modifiedMs", "mode", "uid", "gid", "deviceNumber"] as const;
/** A bound for trees that are deeper than any real one. */
const DEPTH_MAX = 512;

/** Called with what cannot be listed; it is left out of the comparison. */
export type ListingFailure = (path: string, error: ReelError) => void;

/**
 * Yields what is different in `later`, in the order of paths; of a folder that is on one side only,
 * all that is in it. Folders that are on both sides differ only by their mode and owner.
 */
export function compareTrees(
  earlier: FileTree,
  later: FileTree,
  fail: ListingFailure,
  options: RunOptions = {},
): AsyncGenerator<TreeDifference> {
  return new TreeComparison(earlier, later, fail, options).run();
}

class TreeComparison {
  readonly #earlier: FileTree;
  readonly #later: FileTree;
  readonly #fail: ListingFailure;
  readonly #signal: AbortSignal | undefined;

  constructor(earlier: FileTree, later: FileTree, fail: ListingFailure, { signal }: RunOptions) {
    this.#earlier = earlier;
    this.#later = later;
    this.#fail = fail;
    this.#signal = signal;
  }

  run(): AsyncGenerator<TreeDifference> {
    return this.#folders([this.#earlier.rootId, this.#later.rootId], "", 0);
  }

  async *#folders(
    [before, after]: readonly [NodeId, NodeId],
    path: string,
    depth: number,
  ): AsyncGenerator<TreeDifference> {
    if (this.#isTooDeep(path, depth)) return;
    const old = await this.#list(this.#earlier, before, path);
    const now = await this.#list(this.#later, after, path);
    let i = 0;
    let j = 0;
    while (i < old.length || j < now.length) {
      const a = old[i];
      const b = now[j];
      const order = a === undefined ? 1 : b === undefined ? -1 : compareNames(a.name, b.name);
      if (order <= 0) i++;
      if (order >= 0) j++;
      if (a !== undefined && order < 0) yield* this.#removed(`${path}/${a.name}`, a.stat, depth);
      else if (b !== undefined && order > 0) yield* this.#added(`${path}/${b.name}`, b.stat, depth);
      else if (a !== undefined && b !== undefined) {
        yield* this.#both(`${path}/${b.name}`, a.stat, b.stat, depth);
      }
    }
  }

  async *#both(
    path: string,
    a: NodeStat,
    b: NodeStat,
    depth: number,
  ): AsyncGenerator<TreeDifference> {
    const folders = [a, b].filter(({ kind }) => kind === "directory").length;
    if (folders === 1) {
      yield* this.#removed(path, a, depth);
      yield* this.#added(path, b, depth);
      return;
    }
    const ignored = folders === 2 ? ["sizeBytes", "modifiedMs"] : [];
    const attributes = COMPARED.filter((name) => !ignored.includes(name) && a[name] !== b[name]);
    if (attributes.length > 0) yield { change: "changed", path, stat: b, attributes };
    if (folders === 2) yield* this.#folders([a.id, b.id], path, depth + 1);
  }

  #removed(path: string, stat: NodeStat, depth: number): AsyncGenerator<TreeDifference> {
    return this.#whole(this.#earlier, { change: "removed", path, stat, attributes: [] }, depth + 1);
  }

  #added(path: string, stat: NodeStat, depth: number): AsyncGenerator<TreeDifference> {
    return this.#whole(this.#later, { change: "added", path, stat, attributes: [] }, depth + 1);
  }

  async *#whole(
    tree: FileTree,
    top: TreeDifference,
    depth: number,
  ): AsyncGenerator<TreeDifference> {
    yield top;
    const { path, stat } = top;
    if (stat.kind !== "directory" || this.#isTooDeep(path, depth)) return;
    for (const entry of await this.#list(tree, stat.id, path)) {
      const below = { ...top, path: `${path}/${entry.name}`, stat: entry.stat };
      yield* this.#whole(tree, below, depth + 1);
    }
  }

  async #list(tree: FileTree, id: NodeId, path: string): Promise<TreeEntry[]> {
    throwIfAborted(this.#signal, "comparing");
    try {
      const entries = await tree.readDirectory(id);
      return entries.toSorted((a, b) => compareNames(a.name, b.name));
    } catch (error) {
      if (!isReelError(error, "damaged") && !isReelError(error, "unsupported")) throw error;
      this.#fail(path === "" ? "/" : path, error);
      return [];
    }
  }

  #isTooDeep(path: string, depth: number): boolean {
    if (depth <= DEPTH_MAX) return false;
    this.#fail(path, new ReelError("damaged", "folders lie too deep in one another"));
    return true;
  }
}

function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
