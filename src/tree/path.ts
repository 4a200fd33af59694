/** Paths in a tree, and all paths below a directory. */
import { ReelError, throwIfAborted } from "../errors.ts";
import type { FileTree, NodeId, TreeEntry } from "./file-tree.ts";

/** Components of a path that are followed; the kernel stops at 4096 bytes. */
const COMPONENTS_MAX = 4096;

/**
 * The entry at a path, "/a/b" or "a/b"; the root's name is "". "." and ".." mean what they mean
 * everywhere, symbolic links are not followed. Throws "not-found", naming the first part of the path
 * that is not there, or "not-a-directory" for a path through a file.
 */
export async function resolvePath(tree: FileTree, path: string): Promise<TreeEntry> {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.length > COMPONENTS_MAX) {
    throw new ReelError("name-too-long", `cannot follow a path of ${parts.length} folders`);
  }
  const followed: TreeEntry[] = [{ name: "", stat: await tree.stat(tree.rootId) }];
  let at = followed[0];
  for (const part of parts) {
    if (part === "..") {
      if (followed.length > 1) followed.pop();
    } else {
      if (at?.stat.kind !== "directory") {
        throw new ReelError(
          "not-a-directory",
          `cannot go into ${pathOf(followed)}: it is not a folder`,
        );
      }
      const next = await tree.lookup(at.stat.id, part);
      if (next === undefined) {
        const name = `${followed.length > 1 ? pathOf(followed) : ""}/${part}`;
        throw new ReelError("not-found", `there is no ${name}`);
      }
      followed.push(next);
    }
    at = followed.at(-1);
  }
  if (at === undefined) throw new ReelError("internal", "a path without a root");
  return at;
}

function pathOf(followed: readonly TreeEntry[]): string {
  return followed.map((entry) => entry.name).join("/") || "/";
}

/** Gets the path of an entry below where the walk began ("a/b"); "skip" passes over a directory. */
export type WalkVisitor = (
  path: string,
  entry: TreeEntry,
) => "skip" | undefined | Promise<"skip" | undefined>;

export interface WalkOptions {
  readonly signal?: AbortSignal | undefined;
  /** Gets what a directory that cannot be read throws, and the walk goes on; default: it ends. */
  readonly failed?: ((path: string, error: unknown) => void) | undefined;
}

/**
 * Visits everything below a directory, a directory before what is in it, in the tree's order. Keeps
 * the listings of one line of directories, not of the whole tree. Symbolic links are not followed.
 */
export async function walk(
  tree: FileTree,
  id: NodeId,
  visit: WalkVisitor,
  options: WalkOptions = {},
): Promise<void> {
  const open: { id: NodeId; path: string; entries: Iterator<TreeEntry> }[] = [];
  const enter = async (directory: NodeId, path: string): Promise<void> => {
    try {
      if (open.some((above) => above.id === directory)) {
        throw new ReelError("damaged", `cannot list ${path}: it contains itself`);
      }
      const entries = await tree.readDirectory(directory);
      open.push({ id: directory, path, entries: entries.values() });
    } catch (error) {
      if (options.failed === undefined) throw error;
      options.failed(path, error);
    }
  };
  await enter(id, "");
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    throwIfAborted(options.signal, "walking a tree");
    const next = top.entries.next();
    if (next.done === true) {
      open.pop();
      continue;
    }
    const entry = next.value;
    const path = top.path === "" ? entry.name : `${top.path}/${entry.name}`;
    const answer = await visit(path, entry);
    if (answer !== "skip" && entry.stat.kind === "directory") await enter(entry.stat.id, path);
  }
}
