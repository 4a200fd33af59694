/**
 * A small read-only FileTree in memory, from a literal, for tests of whatever serves or walks a
 * tree:
 *
 *     memoryTree({ DCIM: { "A.JPG": "bytes" }, link: symlink("DCIM/A.JPG") })
 *
 * A string or Uint8Array is a file, a plain object a directory. `file`, `directory`, `symlink` and
 * `special` give a node attributes as well. One node under several names is a file with hard links:
 *
 *     const both = file("bytes"); memoryTree({ one: both, two: both })
 */
import { isReelError, ReelError } from "../../src/errors.ts";
import type {
  FileTree,
  NodeId,
  NodeKind,
  NodeStat,
  TreeEntry,
  TreeStats,
} from "../../src/tree/file-tree.ts";

/** What may be said of a node beside its contents. */
export interface LiteralAttributes {
  readonly mode?: number;
  readonly readOnly?: boolean;
  readonly uid?: number;
  readonly gid?: number;
  readonly modifiedMs?: number;
  readonly deviceNumber?: number;
  readonly xattrs?: Readonly<Record<string, string>>;
  /** Reads of the contents throw this (and getXattr, listXattrs do not). */
  readonly failure?: ReelError;
}

export class LiteralNode {
  readonly kind: NodeKind;
  readonly content: Uint8Array;
  readonly children: TreeLiteral;
  readonly attributes: LiteralAttributes;

  constructor(
    kind: LiteralNode["kind"],
    content: Uint8Array,
    children: TreeLiteral,
    attributes: LiteralAttributes,
  ) {
    this.kind = kind;
    this.content = content;
    this.children = children;
    this.attributes = attributes;
  }
}

export interface TreeLiteral {
  readonly [name: string]: string | Uint8Array | LiteralNode | TreeLiteral;
}

export function file(
  content: string | Uint8Array,
  attributes: LiteralAttributes = {},
): LiteralNode {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  return new LiteralNode("file", bytes, {}, attributes);
}

export function directory(children: TreeLiteral, attributes: LiteralAttributes = {}): LiteralNode {
  return new LiteralNode("directory", new Uint8Array(0), children, attributes);
}

export function symlink(target: string, attributes: LiteralAttributes = {}): LiteralNode {
  return new LiteralNode("symlink", Buffer.from(target), {}, attributes);
}

/** A pipe, socket or device. */
export function special(
  kind: Exclude<NodeKind, "file" | "directory" | "symlink">,
  attributes: LiteralAttributes = {},
): LiteralNode {
  return new LiteralNode(kind, new Uint8Array(0), {}, attributes);
}

/** How many names each node of a literal has. */
export function countNames(
  literal: TreeLiteral,
  counts = new Map<LiteralNode, number>(),
): ReadonlyMap<LiteralNode, number> {
  for (const value of Object.values(literal)) {
    if (value instanceof LiteralNode) counts.set(value, (counts.get(value) ?? 0) + 1);
    countNames(literalNode(value).children, counts);
  }
  return counts;
}

/** The node that a value of a literal stands for. */
export function literalNode(value: TreeLiteral[string]): LiteralNode {
  if (value instanceof LiteralNode) return value;
  if (typeof value === "string" || value instanceof Uint8Array) return file(value);
  return directory(value);
}

/** The attributes of a literal node as stat(2) would show them. */
export function literalStat(id: NodeId, node: LiteralNode, linkCount = 1): NodeStat {
  const time = node.attributes.modifiedMs ?? Date.UTC(2001, 1, 3, 4, 5, 6);
  return {
    id,
    kind: node.kind,
    sizeBytes: node.content.length,
    mode: node.attributes.mode,
    readOnly: node.attributes.readOnly,
    uid: node.attributes.uid,
    gid: node.attributes.gid,
    deviceNumber: node.attributes.deviceNumber,
    linkCount,
    modifiedMs: time,
    accessedMs: time,
    changedMs: time,
    allocatedBytes: Math.ceil(node.content.length / 512) * 512,
  };
}

export interface MemoryTreeOptions {
  /** Names that fold to the same string are the same name. Default: case matters. */
  readonly foldName?: (name: string) => string;
}

export function memoryTree(literal: TreeLiteral, options: MemoryTreeOptions = {}): FileTree {
  return new MemoryTree(directory(literal), options.foldName ?? ((name) => name));
}

interface MemoryNode {
  readonly literal: LiteralNode;
  readonly entry: TreeEntry;
  readonly entries: TreeEntry[];
}

class MemoryTree implements FileTree {
  readonly rootId: NodeId;
  readonly #nodes = new Map<NodeId, MemoryNode>();
  readonly #foldName: (name: string) => string;
  readonly #names: ReadonlyMap<LiteralNode, number>;
  readonly #linked = new Map<LiteralNode, NodeId>();
  #closed = false;

  constructor(root: LiteralNode, foldName: (name: string) => string) {
    this.#foldName = foldName;
    this.#names = countNames(root.children);
    this.rootId = this.#add("", root).stat.id;
  }

  #add(name: string, literal: LiteralNode): TreeEntry {
    const known = this.#nodes.get(this.#linked.get(literal) ?? -1);
    if (known !== undefined) return { name, stat: known.entry.stat };
    const id = this.#nodes.size + 1;
    this.#linked.set(literal, id);
    const linkCount = this.#names.get(literal) ?? 1;
    const entry: TreeEntry = { name, stat: literalStat(id, literal, linkCount) };
    const entries: TreeEntry[] = [];
    this.#nodes.set(id, { literal, entry, entries });
    for (const [childName, child] of Object.entries(literal.children)) {
      entries.push(this.#add(childName, literalNode(child)));
    }
    return entry;
  }

  #node(id: NodeId): MemoryNode {
    if (this.#closed) throw new ReelError("closed", "the memory tree is closed");
    const node = this.#nodes.get(id);
    if (node === undefined) throw new ReelError("not-found", `no node ${id} in the memory tree`);
    return node;
  }

  #entries(id: NodeId): readonly TreeEntry[] {
    const node = this.#node(id);
    if (node.literal.kind !== "directory") {
      throw new ReelError("not-a-directory", `node ${id} (${node.entry.name}) is no directory`);
    }
    return node.entries;
  }

  async lookup(parent: NodeId, name: string): Promise<TreeEntry | undefined> {
    const entries = this.#entries(parent);
    const folded = this.#foldName(name);
    return (
      entries.find((entry) => entry.name === name) ??
      entries.find((entry) => this.#foldName(entry.name) === folded)
    );
  }

  async stat(id: NodeId): Promise<NodeStat> {
    return this.#node(id).entry.stat;
  }

  async readDirectory(id: NodeId): Promise<readonly TreeEntry[]> {
    return this.#entries(id);
  }

  async read(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number> {
    const { literal } = this.#node(id);
    if (literal.kind === "directory") throw new ReelError("is-a-directory", `node ${id}`);
    if (literal.kind !== "file") throw new ReelError("invalid", `node ${id} is no file`);
    if (literal.attributes.failure !== undefined) throw literal.attributes.failure;
    const part = literal.content.subarray(offsetBytes, offsetBytes + target.length);
    target.set(part);
    return part.length;
  }

  async readLink(id: NodeId): Promise<string> {
    const { literal } = this.#node(id);
    if (literal.kind !== "symlink") throw new ReelError("invalid", `node ${id} is no symlink`);
    return Buffer.from(literal.content).toString();
  }

  async listXattrs(id: NodeId): Promise<readonly string[]> {
    return Object.keys(this.#node(id).literal.attributes.xattrs ?? {});
  }

  async getXattr(id: NodeId, name: string): Promise<Uint8Array | undefined> {
    const xattrs = new Map(Object.entries(this.#node(id).literal.attributes.xattrs ?? {}));
    const value = xattrs.get(name);
    return value === undefined ? undefined : Buffer.from(value);
  }

  async statfs(): Promise<TreeStats> {
    this.#node(this.rootId);
    return {
      blockSizeBytes: 4096,
      blocks: 1024,
      blocksFree: 256,
      files: this.#nodes.size,
      filesFree: 0,
      nameMaxBytes: 255,
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
  }
}

/** Path of a node of a tree, "/a/b" -> its id; throws "not-found". */
export async function idOf(tree: FileTree, path: string): Promise<NodeId> {
  let id = tree.rootId;
  for (const name of path.split("/").filter((part) => part !== "")) {
    const entry = await tree.lookup(id, name);
    if (entry === undefined) throw new ReelError("not-found", `no ${name} in ${path}`);
    id = entry.stat.id;
  }
  return id;
}

/** The whole contents of a file of a tree. */
export async function contentOf(tree: FileTree, path: string): Promise<Buffer> {
  const id = await idOf(tree, path);
  const content = Buffer.alloc((await tree.stat(id)).sizeBytes);
  const count = await tree.read(id, 0, content);
  return content.subarray(0, count);
}

/** The code with which a promise is rejected; undefined when it is not. */
export async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    if (isReelError(error)) return error.code;
    throw error;
  }
}
