/** What serves a mount: the operations of FUSE in this project's own words. */
import type { NodeId, NodeKind, NodeStat, TreeStats } from "../tree/file-tree.ts";
import type { Errno } from "./errno.ts";

/** A result now or later; errors are a ReelError thrown or an errno returned. */
export type Answer<T> = T | Errno | Promise<T | Errno>;
/** Of an operation that gives nothing back: 0, or an errno. */
export type Done = number | Promise<number>;

export interface Listing {
  readonly names: readonly string[];
  readonly kinds: readonly NodeKind[];
  readonly ids: readonly NodeId[];
}

/** What serves a mount. Paths are absolute within it; "/" is its root. */
export interface FuseHandlers {
  statfs(): Answer<TreeStats>;
  getattr(path: string): Answer<NodeStat>;
  fgetattr(path: string, handle: number): Answer<NodeStat>;
  readdir(path: string): Answer<Listing>;
  readlink(path: string): Answer<string>;
  /** Gives a handle above 0; ENOSYS: files need not be opened, and come with handle 0. */
  open(path: string, flags: number): Answer<number>;
  create(path: string, mode: number): Answer<number>;
  read(path: string, handle: number, offsetBytes: number, target: Uint8Array): Answer<number>;
  write(handle: number, offsetBytes: number, source: Uint8Array): Answer<number>;
  fsync(handle: number): Done;
  release(handle: number): Done;
  truncate(path: string, sizeBytes: number): Done;
  ftruncate(handle: number, sizeBytes: number): Done;
  utimens(path: string, accessedMs: number, modifiedMs: number): Done;
  chmod(path: string, mode: number): Done;
  /** Undefined: leave as it is. */
  chown(path: string, uid: number | undefined, gid: number | undefined): Done;
  mknod(path: string, mode: number): Done;
  mkdir(path: string, mode: number): Done;
  rmdir(path: string): Done;
  unlink(path: string): Done;
  rename(path: string, newPath: string): Done;
  symlink(target: string, path: string): Done;
  link(path: string, newPath: string): Done;
  getxattr(path: string, name: string): Answer<Uint8Array>;
  setxattr(path: string, name: string, value: Uint8Array, flags: number): Done;
  listxattr(path: string): Answer<readonly string[]>;
  removexattr(path: string, name: string): Done;
}
