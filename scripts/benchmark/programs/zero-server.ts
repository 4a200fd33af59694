/**
 * An empty filesystem: one file of zeros, "zeros", served by the same binding to FUSE as every mount
 * of ReelFS, with nothing behind it. What it reaches, no tape can exceed. Arguments: a mount point,
 * and the size of the file.
 */
import { ReelError } from "../../../src/errors.ts";
import { mountTree } from "../../../src/fuse/mount-tree.ts";
import type { FileTree, NodeId, NodeStat, TreeEntry } from "../../../src/tree/file-tree.ts";

const ROOT: NodeId = 1;
const FILE: NodeId = 2;
const NAME = "zeros";
const BLOCK_BYTES = 4096;

function zeroTree(sizeBytes: number): FileTree {
  const times = { modifiedMs: 0, accessedMs: 0, changedMs: 0 };
  const root: NodeStat = {
    ...{ id: ROOT, kind: "directory", sizeBytes: 0, linkCount: 2, allocatedBytes: 0 },
    ...times,
  };
  const file: NodeStat = {
    ...{ id: FILE, kind: "file", sizeBytes, linkCount: 1, allocatedBytes: sizeBytes },
    ...times,
  };
  const entry: TreeEntry = { name: NAME, stat: file };
  return {
    rootId: ROOT,
    lookup: async (_, name) => (name === NAME ? entry : undefined),
    stat: async (id) => (id === FILE ? file : root),
    readDirectory: async () => [entry],
    read: async (_, offsetBytes, target) => {
      const length = Math.max(0, Math.min(target.length, sizeBytes - offsetBytes));
      target.fill(0, 0, length);
      return length;
    },
    readLink: async () => {
      throw new ReelError("invalid", "there are no symbolic links");
    },
    listXattrs: async () => [],
    getXattr: async () => undefined,
    statfs: async () => ({
      ...{ blockSizeBytes: BLOCK_BYTES, blocks: sizeBytes / BLOCK_BYTES, blocksFree: 0 },
      ...{ files: 1, filesFree: 0, nameMaxBytes: 255 },
    }),
    close: async () => undefined,
  };
}

const [, , mountpoint = "", size = "0"] = process.argv;
const mounted = await mountTree(zeroTree(Number(size)), mountpoint, {
  name: "zeros",
  readOnly: true,
  foldsCase: false,
});
await mounted.finished;
process.exit(0);
