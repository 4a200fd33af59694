import { expect } from "chai";
import { ENOENT, ENOTDIR } from "../../src/fuse/errno.ts";
import { NodeCache, splitPath } from "../../src/fuse/node-cache.ts";
import { TreeHandlers } from "../../src/fuse/tree-handlers.ts";
import type { NodeId, NodeStat, TreeEntry } from "../../src/tree/file-tree.ts";
import { ScratchTree } from "./scratch-tree.ts";

/** mulberry32, from a seed that is printed with a failure. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

class CountingTree extends ScratchTree {
  lookups = 0;
  gate: Promise<void> | undefined;

  override async lookup(parent: NodeId, name: string): Promise<TreeEntry | undefined> {
    this.lookups++;
    const found = await super.lookup(parent, name);
    await this.gate;
    return found;
  }
}

async function statOf(handlers: TreeHandlers, path: string): Promise<NodeStat | number> {
  return handlers.getattr(path);
}

describe("the cache of names", () => {
  it("answers a known path at once, without asking the tree", async () => {
    const tree = new CountingTree();
    tree.addFile("/a/b/c", "x");
    const cache = new NodeCache(tree);
    expect(await cache.resolve("/a/b/c")).to.be.an("object");
    expect(tree.lookups).to.equal(3);
    expect(cache.resolve("/a/b/c")).not.to.be.instanceOf(Promise);
    expect(await cache.resolve("/a/b/d")).to.equal(ENOENT);
    expect(await cache.resolve("/a/b/c/d")).to.equal(ENOTDIR);
  });

  it("keeps no answer that a change has overtaken", async () => {
    const tree = new CountingTree();
    tree.addFile("/a", "x");
    const handlers = new TreeHandlers(tree);
    let open = (): void => undefined;
    tree.gate = new Promise((resolve) => (open = resolve));
    const early = statOf(handlers, "/a");
    tree.gate = undefined;
    expect(await handlers.unlink("/a")).to.equal(0);
    open();
    await early;
    expect(await statOf(handlers, "/a")).to.equal(ENOENT);
  });

  it("stays within its limit, and right", async () => {
    const tree = new ScratchTree();
    for (let index = 0; index < 200; index++) tree.addFile(`/d${index % 10}/f${index}`, "x");
    const cache = new NodeCache(tree, 50);
    for (let index = 0; index < 200; index++) {
      expect(await cache.resolve(`/d${index % 10}/f${index}`)).to.be.an("object");
      expect(cache.size).to.be.at.most(50);
    }
  });

  it("shows what the tree shows, whatever is done in whatever spelling", async function () {
    this.timeout(20_000);
    const seed = Number(process.env["REELFS_SEED"] ?? Date.now() % 1e9);
    const random = randomFrom(seed);
    const tree = new ScratchTree({ foldsCase: true });
    const handlers = new TreeHandlers(tree);
    const names = ["a", "A", "b", "B", "Long", "lONG"];
    const some = (): string => names[random(names.length)] ?? "a";
    const path = (): string => `/${Array.from({ length: 1 + random(3) }, some).join("/")}`;
    const steps: [string, () => unknown][] = [
      ["mkdir", () => handlers.mkdir(path(), 0o755)],
      ["mkdir", () => handlers.mkdir(path(), 0o755)],
      ["mknod", () => handlers.mknod(path(), 0o100644)],
      ["unlink", () => handlers.unlink(path())],
      ["rmdir", () => handlers.rmdir(path())],
      ["rename", () => handlers.rename(path(), path())],
      ["truncate", () => handlers.truncate(path(), random(100))],
      ["readdir", () => handlers.readdir(path())],
      ["getattr", () => handlers.getattr(path())],
    ];
    for (let step = 0; step < 3000; step++) {
      const [name, work] = steps[random(steps.length)] ?? ["none", () => undefined];
      await Promise.resolve()
        .then(work)
        .catch(() => undefined);
      const looked = path();
      const seen = await statOf(handlers, looked);
      const true_ = await walk(tree, looked);
      const where = `seed ${seed}, step ${step} (${name}), ${looked}`;
      if (true_ === undefined) expect(seen, where).to.be.a("number");
      else expect(seen, where).to.deep.equal(true_);
    }
  });

  it("splits paths", () => {
    expect(splitPath("/a")).to.deep.equal({ parent: "/", name: "a" });
    expect(splitPath("/a/b")).to.deep.equal({ parent: "/a", name: "b" });
  });
});

async function walk(tree: ScratchTree, path: string): Promise<NodeStat | undefined> {
  let id = tree.rootId;
  for (const name of path.slice(1).split("/")) {
    if ((await tree.stat(id)).kind !== "directory") return undefined;
    const entry = await tree.lookup(id, name);
    if (entry === undefined) return undefined;
    id = entry.stat.id;
  }
  return tree.stat(id);
}
