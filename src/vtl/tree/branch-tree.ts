/** A FileTree of branches: gives nodes their ids, checks what kind they are, and waits at closing. */
import { CallGate } from "../../device/checked-device.ts";
import { ReelError } from "../../errors.ts";
import type {
  FileTree,
  NodeId,
  NodeStat,
  TreeEntry,
  TreeStats,
  WritableFileTree,
} from "../../tree/file-tree.ts";
import type { Branch, BranchChanges, BranchStat, Found } from "./branch.ts";
import type { KnownNode, NodeTable } from "./node-table.ts";

export interface BranchTreeOptions {
  /** For messages. */
  readonly name: string;
  readonly root: Branch;
  readonly table: NodeTable;
  /** Something can be changed: `changes` of its branches say what. */
  readonly isWritable: boolean;
  statfs(): Promise<TreeStats>;
  /** Called when closing begins, with calls under way. */
  closing?(): void;
  /** Called once, when nothing is under way any more. */
  close(): Promise<void>;
}

const NAME_BYTES_MAX = 255;

export class BranchTree implements FileTree {
  readonly rootId: NodeId;
  readonly writable: WritableFileTree | undefined;
  readonly #options: BranchTreeOptions;
  readonly #gate: CallGate;

  constructor(options: BranchTreeOptions) {
    this.#options = options;
    this.#gate = new CallGate(options.name);
    this.rootId = options.table.idOf(options.root, 0, "directory");
    this.writable = options.isWritable ? this.#makeWritable() : undefined;
  }

  async lookup(parent: NodeId, name: string): Promise<TreeEntry | undefined> {
    return this.#gate.run(async () => {
      const { branch, key } = this.#directory(parent);
      if (!isName(name)) return undefined;
      const found = await branch.lookup(key, name);
      return found === undefined ? undefined : this.#entry(found);
    });
  }

  async stat(id: NodeId): Promise<NodeStat> {
    return this.#gate.run(async () => {
      const { branch, key } = this.#node(id);
      return this.#withId(branch, key, await branch.stat(key));
    });
  }

  async readDirectory(id: NodeId): Promise<readonly TreeEntry[]> {
    return this.#gate.run(async () => {
      const { branch, key } = this.#directory(id);
      return (await branch.list(key)).map((found) => this.#entry(found));
    });
  }

  async read(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number> {
    return this.#gate.run(async () => {
      const { branch, key } = this.#file(id);
      return branch.read(key, offsetBytes, target);
    });
  }

  async readLink(id: NodeId): Promise<string> {
    return this.#gate.run(async () => {
      const { branch, key, kind } = this.#node(id);
      if (kind !== "symlink" || branch.readLink === undefined) {
        throw new ReelError("invalid", `node ${id} is no symbolic link`);
      }
      return branch.readLink(key);
    });
  }

  async listXattrs(id: NodeId): Promise<readonly string[]> {
    return this.#gate.run(async () => {
      const { branch, key } = this.#node(id);
      return (await branch.listXattrs?.(key)) ?? [];
    });
  }

  async getXattr(id: NodeId, name: string): Promise<Uint8Array | undefined> {
    return this.#gate.run(async () => {
      const { branch, key } = this.#node(id);
      return branch.getXattr?.(key, name);
    });
  }

  async statfs(): Promise<TreeStats> {
    return this.#gate.run(async () => this.#options.statfs());
  }

  async close(): Promise<void> {
    this.#options.closing?.();
    return this.#gate.close(async () => this.#options.close());
  }

  // Nodes ---------------------------------------------------------------------------------------

  #node(id: NodeId): KnownNode {
    const node = this.#options.table.find(id);
    if (node !== undefined) return node;
    throw new ReelError("not-found", `node ${id} of ${this.#options.name} is gone`);
  }

  #directory(id: NodeId): KnownNode {
    const node = this.#node(id);
    if (node.kind === "directory") return node;
    throw new ReelError("not-a-directory", `node ${id} of ${this.#options.name} is no directory`);
  }

  #file(id: NodeId): KnownNode {
    const node = this.#node(id);
    if (node.kind === "file") return node;
    const what = `node ${id} of ${this.#options.name}`;
    if (node.kind === "directory") {
      throw new ReelError("is-a-directory", `${what} is a directory`);
    }
    throw new ReelError("invalid", `${what} has no contents: it is a ${node.kind}`);
  }

  #entry({ name, branch, key, stat }: Found): TreeEntry {
    return { name, stat: this.#withId(branch, key, stat) };
  }

  #withId(branch: Branch, key: number, stat: BranchStat): NodeStat {
    return { id: this.#options.table.idOf(branch, key, stat.kind), ...stat };
  }

  // Changes -------------------------------------------------------------------------------------

  /** Who changes the node of an id. Throws "read-only" where nothing can be changed. */
  #changes(node: KnownNode): BranchChanges {
    if (node.branch.changes !== undefined) return node.branch.changes;
    throw new ReelError("read-only", "what is on a tape is only shown; a drive writes tapes");
  }

  /** As above, for what no part of the tree can do. */
  #refuse(parent: NodeId, what: string): never {
    this.#changes(this.#directory(parent));
    throw new ReelError(
      "no-permission",
      `cannot ${what} in a loader: it has its elements, and tapes in them`,
    );
  }

  #makeWritable(): WritableFileTree {
    const run = async <T>(body: () => Promise<T>): Promise<T> => this.#gate.run(body);
    return {
      createFile: async (parent, name) =>
        run(async () => {
          const node = this.#directory(parent);
          checkName(name);
          return this.#entry(await this.#changes(node).createFile(node.key, name));
        }),
      unlink: async (parent, name) =>
        run(async () => {
          const node = this.#directory(parent);
          return this.#changes(node).unlink(node.key, name);
        }),
      rename: async (parent, name, newParent, newName) =>
        run(async () => this.#rename(parent, name, newParent, newName)),
      write: async (id, offsetBytes, source) =>
        run(async () => {
          const node = this.#file(id);
          if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0) {
            throw new ReelError("invalid", `cannot write at offset ${offsetBytes}`);
          }
          return this.#changes(node).write(node.key, offsetBytes, source);
        }),
      setAttributes: async (id, changes) =>
        run(async () => {
          const node = this.#node(id);
          return this.#changes(node).setAttributes(node.key, changes);
        }),
      createDirectory: async (parent) => run(async () => this.#refuse(parent, "make a folder")),
      createSymlink: async (parent) => run(async () => this.#refuse(parent, "make a link")),
      removeDirectory: async (parent) => run(async () => this.#refuse(parent, "remove a folder")),
      setXattr: async (id, name) =>
        run(async () => {
          this.#node(id);
          throw new ReelError("unsupported", `cannot set attribute ${name}: tapes keep none`);
        }),
      removeXattr: async (id, name) =>
        run(async () => {
          this.#node(id);
          throw new ReelError("no-attribute", `there is no attribute ${name}`);
        }),
      retain: (id) => {
        this.#gate.check();
        const { branch, key } = this.#node(id);
        branch.changes?.retain(key);
      },
      release: (id) => {
        const node = this.#options.table.find(id);
        node?.branch.changes?.release(node.key);
      },
    };
  }

  async #rename(parent: NodeId, name: string, newParent: NodeId, newName: string): Promise<void> {
    const from = this.#directory(parent);
    const to = this.#directory(newParent);
    checkName(newName);
    const changes = this.#changes(from);
    try {
      this.#changes(to);
      if (from.branch !== to.branch) {
        throw new ReelError(
          "no-permission",
          `cannot move ${name} to another loader: a robot has only its own; copy it, then remove it`,
        );
      }
    } catch (error) {
      changes.refused(`mv ${name}`, error);
      throw error;
    }
    return changes.rename(from.key, name, to.key, newName);
  }
}

function isName(name: string): boolean {
  return !["", ".", ".."].includes(name) && !/[/\0]/.test(name);
}

function checkName(name: string): void {
  if (!isName(name)) {
    throw new ReelError("invalid", `cannot use ${JSON.stringify(name)} as a name`);
  }
  if (Buffer.byteLength(name) > NAME_BYTES_MAX) {
    throw new ReelError("name-too-long", `cannot use a name of ${Buffer.byteLength(name)} bytes`);
  }
}
