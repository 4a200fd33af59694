/**
 * Several trees under one root, each as a folder: the partitions of a disk.
 *
 * A part is opened when it is first looked into (or listed with its attributes), once however many
 * ask. One that cannot be opened is an empty-handed folder: it is listed, and whatever is asked of
 * it is answered with the reason.
 *
 * Node ids. A part's ids are safe integers of its own, and so must ours be, without a table that
 * grows with every node that is ever seen. With n parts, node i of part p becomes i × n + p + 1, which
 * is exact as long as it stays below 2^49; the few ids above (new nodes of an overlay begin at 2^50)
 * get numbers from 2^49 on, kept in a map. 0 is the root.
 */
import { CallGate } from "../device/checked-device.ts";
import { closeAll, isReelError, ReelError } from "../errors.ts";
import type {
  FileTree,
  NodeId,
  NodeStat,
  TreeEntry,
  TreeStats,
  WritableFileTree,
} from "./file-tree.ts";

export interface TreePart {
  /** Of the folder: "p1". */
  readonly name: string;
  open(): Promise<OpenedPart>;
}

export interface OpenedPart {
  /** Closed with the composed tree. */
  readonly tree: FileTree;
  readonly notices: readonly string[];
}

/** How opening a part went. */
export interface PartOutcome {
  readonly name: string;
  readonly notices: readonly string[];
  readonly error?: ReelError | undefined;
}

export interface ComposedTreeOptions {
  readonly name: string;
  readonly parts: readonly TreePart[];
  /** The parts can be changed (each has `writable` once it is open). */
  readonly writable?: boolean | undefined;
  /** Closed after the parts, in order. */
  readonly owned?: readonly { close(): Promise<void> }[] | undefined;
}

const ROOT_ID: NodeId = 0;
const MAPPED_FROM = 2 ** 49;
const BLOCK_BYTES = 4096;
/** 255 UTF-16 units, as FAT, exFAT and NTFS have them, in UTF-8. */
const NAME_MAX_BYTES = 765;
const FOLDER_MODE = 0o755;

/** Trees that share one root. */
export class ComposedTree implements FileTree {
  readonly rootId = ROOT_ID;
  readonly writable: WritableFileTree | undefined;
  readonly #options: ComposedTreeOptions;
  readonly #gate: CallGate;
  readonly #opening = new Map<number, Promise<OpenedPart>>();
  readonly #opened: (OpenedPart | undefined)[] = [];
  readonly #ids: NodeIds;

  constructor(options: ComposedTreeOptions) {
    this.#options = options;
    this.#gate = new CallGate(options.name);
    this.#ids = new NodeIds(options.parts.length);
    this.writable = options.writable === true ? this.#makeWritable() : undefined;
  }

  /** Opens every part, and says how that went. Errors that are no ReelErrors are thrown. */
  async openAll(): Promise<readonly PartOutcome[]> {
    return this.#gate.run(async () => {
      const outcomes: PartOutcome[] = [];
      for (const [index, { name }] of this.#options.parts.entries()) {
        try {
          const { notices } = await this.#open(index);
          outcomes.push({ name, notices });
        } catch (error) {
          if (!isReelError(error)) throw error;
          outcomes.push({ name, notices: [], error });
        }
      }
      return outcomes;
    });
  }

  async lookup(parent: NodeId, name: string): Promise<TreeEntry | undefined> {
    return this.#gate.run(async () => {
      if (parent === ROOT_ID) {
        const index = this.#options.parts.findIndex((part) => part.name === name);
        return index < 0 ? undefined : this.#partEntry(index);
      }
      return this.#in(parent, async (tree, id, part) => {
        const found = await tree.lookup(id, name);
        return found === undefined ? undefined : this.#entry(part, found);
      });
    });
  }

  async stat(id: NodeId): Promise<NodeStat> {
    return this.#gate.run(async () => {
      if (id === ROOT_ID) return folderStat(ROOT_ID, this.#options.parts.length);
      const part = this.#ids.partFolder(id);
      if (part !== undefined) return (await this.#partEntry(part)).stat;
      return this.#in(id, async (tree, inner) => ({ ...(await tree.stat(inner)), id }));
    });
  }

  async readDirectory(id: NodeId): Promise<readonly TreeEntry[]> {
    return this.#gate.run(async () => {
      if (id === ROOT_ID) {
        const entries: TreeEntry[] = [];
        for (const index of this.#options.parts.keys()) entries.push(await this.#partEntry(index));
        return entries;
      }
      return this.#in(id, async (tree, inner, part) =>
        (await tree.readDirectory(inner)).map((entry) => this.#entry(part, entry)),
      );
    });
  }

  async read(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number> {
    return this.#gate.run(async () => {
      if (id === ROOT_ID) throw new ReelError("is-a-directory", "the root is a directory");
      return this.#in(id, async (tree, inner) => tree.read(inner, offsetBytes, target));
    });
  }

  async readLink(id: NodeId): Promise<string> {
    return this.#gate.run(async () => {
      if (id === ROOT_ID) throw new ReelError("invalid", "the root is no symbolic link");
      return this.#in(id, async (tree, inner) => tree.readLink(inner));
    });
  }

  async listXattrs(id: NodeId): Promise<readonly string[]> {
    return this.#gate.run(async () => {
      if (id === ROOT_ID) return [];
      return this.#in(id, async (tree, inner) => tree.listXattrs(inner));
    });
  }

  async getXattr(id: NodeId, name: string): Promise<Uint8Array | undefined> {
    return this.#gate.run(async () => {
      if (id === ROOT_ID) return undefined;
      return this.#in(id, async (tree, inner) => tree.getXattr(inner, name));
    });
  }

  /** What the parts that are open have; the room for changes is one, which they share. */
  async statfs(): Promise<TreeStats> {
    return this.#gate.run(async () => {
      let usedBytes = 0;
      let freeBytes = 0;
      let [files, filesFree] = [0, 0];
      for (const part of this.#opened) {
        if (part === undefined) continue;
        const stats = await part.tree.statfs();
        const free = stats.blocksFree * stats.blockSizeBytes;
        usedBytes += stats.blocks * stats.blockSizeBytes - free;
        freeBytes = this.writable === undefined ? freeBytes + free : Math.max(freeBytes, free);
        files += stats.files - stats.filesFree;
        filesFree = Math.max(filesFree, stats.filesFree);
      }
      const blocksFree = Math.floor(freeBytes / BLOCK_BYTES);
      return {
        blockSizeBytes: BLOCK_BYTES,
        blocks: Math.ceil(usedBytes / BLOCK_BYTES) + blocksFree,
        blocksFree,
        files: files + filesFree,
        filesFree,
        nameMaxBytes: NAME_MAX_BYTES,
      };
    });
  }

  async close(): Promise<void> {
    await this.#gate.close(async () => {
      const trees = this.#opened.map((part) => part?.tree);
      await closeAll(...trees, ...(this.#options.owned ?? []));
    });
  }

  /** The part, opened once; a failure is remembered, and thrown to everybody who asks. */
  async #open(index: number): Promise<OpenedPart> {
    let opening = this.#opening.get(index);
    if (opening === undefined) {
      opening = this.#start(index);
      this.#opening.set(index, opening);
    }
    return opening;
  }

  async #start(index: number): Promise<OpenedPart> {
    const part = this.#options.parts[index];
    if (part === undefined) throw new ReelError("not-found", `there is no part ${index}`);
    const opened = await part.open();
    this.#opened[index] = opened;
    return opened;
  }

  /** The folder of a part, with the attributes of its own root where it can be opened. */
  async #partEntry(index: number): Promise<TreeEntry> {
    const name = this.#options.parts[index]?.name ?? "";
    const id = this.#ids.folderOf(index);
    try {
      const { tree } = await this.#open(index);
      const root = await tree.stat(tree.rootId);
      this.#ids.setRoot(index, tree.rootId);
      return { name, stat: { ...root, id } };
    } catch (error) {
      if (!isReelError(error) || isReelError(error, "closed")) throw error;
      return { name, stat: folderStat(id, 0) };
    }
  }

  #entry(part: number, { name, stat }: TreeEntry): TreeEntry {
    return { name, stat: { ...stat, id: this.#ids.outer(part, stat.id) } };
  }

  /** Runs `body` on the part that a node is in, with the id that it has there. */
  async #in<T>(
    id: NodeId,
    body: (tree: FileTree, inner: NodeId, part: number) => Promise<T>,
  ): Promise<T> {
    const { part, inner } = this.#ids.find(id);
    const { tree } = await this.#open(part);
    return body(tree, inner ?? tree.rootId, part);
  }

  // Changes -------------------------------------------------------------------------------------

  async #change<T>(
    id: NodeId,
    body: (writable: WritableFileTree, inner: NodeId, part: number) => Promise<T>,
  ): Promise<T> {
    return this.#gate.run(async () => {
      if (id === ROOT_ID) {
        throw new ReelError(
          "no-permission",
          "the folders of a disk are its partitions: change what is in them",
        );
      }
      return this.#in(id, async (tree, inner, part) => {
        if (tree.writable !== undefined) return body(tree.writable, inner, part);
        throw new ReelError("read-only", `${this.#options.name} cannot be changed`);
      });
    });
  }

  #makeWritable(): WritableFileTree {
    const made = (part: number, entry: TreeEntry): TreeEntry => this.#entry(part, entry);
    return {
      createFile: async (parent, name, node) =>
        this.#change(parent, async (to, id, part) =>
          made(part, await to.createFile(id, name, node)),
        ),
      createDirectory: async (parent, name, node) =>
        this.#change(parent, async (to, id, part) =>
          made(part, await to.createDirectory(id, name, node)),
        ),
      createSymlink: async (parent, name, target, node) =>
        this.#change(parent, async (to, id, part) =>
          made(part, await to.createSymlink(id, name, target, node)),
        ),
      unlink: async (parent, name) => this.#change(parent, async (to, id) => to.unlink(id, name)),
      removeDirectory: async (parent, name) =>
        this.#change(parent, async (to, id) => to.removeDirectory(id, name)),
      rename: async (parent, name, newParent, newName) =>
        this.#change(parent, async (from, id, part) =>
          this.#change(newParent, async (_, newId, newPart) => {
            if (part === newPart) return from.rename(id, name, newId, newName);
            throw new ReelError(
              "cross-device",
              `cannot move ${name} to another partition: copy it`,
            );
          }),
        ),
      write: async (id, offsetBytes, source) =>
        this.#change(id, async (to, inner) => to.write(inner, offsetBytes, source)),
      setAttributes: async (id, changes) =>
        this.#change(id, async (to, inner) => to.setAttributes(inner, changes)),
      setXattr: async (id, name, value, mode) =>
        this.#change(id, async (to, inner) => to.setXattr(inner, name, value, mode)),
      removeXattr: async (id, name) =>
        this.#change(id, async (to, inner) => to.removeXattr(inner, name)),
      retain: (id) => {
        this.#gate.check();
        this.#onOpenNode(id, (to, inner) => to.retain?.(inner));
      },
      release: (id) => {
        this.#onOpenNode(id, (to, inner) => to.release?.(inner));
      },
    };
  }

  /** For calls that do not wait: nobody has the id of a node whose part was never opened. */
  #onOpenNode(id: NodeId, body: (writable: WritableFileTree, inner: NodeId) => void): void {
    if (id === ROOT_ID) return;
    const { part, inner } = this.#ids.find(id);
    const tree = this.#opened[part]?.tree;
    if (tree?.writable !== undefined) body(tree.writable, inner ?? tree.rootId);
  }
}

/** Ids of the parts' nodes as ids of one tree, and back. */
class NodeIds {
  readonly #parts: number;
  /** Inner id of the root of each part that was opened. */
  readonly #roots: (NodeId | undefined)[] = [];
  readonly #mapped: { readonly part: number; readonly inner: NodeId }[] = [];
  readonly #mappedIds: Map<NodeId, NodeId>[];

  constructor(parts: number) {
    this.#parts = parts;
    this.#mappedIds = Array.from({ length: parts }, () => new Map<NodeId, NodeId>());
  }

  /** The folder of a part: known before the part is. */
  folderOf(part: number): NodeId {
    return part + 1;
  }

  /** The part whose folder a node is. */
  partFolder(id: NodeId): number | undefined {
    return id >= 1 && id <= this.#parts ? id - 1 : undefined;
  }

  setRoot(part: number, inner: NodeId): void {
    this.#roots[part] = inner;
  }

  outer(part: number, inner: NodeId): NodeId {
    if (inner === this.#roots[part]) return this.folderOf(part);
    // One row further than the folders, whose ids are the first.
    const id = (inner + 1) * this.#parts + part + 1;
    if (id < MAPPED_FROM) return id;
    const known = this.#mappedIds[part]?.get(inner);
    if (known !== undefined) return known;
    const made = MAPPED_FROM + this.#mapped.length;
    this.#mapped.push({ part, inner });
    this.#mappedIds[part]?.set(inner, made);
    return made;
  }

  /** `inner` is undefined for the folder of a part: its root. Throws "not-found". */
  find(id: NodeId): { readonly part: number; readonly inner: NodeId | undefined } {
    const folder = this.partFolder(id);
    if (folder !== undefined) return { part: folder, inner: undefined };
    const mapped = id >= MAPPED_FROM ? this.#mapped[id - MAPPED_FROM] : undefined;
    if (mapped !== undefined) return mapped;
    if (Number.isSafeInteger(id) && id > this.#parts && id < MAPPED_FROM) {
      const part = (id - 1) % this.#parts;
      return { part, inner: (id - 1 - part) / this.#parts - 1 };
    }
    throw new ReelError("not-found", `there is no node ${id}`);
  }
}

function folderStat(id: NodeId, folders: number): NodeStat {
  return {
    ...{ id, kind: "directory", sizeBytes: 0, allocatedBytes: 0, mode: FOLDER_MODE },
    ...{ linkCount: 2 + folders, modifiedMs: 0, accessedMs: 0, changedMs: 0 },
  };
}
