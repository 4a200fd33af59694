/**
 * From paths, which is what libfuse speaks, to nodes of the tree; with their attributes, so that
 * most metadata operations are answered without asking the tree.
 *
 * Names are kept per directory and point to nodes; a path is walked down from the root, one map
 * access for each of its names. So a renamed directory takes nothing below it out of the cache. A
 * node knows all names that led to it, also those that only fold to its own: when it is removed,
 * exactly those go.
 *
 * What the tree says may be out of date by the time it is heard, when a change happened meanwhile.
 * Two counters tell: an answer that was asked for before the last change is used, but not kept.
 * Absent names are not kept at all.
 */
import type { FileTree, NodeId, NodeKind, NodeStat, TreeEntry } from "../tree/file-tree.ts";
import { ENOENT, ENOTDIR, type Errno } from "./errno.ts";
import type { Answer } from "./fuse-handlers.ts";

/** About 400 bytes each: 13 MiB. */
export const CACHED_NAMES_MAX = 32768;
/** About 2.5 MiB. */
const WITHOUT_XATTRS_MAX = 65_536;
/** After an eviction this share of the names is left, so that evictions are rare. */
const KEPT_SHARE = 0.75;

export interface CachedNode {
  readonly id: NodeId;
  readonly kind: NodeKind;
  /** Undefined: changed since, to be asked for again. */
  stat: NodeStat | undefined;
  /** Names under which it is cached. */
  readonly keys: { readonly parent: NodeId; readonly name: string }[];
}

interface CachedDirectory {
  readonly names: Map<string, CachedNode>;
  lastUse: number;
}

export class NodeCache {
  readonly #tree: FileTree;
  readonly #namesMax: number;
  readonly #directories = new Map<NodeId, CachedDirectory>();
  readonly #nodes = new Map<NodeId, CachedNode>();
  readonly #root: CachedNode;
  /** Kept longer than names: ls -lR asks for two attributes of each file. */
  readonly #withoutKernelXattrs = new Set<NodeId>();
  #names = 0;
  #clock = 0;
  #nameChanges = 0;
  #attributeChanges = 0;

  /** `namesMax` 0: nothing is kept at all. */
  constructor(tree: FileTree, namesMax = CACHED_NAMES_MAX) {
    this.#tree = tree;
    this.#namesMax = namesMax;
    this.#root = newNode(tree.rootId, "directory", undefined);
    this.#nodes.set(tree.rootId, this.#root);
  }

  /** The node at an absolute path, at once when all names on the way are cached. */
  resolve(path: string): CachedNode | Errno | Promise<CachedNode | Errno> {
    let node = this.#root;
    let start = 1;
    while (start < path.length) {
      const end = nameEnd(path, start);
      const directory = this.#directories.get(node.id);
      const next = directory?.names.get(path.slice(start, end));
      if (directory === undefined || next === undefined) return this.#walk(node, path, start);
      directory.lastUse = ++this.#clock;
      node = next;
      start = end + 1;
    }
    return node;
  }

  /** Does something with the node at `path`, at once where the path is cached. */
  use<T>(path: string, work: (node: CachedNode) => Answer<T>): Answer<T> {
    const node = this.resolve(path);
    if (node instanceof Promise) {
      return node.then((found) => (typeof found === "number" ? found : work(found)));
    }
    return typeof node === "number" ? node : work(node);
  }

  async #walk(from: CachedNode, path: string, at: number): Promise<CachedNode | Errno> {
    let node = from;
    let start = at;
    while (start < path.length) {
      if (node.kind !== "directory") return ENOTDIR;
      const end = nameEnd(path, start);
      const name = path.slice(start, end);
      const next =
        this.#directories.get(node.id)?.names.get(name) ?? (await this.#load(node, name));
      if (next === undefined) return ENOENT;
      node = next;
      start = end + 1;
    }
    return node;
  }

  async #load(parent: CachedNode, name: string): Promise<CachedNode | undefined> {
    const asked = this.now();
    const entry = await this.#tree.lookup(parent.id, name);
    return entry === undefined ? undefined : this.#keep(parent.id, name, entry, asked);
  }

  /** A moment to hand back with what the tree then said. */
  now(): { readonly names: number; readonly attributes: number } {
    return { names: this.#nameChanges, attributes: this.#attributeChanges };
  }

  /** Attributes of a node; a handle's node may be in no directory any more. */
  stat(id: NodeId): NodeStat | Promise<NodeStat> {
    return this.#nodes.get(id)?.stat ?? this.#loadStat(id);
  }

  async #loadStat(id: NodeId): Promise<NodeStat> {
    const asked = this.#attributeChanges;
    const stat = await this.#tree.stat(id);
    const node = this.#nodes.get(id);
    const isKept = this.#namesMax > 0 && asked === this.#attributeChanges;
    if (node !== undefined && isKept) node.stat = stat;
    return stat;
  }

  /** Keeps the entries of a directory that was just read: what is listed is looked at next. */
  keepListing(
    parent: NodeId,
    entries: readonly TreeEntry[],
    asked: ReturnType<NodeCache["now"]>,
  ): void {
    if (entries.length > this.#namesMax / 2) return;
    for (const entry of entries) this.#keep(parent, entry.name, entry, asked);
  }

  #keep(
    parent: NodeId,
    name: string,
    entry: TreeEntry,
    asked: ReturnType<NodeCache["now"]>,
  ): CachedNode {
    const { id, kind } = entry.stat;
    const stat = asked.attributes === this.#attributeChanges ? entry.stat : undefined;
    if (this.#namesMax === 0) return newNode(id, kind, entry.stat);
    const known = this.#nodes.get(id);
    if (asked.names !== this.#nameChanges) {
      return known ?? newNode(id, kind, stat);
    }
    const node = known ?? newNode(id, kind, stat);
    if (stat !== undefined) node.stat = stat;
    const directory = this.#directoryOf(parent);
    const replaced = directory.names.get(name);
    if (replaced === node) return node;
    if (replaced !== undefined) this.#drop(replaced, parent);
    directory.names.set(name, node);
    node.keys.push({ parent, name });
    this.#nodes.set(id, node);
    this.#names++;
    if (this.#names > this.#namesMax) this.#evict();
    return node;
  }

  #directoryOf(id: NodeId): CachedDirectory {
    let directory = this.#directories.get(id);
    if (directory === undefined) {
      directory = { names: new Map(), lastUse: 0 };
      this.#directories.set(id, directory);
    }
    directory.lastUse = ++this.#clock;
    return directory;
  }

  /** A name was made in `parent`, or failed to be: its attributes are to be asked for again. */
  created(parent: NodeId): void {
    this.#nameChanges++;
    this.changed(parent);
  }

  /** Node `id` lost its names in `parent`, or may have. */
  removed(parent: NodeId, id: NodeId): void {
    this.created(parent);
    this.changed(id);
    const node = this.#nodes.get(id);
    if (node !== undefined) this.#drop(node, parent);
  }

  /** Contents or attributes of a node changed, or may have. */
  changed(id: NodeId): void {
    this.#attributeChanges++;
    const node = this.#nodes.get(id);
    if (node !== undefined) node.stat = undefined;
  }

  /** Is it known that a node has none of the attributes that the kernel and ls ask for, again and again? */
  hasNoKernelXattrs(id: NodeId): boolean {
    return this.#withoutKernelXattrs.has(id);
  }

  /** Keeps that, if it was asked for after the last change. */
  keepNoKernelXattrs(id: NodeId, asked: ReturnType<NodeCache["now"]>): void {
    if (this.#namesMax === 0 || asked.attributes !== this.#attributeChanges) return;
    if (this.#withoutKernelXattrs.size >= WITHOUT_XATTRS_MAX) this.#withoutKernelXattrs.clear();
    this.#withoutKernelXattrs.add(id);
  }

  /** Extended attributes of a node changed, or may have. */
  xattrsChanged(id: NodeId): void {
    this.changed(id);
    this.#withoutKernelXattrs.delete(id);
  }

  /** Names cached now. */
  get size(): number {
    return this.#names;
  }

  /** Takes the names that a node has in one directory out of the cache. */
  #drop(node: CachedNode, parent: NodeId): void {
    const names = this.#directories.get(parent)?.names;
    for (let index = node.keys.length - 1; index >= 0; index--) {
      const key = node.keys[index];
      if (key?.parent !== parent) continue;
      node.keys.splice(index, 1);
      if (names?.delete(key.name) === true) this.#names--;
    }
    if (names?.size === 0) this.#directories.delete(parent);
    if (node.keys.length === 0 && node !== this.#root) this.#nodes.delete(node.id);
  }

  /** Lets go of the directories that were used longest ago. */
  #evict(): void {
    const byUse = [...this.#directories].sort(([, a], [, b]) => a.lastUse - b.lastUse);
    for (const [id, directory] of byUse) {
      if (this.#names <= this.#namesMax * KEPT_SHARE) return;
      this.#directories.delete(id);
      this.#names -= directory.names.size;
      for (const node of directory.names.values()) this.#forgetKeys(node, id);
    }
  }

  #forgetKeys(node: CachedNode, parent: NodeId): void {
    for (let index = node.keys.length - 1; index >= 0; index--) {
      if (node.keys[index]?.parent === parent) node.keys.splice(index, 1);
    }
    if (node.keys.length === 0 && node !== this.#root) this.#nodes.delete(node.id);
  }
}

function nameEnd(path: string, start: number): number {
  const slash = path.indexOf("/", start);
  return slash < 0 ? path.length : slash;
}

function newNode(id: NodeId, kind: NodeKind, stat: NodeStat | undefined): CachedNode {
  return { id, kind, stat, keys: [] };
}

/** "/a/b/c" as "/a/b" and "c". */
export function splitPath(path: string): { readonly parent: string; readonly name: string } {
  const slash = path.lastIndexOf("/");
  return { parent: slash === 0 ? "/" : path.slice(0, slash), name: path.slice(slash + 1) };
}
