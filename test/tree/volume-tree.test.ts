import { expect } from "chai";
import { ReelError } from "../../src/errors.ts";
import type { ImageLocator } from "../../src/tree/image-locator.ts";
import { VolumeTree } from "../../src/tree/volume-tree.ts";
import { expectReelError } from "../support/expect-error.ts";
import { fileTreeSuite, SUITE_FILES } from "../support/file-tree-suite.ts";
import { contentOf, file, idOf, symlink } from "../support/memory-tree.ts";
import { MemoryVolume } from "../support/memory-volume.ts";

const upper = (name: string): string => name.toUpperCase();

fileTreeSuite("VolumeTree", async () => {
  const volume = new MemoryVolume(SUITE_FILES);
  return { tree: new VolumeTree(volume, volume.device) };
});

fileTreeSuite("VolumeTree over a volume that folds case, hardly cached", async () => {
  const volume = new MemoryVolume(SUITE_FILES, { foldName: upper, runClusters: 1 });
  const options = { directoryCacheEntries: 1, layoutCacheBytes: 1 };
  return { tree: new VolumeTree(volume, volume.device, options) };
});

fileTreeSuite("VolumeTree over encoded files", async () => {
  const volume = new MemoryVolume(SUITE_FILES, { encoded: true });
  return { tree: new VolumeTree(volume, volume.device) };
});

describe("VolumeTree", () => {
  it("finds names in either case, the exact one first, then short names", async () => {
    const volume = new MemoryVolume(
      { "Long name.txt": "long", README: "upper", readme: "lower" },
      { foldName: upper, shortNames: { "Long name.txt": "LONGNA~1.TXT" } },
    );
    const tree = new VolumeTree(volume, volume.device);
    expect((await contentOf(tree, "LONG NAME.TXT")).toString()).to.equal("long");
    expect((await contentOf(tree, "longna~1.txt")).toString()).to.equal("long");
    expect((await tree.lookup(tree.rootId, "longna~1.txt"))?.name).to.equal("Long name.txt");
    expect((await contentOf(tree, "readme")).toString()).to.equal("lower");
    expect((await contentOf(tree, "README")).toString()).to.equal("upper");
    expect((await contentOf(tree, "ReadMe")).toString()).to.equal("upper");
  });

  it("keeps case apart where the volume does", async () => {
    const volume = new MemoryVolume({ a: "1" });
    const tree = new VolumeTree(volume, volume.device);
    expect(await tree.lookup(tree.rootId, "A")).to.equal(undefined);
  });

  it("reads a directory once however many look into it", async () => {
    const volume = new MemoryVolume({ a: "1", b: "2" });
    const tree = new VolumeTree(volume, volume.device);
    await Promise.all(["a", "b", "c"].map(async (name) => tree.lookup(tree.rootId, name)));
    await tree.readDirectory(tree.rootId);
    expect(volume.directoryReads).to.equal(1);
  });

  it("reads a directory larger than its cache once, not for every name in it", async () => {
    const names = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`f${i}`, "x"]));
    const volume = new MemoryVolume({ large: names, small: { a: "1" } });
    const tree = new VolumeTree(volume, volume.device, { directoryCacheEntries: 10 });
    for (let i = 0; i < 50; i++) await idOf(tree, `large/f${i}`);
    expect(volume.directoryReads).to.equal(2);
  });

  it("never looks at contents for names and attributes", async () => {
    const volume = new MemoryVolume(SUITE_FILES);
    const tree = new VolumeTree(volume, volume.device);
    for (const { stat } of await tree.readDirectory(tree.rootId)) {
      await tree.listXattrs(stat.id);
      await tree.stat(stat.id);
    }
    expect(volume.device.reads).to.equal(0);
    expect(volume.layoutReads).to.equal(0);
  });

  it("joins runs that are neighbours, and reads no holes", async () => {
    // One run a cluster: in falling order on the device, so nothing joins but what is one cluster.
    const content = Buffer.alloc(512 * 8, "x").fill(0, 512 * 2, 512 * 6);
    const volume = new MemoryVolume({ a: content }, { runClusters: 1 });
    const tree = new VolumeTree(volume, volume.device);
    expect((await contentOf(tree, "a")).equals(content)).to.be.true;
    expect(volume.device.bytes).to.equal(512 * 4);
    const whole = new MemoryVolume({ a: content }, { runClusters: 8 });
    const wholeTree = new VolumeTree(whole, whole.device);
    expect((await contentOf(wholeTree, "a")).equals(content)).to.be.true;
    expect(whole.device.reads).to.equal(1);
  });

  it("reads neighbours on the device that the volume told apart with one read", async () => {
    const volume = new MemoryVolume({ a: Buffer.alloc(512 * 4, "abcdefg") }, { runClusters: 4 });
    const split = await volume.layout(await rootChild(volume, "a"));
    const start = split.deviceOffsets[0] ?? 0;
    volume.layout = async () => ({
      ...split,
      length: 4,
      fileOffsets: Float64Array.of(0, 512, 1024, 1536),
      deviceOffsets: Float64Array.of(start, start + 512, start + 1024, start + 1536),
      lengths: Float64Array.of(512, 512, 512, 512),
    });
    const tree = new VolumeTree(volume, volume.device);
    expect((await contentOf(tree, "a")).equals(Buffer.alloc(512 * 4, "abcdefg"))).to.be.true;
    expect(volume.device.reads).to.equal(1);
  });

  it("loses one damaged file and no other", async () => {
    const failure = new ReelError("damaged", "its chain of clusters loops");
    const volume = new MemoryVolume({ bad: file("x", { failure }), good: "good" });
    const tree = new VolumeTree(volume, volume.device);
    const id = await idOf(tree, "bad");
    await expectReelError(tree.read(id, 0, new Uint8Array(1)), "damaged");
    await expectReelError(tree.read(id, 0, new Uint8Array(1)), "damaged");
    expect((await contentOf(tree, "good")).toString()).to.equal("good");
  });

  it("passes on links and attributes of the volume", async () => {
    const volume = new MemoryVolume({
      link: symlink("a/b"),
      a: file("x", { xattrs: { "user.comment": "hi" } }),
    });
    const tree = new VolumeTree(volume, volume.device);
    expect(await tree.readLink(await idOf(tree, "link"))).to.equal("a/b");
    const id = await idOf(tree, "a");
    expect(await tree.listXattrs(id)).to.include("user.comment");
    expect(text(await tree.getXattr(id, "user.comment"))).to.equal("hi");
  });

  it("tells where a file lies on the volume and on tape", async () => {
    const volume = new MemoryVolume({ a: Buffer.alloc(3000, "x"), d: {} }, { runClusters: 3 });
    const locator: ImageLocator = {
      imageUuid: "me",
      *recordRanges() {
        yield { firstRecord: 5, lastRecord: 7, imageUuid: "me" };
        yield { firstRecord: 1, lastRecord: 1, imageUuid: "parent" };
      },
    };
    const tree = new VolumeTree(volume, volume.device, { locator });
    const id = await idOf(tree, "a");
    expect(await tree.listXattrs(id)).to.have.members([
      "user.reelfs.image",
      "user.reelfs.extents",
      "user.reelfs.tape-records",
    ]);
    expect(text(await tree.getXattr(id, "user.reelfs.image"))).to.equal("me");
    expect(text(await tree.getXattr(id, "user.reelfs.extents"))).to.equal(
      "[[0,2048,1536],[1536,512,1464]]",
    );
    expect(text(await tree.getXattr(id, "user.reelfs.tape-records"))).to.equal(
      '[[5,7],[1,1,"parent"]]',
    );
    const directory = await idOf(tree, "d");
    expect(await tree.listXattrs(directory)).to.deep.equal(["user.reelfs.image"]);
    expect(await tree.getXattr(directory, "user.reelfs.extents")).to.equal(undefined);
    const plain = new VolumeTree(volume, volume.device);
    expect(await plain.listXattrs(id)).to.deep.equal(["user.reelfs.extents"]);
    expect(await plain.getXattr(id, "user.reelfs.tape-records")).to.equal(undefined);
    expect(await plain.getXattr(id, "user.reelfs.image")).to.equal(undefined);
  });

  it("cuts a list of extents that no attribute could hold, and says so", async () => {
    const volume = new MemoryVolume({ a: Buffer.alloc(512 * 6000, "x") }, { runClusters: 1 });
    const tree = new VolumeTree(volume, volume.device);
    const value = await tree.getXattr(await idOf(tree, "a"), "user.reelfs.extents");
    expect(value?.length).to.be.within(60_000, 65_536);
    const list = JSON.parse(text(value)) as unknown[];
    expect(list.at(-1)).to.equal("truncated");
    expect(list[0]).to.deep.equal([0, 512 * 6000, 512]);
  });

  it("closes the volume, and the device only when told", async () => {
    const volume = new MemoryVolume({ a: "1" });
    await new VolumeTree(volume, volume.device).close();
    expect(volume.isClosed).to.be.true;
    await volume.device.read(0, new Uint8Array(1));
    await new VolumeTree(volume, volume.device, { closeDevice: true }).close();
    await expectReelError(volume.device.read(0, new Uint8Array(1)), "closed");
  });
});

async function rootChild(volume: MemoryVolume, name: string): Promise<number> {
  const entries = await volume.readDirectory(volume.rootId);
  return entries.find((entry) => entry.name === name)?.stat.id ?? -1;
}

function text(value: Uint8Array | undefined): string {
  return Buffer.from(value ?? []).toString();
}
