/**
 * The overlay's names: what was added to and removed from the directories of the base.
 *
 * Only differences are kept, by directory. Looking up NAME in directory D:
 *
 *     added in D (folded)?   yes: that node
 *     D is new?              yes: not there
 *     the base has it?       no: not there
 *     removed in D?          yes: not there (a whiteout, under the name as the base spells it)
 *     otherwise              the base's node, with what the overlay changed of it
 *
 * The base folds case, and knows aliases such as FAT's short names, in its own lookup; the overlay
 * folds the names it added with the same function. Where that differs from directory to directory
 * (ext4), a new directory folds as the one it was made in, as there. (Where a damaged base has two
 * names that fold to one, removing either leaves the other; adding one of them hides what is left.)
 *
 * Changes run one at a time under one lock: checks may have to ask the base, and what they found
 * must still hold when the change is made, which then awaits nothing. Lookups take no lock: after
 * asking the base they decide by what the directory is by then.
 */
import { ReelError } from "../errors.ts";
import type { NodeId } from "../volume/volume.ts";
import { Ancestry } from "./ancestry.ts";
import type { FileTree, TreeEntry } from "./file-tree.ts";
import type { AddedName, DirectoryChanges, NewNodeValues, OverlayNode } from "./overlay-node.ts";
import type { OverlayNodes } from "./overlay-nodes.ts";
import { NAME_COST_BYTES, notFound, textCostBytes } from "./overlay-nodes.ts";
import { SharedLock } from "./shared-lock.ts";

export interface OverlayNamesOptions {
  /** As the base folds names in a directory of its own that was looked into. */
  readonly foldName: (name: string, directory: NodeId) => string;
  readonly nameMaxBytes: number;
  readonly nowMs: () => number;
}

export class OverlayNames {
  readonly #base: FileTree;
  readonly #nodes: OverlayNodes;
  readonly #options: OverlayNamesOptions;
  readonly #ancestry: Ancestry;
  readonly #lock = new SharedLock();

  constructor(base: FileTree, nodes: OverlayNodes, options: OverlayNamesOptions) {
    this.#base = base;
    this.#nodes = nodes;
    this.#options = options;
    this.#ancestry = new Ancestry(base.rootId);
  }

  async lookup(parent: NodeId, name: string): Promise<TreeEntry | undefined> {
    const entry = await this.#find(parent, name);
    if (entry?.stat.kind === "directory") this.#ancestry.note(entry.stat.id, parent);
    return entry;
  }

  async readDirectory(id: NodeId): Promise<readonly TreeEntry[]> {
    const before = this.#nodes.get(id);
    if (before !== undefined) checkDirectory(before);
    const isNew = before !== undefined && before.base === undefined;
    const entries = isNew ? [] : await this.#base.readDirectory(id);
    const directory = this.#nodes.get(id);
    if (this.#nodes.isEmpty) return entries;
    const merged: TreeEntry[] = [];
    for (const entry of entries) {
      if (directory !== undefined && this.#isHidden(directory, entry.name)) continue;
      const stat = this.#nodes.merged(entry.stat);
      merged.push(stat === entry.stat ? entry : { name: entry.name, stat });
    }
    for (const added of directory?.directory?.added.values() ?? [])
      merged.push(this.#addedEntry(added));
    return merged;
  }

  /** Makes a node and its name. Throws "exists", "no-space", "name-too-long", "invalid". */
  async create(
    parent: NodeId,
    name: string,
    values: Omit<NewNodeValues, "id" | "nowMs">,
  ): Promise<TreeEntry> {
    this.#checkName(name);
    return this.#lock.alone(async () => {
      if ((await this.#find(parent, name)) !== undefined) {
        throw new ReelError("exists", `cannot create ${name}: it is there already`);
      }
      const directory = await this.#directoryToChange(parent);
      this.#chargeName(directory, name);
      const nowMs = this.#options.nowMs();
      let node: OverlayNode;
      try {
        node = this.#nodes.create({ ...values, foldsLike: directory.foldsLike, nowMs });
      } catch (error) {
        this.#refundName(directory, name);
        throw error;
      }
      this.#add(directory, { name, id: node.id });
      directory.touchContents(nowMs);
      if (node.kind === "directory") this.#ancestry.note(node.id, parent);
      return { name, stat: node.stat() };
    });
  }

  /** Removes the name of a directory ("empty" it must be), or of anything else. */
  async remove(parent: NodeId, name: string, which: "directory" | "other"): Promise<void> {
    await this.#lock.alone(async () => {
      const found = await this.#findExisting(parent, name, "delete");
      const isDirectory = found.stat.kind === "directory";
      if (which === "directory") {
        if (!isDirectory) throw notDirectory(`cannot remove ${name}`);
        await this.#checkEmpty(found);
      } else if (isDirectory) {
        throw new ReelError("is-a-directory", `cannot delete ${name}: it is a directory`);
      }
      const directory = await this.#nodes.change(parent, true);
      const node = await this.#nodes.change(found.stat.id, true);
      const nowMs = this.#options.nowMs();
      this.#removeEntry(directory, found.name);
      directory.touchContents(nowMs);
      this.#nodes.removeName(node, nowMs);
    });
  }

  /** rename(2). */
  async rename(parent: NodeId, name: string, newParent: NodeId, newName: string): Promise<void> {
    this.#checkName(newName);
    await this.#lock.alone(async () => {
      const source = await this.#findExisting(parent, name, "rename");
      const target = await this.#find(newParent, newName);
      const isSameName = parent === newParent && source.name === target?.name;
      // Two names of one file stay two names; only the spelling of one name may change.
      if (source.stat.id === target?.stat.id && !isSameName) return;
      if (isSameName && source.name === newName) return;
      if (source.stat.kind === "directory" && parent !== newParent) {
        await this.#checkNotInside(newParent, source);
      }
      const replaced = isSameName ? undefined : target;
      if (replaced !== undefined) await this.#checkReplaceable(source, replaced);

      const node = await this.#nodes.change(source.stat.id);
      const from = await this.#directoryToChange(parent);
      const to = await this.#directoryToChange(newParent);
      const replacedNode =
        replaced === undefined ? undefined : await this.#nodes.change(replaced.stat.id, true);
      this.#chargeName(to, newName);
      const nowMs = this.#options.nowMs();
      this.#removeEntry(from, source.name);
      if (replaced !== undefined) this.#removeEntry(to, replaced.name);
      this.#add(to, { name: newName, id: node.id });
      from.touchContents(nowMs);
      to.touchContents(nowMs);
      node.changedMs = nowMs;
      if (node.kind === "directory") this.#ancestry.note(node.id, newParent);
      if (replacedNode !== undefined) this.#nodes.removeName(replacedNode, nowMs);
    });
  }

  async #find(parent: NodeId, name: string): Promise<TreeEntry | undefined> {
    const before = this.#nodes.get(parent);
    if (before !== undefined) {
      checkDirectory(before);
      const added = this.#findAdded(before, name);
      if (added !== undefined || before.base === undefined) return added;
    }
    const entry = await this.#base.lookup(parent, name);
    if (this.#nodes.isEmpty) return entry;
    const directory = this.#nodes.get(parent);
    if (directory !== undefined) {
      const added = this.#findAdded(directory, name);
      if (added !== undefined) return added;
      if (entry !== undefined && this.#isHidden(directory, entry.name)) return undefined;
    }
    if (entry === undefined) return undefined;
    const stat = this.#nodes.merged(entry.stat);
    return stat === entry.stat ? entry : { name: entry.name, stat };
  }

  async #findExisting(parent: NodeId, name: string, doing: string): Promise<TreeEntry> {
    const found = await this.#find(parent, name);
    if (found === undefined) {
      throw new ReelError("not-found", `cannot ${doing} ${name}: there is none of that name`);
    }
    return found;
  }

  #findAdded(directory: OverlayNode, name: string): TreeEntry | undefined {
    const changes = directory.directory;
    if (changes === undefined || changes.added.size === 0) return undefined;
    const added = changes.added.get(this.#fold(directory, name));
    return added === undefined ? undefined : this.#addedEntry(added);
  }

  #addedEntry({ name, id }: AddedName): TreeEntry {
    const node = this.#nodes.get(id);
    if (node === undefined) throw new ReelError("internal", `${name} leads to no node`);
    return { name, stat: node.stat() };
  }

  #isHidden(directory: OverlayNode, baseName: string): boolean {
    const changes = directory.directory;
    if (changes === undefined) return false;
    if (changes.removed.has(baseName)) return true;
    return changes.added.size > 0 && changes.added.has(this.#fold(directory, baseName));
  }

  #fold(directory: OverlayNode, name: string): string {
    return this.#options.foldName(name, directory.foldsLike);
  }

  /** A directory that still has a name, for a name to be put into or taken out of. */
  async #directoryToChange(id: NodeId): Promise<OverlayNode> {
    const node = await this.#nodes.change(id);
    checkDirectory(node);
    if (node.names === 0) throw notFound(id);
    return node;
  }

  async #checkEmpty(entry: TreeEntry): Promise<void> {
    if ((await this.readDirectory(entry.stat.id)).length === 0) return;
    throw new ReelError("not-empty", `cannot remove ${entry.name}: it is not empty`);
  }

  async #checkNotInside(newParent: NodeId, source: TreeEntry): Promise<void> {
    const subdirectories = async (id: NodeId): Promise<readonly NodeId[]> =>
      (await this.readDirectory(id))
        .filter((entry) => entry.stat.kind === "directory")
        .map((entry) => entry.stat.id);
    if (!(await this.#ancestry.isWithin(newParent, source.stat.id, subdirectories))) return;
    throw new ReelError("invalid", `cannot move ${source.name} into itself`);
  }

  async #checkReplaceable(source: TreeEntry, target: TreeEntry): Promise<void> {
    const targetIsDirectory = target.stat.kind === "directory";
    if (source.stat.kind !== "directory") {
      if (!targetIsDirectory) return;
      throw new ReelError(
        "is-a-directory",
        `cannot replace ${target.name} by ${source.name}: it is a directory`,
      );
    }
    if (!targetIsDirectory) throw notDirectory(`cannot replace ${target.name} by a directory`);
    await this.#checkEmpty(target);
  }

  #checkName(name: string): void {
    const isForbidden = name === "" || name === "." || name === "..";
    if (isForbidden || name.includes("/") || name.includes("\0")) {
      throw new ReelError("invalid", `cannot use ${JSON.stringify(name)} as a name`);
    }
    const { nameMaxBytes } = this.#options;
    if (Buffer.byteLength(name) > nameMaxBytes) {
      throw new ReelError("name-too-long", `cannot use a name of over ${nameMaxBytes} bytes`);
    }
  }

  /** Enters a name that was charged. */
  #add(directory: OverlayNode, added: AddedName): void {
    changesOf(directory).added.set(this.#fold(directory, added.name), added);
  }

  /** Takes back a name of the overlay, or whites out one of the base. */
  #removeEntry(directory: OverlayNode, name: string): void {
    const changes = changesOf(directory);
    const folded = this.#fold(directory, name);
    const added = changes.added.get(folded);
    if (added !== undefined) {
      changes.added.delete(folded);
      this.#refundName(directory, added.name);
      return;
    }
    changes.removed.add(name);
    this.#nodes.store.forceMetadata(nameCostBytes(name));
    directory.costBytes += nameCostBytes(name);
  }

  #chargeName(directory: OverlayNode, name: string): void {
    this.#nodes.store.chargeMetadata(nameCostBytes(name));
    directory.costBytes += nameCostBytes(name);
  }

  #refundName(directory: OverlayNode, name: string): void {
    this.#nodes.store.refundMetadata(nameCostBytes(name));
    directory.costBytes -= nameCostBytes(name);
  }
}

/** The key is the name again where nothing is folded; it is charged in any case. */
function nameCostBytes(name: string): number {
  return NAME_COST_BYTES + 2 * textCostBytes(name);
}

function changesOf(directory: OverlayNode): DirectoryChanges {
  directory.directory ??= { added: new Map(), removed: new Set() };
  return directory.directory;
}

function checkDirectory(node: OverlayNode): void {
  if (node.kind !== "directory") throw notDirectory(`cannot look into node ${node.id}`);
}

function notDirectory(doing: string): ReelError {
  return new ReelError("not-a-directory", `${doing}: it is no directory`);
}
