/** What an overlay does with files that have several names, and with what is no file at all. */
import { expect } from "chai";
import type { FileTree } from "../../src/tree/file-tree.ts";
import { OverlayTree } from "../../src/tree/overlay-tree.ts";
import { VolumeTree } from "../../src/tree/volume-tree.ts";
import {
  codeOf,
  contentOf,
  file,
  idOf,
  memoryTree,
  special,
  symlink,
} from "../support/memory-tree.ts";
import { MemoryVolume } from "../support/memory-volume.ts";

function sample() {
  const both = file("contents", { mode: 0o644, xattrs: { "user.a": "1" } });
  const pipe = special("fifo", { mode: 0o600 });
  return {
    a: { one: both, pipe },
    two: both,
    b: { three: both, pipe },
    link: symlink("a/one"),
    tty: special("character", { mode: 0o620, deviceNumber: (4 << 8) | 64 }),
    other: "other",
  };
}

const BASES: Readonly<Record<string, () => FileTree>> = {
  memory: () => memoryTree(sample()),
  "a volume": () => {
    const volume = new MemoryVolume(sample());
    return new VolumeTree(volume, volume.device);
  },
  "a volume that encodes": () => {
    const volume = new MemoryVolume(sample(), { encoded: true });
    return new VolumeTree(volume, volume.device);
  },
};

for (const [name, base] of Object.entries(BASES)) {
  describe(`names of one file in an overlay on ${name}`, () => {
    let tree: OverlayTree;
    beforeEach(async () => {
      tree = await OverlayTree.open(base(), { budgetBytes: 1 << 24 });
    });
    afterEach(async () => tree.close());

    const at = async (path: string) => tree.stat(await idOf(tree, path));

    it("lead to one node, before and after it is changed", async () => {
      const ids = [
        await idOf(tree, "/a/one"),
        await idOf(tree, "/two"),
        await idOf(tree, "/b/three"),
      ];
      expect(new Set(ids).size).to.equal(1);
      await tree.write(ids[0] ?? 0, 8, Buffer.from(" changed"));
      for (const path of ["/a/one", "/two", "/b/three"]) {
        expect((await contentOf(tree, path)).toString()).to.equal("contents changed");
        expect((await at(path)).linkCount).to.equal(3);
      }
    });

    it("show attributes that were set through another", async () => {
      const id = await idOf(tree, "/two");
      await tree.setAttributes(id, { mode: 0o600, uid: 5, gid: 6, modifiedMs: 1000 });
      await tree.setXattr(id, "user.b", Buffer.from("2"), "create");
      const { mode, uid, gid, modifiedMs } = await at("/b/three");
      expect([mode, uid, gid, modifiedMs]).to.deep.equal([0o600, 5, 6, 1000]);
      const names = await tree.listXattrs(await idOf(tree, "/a/one"));
      expect(names).to.include.members(["user.a", "user.b"]);
    });

    it("go one by one, and the file with the last", async () => {
      const id = await idOf(tree, "/two");
      await tree.unlink(tree.rootId, "two");
      expect((await at("/a/one")).linkCount).to.equal(2);
      await tree.rename(await idOf(tree, "/a"), "one", tree.rootId, "moved");
      expect((await at("/moved")).linkCount).to.equal(2);
      await tree.rename(tree.rootId, "other", tree.rootId, "moved");
      expect((await contentOf(tree, "/moved")).toString()).to.equal("other");
      expect((await at("/b/three")).linkCount).to.equal(1);
      await tree.unlink(await idOf(tree, "/b"), "three");
      expect(await codeOf(tree.stat(id))).to.equal("not-found");
    });

    it("stay two when one is renamed to the other, as rename(2) says", async () => {
      await tree.rename(tree.rootId, "two", await idOf(tree, "/a"), "one");
      expect((await at("/two")).linkCount).to.equal(3);
    });

    it("stay one file while it is open, until it is released", async () => {
      const id = await idOf(tree, "/two");
      tree.retain(id);
      await tree.unlink(tree.rootId, "two");
      await tree.unlink(await idOf(tree, "/a"), "one");
      await tree.unlink(await idOf(tree, "/b"), "three");
      expect((await tree.stat(id)).linkCount).to.equal(0);
      const read = Buffer.alloc(8);
      expect(await tree.read(id, 0, read)).to.equal(8);
      tree.release(id);
      expect(await codeOf(tree.stat(id))).to.equal("not-found");
    });

    it("of pipes and devices are changed like any other, and have no contents", async () => {
      const pipe = await idOf(tree, "/a/pipe");
      await tree.setAttributes(pipe, { mode: 0o666 });
      expect([(await at("/b/pipe")).mode, (await at("/b/pipe")).kind]).to.deep.equal([
        0o666,
        "fifo",
      ]);
      expect(await codeOf(tree.write(pipe, 0, Buffer.from("x")))).to.equal("invalid");
      expect(await codeOf(tree.read(pipe, 0, Buffer.alloc(1)))).to.equal("invalid");
      await tree.rename(tree.rootId, "tty", await idOf(tree, "/a"), "console");
      const { kind, deviceNumber } = await at("/a/console");
      expect([kind, deviceNumber]).to.deep.equal(["character", (4 << 8) | 64]);
      await tree.unlink(tree.rootId, "link");
      expect(await tree.lookup(tree.rootId, "link")).to.equal(undefined);
    });
  });
}
