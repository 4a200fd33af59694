/** Paths in a tree. */
import { ReelError } from "../errors.ts";
import type { FileTree, TreeEntry } from "./file-tree.ts";

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
        throw new ReelError("not-a-directory", `cannot go into ${pathOf(followed)}: no directory`);
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
