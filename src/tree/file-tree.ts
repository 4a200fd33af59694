/**
 * FileTree: what a person browses. The FUSE layer serves any FileTree; volumes, overlays, loaders
 * and tapes are FileTrees.
 *
 * Rules every implementation keeps (test/support/file-tree-suite.ts checks them):
 * - Node ids stay valid until the tree is closed or the node is gone; ids are never reused.
 * - Errors are ReelErrors: "not-found", "exists", "not-a-directory", "is-a-directory",
 *   "not-empty", "invalid", "read-only", "no-space", "damaged", "name-too-long", "no-attribute".
 * - Directory and metadata calls never read file contents.
 */
import type { NodeId, NodeKind, NodeStat } from "../volume/volume.ts";

export type { NodeId, NodeKind, NodeStat };

export interface TreeEntry {
  readonly name: string;
  readonly stat: NodeStat;
}

export interface TreeStats {
  readonly blockSizeBytes: number;
  readonly blocks: number;
  readonly blocksFree: number;
  readonly files: number;
  readonly filesFree: number;
  readonly nameMaxBytes: number;
}

export interface FileTree {
  readonly rootId: NodeId;

  /** The node of that name, undefined when there is none. Folds case where the volume does. */
  lookup(parent: NodeId, name: string): Promise<TreeEntry | undefined>;
  stat(id: NodeId): Promise<NodeStat>;
  readDirectory(id: NodeId): Promise<readonly TreeEntry[]>;
  /** Fills `target` from `offsetBytes` on; returns bytes read, fewer only at the end of the file. */
  read(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number>;
  /** As `read`, but with the result at once where all bytes are in memory. */
  readOrWait?(id: NodeId, offsetBytes: number, target: Uint8Array): number | Promise<number>;
  readLink(id: NodeId): Promise<string>;
  listXattrs(id: NodeId): Promise<readonly string[]>;
  /** Undefined when there is none of that name. */
  getXattr(id: NodeId, name: string): Promise<Uint8Array | undefined>;
  statfs(): Promise<TreeStats>;

  /** Present when the tree can be changed. */
  readonly writable?: WritableFileTree | undefined;

  close(): Promise<void>;
}

export interface AttributeChanges {
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly sizeBytes?: number | undefined;
  readonly modifiedMs?: number | undefined;
  readonly accessedMs?: number | undefined;
}

export interface NewNode {
  readonly mode: number;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
}

/** The changing half of a FileTree. Every call has taken effect for all readers when it returns. */
export interface WritableFileTree {
  createFile(parent: NodeId, name: string, node: NewNode): Promise<TreeEntry>;
  createDirectory(parent: NodeId, name: string, node: NewNode): Promise<TreeEntry>;
  createSymlink(
    parent: NodeId,
    name: string,
    target: string,
    node: Omit<NewNode, "mode">,
  ): Promise<TreeEntry>;
  /** Removes a name that is not a directory's. */
  unlink(parent: NodeId, name: string): Promise<void>;
  /** Removes an empty directory. */
  removeDirectory(parent: NodeId, name: string): Promise<void>;
  /** rename(2): replaces a file by a file, an empty directory by a directory. */
  rename(parent: NodeId, name: string, newParent: NodeId, newName: string): Promise<void>;
  /** Writes all of `source`; throws "no-space" when it does not fit, with nothing half done. */
  write(id: NodeId, offsetBytes: number, source: Uint8Array): Promise<void>;
  setAttributes(id: NodeId, changes: AttributeChanges): Promise<void>;
  setXattr(
    id: NodeId,
    name: string,
    value: Uint8Array,
    mode: "create" | "replace" | "any",
  ): Promise<void>;
  removeXattr(id: NodeId, name: string): Promise<void>;

  /** fsync(2): returns when all that was written to the node is on stable storage. */
  sync?(id: NodeId): Promise<void>;

  /**
   * Keeps a node usable by its id after its last name is gone, as open(2) does; every call needs a
   * `release`. Throws "not-found". A tree without these two keeps such nodes until it is closed.
   */
  retain?(id: NodeId): void;
  release?(id: NodeId): void;
}
