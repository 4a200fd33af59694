import { expect } from "chai";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { DeviceTree } from "../../src/expose/device-tree.ts";
import { OverlayDevice } from "../../src/expose/overlay-device.ts";
import type { WritableFileTree } from "../../src/tree/file-tree.ts";
import { expectReelError } from "../support/expect-error.ts";
import { contentOf, idOf } from "../support/memory-tree.ts";
import { patternBytes } from "../support/pattern.ts";

const SIZE = 300_001;
const NODE = { mode: 0o644 };
const MODIFIED = Date.UTC(2024, 1, 29);

interface Opened {
  readonly tree: DeviceTree;
  readonly writable: WritableFileTree;
  readonly id: number;
}

/** A tree on a device with an overlay, closed afterwards. */
async function withTree(
  body: (opened: Opened) => Promise<void>,
  onReleased?: () => void,
): Promise<void> {
  const base = new MemoryDevice(patternBytes(SIZE));
  const overlay = await OverlayDevice.open(base, { budgetBytes: 1 << 20, ownsBase: true });
  const options = { fileName: "volume.img", modifiedMs: MODIFIED, onReleased };
  const tree = new DeviceTree({ overlay }, options);
  try {
    const { writable } = tree;
    if (writable === undefined) throw new Error("the tree is not writable");
    await body({ tree, writable, id: await idOf(tree, "volume.img") });
  } finally {
    await tree.close();
  }
}

describe("a device as the one file of a folder", () => {
  it("shows the file, the same by list, lookup and stat", async () => {
    await withTree(async ({ tree, id }) => {
      const [entry, ...others] = await tree.readDirectory(tree.rootId);
      expect(others).to.deep.equal([]);
      expect(entry).to.deep.equal(await tree.lookup(tree.rootId, "volume.img"));
      expect(entry?.stat).to.deep.equal(await tree.stat(id));
      expect(entry?.stat).to.include({
        kind: "file",
        sizeBytes: SIZE,
        modifiedMs: MODIFIED,
        mode: 0o600,
      });
      expect((await tree.stat(tree.rootId)).kind).to.equal("directory");
      expect(await tree.lookup(tree.rootId, "VOLUME.IMG")).to.equal(undefined);
    });
  });

  it("answers what makes no sense as every tree does", async () => {
    await withTree(async ({ tree, id }) => {
      await expectReelError(tree.stat(99), "not-found");
      await expectReelError(tree.lookup(id, "x"), "not-a-directory");
      await expectReelError(tree.readDirectory(id), "not-a-directory");
      await expectReelError(tree.read(tree.rootId, 0, new Uint8Array(1)), "is-a-directory");
      await expectReelError(tree.readLink(id), "invalid");
      expect(await tree.listXattrs(id)).to.deep.equal([]);
      expect(await tree.getXattr(id)).to.equal(undefined);
      const { blocks, blocksFree } = await tree.statfs();
      expect(blocksFree).to.be.within(1, blocks);
    });
  });

  it("reads the device, short only at its end", async () => {
    await withTree(async ({ tree, id }) => {
      const contents = patternBytes(SIZE);
      expect((await contentOf(tree, "volume.img")).equals(contents)).to.be.true;
      for (const [offset, length] of [
        [0, 1],
        [4095, 131_072],
        [SIZE - 5, 100],
        [SIZE, 10],
        [SIZE + 10_000, 10],
        [7, 0],
      ] as const) {
        const expected = contents.subarray(offset, offset + length);
        const target = Buffer.alloc(length);
        expect(await tree.read(id, offset, target)).to.equal(expected.length);
        expect(target.subarray(0, expected.length).equals(expected)).to.be.true;
      }
    });
  });

  it("is written in place, and says that it was", async () => {
    await withTree(async ({ tree, writable, id }) => {
      await writable.write(id, 4000, Buffer.from("across a block".repeat(20)));
      await writable.write(id, SIZE - 1, Uint8Array.of(1));
      const expected = patternBytes(SIZE);
      expected.set(Buffer.from("across a block".repeat(20)), 4000);
      expected[SIZE - 1] = 1;
      expect((await contentOf(tree, "volume.img")).equals(expected)).to.be.true;
      expect((await tree.stat(id)).modifiedMs).to.be.above(MODIFIED);
    });
  });

  it("keeps its size: writes behind the end and changes of the size are refused", async () => {
    await withTree(async ({ tree, writable, id }) => {
      await expectReelError(writable.write(id, SIZE - 1, new Uint8Array(2)), "no-space");
      await expectReelError(writable.write(id, SIZE + 1, new Uint8Array(1)), "no-space");
      for (const offset of [-1, 0.5, NaN, Number.MAX_SAFE_INTEGER]) {
        await expectReelError(writable.write(id, offset, new Uint8Array(2)), "invalid");
      }
      for (const sizeBytes of [0, SIZE + 1, -1]) {
        const error = await expectReelError(writable.setAttributes(id, { sizeBytes }), "invalid");
        expect(error.message).to.contain("conv=notrunc");
      }
      await writable.setAttributes(id, { sizeBytes: SIZE });
      await expectReelError(
        writable.setAttributes(tree.rootId, { sizeBytes: 0 }),
        "is-a-directory",
      );
      expect((await contentOf(tree, "volume.img")).equals(patternBytes(SIZE))).to.be.true;
    });
  });

  it("takes owner, mode and times, and refuses all else", async () => {
    await withTree(async ({ tree, writable, id }) => {
      const changes = { mode: 0o640, uid: 5, gid: 6, modifiedMs: 1000.5, accessedMs: -1 };
      await writable.setAttributes(id, changes);
      expect(await tree.stat(id)).to.include(changes);
      await expectReelError(writable.setAttributes(id, { modifiedMs: NaN }), "invalid");
      const { rootId } = tree;
      for (const refused of [
        writable.createFile(rootId, "x", NODE),
        writable.createDirectory(rootId, "x", NODE),
        writable.createSymlink(rootId, "x", "y", {}),
        writable.unlink(rootId, "volume.img"),
        writable.removeDirectory(rootId, "x"),
        writable.rename(rootId, "volume.img", rootId, "x"),
      ]) {
        await expectReelError(refused, "no-permission");
      }
      await expectReelError(
        writable.setXattr(id, "user.a", new Uint8Array(1), "any"),
        "unsupported",
      );
      await expectReelError(writable.removeXattr(id, "user.a"), "unsupported");
    });
  });

  it("tells when the last program has closed the file", async () => {
    let released = 0;
    await withTree(
      async ({ writable, id }) => {
        writable.retain?.(id);
        writable.retain?.(id);
        writable.release?.(id);
        expect(released).to.equal(0);
        writable.release?.(id);
        expect(released).to.equal(1);
      },
      () => released++,
    );
  });

  it("is not writable without an overlay", async () => {
    const device = new MemoryDevice(patternBytes(5000));
    const tree = new DeviceTree({ device }, { fileName: "disk.img", modifiedMs: 0 });
    expect(tree.writable).to.equal(undefined);
    expect((await tree.lookup(tree.rootId, "disk.img"))?.stat.mode).to.equal(0o400);
    expect((await tree.statfs()).blocksFree).to.equal(0);
    await tree.close();
  });

  it("closes the device with itself, once", async () => {
    const device = new MemoryDevice(patternBytes(5000));
    const tree = new DeviceTree({ device }, { fileName: "disk.img", modifiedMs: 0 });
    await Promise.all([tree.close(), tree.close()]);
    await expectReelError(device.read(0, new Uint8Array(1)), "closed");
    await expectReelError(tree.stat(tree.rootId), "closed");
    await expectReelError(tree.read(2, 0, new Uint8Array(1)), "closed");
    await expectReelError(tree.statfs(), "closed");
  });
});
