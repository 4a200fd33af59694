import { expect } from "chai";
import { OverlayStore } from "../../src/cache/overlay-store.ts";
import { ReelError } from "../../src/errors.ts";
import { ComposedTree, type TreePart } from "../../src/tree/composed-tree.ts";
import type { FileTree, NodeId, WritableFileTree } from "../../src/tree/file-tree.ts";
import { OverlayTree } from "../../src/tree/overlay-tree.ts";
import { expectReelError } from "../support/expect-error.ts";
import { fileTreeSuite, SUITE_FILES, writableFileTreeSuite } from "../support/file-tree-suite.ts";
import { contentOf, idOf, memoryTree, type TreeLiteral } from "../support/memory-tree.ts";

const BUDGET_BYTES = 16 * 1024 * 1024;

/** Part of a memory tree; counts how often it is opened. */
function part(name: string, files: TreeLiteral, opened: string[] = []): TreePart {
  return {
    name,
    open: async () => {
      opened.push(name);
      return Promise.resolve({ tree: memoryTree(files), notices: [`${name} is open`] });
    },
  };
}

/** The tree as seen from one of its folders. */
async function from(tree: FileTree, path: string): Promise<FileTree> {
  const rootId = await idOf(tree, path);
  return new Proxy(tree, {
    get: (target, property) => {
      if (property === "rootId") return rootId;
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}

/** The changing half of a tree that has one. */
function changes(tree: FileTree): WritableFileTree {
  if (tree.writable === undefined) throw new Error("the tree cannot be changed");
  return tree.writable;
}

async function writable(parts: readonly TreePart[]): Promise<ComposedTree> {
  const store = await OverlayStore.open({ budgetBytes: BUDGET_BYTES });
  const overlaid = parts.map((each): TreePart => {
    const open: TreePart["open"] = async () => {
      const { tree, notices } = await each.open();
      return { tree: await OverlayTree.open(tree, { budgetBytes: BUDGET_BYTES, store }), notices };
    };
    return { ...each, open };
  });
  return new ComposedTree({ name: "a disk", parts: overlaid, writable: true, owned: [store] });
}

fileTreeSuite("a part of a composed tree", async () => {
  const parts = [part("p1", { other: "other" }), part("p2", SUITE_FILES), part("p3", {})];
  return { tree: await from(new ComposedTree({ name: "a disk", parts }), "p2") };
});

writableFileTreeSuite("a part of a composed tree that can be changed", async () => {
  const parts = [part("p1", { other: "other" }), part("p2", SUITE_FILES)];
  return { tree: await from(await writable(parts), "p2") };
});

describe("a composed tree", () => {
  it("opens a part when it is looked into, and only once", async () => {
    const opened: string[] = [];
    const parts = [part("p1", SUITE_FILES, opened), part("p2", { a: "a" }, opened)];
    const tree = new ComposedTree({ name: "a disk", parts });
    expect(opened).to.deep.equal([]);
    const [one, two] = await Promise.all([contentOf(tree, "p2/a"), contentOf(tree, "p2/a")]);
    expect([one.toString(), two.toString()]).to.deep.equal(["a", "a"]);
    expect(opened).to.deep.equal(["p2"]);
    const names = (await tree.readDirectory(tree.rootId)).map((entry) => entry.name);
    expect(names).to.deep.equal(["p1", "p2"]);
    await tree.close();
  });

  it("gives every node of every part an id of its own, and finds it by that", async () => {
    const parts = [1, 2, 3].map((n) => part(`p${n}`, { same: `in ${n}`, folder: { x: "x" } }));
    const tree = new ComposedTree({ name: "a disk", parts });
    const ids = new Set<NodeId>([tree.rootId]);
    for (const n of [1, 2, 3]) {
      for (const path of [`p${n}`, `p${n}/same`, `p${n}/folder`, `p${n}/folder/x`]) {
        const id = await idOf(tree, path);
        expect(ids.has(id), path).to.be.false;
        ids.add(id);
        expect((await tree.stat(id)).id).to.equal(id);
      }
      expect((await contentOf(tree, `p${n}/same`)).toString()).to.equal(`in ${n}`);
    }
    await expectReelError(tree.stat(-1), "not-found");
    await expectReelError(tree.stat(Number.NaN), "not-found");
    await tree.close();
  });

  it("shows a part that cannot be opened as a folder that says why", async () => {
    const broken: TreePart = {
      name: "p1",
      open: async () => Promise.reject(new ReelError("damaged", "the superblock is gone")),
    };
    const tree = new ComposedTree({ name: "a disk", parts: [broken, part("p2", { a: "a" })] });
    const outcomes = await tree.openAll();
    expect(outcomes[0]?.error?.message).to.equal("the superblock is gone");
    expect(outcomes[1]?.notices).to.deep.equal(["p2 is open"]);
    const entries = await tree.readDirectory(tree.rootId);
    expect(entries.map(({ name, stat }) => [name, stat.kind])).to.deep.equal([
      ["p1", "directory"],
      ["p2", "directory"],
    ]);
    await expectReelError(tree.readDirectory(await idOf(tree, "p1")), "damaged");
    expect((await contentOf(tree, "p2/a")).toString()).to.equal("a");
    await tree.close();
  });

  it("keeps changes of one part out of the others, and refuses them beside the parts", async () => {
    const tree = await writable([part("p1", { a: "1" }), part("p2", { a: "2" })]);
    const to = changes(tree);
    const [p1, p2] = [await idOf(tree, "p1"), await idOf(tree, "p2")];
    const { stat } = await to.createFile(p1, "new", { mode: 0o600 });
    await to.write(stat.id, 0, Buffer.from("new in 1"));
    expect((await contentOf(tree, "p1/new")).toString()).to.equal("new in 1");
    expect(await tree.lookup(p2, "new")).to.equal(undefined);
    await expectReelError(to.rename(p1, "new", p2, "new"), "cross-device");
    await expectReelError(to.createFile(tree.rootId, "x", { mode: 0 }), "no-permission");
    await expectReelError(to.rename(p1, "new", tree.rootId, "p3"), "no-permission");
    await expectReelError(to.removeDirectory(tree.rootId, "p1"), "no-permission");
    await tree.close();
  });

  it("keeps new nodes apart, whose ids are too large to be computed with", async () => {
    const parts = Array.from({ length: 40 }, (_, n) => part(`p${n}`, {}));
    const tree = await writable(parts);
    const ids = new Set<NodeId>();
    for (const [n] of parts.entries()) {
      const folder = await idOf(tree, `p${n}`);
      const { stat } = await changes(tree).createFile(folder, "file", { mode: 0o600 });
      await changes(tree).write(stat.id, 0, Buffer.from(`in ${n}`));
      expect(Number.isSafeInteger(stat.id)).to.be.true;
      ids.add(stat.id);
    }
    expect(ids.size).to.equal(parts.length);
    expect((await contentOf(tree, "p17/file")).toString()).to.equal("in 17");
    await tree.close();
  });
});
