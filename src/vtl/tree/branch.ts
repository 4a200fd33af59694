/**
 * The parts that the tree of loaders is put together from. Each part (a branch) knows a kind of
 * thing: a loader, what is on a tape, an archive, an image. It calls its nodes by keys of its own,
 * and says of what it finds which branch goes on from there. BranchTree makes a FileTree of them: it
 * gives every node its id, and waits at closing for the calls under way.
 */
import type { AttributeChanges, NodeKind, NodeStat } from "../../tree/file-tree.ts";

/** A node as its branch calls it: a safe integer of 0 or more, the branch's root always 0. */
export type Key = number;

export type BranchStat = Omit<NodeStat, "id">;

/** Something by its name: the branch may be another one than that which found it. */
export interface Found {
  readonly name: string;
  readonly branch: Branch;
  readonly key: Key;
  readonly stat: BranchStat;
}

/**
 * Every call may find its node gone ("not-found"). BranchTree asks `lookup` and `list` of
 * directories only, `read` of files, `readLink` of links.
 */
export interface Branch {
  stat(key: Key): Promise<BranchStat>;
  lookup(key: Key, name: string): Promise<Found | undefined>;
  list(key: Key): Promise<readonly Found[]>;
  read(key: Key, offsetBytes: number, target: Uint8Array): Promise<number>;
  readLink?(key: Key): Promise<string>;
  listXattrs?(key: Key): Promise<readonly string[]>;
  getXattr?(key: Key, name: string): Promise<Uint8Array | undefined>;
  /** Ids of its nodes may be forgotten when there are too many: the nodes are found anew. */
  readonly isTransient?: boolean | undefined;
  /** Where something can be changed. */
  readonly changes?: BranchChanges | undefined;
}

/** As in WritableFileTree; what is not here cannot be done. */
export interface BranchChanges {
  createFile(parent: Key, name: string): Promise<Found>;
  unlink(parent: Key, name: string): Promise<void>;
  rename(parent: Key, name: string, newParent: Key, newName: string): Promise<void>;
  write(key: Key, offsetBytes: number, source: Uint8Array): Promise<void>;
  setAttributes(key: Key, changes: AttributeChanges): Promise<void>;
  retain(key: Key): void;
  release(key: Key): void;
  /** A change was refused before it came here, or in a part that cannot be changed. */
  refused(doing: string, error: unknown): void;
}

const DIRECTORY_MODE = 0o755;
const FILE_MODE = 0o444;

/** Something that is made for showing: a directory, or a file that is only read. */
export function madeStat(kind: NodeKind, modifiedMs: number, sizeBytes = 0): BranchStat {
  return {
    kind,
    sizeBytes,
    mode: kind === "directory" ? DIRECTORY_MODE : FILE_MODE,
    linkCount: kind === "directory" ? 2 : 1,
    modifiedMs,
    accessedMs: modifiedMs,
    changedMs: modifiedMs,
    allocatedBytes: sizeBytes,
  };
}

/** Bytes of a text that is there as a whole. */
export function readText(text: Uint8Array, offsetBytes: number, target: Uint8Array): number {
  const part = text.subarray(offsetBytes, offsetBytes + target.length);
  target.set(part);
  return part.length;
}
