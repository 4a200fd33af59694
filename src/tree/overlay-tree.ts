/**
 * A FileTree that can be changed over one that cannot: the base is never written, changes live in a
 * store with a budget and vanish when the tree is closed. This file only directs; the work is in
 *
 *     overlay-names.ts   which names a directory has
 *     overlay-nodes.ts   which nodes there are, and until when
 *     overlay-file.ts    which bytes a changed file has
 *
 * What nobody changed costs nothing here and goes straight to the base. Nodes of the base keep their
 * ids; new ones get ids from 2^50 on.
 *
 * A file that is open must be `retain`ed: it stays readable and writable by its id after its last
 * name is gone, and its room is free when it is `release`d. A node that nobody retains is gone with
 * its last name.
 *
 * "no-space" means the budget (or the disk under it) is full, and nothing has changed. Deleting
 * always works: what remembers a deletion is counted, but never refused.
 *
 * Access times do not change by reading (as with mount -o noatime).
 */
import type { OverlayStoreStatistics } from "../cache/overlay-store.ts";
import { OVERLAY_BLOCK_BYTES, OverlayStore } from "../cache/overlay-store.ts";
import { CallGate } from "../device/checked-device.ts";
import { closeAll, ReelError } from "../errors.ts";
import type { NodeId, NodeStat } from "../volume/volume.ts";
import type {
  AttributeChanges,
  FileTree,
  NewNode,
  TreeEntry,
  TreeStats,
  WritableFileTree,
} from "./file-tree.ts";
import { XATTR_VALUE_MAX_BYTES } from "./location-xattrs.ts";
import { OverlayNames } from "./overlay-names.ts";
import type { OverlayNode } from "./overlay-node.ts";
import { NAME_COST_BYTES, NODE_COST_BYTES, OverlayNodes, textCostBytes } from "./overlay-nodes.ts";
import { SharedLock } from "./shared-lock.ts";

const PERMISSION_BITS = 0o7777;
const SYMLINK_MODE = 0o777;
const ID_MAX = 0xffff_ffff;
/** PATH_MAX of Linux, less the closing NUL. */
const LINK_TARGET_MAX_BYTES = 4095;
/** XATTR_NAME_MAX of Linux. */
const XATTR_NAME_MAX_BYTES = 255;

export interface OverlayTreeOptions {
  /** Bytes that changes may take, data on disk and metadata in memory together. */
  readonly budgetBytes: number;
  /**
   * Where changes are kept, when several trees are to share one budget: the caller makes it with
   * that budget, and closes it after the trees. Default: a store of this tree's own.
   */
  readonly store?: OverlayStore | undefined;
  /** Bytes of memory for metadata, within the budget. Default 256 MiB. */
  readonly metadataMaxBytes?: number | undefined;
  /** Folder of the store's temporary file. Default: the system's. */
  readonly directory?: string | undefined;
  /**
   * The form in which two names of a directory are the same, as the base's lookup has it; where that
   * differs from directory to directory, of one of the base.
   */
  readonly foldName?: ((name: string, directory: NodeId) => string) | undefined;
  /** Milliseconds since 1970. Default: the clock. */
  readonly nowMs?: (() => number) | undefined;
}

export class OverlayTree implements FileTree, WritableFileTree {
  readonly rootId: NodeId;
  readonly #base: FileTree;
  readonly #store: OverlayStore;
  readonly #ownsStore: boolean;
  readonly #nodes: OverlayNodes;
  readonly #names: OverlayNames;
  readonly #nowMs: () => number;
  readonly #gate = new CallGate("the overlay");
  /** One change of extended attributes at a time: "create" and "replace" must ask first. */
  readonly #xattrLock = new SharedLock();

  private constructor(
    base: FileTree,
    store: OverlayStore,
    nameMaxBytes: number,
    options: OverlayTreeOptions,
  ) {
    this.rootId = base.rootId;
    this.#base = base;
    this.#store = store;
    this.#ownsStore = options.store === undefined;
    this.#nowMs = options.nowMs ?? Date.now;
    this.#nodes = new OverlayNodes(base, store);
    this.#names = new OverlayNames(base, this.#nodes, {
      foldName: options.foldName ?? ((name) => name),
      nameMaxBytes,
      nowMs: this.#nowMs,
    });
  }

  /** The base becomes the overlay's: `close` closes it. Throws what making the store throws. */
  static async open(base: FileTree, options: OverlayTreeOptions): Promise<OverlayTree> {
    const { nameMaxBytes } = await base.statfs();
    const store = options.store ?? (await OverlayStore.open(options));
    return new OverlayTree(base, store, nameMaxBytes, options);
  }

  get writable(): WritableFileTree {
    return this;
  }

  async lookup(parent: NodeId, name: string): Promise<TreeEntry | undefined> {
    return this.#gate.run(async () => this.#names.lookup(parent, name));
  }

  async readDirectory(id: NodeId): Promise<readonly TreeEntry[]> {
    return this.#gate.run(async () => this.#names.readDirectory(id));
  }

  async stat(id: NodeId): Promise<NodeStat> {
    return this.#gate.run(async () => {
      const node = this.#nodes.get(id);
      if (node !== undefined) return node.stat();
      const stat = await this.#base.stat(id);
      return this.#nodes.get(id)?.stat() ?? stat;
    });
  }

  async read(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number> {
    return this.#gate.run(async () => {
      const node = this.#nodes.get(id);
      if (node !== undefined) checkFile(node);
      if (node?.file !== undefined) {
        checkRange(offsetBytes, 0);
        return node.file.read(offsetBytes, target);
      }
      if (node !== undefined && node.base === undefined) return 0;
      return this.#base.read(id, offsetBytes, target);
    });
  }

  /** What nobody changed is read as fast as the base can. */
  readOrWait(id: NodeId, offsetBytes: number, target: Uint8Array): number | Promise<number> {
    this.#gate.check();
    if (this.#nodes.get(id) !== undefined) return this.read(id, offsetBytes, target);
    const read = this.#base.readOrWait?.(id, offsetBytes, target);
    if (typeof read === "number") return read;
    if (read === undefined) return this.read(id, offsetBytes, target);
    return this.#gate.run(async () => read);
  }

  async readLink(id: NodeId): Promise<string> {
    return this.#gate.run(async () => {
      const node = this.#nodes.get(id);
      if (node === undefined || node.base !== undefined) return this.#base.readLink(id);
      if (node.linkTarget !== undefined) return node.linkTarget;
      throw new ReelError("invalid", `node ${id} is no symbolic link`);
    });
  }

  async listXattrs(id: NodeId): Promise<readonly string[]> {
    return this.#gate.run(async () => {
      const before = this.#nodes.get(id);
      const isNew = before !== undefined && before.base === undefined;
      const names = isNew ? [] : await this.#base.listXattrs(id);
      const changes = this.#nodes.get(id)?.xattrs;
      if (changes === undefined) return names;
      const kept = names.filter((name) => !changes.has(name));
      for (const [name, value] of changes) if (value !== undefined) kept.push(name);
      return kept;
    });
  }

  async getXattr(id: NodeId, name: string): Promise<Uint8Array | undefined> {
    return this.#gate.run(async () => this.#getXattr(id, name));
  }

  /** Free is what can still be written; used is what base and overlay hold. */
  async statfs(): Promise<TreeStats> {
    return this.#gate.run(async () => {
      const base = await this.#base.statfs();
      const { blocksUsed, metadataBytesFree, bytesFree } = this.#store.statistics();
      const writableBytes = await this.#store.writableBytes();
      const baseUsedBytes = (base.blocks - base.blocksFree) * base.blockSizeBytes;
      const used = Math.ceil(baseUsedBytes / OVERLAY_BLOCK_BYTES) + blocksUsed;
      const free = Math.floor(writableBytes / OVERLAY_BLOCK_BYTES);
      const nodeBytesFree = Math.min(metadataBytesFree, bytesFree);
      const filesFree = Math.floor(nodeBytesFree / (NODE_COST_BYTES + NAME_COST_BYTES));
      return {
        blockSizeBytes: OVERLAY_BLOCK_BYTES,
        blocks: used + free,
        blocksFree: free,
        files: Math.max(0, base.files + this.#nodes.countChange) + filesFree,
        filesFree,
        nameMaxBytes: base.nameMaxBytes,
      };
    });
  }

  async createFile(parent: NodeId, name: string, node: NewNode): Promise<TreeEntry> {
    const mode = node.mode & PERMISSION_BITS;
    return this.#gate.run(async () =>
      this.#names.create(parent, name, { ...node, mode, kind: "file" }),
    );
  }

  async createDirectory(parent: NodeId, name: string, node: NewNode): Promise<TreeEntry> {
    const mode = node.mode & PERMISSION_BITS;
    return this.#gate.run(async () =>
      this.#names.create(parent, name, { ...node, mode, kind: "directory" }),
    );
  }

  async createSymlink(
    parent: NodeId,
    name: string,
    target: string,
    node: Omit<NewNode, "mode">,
  ): Promise<TreeEntry> {
    if (target === "" || target.includes("\0")) {
      throw new ReelError("invalid", `cannot make ${name} a link to ${JSON.stringify(target)}`);
    }
    if (Buffer.byteLength(target) > LINK_TARGET_MAX_BYTES) {
      throw new ReelError("name-too-long", `cannot make ${name} a link: its target is too long`);
    }
    const values = { ...node, mode: SYMLINK_MODE, kind: "symlink", linkTarget: target } as const;
    return this.#gate.run(async () => this.#names.create(parent, name, values));
  }

  async unlink(parent: NodeId, name: string): Promise<void> {
    await this.#gate.run(async () => this.#names.remove(parent, name, "other"));
  }

  async removeDirectory(parent: NodeId, name: string): Promise<void> {
    await this.#gate.run(async () => this.#names.remove(parent, name, "directory"));
  }

  async rename(parent: NodeId, name: string, newParent: NodeId, newName: string): Promise<void> {
    await this.#gate.run(async () => this.#names.rename(parent, name, newParent, newName));
  }

  async write(id: NodeId, offsetBytes: number, source: Uint8Array): Promise<void> {
    await this.#gate.run(async () => {
      checkRange(offsetBytes, source.length);
      const node = await this.#nodes.change(id);
      checkFile(node);
      if (source.length === 0) return;
      await this.#nodes.contents(node).write(offsetBytes, source);
      node.touchContents(this.#nowMs());
    });
  }

  async setAttributes(id: NodeId, changes: AttributeChanges): Promise<void> {
    checkAttributes(changes);
    await this.#gate.run(async () => {
      const node = await this.#nodes.change(id);
      if (changes.sizeBytes !== undefined) {
        checkFile(node);
        await this.#nodes.contents(node).truncate(changes.sizeBytes);
        node.modifiedMs = this.#nowMs();
      }
      if (changes.mode !== undefined) node.mode = changes.mode & PERMISSION_BITS;
      node.uid = changes.uid ?? node.uid;
      node.gid = changes.gid ?? node.gid;
      node.modifiedMs = changes.modifiedMs ?? node.modifiedMs;
      node.accessedMs = changes.accessedMs ?? node.accessedMs;
      node.changedMs = this.#nowMs();
    });
  }

  async setXattr(
    id: NodeId,
    name: string,
    value: Uint8Array,
    mode: "create" | "replace" | "any",
  ): Promise<void> {
    checkXattr(name, value);
    await this.#gate.run(async () =>
      this.#xattrLock.alone(async () => {
        if (mode !== "any") {
          const isThere = (await this.#getXattr(id, name)) !== undefined;
          if (mode === "create" && isThere) {
            throw new ReelError("exists", `cannot create attribute ${name}: it is there already`);
          }
          if (mode === "replace" && !isThere) throw noAttribute(name);
        }
        const node = await this.#nodes.change(id);
        this.#changeXattr(node, name, Uint8Array.from(value));
      }),
    );
  }

  async removeXattr(id: NodeId, name: string): Promise<void> {
    await this.#gate.run(async () =>
      this.#xattrLock.alone(async () => {
        if ((await this.#getXattr(id, name)) === undefined) throw noAttribute(name);
        this.#changeXattr(await this.#nodes.change(id, true), name, undefined);
      }),
    );
  }

  /** Keeps a node usable until `release`, even without a name. Throws "not-found". */
  retain(id: NodeId): void {
    this.#gate.check();
    this.#nodes.retain(id);
  }

  /** Works on a closed tree too: what was open is released at the very end. */
  release(id: NodeId): void {
    this.#nodes.release(id);
  }

  /** What changes take of the budget. */
  statistics(): OverlayStoreStatistics {
    return this.#store.statistics();
  }

  async close(): Promise<void> {
    await this.#gate.close(async () =>
      closeAll(this.#ownsStore ? this.#store : undefined, this.#base),
    );
  }

  async #getXattr(id: NodeId, name: string): Promise<Uint8Array | undefined> {
    const node = this.#nodes.get(id);
    if (node?.xattrs?.has(name) === true) return node.xattrs.get(name);
    if (node !== undefined && node.base === undefined) return undefined;
    const value = await this.#base.getXattr(id, name);
    const changes = this.#nodes.get(id)?.xattrs;
    return changes?.has(name) === true ? changes.get(name) : value;
  }

  /** Sets an attribute, or marks it removed; a mark is only needed over an attribute of the base. */
  #changeXattr(node: OverlayNode, name: string, value: Uint8Array | undefined): void {
    this.#nodes.checkPresent(node);
    node.xattrs ??= new Map();
    const old = node.xattrs.has(name) ? xattrCostBytes(name, node.xattrs.get(name)) : 0;
    const forgets = value === undefined && node.base === undefined;
    const cost = forgets ? 0 : xattrCostBytes(name, value);
    if (value === undefined) this.#store.forceMetadata(Math.max(0, cost - old));
    else this.#store.chargeMetadata(Math.max(0, cost - old));
    this.#store.refundMetadata(Math.max(0, old - cost));
    node.costBytes += cost - old;
    if (forgets) node.xattrs.delete(name);
    else node.xattrs.set(name, value);
    node.changedMs = this.#nowMs();
  }
}

function xattrCostBytes(name: string, value: Uint8Array | undefined): number {
  return NAME_COST_BYTES + textCostBytes(name) + (value?.length ?? 0);
}

function checkFile(node: OverlayNode): void {
  if (node.kind === "file") return;
  const what = `node ${node.id}`;
  if (node.kind === "directory") {
    throw new ReelError("is-a-directory", `cannot read or write ${what}: it is a directory`);
  }
  throw new ReelError("invalid", `cannot read or write ${what}: it is a ${node.kind}`);
}

function checkRange(offsetBytes: number, lengthBytes: number): void {
  if (isSize(offsetBytes) && isSize(offsetBytes + lengthBytes)) return;
  throw new ReelError("invalid", `cannot use ${lengthBytes} bytes at offset ${offsetBytes}`);
}

function checkAttributes(changes: AttributeChanges): void {
  const { mode, uid, gid, sizeBytes, modifiedMs, accessedMs } = changes;
  const areSound =
    (mode === undefined || isSize(mode)) &&
    (sizeBytes === undefined || isSize(sizeBytes)) &&
    [uid, gid].every((id) => id === undefined || (isSize(id) && id <= ID_MAX)) &&
    [modifiedMs, accessedMs].every((time) => time === undefined || Number.isFinite(time));
  if (!areSound) {
    throw new ReelError("invalid", `cannot set the attributes ${JSON.stringify(changes)}`);
  }
}

function checkXattr(name: string, value: Uint8Array): void {
  if (name === "" || name.includes("\0")) {
    throw new ReelError("invalid", `cannot use ${JSON.stringify(name)} as an attribute's name`);
  }
  if (Buffer.byteLength(name) > XATTR_NAME_MAX_BYTES) {
    throw new ReelError("name-too-long", `cannot use a name of ${name.length} for an attribute`);
  }
  if (value.length > XATTR_VALUE_MAX_BYTES) {
    throw new ReelError("invalid", `cannot keep ${value.length} bytes in attribute ${name}`);
  }
}

function noAttribute(name: string): ReelError {
  return new ReelError("no-attribute", `there is no attribute ${name}`);
}

function isSize(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
