/** Serves a scratch tree with one of everything: arguments are a mount point and options as JSON. */
import { readFileSync } from "node:fs";
import { ReelError } from "../../src/errors.ts";
import { serveUntilUnmounted } from "../../src/fuse/daemon.ts";
import { serveMount } from "../../src/fuse/serve-mount.ts";
import type { NodeId } from "../../src/tree/file-tree.ts";
import { ScratchTree } from "./scratch-tree.ts";

export interface ScratchServerOptions {
  readonly foldsCase?: boolean;
  readonly readOnly?: boolean;
  readonly timeoutSeconds?: number;
  readonly umask?: number;
  readonly uid?: number;
  readonly name?: string;
}

/** Reads of one file never end, reads of another throw what they must not. */
class MovedTree extends ScratchTree {
  readonly neverId = this.addFile("/never.bin", Buffer.alloc(4096));
  readonly bugId = this.addFile("/bug.bin", Buffer.alloc(4096));

  override async read(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number> {
    if (id === this.neverId) return new Promise(() => undefined);
    if (id === this.bugId) throw new TypeError("no such luck");
    return super.read(id, offsetBytes, target);
  }
}

const [, , mountpoint = "", json = "{}"] = process.argv;
const options = JSON.parse(json) as ScratchServerOptions;
const tree = new MovedTree({
  foldsCase: options.foldsCase === true,
  stats: { blockSizeBytes: 512, blocks: 20 * 2 ** 31, blocksFree: 5 * 2 ** 31 },
});
tree.addFile("/hello.txt", "hello, world\n");
tree.addFile("/dir/Mixed.Case", "mixed\n");
tree.addFile("/dir/sub/deep.txt", "deep\n");
tree.addZeros("/huge.bin", 6 * 2 ** 30 + 123);
tree.damage(tree.addFile("/damaged.bin", Buffer.alloc(1 << 20, 0x61)), 262144, 266240);
tree.markReadOnly(tree.addFile("/read-only.txt", "leave me\n"));
tree.addFile("/program", readFileSync("/bin/true"), 0o755);
const pattern = Buffer.alloc(4 << 20);
for (let at = 0; at < pattern.length; at += 4) pattern.writeUInt32LE(at, at);
tree.addFile("/pattern.bin", pattern);
for (let index = 0; index < 300; index++) tree.addFile(`/many/${index}.txt`, `file ${index}\n`);

const served = await serveMount(tree, mountpoint, {
  name: "scratch",
  ...options,
  foldsCase: options.foldsCase === true,
  image: { spec: "/tapes/scratch.tap#1", uuid: "00000000-0000-0000-0000-000000000000" },
  onError: (_, error) => {
    if (!(error instanceof ReelError) && !(error instanceof TypeError)) throw error;
  },
});
process.send?.("ready");
await serveUntilUnmounted(served, (message) => process.send?.(message));
process.exit(0);
