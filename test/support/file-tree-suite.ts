/**
 * What every FileTree promises, as tests. An implementation's own test is one call of this, with a
 * function that makes a tree which holds SUITE_FILES; then whatever is special about it.
 *
 *     fileTreeSuite("memory tree", async () => ({ tree: memoryTree(SUITE_FILES) }));
 */
import { expect } from "chai";
import type { FileTree, NodeId, WritableFileTree } from "../../src/tree/file-tree.ts";
import { expectReelError } from "./expect-error.ts";
import type { TreeLiteral } from "./memory-tree.ts";
import { contentOf, idOf } from "./memory-tree.ts";

const BIG_BYTES = 300_001;

function bigContent(): Uint8Array {
  const bytes = new Uint8Array(BIG_BYTES);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 31 + (i >>> 8) * 7) & 0xff;
  // A stretch of zeros, which a volume may keep as a hole.
  bytes.fill(0, 100_000, 150_000);
  return bytes;
}

/** Names that FAT can hold, too. */
export const SUITE_FILES = {
  "hello.txt": "Hello, tape\n",
  "empty.dat": "",
  "big.bin": bigContent(),
  folder: { "inner.txt": "inside", deep: { leaf: "leaf" } },
  "empty folder": {},
  "naïve ☃ name.txt": "unusual",
} satisfies TreeLiteral;

interface TreeSubject {
  readonly tree: FileTree;
  /** Called after the tree was closed. */
  readonly cleanUp?: () => Promise<void>;
}

type TreeMaker = (context: Mocha.Context) => Promise<TreeSubject>;

export function fileTreeSuite(name: string, make: TreeMaker): void {
  describe(`${name} keeps the FileTree contract`, () => {
    const tree = useTree(make);
    it("does not pretend to be writable", () => {
      expect(tree().writable).to.equal(undefined);
    });
    namesTests(tree);
    readingTests(tree);
    closingTests(tree);
  });
}

/** As above for a tree that is writable, and what writing promises. */
export function writableFileTreeSuite(name: string, make: TreeMaker): void {
  describe(`${name} keeps the WritableFileTree contract`, () => {
    const tree = useTree(make);
    namesTests(tree);
    readingTests(tree);
    closingTests(tree);
    writableTests(tree);
  });
}

function useTree(make: TreeMaker): () => FileTree {
  let subject: TreeSubject | undefined;
  beforeEach(async function () {
    subject = undefined;
    subject = await make(this);
  });
  afterEach(async () => {
    await subject?.tree.close();
    await subject?.cleanUp?.();
  });
  return () => {
    if (subject === undefined) throw new Error("no tree was made");
    return subject.tree;
  };
}

function namesTests(tree: () => FileTree): void {
  it("lists what is there, each name once", async () => {
    const entries = await tree().readDirectory(tree().rootId);
    expect(entries.map((entry) => entry.name)).to.have.members(Object.keys(SUITE_FILES));
    const inner = await tree().readDirectory(await idOf(tree(), "folder"));
    expect(inner.map((entry) => entry.name)).to.have.members(["inner.txt", "deep"]);
    expect(await tree().readDirectory(await idOf(tree(), "empty folder"))).to.deep.equal([]);
  });

  it("says the same of a node by list, lookup and stat", async () => {
    for (const entry of await tree().readDirectory(tree().rootId)) {
      const found = await tree().lookup(tree().rootId, entry.name);
      expect(found?.name).to.equal(entry.name);
      expect(found?.stat).to.deep.equal(entry.stat);
      expect(await tree().stat(entry.stat.id)).to.deep.equal(entry.stat);
    }
  });

  it("knows sizes and kinds", async () => {
    const big = await tree().stat(await idOf(tree(), "big.bin"));
    expect(big.kind).to.equal("file");
    expect(big.sizeBytes).to.equal(BIG_BYTES);
    expect((await tree().stat(await idOf(tree(), "empty.dat"))).sizeBytes).to.equal(0);
    expect((await tree().stat(await idOf(tree(), "folder"))).kind).to.equal("directory");
    expect((await tree().stat(tree().rootId)).kind).to.equal("directory");
  });

  it("finds nothing where nothing is", async () => {
    expect(await tree().lookup(tree().rootId, "not there")).to.equal(undefined);
    expect(await tree().lookup(await idOf(tree(), "empty folder"), "x")).to.equal(undefined);
    await expectReelError(tree().stat(2 ** 49 + 12345), "not-found");
  });

  it("does not look into a file", async () => {
    const id = await idOf(tree(), "hello.txt");
    await expectReelError(tree().lookup(id, "x"), "not-a-directory");
    await expectReelError(tree().readDirectory(id), "not-a-directory");
  });

  it("has an answer for extended attributes", async () => {
    const id = await idOf(tree(), "hello.txt");
    for (const name of await tree().listXattrs(id)) {
      expect(await tree().getXattr(id, name), name).to.not.equal(undefined);
    }
    expect(await tree().getXattr(id, "user.nobody.set.this")).to.equal(undefined);
  });

  it("tells free room that is no more than there is", async () => {
    const { blockSizeBytes, blocks, blocksFree, nameMaxBytes } = await tree().statfs();
    expect(blockSizeBytes).to.be.at.least(512);
    expect(blocksFree).to.be.within(0, blocks);
    expect(nameMaxBytes).to.be.at.least(11);
  });

  it("has no target for what is no link", async () => {
    await expectReelError(tree().readLink(await idOf(tree(), "hello.txt")), "invalid");
  });
}

function readingTests(tree: () => FileTree): void {
  it("reads whole files", async () => {
    expect((await contentOf(tree(), "hello.txt")).toString()).to.equal("Hello, tape\n");
    expect((await contentOf(tree(), "empty.dat")).length).to.equal(0);
    expect((await contentOf(tree(), "big.bin")).equals(bigContent())).to.be.true;
    expect((await contentOf(tree(), "folder/deep/leaf")).toString()).to.equal("leaf");
  });

  it("reads parts that are aligned to nothing, short only at the end", async () => {
    const id = await idOf(tree(), "big.bin");
    const content = bigContent();
    for (const [offset, length] of [
      [0, 1],
      [4095, 2],
      [99_999, 50_002],
      [120_000, 10],
      [BIG_BYTES - 5, 100],
      [BIG_BYTES, 10],
      [BIG_BYTES + 10_000, 10],
      [7, 0],
    ] as const) {
      const expected = content.subarray(offset, offset + length);
      const target = Buffer.alloc(length, 0xa5);
      const count = await tree().read(id, offset, target);
      expect(count, `read ${offset}+${length}`).to.equal(expected.length);
      expect(target.subarray(0, count).equals(expected), `bytes at ${offset}`).to.be.true;
    }
  });

  it("reads in several places at once", async () => {
    const id = await idOf(tree(), "big.bin");
    const content = bigContent();
    const reads = Array.from({ length: 50 }, async (_, i) => {
      const target = Buffer.alloc(7000);
      const count = await tree().read(id, i * 6000, target);
      return target.subarray(0, count).equals(content.subarray(i * 6000, i * 6000 + 7000));
    });
    expect(await Promise.all(reads)).to.not.include(false);
  });

  it("does not read a directory as a file", async () => {
    const id = await idOf(tree(), "folder");
    await expectReelError(tree().read(id, 0, new Uint8Array(1)), "is-a-directory");
  });
}

function closingTests(tree: () => FileTree): void {
  it("is closed after close, which may be called again", async () => {
    const { rootId } = tree();
    const id = await idOf(tree(), "hello.txt");
    await Promise.all([tree().close(), tree().close()]);
    await tree().close();
    await expectReelError(tree().lookup(rootId, "hello.txt"), "closed");
    await expectReelError(tree().stat(id), "closed");
    await expectReelError(tree().read(id, 0, new Uint8Array(1)), "closed");
    await expectReelError(tree().readDirectory(rootId), "closed");
    await expectReelError(tree().statfs(), "closed");
  });
}

interface Writing {
  readonly tree: FileTree;
  readonly writable: WritableFileTree;
  readonly rootId: NodeId;
}

function writableTests(tree: () => FileTree): void {
  const test = (title: string, body: (writing: Writing) => Promise<void>): void => {
    it(title, async () => {
      const { writable, rootId } = tree();
      if (writable === undefined) throw new Error("the tree is not writable");
      await body({ tree: tree(), writable, rootId });
    });
  };
  changingContentsTests(test);
  changingNamesTests(test);
  renamingTests(test);
  changingAttributesTests(test);
}

type WritableTest = (title: string, body: (writing: Writing) => Promise<void>) => void;

const NODE = { mode: 0o640, uid: 7, gid: 8 };

function changingContentsTests(test: WritableTest): void {
  test("creates files and writes at any offset, with zeros between", async (w) => {
    const { stat } = await w.writable.createFile(w.rootId, "new file", NODE);
    expect(stat).to.include({ kind: "file", sizeBytes: 0, mode: 0o640, uid: 7, gid: 8 });
    await w.writable.write(stat.id, 10_000, Buffer.from("end"));
    const expected = Buffer.concat([Buffer.alloc(10_000), Buffer.from("end")]);
    expect((await contentOf(w.tree, "new file")).equals(expected)).to.be.true;
    const names = (await w.tree.readDirectory(w.rootId)).map((entry) => entry.name);
    expect(names).to.have.members([...Object.keys(SUITE_FILES), "new file"]);
  });

  test("changes one byte of a file and no other", async (w) => {
    const id = await idOf(w.tree, "big.bin");
    await w.writable.write(id, 123_456, Uint8Array.of(0x77));
    const expected = bigContent();
    expected[123_456] = 0x77;
    expect((await contentOf(w.tree, "big.bin")).equals(expected)).to.be.true;
  });

  test("shows zeros, not old bytes, where a file was cut and grew again", async (w) => {
    const id = await idOf(w.tree, "big.bin");
    await w.writable.setAttributes(id, { sizeBytes: 5000 });
    expect((await w.tree.stat(id)).sizeBytes).to.equal(5000);
    await w.writable.setAttributes(id, { sizeBytes: 20_000 });
    const expected = Buffer.alloc(20_000);
    expected.set(bigContent().subarray(0, 5000));
    expect((await contentOf(w.tree, "big.bin")).equals(expected)).to.be.true;
  });

  test("does not write to a directory", async (w) => {
    const id = await idOf(w.tree, "folder");
    await expectReelError(w.writable.write(id, 0, Uint8Array.of(1)), "is-a-directory");
    await expectReelError(w.writable.setAttributes(id, { sizeBytes: 0 }), "is-a-directory");
  });

  test("refuses offsets that are none", async (w) => {
    const id = await idOf(w.tree, "hello.txt");
    for (const offset of [-1, 0.5, NaN, Number.MAX_SAFE_INTEGER]) {
      await expectReelError(w.writable.write(id, offset, Buffer.alloc(2)), "invalid");
    }
    expect((await contentOf(w.tree, "hello.txt")).toString()).to.equal("Hello, tape\n");
  });
}

function changingNamesTests(test: WritableTest): void {
  test("deletes files, and their names can be used again", async (w) => {
    const id = await idOf(w.tree, "hello.txt");
    await w.writable.unlink(w.rootId, "hello.txt");
    expect(await w.tree.lookup(w.rootId, "hello.txt")).to.equal(undefined);
    await expectReelError(w.tree.stat(id), "not-found");
    await expectReelError(w.tree.read(id, 0, new Uint8Array(1)), "not-found");
    await expectReelError(w.writable.unlink(w.rootId, "hello.txt"), "not-found");
    const { stat } = await w.writable.createFile(w.rootId, "hello.txt", NODE);
    expect(stat.id).to.not.equal(id);
    expect((await contentOf(w.tree, "hello.txt")).length).to.equal(0);
  });

  test("makes directories, and removes them when they are empty", async (w) => {
    const { stat } = await w.writable.createDirectory(w.rootId, "made", NODE);
    await w.writable.createFile(stat.id, "in it", NODE);
    await expectReelError(w.writable.removeDirectory(w.rootId, "made"), "not-empty");
    await expectReelError(w.writable.unlink(w.rootId, "made"), "is-a-directory");
    await w.writable.unlink(stat.id, "in it");
    await w.writable.removeDirectory(w.rootId, "made");
    await w.writable.removeDirectory(w.rootId, "empty folder");
    await expectReelError(w.writable.removeDirectory(w.rootId, "hello.txt"), "not-a-directory");
    await expectReelError(w.writable.removeDirectory(w.rootId, "folder"), "not-empty");
    await expectReelError(w.writable.createFile(stat.id, "x", NODE), "not-found");
  });

  test("refuses names that are there and names that are none", async (w) => {
    const { writable, rootId } = w;
    await expectReelError(writable.createFile(rootId, "hello.txt", NODE), "exists");
    await expectReelError(writable.createDirectory(rootId, "folder", NODE), "exists");
    await expectReelError(writable.createSymlink(rootId, "folder", "x", {}), "exists");
    for (const name of ["", ".", "..", "a/b", "a\0b"]) {
      await expectReelError(writable.createFile(rootId, name, NODE), "invalid");
    }
    const { nameMaxBytes } = await w.tree.statfs();
    const tooLong = "é".repeat(nameMaxBytes);
    await expectReelError(writable.createFile(rootId, tooLong, NODE), "name-too-long");
    const file = await idOf(w.tree, "hello.txt");
    await expectReelError(writable.createFile(file, "x", NODE), "not-a-directory");
  });

  test("keeps symbolic links", async (w) => {
    const { stat } = await w.writable.createSymlink(w.rootId, "link", "folder/ïnner.txt", {});
    expect(stat.kind).to.equal("symlink");
    expect(stat.sizeBytes).to.equal(Buffer.byteLength("folder/ïnner.txt"));
    expect(await w.tree.readLink(stat.id)).to.equal("folder/ïnner.txt");
    await expectReelError(w.tree.read(stat.id, 0, new Uint8Array(1)), "invalid");
    await expectReelError(w.writable.createSymlink(w.rootId, "bad", "", {}), "invalid");
  });

  test("lets one of many make a name that all want", async (w) => {
    const attempts = Array.from({ length: 10 }, async () =>
      w.writable.createFile(w.rootId, "wanted", NODE),
    );
    const results = await Promise.allSettled(attempts);
    expect(results.filter(({ status }) => status === "fulfilled")).to.have.length(1);
    const names = (await w.tree.readDirectory(w.rootId)).map((entry) => entry.name);
    expect(names.filter((name) => name === "wanted")).to.have.length(1);
  });
}

function renamingTests(test: WritableTest): void {
  test("renames files and directories across directories, keeping their ids", async (w) => {
    const folder = await idOf(w.tree, "folder");
    const target = await idOf(w.tree, "empty folder");
    const file = await idOf(w.tree, "hello.txt");
    await w.writable.rename(w.rootId, "hello.txt", target, "moved.txt");
    await w.writable.rename(w.rootId, "folder", target, "moved folder");
    expect(await w.tree.lookup(w.rootId, "hello.txt")).to.equal(undefined);
    expect(await idOf(w.tree, "empty folder/moved.txt")).to.equal(file);
    expect(await idOf(w.tree, "empty folder/moved folder")).to.equal(folder);
    const leaf = await contentOf(w.tree, "empty folder/moved folder/deep/leaf");
    expect(leaf.toString()).to.equal("leaf");
    expect((await contentOf(w.tree, "empty folder/moved.txt")).toString()).to.equal(
      "Hello, tape\n",
    );
  });

  test("replaces a file by a file and an empty directory by a directory", async (w) => {
    const replaced = await idOf(w.tree, "big.bin");
    await w.writable.rename(w.rootId, "hello.txt", w.rootId, "big.bin");
    expect((await contentOf(w.tree, "big.bin")).toString()).to.equal("Hello, tape\n");
    await expectReelError(w.tree.stat(replaced), "not-found");
    await w.writable.rename(w.rootId, "folder", w.rootId, "empty folder");
    expect((await contentOf(w.tree, "empty folder/inner.txt")).toString()).to.equal("inside");
    expect(await w.tree.lookup(w.rootId, "folder")).to.equal(undefined);
  });

  test("refuses what rename(2) refuses, and changes nothing", async (w) => {
    const { writable, rootId } = w;
    const folder = await idOf(w.tree, "folder");
    const deep = await idOf(w.tree, "folder/deep");
    await expectReelError(writable.rename(rootId, "none", rootId, "x"), "not-found");
    await expectReelError(writable.rename(rootId, "hello.txt", rootId, "a/b"), "invalid");
    await expectReelError(writable.rename(rootId, "folder", deep, "x"), "invalid");
    await expectReelError(writable.rename(rootId, "folder", folder, "x"), "invalid");
    const ontoFolder = writable.rename(rootId, "hello.txt", rootId, "folder");
    await expectReelError(ontoFolder, "is-a-directory");
    const ontoFile = writable.rename(rootId, "folder", rootId, "hello.txt");
    await expectReelError(ontoFile, "not-a-directory");
    const ontoFull = writable.rename(rootId, "empty folder", rootId, "folder");
    await expectReelError(ontoFull, "not-empty");
    await writable.rename(rootId, "hello.txt", rootId, "hello.txt");
    const names = (await w.tree.readDirectory(rootId)).map((entry) => entry.name);
    expect(names).to.have.members(Object.keys(SUITE_FILES));
  });
}

function changingAttributesTests(test: WritableTest): void {
  test("changes permissions, owners and times", async (w) => {
    for (const path of ["hello.txt", "folder"]) {
      const id = await idOf(w.tree, path);
      await w.writable.setAttributes(id, { mode: 0o751, uid: 1, gid: 2 });
      await w.writable.setAttributes(id, { modifiedMs: 86_400_000.5, accessedMs: -1000 });
      const expected = { mode: 0o751, uid: 1, gid: 2, modifiedMs: 86_400_000.5, accessedMs: -1000 };
      expect(await w.tree.stat(id)).to.include(expected);
      expect((await w.tree.lookup(w.rootId, path))?.stat).to.include(expected);
    }
    const id = await idOf(w.tree, "hello.txt");
    await expectReelError(w.writable.setAttributes(id, { modifiedMs: NaN }), "invalid");
    await expectReelError(w.writable.setAttributes(id, { sizeBytes: -1 }), "invalid");
  });

  test("sets, replaces and removes extended attributes", async (w) => {
    const { writable, tree } = w;
    const id = await idOf(tree, "hello.txt");
    const before = await tree.listXattrs(id);
    const value = Buffer.from("value");
    await expectReelError(writable.setXattr(id, "user.a", value, "replace"), "no-attribute");
    await writable.setXattr(id, "user.a", value, "create");
    value.fill(0);
    await expectReelError(writable.setXattr(id, "user.a", value, "create"), "exists");
    expect(Buffer.from((await tree.getXattr(id, "user.a")) ?? []).toString()).to.equal("value");
    await writable.setXattr(id, "user.a", Buffer.alloc(0), "any");
    expect((await tree.getXattr(id, "user.a"))?.length).to.equal(0);
    expect(await tree.listXattrs(id)).to.have.members([...before, "user.a"]);
    await writable.removeXattr(id, "user.a");
    await expectReelError(writable.removeXattr(id, "user.a"), "no-attribute");
    expect(await tree.listXattrs(id)).to.have.members([...before]);
    await expectReelError(writable.setXattr(id, "", value, "any"), "invalid");
    await expectReelError(writable.setXattr(id, "x".repeat(256), value, "any"), "name-too-long");
    await expectReelError(writable.setXattr(id, "user.a", Buffer.alloc(65537), "any"), "invalid");
  });

  test("keeps an open file until it is released, name or no name", async (w) => {
    if (w.writable.retain === undefined || w.writable.release === undefined) return;
    const id = await idOf(w.tree, "hello.txt");
    w.writable.retain(id);
    await w.writable.unlink(w.rootId, "hello.txt");
    await w.writable.write(id, 0, Buffer.from("J"));
    const target = Buffer.alloc(20);
    expect(await w.tree.read(id, 0, target)).to.equal(12);
    expect(target.toString("latin1", 0, 5)).to.equal("Jello");
    expect((await w.tree.stat(id)).linkCount).to.equal(0);
    w.writable.release(id);
    await expectReelError(w.tree.stat(id), "not-found");
  });
}
