/**
 * FUSE operations on a FileTree. What is cached is answered at once; `read` hands the kernel's own
 * memory to the tree.
 *
 * Left out on purpose, so that the kernel learns not to ask: `flush` (nothing is held back until a
 * file is closed), `access` (it checks the mode bits itself), `opendir` and `releasedir`. It learns
 * the same of `fsync` where changes live as long as the mount, and nothing can be made to last.
 */
import { constants } from "node:fs";
import { ReelError } from "../errors.ts";
import type {
  AttributeChanges,
  FileTree,
  NodeId,
  NodeStat,
  TreeEntry,
  TreeStats,
  WritableFileTree,
} from "../tree/file-tree.ts";
import { isRegularFile } from "./attributes.ts";
import { EBADF, EISDIR, ENFILE, ENOSYS, EPERM, EROFS } from "./errno.ts";
import { HandleTable, NO_HANDLE } from "./handle-table.ts";
import { CACHED_NAMES_MAX, type CachedNode, NodeCache, splitPath } from "./node-cache.ts";
import type { Answer, Done, FuseHandlers, Listing } from "./fuse-handlers.ts";
import { SharedNodes } from "./shared-nodes.ts";
import { type PathStep, TAG_XATTR, TagSet } from "./tags.ts";
import { XattrHandlers } from "./xattr-handlers.ts";

const PERMISSION_BITS = 0o7777;

export interface TreeHandlersOptions {
  readonly readOnly?: boolean | undefined;
  /**
   * Files need not be opened: the first that is opened tells the kernel so, and it neither opens nor
   * releases one any more. For trees in which every name goes on meaning the same file.
   */
  readonly opensNothing?: boolean | undefined;
  /** False: the tree is asked for each name again, for it may change by itself. */
  readonly remembersNames?: boolean | undefined;
  /** How long the kernel remembers attributes of a file that may change through another name. */
  readonly attributesRememberedMs?: number | undefined;
}

export class TreeHandlers implements FuseHandlers {
  readonly tags = new TagSet();
  readonly #tree: FileTree;
  readonly #writable: WritableFileTree | undefined;
  readonly #cache: NodeCache;
  readonly #shared: SharedNodes;
  readonly #handles = new HandleTable();
  readonly #xattrs: XattrHandlers;
  readonly #opensNothing: boolean;

  constructor(tree: FileTree, options: TreeHandlersOptions = {}) {
    this.#tree = tree;
    this.#opensNothing = options.opensNothing === true;
    this.#shared = new SharedNodes(options.attributesRememberedMs ?? 0);
    this.#writable = options.readOnly === true ? undefined : tree.writable;
    this.#cache = new NodeCache(tree, options.remembersNames === false ? 0 : CACHED_NAMES_MAX);
    const [writable, cache, shared, tags] = [this.#writable, this.#cache, this.#shared, this.tags];
    this.#xattrs = new XattrHandlers({ tree, writable, cache, shared, tags });
  }

  get openFiles(): number {
    return this.#handles.size;
  }

  get cachedNames(): number {
    return this.#cache.size;
  }

  statfs(): Answer<TreeStats> {
    return this.#tree.statfs();
  }

  getattr(path: string): Answer<NodeStat> {
    return this.#cache.use(path, (node) => this.#shown(node.stat ?? this.#cache.stat(node.id)));
  }

  fgetattr(path: string, handle: number): Answer<NodeStat> {
    if (handle === NO_HANDLE && this.#opensNothing) return this.getattr(path);
    const id = this.#handles.node(handle);
    return id === undefined ? EBADF : this.#shown(this.#cache.stat(id));
  }

  #shown(stat: NodeStat | Promise<NodeStat>): NodeStat | Promise<NodeStat> {
    if (stat instanceof Promise) return stat.then((found) => this.#shown(found));
    this.#shared.shown(stat);
    return stat;
  }

  readdir(path: string): Answer<Listing> {
    return this.#cache.use(path, async ({ id }) => {
      const asked = this.#cache.now();
      const entries = await this.#tree.readDirectory(id);
      this.#cache.keepListing(id, entries, asked);
      return {
        names: [".", "..", ...entries.map(({ name }) => name)],
        kinds: ["directory", "directory", ...entries.map(({ stat }) => stat.kind)],
        // Whoever asks for the number of ".." looks at the directory itself.
        ids: [id, id, ...entries.map(({ stat }) => stat.id)],
      };
    });
  }

  readlink(path: string): Answer<string> {
    return this.#cache.use(path, ({ id }) => this.#tree.readLink(id));
  }

  open(path: string, flags: number): Answer<number> {
    const writes = (flags & (constants.O_WRONLY | constants.O_RDWR)) !== 0;
    if (writes && this.#writable === undefined) return EROFS;
    if (this.#opensNothing) return ENOSYS;
    return this.#cache.use(path, ({ id, kind }) =>
      kind === "directory" ? EISDIR : this.#hold(id),
    );
  }

  create(path: string, mode: number): Answer<number> {
    return this.#make(
      path,
      (tree, parent, name) => tree.createFile(parent, name, { mode: mode & PERMISSION_BITS }),
      ({ stat }) => this.#hold(stat.id),
    );
  }

  read(path: string, handle: number, offsetBytes: number, target: Uint8Array): Answer<number> {
    if (handle === NO_HANDLE && this.#opensNothing) {
      return this.#cache.use(path, ({ id }) => this.#read(id, offsetBytes, target));
    }
    const id = this.#handles.node(handle);
    return id === undefined ? EBADF : this.#read(id, offsetBytes, target);
  }

  #read(id: NodeId, offsetBytes: number, target: Uint8Array): Answer<number> {
    const read = this.#tree.readOrWait?.(id, offsetBytes, target);
    return read ?? this.#tree.read(id, offsetBytes, target);
  }

  async write(handle: number, offsetBytes: number, source: Uint8Array): Promise<number> {
    const id = this.#handles.node(handle);
    if (id === undefined) return EBADF;
    if (this.#writable === undefined) return EROFS;
    try {
      await this.#writable.write(id, offsetBytes, source);
    } finally {
      this.#cache.changed(id);
    }
    await this.#shared.changed(id);
    return source.length;
  }

  async fsync(handle: number): Promise<number> {
    const id = this.#handles.node(handle);
    if (id === undefined) return EBADF;
    if (this.#writable?.sync === undefined) return ENOSYS;
    await this.#writable.sync(id);
    return 0;
  }

  release(handle: number): Done {
    const id = this.#handles.node(handle);
    this.#handles.close(handle);
    if (id !== undefined) this.#tree.writable?.release?.(id);
    return 0;
  }

  /** A handle (or errno) for a node, which stays for as long, whatever becomes of its names. */
  #hold(id: NodeId): number {
    const handle = this.#handles.open(id);
    if (handle === undefined) return ENFILE;
    try {
      this.#tree.writable?.retain?.(id);
    } catch (error) {
      this.#handles.close(handle);
      throw error;
    }
    return handle;
  }

  truncate(path: string, sizeBytes: number): Done {
    return this.#cache.use(path, ({ id }) => this.#change(id, { sizeBytes }));
  }

  ftruncate(handle: number, sizeBytes: number): Done {
    const id = this.#handles.node(handle);
    return id === undefined ? EBADF : this.#change(id, { sizeBytes });
  }

  utimens(path: string, accessedMs: number, modifiedMs: number): Done {
    return this.#cache.use(path, ({ id }) => this.#change(id, { accessedMs, modifiedMs }));
  }

  chmod(path: string, mode: number): Done {
    return this.#cache.use(path, ({ id }) => this.#change(id, { mode: mode & PERMISSION_BITS }));
  }

  chown(path: string, uid: number | undefined, gid: number | undefined): Done {
    return this.#cache.use(path, ({ id }) => this.#change(id, { uid, gid }));
  }

  async #change(id: NodeId, changes: AttributeChanges): Promise<number> {
    if (this.#writable === undefined) return EROFS;
    try {
      await this.#writable.setAttributes(id, changes);
    } finally {
      this.#cache.changed(id);
    }
    await this.#shared.changed(id);
    return 0;
  }

  mknod(path: string, mode: number): Done {
    // Device nodes and the like have nothing to stand for in a mount that vanishes.
    if (!isRegularFile(mode)) return EPERM;
    return this.#make(path, (tree, parent, name) =>
      tree.createFile(parent, name, { mode: mode & PERMISSION_BITS }),
    );
  }

  mkdir(path: string, mode: number): Done {
    return this.#make(path, (tree, parent, name) =>
      tree.createDirectory(parent, name, { mode: mode & PERMISSION_BITS }),
    );
  }

  symlink(target: string, path: string): Done {
    return this.#make(path, (tree, parent, name) => tree.createSymlink(parent, name, target, {}));
  }

  /** Hard links: as other filesystems without them answer. */
  link(): Done {
    return this.#writable === undefined ? EROFS : EPERM;
  }

  /** Makes something at `path`; `then` gives the answer, 0 where it is left out. */
  async #make(
    path: string,
    make: (tree: WritableFileTree, parent: NodeId, name: string) => Promise<TreeEntry>,
    then?: (entry: TreeEntry) => number,
  ): Promise<number> {
    if (this.#writable === undefined) return EROFS;
    const { parent, name } = splitPath(path);
    const directory = await this.#cache.resolve(parent);
    if (typeof directory === "number") return directory;
    let entry: TreeEntry;
    try {
      entry = await make(this.#writable, directory.id, name);
    } finally {
      this.#cache.created(directory.id);
    }
    this.tags.created(entry.stat.id);
    return then === undefined ? 0 : then(entry);
  }

  async unlink(path: string): Promise<number> {
    return this.#remove(path, (tree, parent, name) => tree.unlink(parent, name));
  }

  async rmdir(path: string): Promise<number> {
    return this.#remove(path, (tree, parent, name) => tree.removeDirectory(parent, name));
  }

  async #remove(
    path: string,
    remove: (tree: WritableFileTree, parent: NodeId, name: string) => Promise<void>,
  ): Promise<number> {
    if (this.#writable === undefined) return EROFS;
    const { parent, name } = splitPath(path);
    const directory = await this.#cache.resolve(parent);
    if (typeof directory === "number") return directory;
    const node = await this.#cache.resolve(path);
    if (typeof node === "number") return node;
    const hasOtherNames = await this.#hasOtherNames(node);
    try {
      await remove(this.#writable, directory.id, name);
    } finally {
      this.#cache.removed(directory.id, node.id);
    }
    if (!hasOtherNames) this.tags.removed(node.id);
    await this.#shared.changed(node.id);
    return 0;
  }

  async rename(path: string, newPath: string): Promise<number> {
    if (this.#writable === undefined) return EROFS;
    const from = await this.#cache.resolve(splitPath(path).parent);
    const to = await this.#cache.resolve(splitPath(newPath).parent);
    const node = await this.#cache.resolve(path);
    if (typeof from === "number") return from;
    if (typeof to === "number") return to;
    if (typeof node === "number") return node;
    const replaced = await this.#cache.resolve(newPath);
    const isLastName =
      typeof replaced !== "number" &&
      replaced.id !== node.id &&
      !(await this.#hasOtherNames(replaced));
    const steps = await this.#steps(path);
    try {
      await this.#writable.rename(from.id, splitPath(path).name, to.id, splitPath(newPath).name);
    } finally {
      this.#cache.removed(from.id, node.id);
      if (typeof replaced !== "number") this.#cache.removed(to.id, replaced.id);
      this.#cache.created(to.id);
    }
    if (isLastName) this.tags.removed(replaced.id);
    this.tags.renamed(steps, await this.#steps(newPath));
    await this.#shared.changed(node.id);
    if (typeof replaced !== "number") await this.#shared.changed(replaced.id);
    return 0;
  }

  getxattr(path: string, name: string): Answer<Uint8Array> {
    return this.#xattrs.get(path, name);
  }

  listxattr(path: string): Answer<readonly string[]> {
    return this.#xattrs.list(path);
  }

  setxattr(path: string, name: string, value: Uint8Array, flags: number): Done {
    return name === TAG_XATTR ? this.#tag(path) : this.#xattrs.set(path, name, value, flags);
  }

  removexattr(path: string, name: string): Done {
    return this.#xattrs.remove(path, name);
  }

  /** Is a node still there when one of its names is gone? */
  async #hasOtherNames({ id, kind, stat }: CachedNode): Promise<boolean> {
    if (kind === "directory") return false;
    return (stat ?? (await this.#cache.stat(id))).linkCount > 1;
  }

  /** Tags what is at `path`. @throws ReelError "not-found", "no-space" */
  async tag(path: string): Promise<void> {
    if (!this.tags.add(this.#tree.rootId, await this.#steps(path))) {
      throw new ReelError("no-space", `cannot tag ${path}: there are too many tags`);
    }
  }

  /** False when it was not tagged. @throws ReelError "not-found" */
  async untag(path: string): Promise<boolean> {
    const steps = await this.#steps(path);
    return this.tags.delete(steps.at(-1)?.id ?? this.#tree.rootId);
  }

  async #tag(path: string): Promise<number> {
    await this.tag(path);
    return 0;
  }

  /** The names on the way to `path`, as the tree spells them. */
  async #steps(path: string): Promise<PathStep[]> {
    const steps: PathStep[] = [];
    let id = this.#tree.rootId;
    for (const name of path.split("/").filter((each) => each !== "")) {
      const entry = await this.#tree.lookup(id, name);
      if (entry === undefined) throw new ReelError("not-found", `there is no ${path} in the mount`);
      id = entry.stat.id;
      steps.push({ id, name: entry.name });
    }
    return steps;
  }
}
