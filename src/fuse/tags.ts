/**
 * Which files and directories a person has marked for restore. A tag belongs to a node: it follows
 * a file that is renamed in the mount, and goes with one that is removed.
 *
 * A tag is for the image, where a file may have another name than in the mount, whose changes
 * vanish. So renames are remembered: `imagePath` is where the image has the file. A file that was
 * made in the mount stands for the one that the image has under its path, if any: an editor that
 * saves by "write a new file, rename it over the old one" changes nothing.
 */
import type { NodeId } from "../tree/file-tree.ts";

export const TAG_XATTR = "user.reelfs.tag";
/** What the attribute reads as. */
export const TAG_VALUE = Buffer.from("1");

/** About 300 bytes each. */
export const TAGS_MAX = 1_000_000;

export interface Tag {
  /** In the mount, now. */
  readonly path: string;
  /** In the image. */
  readonly imagePath: string;
}

/** One name on the way from the root to a node, as the tree spells it. */
export interface PathStep {
  readonly id: NodeId;
  readonly name: string;
}

export class TagSet {
  readonly #tags = new Map<NodeId, Tag>();
  /** Where the image has what was renamed since. */
  readonly #origins = new Map<NodeId, string>();
  readonly #created = new Set<NodeId>();

  get size(): number {
    return this.#tags.size;
  }

  has(id: NodeId): boolean {
    return this.#tags.has(id);
  }

  /** Tags the node at the end of the steps; no steps: the root. False: there are too many tags. */
  add(rootId: NodeId, steps: readonly PathStep[]): boolean {
    const id = steps.at(-1)?.id ?? rootId;
    if (this.#tags.size >= TAGS_MAX && !this.#tags.has(id)) return false;
    this.#tags.set(id, { path: pathOf(steps), imagePath: this.#imagePath(steps) });
    return true;
  }

  /** False when it was not tagged. */
  delete(id: NodeId): boolean {
    return this.#tags.delete(id);
  }

  /** Tags in the order in which they were set. */
  list(from: number, limit: number): Tag[] {
    const found: Tag[] = [];
    let index = 0;
    for (const tag of this.#tags.values()) {
      if (index++ < from) continue;
      if (found.length === limit) break;
      found.push(tag);
    }
    return found;
  }

  created(id: NodeId): void {
    this.#created.add(id);
  }

  removed(id: NodeId): void {
    this.#tags.delete(id);
    this.#origins.delete(id);
    this.#created.delete(id);
  }

  /** The node that `steps` led to is now at `newSteps`. */
  renamed(steps: readonly PathStep[], newSteps: readonly PathStep[]): void {
    const id = steps.at(-1)?.id;
    if (id === undefined) return;
    if (!this.#created.has(id) && !this.#origins.has(id)) {
      this.#origins.set(id, this.#imagePath(steps));
    }
    const from = pathOf(steps);
    const to = pathOf(newSteps);
    for (const [tagged, tag] of this.#tags) {
      if (tag.path !== from && !tag.path.startsWith(`${from}/`)) continue;
      this.#tags.set(tagged, { ...tag, path: to + tag.path.slice(from.length) });
    }
  }

  #imagePath(steps: readonly PathStep[]): string {
    let path = "";
    for (const { id, name } of steps) path = this.#origins.get(id) ?? `${path}/${name}`;
    return path === "" ? "/" : path;
  }
}

function pathOf(steps: readonly PathStep[]): string {
  return `/${steps.map(({ name }) => name).join("/")}`;
}
