/**
 * Is one directory inside another? A tree is walked from the top and knows no parents, so parents
 * are noted as directories are looked up, within a limit; where one was forgotten, the question is
 * answered from above, by walking down.
 */
import type { NodeId } from "../volume/volume.ts";

/** Parents remembered: about 16 MiB. */
const PARENTS_MAX = 262_144;

export class Ancestry {
  readonly #rootId: NodeId;
  readonly #parentsMax: number;
  /** In the order they were noted: the oldest is forgotten first. */
  readonly #parents = new Map<NodeId, NodeId>();

  constructor(rootId: NodeId, parentsMax = PARENTS_MAX) {
    this.#rootId = rootId;
    this.#parentsMax = parentsMax;
  }

  note(directory: NodeId, parent: NodeId): void {
    if (this.#parents.get(directory) === parent) return;
    this.#parents.set(directory, parent);
    if (this.#parents.size <= this.#parentsMax) return;
    const oldest = this.#parents.keys().next();
    if (oldest.done !== true) this.#parents.delete(oldest.value);
  }

  /**
   * Is `id` the directory `ancestor`, or somewhere below it? `subdirectories` lists those of a
   * directory.
   */
  async isWithin(
    id: NodeId,
    ancestor: NodeId,
    subdirectories: (id: NodeId) => Promise<readonly NodeId[]>,
  ): Promise<boolean> {
    // No tree is deeper than its parents are many, even if something made a loop of them.
    let steps = this.#parents.size + 1;
    for (let at: NodeId | undefined = id; at !== undefined && steps > 0; steps--) {
      if (at === ancestor) return true;
      if (at === this.#rootId) return false;
      at = this.#parents.get(at);
    }
    const below = [ancestor];
    for (let at = below.pop(); at !== undefined; at = below.pop()) {
      if (at === id) return true;
      // One by one: a spread of a million arguments overflows the stack.
      for (const child of await subdirectories(at)) below.push(child);
    }
    return false;
  }
}
