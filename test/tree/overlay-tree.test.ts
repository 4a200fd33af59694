import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { ReelError } from "../../src/errors.ts";
import type { FileTree, NodeId, NodeStat, TreeEntry, TreeStats } from "../../src/tree/file-tree.ts";
import type { OverlayTreeOptions } from "../../src/tree/overlay-tree.ts";
import { OverlayTree } from "../../src/tree/overlay-tree.ts";
import { VolumeTree } from "../../src/tree/volume-tree.ts";
import { expectReelError } from "../support/expect-error.ts";
import { SUITE_FILES, writableFileTreeSuite } from "../support/file-tree-suite.ts";
import { codeOf, contentOf, file, idOf, memoryTree } from "../support/memory-tree.ts";
import { MemoryVolume } from "../support/memory-volume.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;
const BLOCK = 4096;
const MODE = { mode: 0o644 };
const upper = (name: string): string => name.toUpperCase();

writableFileTreeSuite("OverlayTree over a memory tree", async () => ({
  tree: await OverlayTree.open(memoryTree(SUITE_FILES), { budgetBytes: 16 * MIB }),
}));

writableFileTreeSuite("OverlayTree over a volume that folds case", async () => {
  const volume = new MemoryVolume(SUITE_FILES, { foldName: upper });
  const base = new VolumeTree(volume, volume.device);
  return { tree: await OverlayTree.open(base, { budgetBytes: 16 * MIB, foldName: upper }) };
});

/** The byte at an offset of the large file. */
const byteAt = (offset: number): number => (offset % 251) + 1;

/**
 * A base with one 4 GiB file under two names (a hard link), which counts what is read of it, can
 * fail, and can keep reads waiting.
 */
class LargeBase implements FileTree {
  readonly rootId = 1;
  readonly fileId = 2;
  readonly sizeBytes = 4 * GIB;
  bytesRead = 0;
  failure: ReelError | undefined;
  /** While set, reads wait for it. */
  hold: Promise<void> | undefined;

  #stat(id: NodeId): NodeStat {
    const isFile = id === this.fileId;
    return {
      id,
      kind: isFile ? "file" : "directory",
      sizeBytes: isFile ? this.sizeBytes : 0,
      readOnly: true,
      linkCount: isFile ? 2 : 1,
      modifiedMs: 1000,
      accessedMs: 1000,
      changedMs: 1000,
      allocatedBytes: isFile ? this.sizeBytes : 0,
    };
  }
  async lookup(_parent: NodeId, name: string): Promise<TreeEntry | undefined> {
    return (await this.readDirectory()).find((entry) => entry.name === name);
  }
  async readDirectory(): Promise<readonly TreeEntry[]> {
    return ["large", "same"].map((name) => ({ name, stat: this.#stat(this.fileId) }));
  }
  async stat(id: NodeId): Promise<NodeStat> {
    return this.#stat(id);
  }
  async read(_id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number> {
    await this.hold;
    if (this.failure !== undefined) throw this.failure;
    const count = Math.max(0, Math.min(target.length, this.sizeBytes - offsetBytes));
    for (let i = 0; i < count; i++) target[i] = byteAt(offsetBytes + i);
    this.bytesRead += count;
    return count;
  }
  async readLink(): Promise<string> {
    throw new ReelError("invalid", "no link");
  }
  async listXattrs(): Promise<readonly string[]> {
    return ["user.base"];
  }
  async getXattr(_id: NodeId, name: string): Promise<Uint8Array | undefined> {
    return name === "user.base" ? Buffer.from("of the base") : undefined;
  }
  async statfs(): Promise<TreeStats> {
    return {
      blockSizeBytes: 32 * KIB,
      blocks: 200_000,
      blocksFree: 68_928,
      files: 1,
      filesFree: 0,
      nameMaxBytes: 255,
    };
  }
  async close(): Promise<void> {
    this.hold = undefined;
  }
}

describe("OverlayTree", () => {
  const opened: OverlayTree[] = [];
  const open = async (
    base: FileTree,
    options: Partial<OverlayTreeOptions> = {},
  ): Promise<OverlayTree> => {
    const tree = await OverlayTree.open(base, { budgetBytes: 16 * MIB, ...options });
    opened.push(tree);
    return tree;
  };
  afterEach(async () => {
    for (const tree of opened.splice(0)) await tree.close();
  });

  describe("copies on write by block", () => {
    it("one byte in 4 GiB costs one block, and reads one block of the base", async () => {
      const base = new LargeBase();
      const tree = await open(base);
      const at = 3 * GIB + 5000;
      await tree.write(base.fileId, at, Uint8Array.of(255));
      expect(tree.statistics().blocksUsed).to.equal(1);
      expect(base.bytesRead).to.equal(BLOCK);
      const target = Buffer.alloc(3);
      await tree.read(base.fileId, at - 1, target);
      expect([...target]).to.deep.equal([byteAt(at - 1), 255, byteAt(at + 1)]);
      expect((await tree.stat(base.fileId)).sizeBytes).to.equal(4 * GIB);
    });

    it("whole blocks read nothing of the base, even where it is damaged", async () => {
      const base = new LargeBase();
      const tree = await open(base);
      base.failure = new ReelError("damaged", "record 17 cannot be read");
      await tree.write(base.fileId, 8 * BLOCK, Buffer.alloc(2 * BLOCK, "n"));
      const target = Buffer.alloc(2 * BLOCK);
      await tree.read(base.fileId, 8 * BLOCK, target);
      expect(target.equals(Buffer.alloc(2 * BLOCK, "n"))).to.be.true;
      expect(await codeOf(tree.read(base.fileId, 7 * BLOCK, target))).to.equal("damaged");
    });

    it("a write that cannot have the rest of its block changes nothing", async () => {
      const base = new LargeBase();
      const tree = await open(base);
      base.failure = new ReelError("damaged", "record 17 cannot be read");
      const before = tree.statistics();
      const bytes = Buffer.alloc(3 * BLOCK, "n");
      expect(await codeOf(tree.write(base.fileId, 100, bytes))).to.equal("damaged");
      expect(tree.statistics().blocksUsed).to.equal(before.blocksUsed);
      base.failure = undefined;
      const target = Buffer.alloc(3 * BLOCK);
      await tree.read(base.fileId, 0, target);
      expect(target.every((byte, i) => byte === byteAt(i))).to.be.true;
      expect((await tree.stat(base.fileId)).modifiedMs).to.equal(1000);
    });

    it("a base that ends early is damaged, not short", async () => {
      const base = new LargeBase();
      const tree = await open(base);
      await tree.write(base.fileId, 0, Uint8Array.of(1));
      base.read = async () => 0;
      expect(await codeOf(tree.read(base.fileId, BLOCK, Buffer.alloc(9)))).to.equal("damaged");
    });

    it("gives the room of what is cut off to others", async () => {
      const tree = await open(memoryTree({}), { budgetBytes: 400 * KIB });
      const { stat } = await tree.createFile(tree.rootId, "f", MODE);
      for (let round = 0; round < 5; round++) {
        await tree.write(stat.id, 0, Buffer.alloc(300 * KIB, "x"));
        await tree.setAttributes(stat.id, { sizeBytes: 10 });
        expect(tree.statistics().blocksUsed).to.equal(1);
      }
    });

    it("keeps a byte at the far end of a file of 8 PiB in one block", async () => {
      const tree = await open(memoryTree({}));
      const { stat } = await tree.createFile(tree.rootId, "sparse", MODE);
      const end = Number.MAX_SAFE_INTEGER;
      await tree.write(stat.id, end - 1, Uint8Array.of(7));
      const { sizeBytes, allocatedBytes } = await tree.stat(stat.id);
      expect(sizeBytes).to.equal(end);
      expect(allocatedBytes).to.equal(BLOCK);
      const target = Buffer.alloc(100, 1);
      expect(await tree.read(stat.id, end - 2, target)).to.equal(2);
      expect([...target.subarray(0, 2)]).to.deep.equal([0, 7]);
    });
  });

  describe("with several calls under way", () => {
    it("loses no byte of writes that overlap in a block", async () => {
      const base = new LargeBase();
      const tree = await open(base);
      const count = 200;
      const writes = Array.from({ length: count }, async (_, i) =>
        tree.write(base.fileId, 1000 + i * 50, Buffer.alloc(50, i + 1)),
      );
      await Promise.all(writes);
      const target = Buffer.alloc(count * 50);
      await tree.read(base.fileId, 1000, target);
      expect(target.every((byte, i) => byte === Math.floor(i / 50) + 1)).to.be.true;
    });

    it("shows a write whole or not at all", async () => {
      const tree = await open(memoryTree({}));
      const { stat } = await tree.createFile(tree.rootId, "f", MODE);
      await tree.write(stat.id, 0, Buffer.alloc(128 * KIB, 0));
      const tasks: Promise<void>[] = [];
      for (let round = 1; round < 40; round++) {
        tasks.push(tree.write(stat.id, 0, Buffer.alloc(128 * KIB, round)));
        tasks.push(
          (async () => {
            const target = Buffer.alloc(128 * KIB);
            await tree.read(stat.id, 0, target);
            expect(target.every((byte) => byte === target[0])).to.be.true;
          })(),
        );
      }
      await Promise.all(tasks);
    });

    it("does not hold up other files for one that waits for the tape", async () => {
      const base = new LargeBase();
      const tree = await open(base);
      let letGo: () => void = () => undefined;
      base.hold = new Promise((resolve) => {
        letGo = resolve;
      });
      const waiting = tree.write(base.fileId, 5, Uint8Array.of(1));
      const { stat } = await tree.createFile(tree.rootId, "other", MODE);
      await tree.write(stat.id, 0, Buffer.from("done"));
      expect((await contentOf(tree, "other")).toString()).to.equal("done");
      letGo();
      await waiting;
    });

    it("frees a deleted file only when the read under way is done with it", async () => {
      const base = new LargeBase();
      const tree = await open(base);
      await tree.unlink(tree.rootId, "same");
      await tree.write(base.fileId, 0, Buffer.alloc(BLOCK, 1));
      let letGo: () => void = () => undefined;
      base.hold = new Promise((resolve) => {
        letGo = resolve;
      });
      const target = Buffer.alloc(2 * BLOCK);
      const reading = tree.read(base.fileId, 0, target);
      await tree.unlink(tree.rootId, "large");
      expect(await codeOf(tree.write(base.fileId, 0, target))).to.equal("not-found");
      expect(tree.statistics().blocksUsed, "freed under a reader").to.equal(1);
      letGo();
      expect(await reading).to.equal(2 * BLOCK);
      expect(target[0]).to.equal(1);
      await Promise.resolve();
      expect(tree.statistics().blocksUsed).to.equal(0);
    });

    it("leaks no room when files are deleted while they are written", async () => {
      const tree = await open(memoryTree({}));
      // The node must go at every point of a write's way: each round starts it a turn later.
      for (let turns = 0; turns < 60; turns++) {
        const { stat } = await tree.createFile(tree.rootId, "f", MODE);
        const calls: Promise<void>[] = [tree.unlink(tree.rootId, "f")];
        for (let turn = 0; turn < turns; turn++) await Promise.resolve();
        calls.push(tree.write(stat.id, 0, Buffer.alloc(3 * BLOCK)));
        calls.push(tree.setXattr(stat.id, "user.a", Buffer.alloc(10), "any"));
        await Promise.allSettled(calls);
      }
      await tree.createFile(tree.rootId, "settle", MODE);
      await tree.unlink(tree.rootId, "settle");
      const { blocksUsed, metadataBytes } = tree.statistics();
      expect(blocksUsed).to.equal(0);
      expect(metadataBytes, "only the root is left").to.be.lessThan(1000);
    });
  });

  describe("within its budget", () => {
    it("refuses a write that does not fit, and keeps the file as it was", async () => {
      const tree = await open(memoryTree({}), { budgetBytes: 180 * KIB });
      const { stat } = await tree.createFile(tree.rootId, "f", MODE);
      await tree.write(stat.id, 0, Buffer.alloc(100_000, "a"));
      const bytes = Buffer.alloc(150_000, "b");
      expect(await codeOf(tree.write(stat.id, 50_000, bytes))).to.equal("no-space");
      expect((await contentOf(tree, "f")).equals(Buffer.alloc(100_000, "a"))).to.be.true;
      // What is there may be overwritten: that takes no room.
      await tree.write(stat.id, 50_000, Buffer.alloc(40_000, "c"));
    });

    it("ends a flood of empty files, and takes all of it back", async () => {
      const tree = await open(memoryTree({}), { budgetBytes: MIB });
      let made = 0;
      const flood = async (): Promise<void> => {
        for (;;) await tree.createFile(tree.rootId, `file ${made++}`, MODE);
      };
      expect(await codeOf(flood())).to.equal("no-space");
      expect(made).to.be.within(500, 2000);
      for (const { name } of await tree.readDirectory(tree.rootId)) {
        await tree.unlink(tree.rootId, name);
      }
      expect(tree.statistics().metadataBytes, "only the root is left").to.be.lessThan(1000);
    });

    it("deletes on a full overlay, of the base as well", async () => {
      const tree = await open(memoryTree({ a: "1", d: { e: "2" } }), { budgetBytes: 10 });
      expect(await codeOf(tree.createFile(tree.rootId, "x", MODE))).to.equal("no-space");
      await tree.unlink(tree.rootId, "a");
      await tree.unlink(await idOf(tree, "d"), "e");
      await tree.removeDirectory(tree.rootId, "d");
      expect(await tree.readDirectory(tree.rootId)).to.deep.equal([]);
    });

    it("tells df what can still be written", async () => {
      const base = new LargeBase();
      const tree = await open(base, { budgetBytes: 10 * MIB });
      const before = await tree.statfs();
      expect(before.blockSizeBytes).to.equal(BLOCK);
      expect(before.blocksFree).to.equal((10 * MIB) / BLOCK);
      // 4 GiB are used of the volume.
      expect(before.blocks - before.blocksFree).to.equal(Math.ceil((131_072 * 32 * KIB) / BLOCK));
      await tree.write(base.fileId, 0, Buffer.alloc(MIB));
      const after = await tree.statfs();
      expect(after.blocksFree).to.be.within(9 * 256 - 3, 9 * 256);
      const writable = await tree.createFile(tree.rootId, "rest", MODE);
      await tree.write(writable.stat.id, 0, Buffer.alloc((after.blocksFree - 30) * BLOCK));
      expect((await tree.statfs()).filesFree).to.be.lessThan(before.filesFree);
    });
  });

  describe("names", () => {
    it("are found in either case, the base's and its own", async () => {
      const volume = new MemoryVolume({ "Read Me": "x" }, { foldName: upper });
      const base = new VolumeTree(volume, volume.device);
      const tree = await open(base, { foldName: upper });
      await expectReelError(tree.createFile(tree.rootId, "READ ME", MODE), "exists");
      await tree.createFile(tree.rootId, "New File", MODE);
      await expectReelError(tree.createFile(tree.rootId, "new file", MODE), "exists");
      expect((await tree.lookup(tree.rootId, "NEW FILE"))?.name).to.equal("New File");
      await tree.rename(tree.rootId, "read me", tree.rootId, "readme");
      expect(await tree.lookup(tree.rootId, "READ ME")).to.equal(undefined);
      expect((await tree.lookup(tree.rootId, "README"))?.name).to.equal("readme");
    });

    it("change their case only, when that is asked for", async () => {
      const volume = new MemoryVolume({ photo: "x" }, { foldName: upper });
      const base = new VolumeTree(volume, volume.device);
      const tree = await open(base, { foldName: upper });
      const id = await idOf(tree, "photo");
      await tree.rename(tree.rootId, "photo", tree.rootId, "Photo");
      const entries = await tree.readDirectory(tree.rootId);
      expect(entries.map(({ name, stat }) => [name, stat.id])).to.deep.equal([["Photo", id]]);
    });

    it("are the same file by their short form", async () => {
      const literal = { "Long name.txt": "long" };
      const shortNames = { "Long name.txt": "LONGNA~1.TXT" };
      const volume = new MemoryVolume(literal, { foldName: upper, shortNames });
      const tree = await open(new VolumeTree(volume, volume.device), { foldName: upper });
      await expectReelError(tree.createFile(tree.rootId, "longna~1.txt", MODE), "exists");
      await tree.unlink(tree.rootId, "longna~1.txt");
      expect(await tree.readDirectory(tree.rootId)).to.deep.equal([]);
      expect(await tree.lookup(tree.rootId, "Long name.txt")).to.equal(undefined);
      await tree.createFile(tree.rootId, "longna~1.txt", MODE);
      expect(await tree.lookup(tree.rootId, "Long name.txt")).to.equal(undefined);
    });

    it("of one file count down, and the file stays until the last is gone", async () => {
      const base = new LargeBase();
      const tree = await open(base);
      await tree.rename(tree.rootId, "large", tree.rootId, "same");
      expect((await tree.readDirectory(tree.rootId)).length, "links stay links").to.equal(2);
      await tree.unlink(tree.rootId, "large");
      expect((await tree.stat(base.fileId)).linkCount).to.equal(1);
      await tree.read(base.fileId, 0, Buffer.alloc(1));
      await tree.unlink(tree.rootId, "same");
      expect(await codeOf(tree.stat(base.fileId))).to.equal("not-found");
    });

    it("of a directory that was made anew do not show what was in the old one", async () => {
      const tree = await open(memoryTree({ d: { old: "x" } }));
      await tree.unlink(await idOf(tree, "d"), "old");
      await tree.removeDirectory(tree.rootId, "d");
      await tree.createDirectory(tree.rootId, "d", MODE);
      expect(await tree.readDirectory(await idOf(tree, "d"))).to.deep.equal([]);
      expect(await tree.lookup(await idOf(tree, "d"), "old")).to.equal(undefined);
    });
  });

  describe("attributes", () => {
    it("has times from its clock, for directories too", async () => {
      let nowMs = 5000;
      const tree = await open(memoryTree({ a: "x", d: {} }), { nowMs: () => nowMs });
      const a = await idOf(tree, "a");
      const d = await idOf(tree, "d");
      nowMs = 6000;
      await tree.write(a, 0, Buffer.from("y"));
      expect(await tree.stat(a)).to.include({ modifiedMs: 6000, changedMs: 6000 });
      expect((await tree.stat(tree.rootId)).modifiedMs).to.not.equal(6000);
      nowMs = 7000;
      await tree.rename(tree.rootId, "a", d, "b");
      expect(await tree.stat(a)).to.include({ modifiedMs: 6000, changedMs: 7000 });
      for (const id of [tree.rootId, d]) expect((await tree.stat(id)).modifiedMs).to.equal(7000);
      nowMs = 8000;
      await tree.setAttributes(a, { mode: 0o600 });
      expect(await tree.stat(a)).to.include({ modifiedMs: 6000, changedMs: 8000 });
      await tree.setAttributes(a, { sizeBytes: 0 });
      expect(await tree.stat(a)).to.include({ modifiedMs: 8000 });
      nowMs = 9000;
      await tree.unlink(d, "b");
      expect((await tree.stat(d)).modifiedMs).to.equal(9000);
      const made = await tree.createFile(d, "c", MODE);
      expect(made.stat).to.include({ modifiedMs: 9000, accessedMs: 9000, createdMs: 9000 });
    });

    it("gives a read-only file the mode that chmod asked for", async () => {
      const tree = await open(memoryTree({ a: file("x", { readOnly: true }) }));
      const id = await idOf(tree, "a");
      await tree.setAttributes(id, { modifiedMs: 1 });
      expect((await tree.stat(id)).readOnly).to.be.true;
      await tree.setAttributes(id, { mode: 0o644 });
      expect(await tree.stat(id)).to.include({ readOnly: undefined, mode: 0o644 });
    });

    it("covers and removes the base's extended attributes", async () => {
      const base = new LargeBase();
      const tree = await open(base);
      const value = async (): Promise<string | undefined> => {
        const found = await tree.getXattr(base.fileId, "user.base");
        return found === undefined ? undefined : Buffer.from(found).toString();
      };
      expect(await value()).to.equal("of the base");
      await tree.setXattr(base.fileId, "user.base", Buffer.from("mine"), "replace");
      expect(await value()).to.equal("mine");
      await tree.removeXattr(base.fileId, "user.base");
      expect(await value()).to.equal(undefined);
      expect(await tree.listXattrs(base.fileId)).to.deep.equal([]);
      await tree.setXattr(base.fileId, "user.base", Buffer.from("again"), "create");
      expect(await value()).to.equal("again");
    });

    it("does not count what the base has and the overlay covers twice", async () => {
      const base = new LargeBase();
      const tree = await open(base);
      await tree.write(base.fileId, 0, Buffer.alloc(10 * BLOCK));
      expect((await tree.stat(base.fileId)).allocatedBytes).to.equal(4 * GIB);
      await tree.setAttributes(base.fileId, { sizeBytes: 5 * BLOCK });
      expect((await tree.stat(base.fileId)).allocatedBytes).to.equal(5 * BLOCK);
    });
  });

  describe("lifetime", () => {
    it("tells a release too many from an honest one", async () => {
      const tree = await open(memoryTree({ a: "x" }));
      const id = await idOf(tree, "a");
      tree.retain(id);
      tree.retain(id);
      tree.release(id);
      tree.release(id);
      expect(() => {
        tree.release(id);
      }).to.throw(ReelError, "more often");
      await tree.unlink(tree.rootId, "a");
      expect(() => {
        tree.retain(id);
      }).to.throw(ReelError, "deleted");
    });

    it("leaves nothing behind, on disk or in the base", async () => {
      const directory = await mkdtemp(join(tmpdir(), "reelfs-overlay-"));
      try {
        const literal = { a: "x", d: { b: "y" } };
        const volume = new MemoryVolume(literal);
        const image = Buffer.alloc(volume.device.sizeBytes);
        await volume.device.read(0, image);
        const tree = await open(new VolumeTree(volume, volume.device), { directory });
        await tree.write(await idOf(tree, "a"), 0, Buffer.alloc(9000, 1));
        await tree.unlink(await idOf(tree, "d"), "b");
        expect(await readdir(directory), "a name for others to open").to.deep.equal([]);
        await tree.close();
        const after = Buffer.alloc(image.length);
        await volume.device.read(0, after);
        expect(after.equals(image)).to.be.true;
        expect(volume.isClosed).to.be.true;
        const again = await open(memoryTree(literal));
        expect((await contentOf(again, "a")).toString()).to.equal("x");
      } finally {
        await rm(directory, { recursive: true });
      }
    });

    it("waits for the write under way before it closes", async () => {
      const base = new LargeBase();
      const tree = await open(base);
      let letGo: () => void = () => undefined;
      base.hold = new Promise((resolve) => {
        letGo = resolve;
      });
      const writing = tree.write(base.fileId, 5, Uint8Array.of(1));
      const closing = tree.close();
      expect(await codeOf(tree.stat(base.fileId))).to.equal("closed");
      letGo();
      await writing;
      await closing;
    });
  });
});
