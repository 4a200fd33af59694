/**
 * A writable FileTree in memory for tests of the mount: small, plain, and able to misbehave on
 * request. Files hold a Buffer that grows; a "zeros" file has any size and no bytes.
 */
import { ReelError } from "../../src/errors.ts";
import type {
  AttributeChanges,
  FileTree,
  NewNode,
  NodeId,
  NodeKind,
  NodeStat,
  TreeEntry,
  TreeStats,
  WritableFileTree,
} from "../../src/tree/file-tree.ts";

interface Node {
  readonly id: NodeId;
  readonly kind: NodeKind;
  readonly children: Map<string, { name: string; node: Node }>;
  readonly xattrs: Map<string, Uint8Array>;
  content: Buffer;
  sizeBytes: number;
  target: string;
  mode: number | undefined;
  readOnly: boolean;
  uid: number | undefined;
  gid: number | undefined;
  modifiedMs: number;
  accessedMs: number;
  /** Reading this range is "damaged". */
  damaged: readonly [from: number, to: number] | undefined;
}

export interface ScratchOptions {
  readonly foldsCase?: boolean;
  readonly stats?: Partial<TreeStats>;
}

export class ScratchTree implements FileTree, WritableFileTree {
  readonly rootId: NodeId;
  readonly writable: WritableFileTree = this;
  readonly #nodes = new Map<NodeId, Node>();
  readonly #options: ScratchOptions;
  #nextId = 2 ** 40;

  constructor(options: ScratchOptions = {}) {
    this.#options = options;
    this.rootId = this.#node("directory", undefined).id;
  }

  #node(kind: NodeKind, mode: number | undefined): Node {
    const now = Date.UTC(2020, 1, 2, 3, 4, 5, 678);
    const node: Node = {
      id: this.#nextId++,
      kind,
      children: new Map(),
      xattrs: new Map(),
      content: Buffer.alloc(0),
      sizeBytes: 0,
      target: "",
      mode,
      readOnly: false,
      uid: undefined,
      gid: undefined,
      modifiedMs: now,
      accessedMs: now,
      damaged: undefined,
    };
    this.#nodes.set(node.id, node);
    return node;
  }

  #get(id: NodeId): Node {
    const node = this.#nodes.get(id);
    if (node === undefined) throw new ReelError("not-found", `no node ${id}`);
    return node;
  }

  #directory(id: NodeId): Node {
    const node = this.#get(id);
    if (node.kind !== "directory") throw new ReelError("not-a-directory", `node ${id}`);
    return node;
  }

  #fold(name: string): string {
    return this.#options.foldsCase === true ? name.toUpperCase() : name;
  }

  #child(parent: NodeId, name: string): { name: string; node: Node } {
    const found = this.#directory(parent).children.get(this.#fold(name));
    if (found === undefined) throw new ReelError("not-found", `no ${name}`);
    return found;
  }

  #add(parent: NodeId, name: string, node: Node): TreeEntry {
    const { children } = this.#directory(parent);
    if (children.has(this.#fold(name))) throw new ReelError("exists", `${name} exists`);
    children.set(this.#fold(name), { name, node });
    return { name, stat: this.#stat(node) };
  }

  #stat(node: Node): NodeStat {
    return {
      id: node.id,
      kind: node.kind,
      sizeBytes: node.kind === "symlink" ? node.target.length : node.sizeBytes,
      mode: node.mode,
      readOnly: node.readOnly,
      uid: node.uid,
      gid: node.gid,
      linkCount: 1,
      modifiedMs: node.modifiedMs,
      accessedMs: node.accessedMs,
      changedMs: node.modifiedMs,
      allocatedBytes: node.sizeBytes,
    };
  }

  /** Adds a file by path, making the folders on the way. */
  addFile(path: string, content: string | Uint8Array, mode?: number): NodeId {
    const { node } = this.#make(path, "file", mode);
    node.content = Buffer.from(content);
    node.sizeBytes = node.content.length;
    return node.id;
  }

  /** A file of any size that reads as zeros and takes no memory. */
  addZeros(path: string, sizeBytes: number): NodeId {
    const { node } = this.#make(path, "file", undefined);
    node.sizeBytes = sizeBytes;
    return node.id;
  }

  addDirectory(path: string): NodeId {
    return this.#make(path, "directory", undefined).node.id;
  }

  damage(id: NodeId, from: number, to: number): void {
    this.#get(id).damaged = [from, to];
  }

  markReadOnly(id: NodeId): void {
    this.#get(id).readOnly = true;
  }

  #make(path: string, kind: NodeKind, mode: number | undefined): { node: Node } {
    const names = path.split("/").filter((name) => name !== "");
    const last = names.pop() ?? "";
    let parent = this.rootId;
    for (const name of names) {
      const known = this.#directory(parent).children.get(this.#fold(name));
      parent =
        known?.node.id ?? this.#add(parent, name, this.#node("directory", undefined)).stat.id;
    }
    const node = this.#node(kind, mode);
    this.#add(parent, last, node);
    return { node };
  }

  async lookup(parent: NodeId, name: string): Promise<TreeEntry | undefined> {
    const found = this.#directory(parent).children.get(this.#fold(name));
    return found === undefined ? undefined : { name: found.name, stat: this.#stat(found.node) };
  }

  async stat(id: NodeId): Promise<NodeStat> {
    return this.#stat(this.#get(id));
  }

  async readDirectory(id: NodeId): Promise<readonly TreeEntry[]> {
    const { children } = this.#directory(id);
    return [...children.values()].map(({ name, node }) => ({ name, stat: this.#stat(node) }));
  }

  async read(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number> {
    const node = this.#get(id);
    const count = Math.max(0, Math.min(target.length, node.sizeBytes - offsetBytes));
    const end = offsetBytes + count;
    if (node.damaged !== undefined && offsetBytes < node.damaged[1] && end > node.damaged[0]) {
      throw new ReelError("damaged", `bytes ${node.damaged.join(" to ")} are damaged`);
    }
    const known = node.content.subarray(offsetBytes, Math.max(offsetBytes, end));
    target.set(known);
    target.fill(0, known.length, count);
    return count;
  }

  async readLink(id: NodeId): Promise<string> {
    return this.#get(id).target;
  }

  async listXattrs(id: NodeId): Promise<readonly string[]> {
    return [...this.#get(id).xattrs.keys()];
  }

  async getXattr(id: NodeId, name: string): Promise<Uint8Array | undefined> {
    return this.#get(id).xattrs.get(name);
  }

  async statfs(): Promise<TreeStats> {
    return {
      blockSizeBytes: 4096,
      blocks: 1000,
      blocksFree: 250,
      files: this.#nodes.size,
      filesFree: 100,
      nameMaxBytes: 255,
      ...this.#options.stats,
    };
  }

  async close(): Promise<void> {
    this.#nodes.clear();
  }

  async createFile(parent: NodeId, name: string, node: NewNode): Promise<TreeEntry> {
    return this.#add(parent, name, this.#node("file", node.mode));
  }

  async createDirectory(parent: NodeId, name: string, node: NewNode): Promise<TreeEntry> {
    return this.#add(parent, name, this.#node("directory", node.mode));
  }

  async createSymlink(parent: NodeId, name: string, target: string): Promise<TreeEntry> {
    const node = this.#node("symlink", 0o777);
    node.target = target;
    return this.#add(parent, name, node);
  }

  async unlink(parent: NodeId, name: string): Promise<void> {
    const { node } = this.#child(parent, name);
    if (node.kind === "directory") throw new ReelError("is-a-directory", name);
    // The node stays: somebody may have it open.
    this.#directory(parent).children.delete(this.#fold(name));
  }

  async removeDirectory(parent: NodeId, name: string): Promise<void> {
    const { node } = this.#child(parent, name);
    if (node.kind !== "directory") throw new ReelError("not-a-directory", name);
    if (node.children.size > 0) throw new ReelError("not-empty", name);
    this.#directory(parent).children.delete(this.#fold(name));
    this.#nodes.delete(node.id);
  }

  async rename(parent: NodeId, name: string, newParent: NodeId, newName: string): Promise<void> {
    const { node } = this.#child(parent, name);
    const target = this.#directory(newParent).children.get(this.#fold(newName))?.node;
    if (target !== undefined && target !== node) {
      if (target.children.size > 0) throw new ReelError("not-empty", newName);
    }
    this.#directory(parent).children.delete(this.#fold(name));
    this.#directory(newParent).children.set(this.#fold(newName), { name: newName, node });
  }

  async write(id: NodeId, offsetBytes: number, source: Uint8Array): Promise<void> {
    const node = this.#get(id);
    const end = offsetBytes + source.length;
    if (end > 256 * 1024 * 1024) throw new ReelError("no-space", "the scratch tree is full");
    if (end > node.content.length) {
      const grown = Buffer.alloc(Math.max(end, node.content.length * 2));
      node.content.copy(grown);
      node.content = grown;
    }
    node.content.set(source, offsetBytes);
    node.sizeBytes = Math.max(node.sizeBytes, end);
    node.modifiedMs = Date.now();
  }

  async setAttributes(id: NodeId, changes: AttributeChanges): Promise<void> {
    const node = this.#get(id);
    if (changes.sizeBytes !== undefined) {
      node.content.fill(0, changes.sizeBytes);
      node.sizeBytes = changes.sizeBytes;
      node.modifiedMs = Date.now();
    }
    node.mode = changes.mode ?? node.mode;
    node.uid = changes.uid ?? node.uid;
    node.gid = changes.gid ?? node.gid;
    node.modifiedMs = changes.modifiedMs ?? node.modifiedMs;
    node.accessedMs = changes.accessedMs ?? node.accessedMs;
  }

  async setXattr(
    id: NodeId,
    name: string,
    value: Uint8Array,
    mode: "create" | "replace" | "any",
  ): Promise<void> {
    const { xattrs } = this.#get(id);
    if (mode === "create" && xattrs.has(name)) throw new ReelError("exists", name);
    if (mode === "replace" && !xattrs.has(name)) throw new ReelError("no-attribute", name);
    xattrs.set(name, value);
  }

  async removeXattr(id: NodeId, name: string): Promise<void> {
    if (!this.#get(id).xattrs.delete(name)) throw new ReelError("no-attribute", name);
  }
}
