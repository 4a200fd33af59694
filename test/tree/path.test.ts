import { expect } from "chai";
import { ReelError } from "../../src/errors.ts";
import type { FileTree } from "../../src/tree/file-tree.ts";
import { resolvePath, walk } from "../../src/tree/path.ts";
import { expectReelError } from "../support/expect-error.ts";
import { idOf, memoryTree, symlink } from "../support/memory-tree.ts";

describe("resolvePath", () => {
  const tree = memoryTree({ a: { b: { c: "x" }, link: symlink("b") }, file: "y" });

  it("finds what is there, the root included", async () => {
    expect((await resolvePath(tree, "/a/b/c")).stat.id).to.equal(await idOf(tree, "a/b/c"));
    expect((await resolvePath(tree, "a//b/./c/")).name).to.equal("c");
    for (const root of ["/", "", ".", "/..", "a/.."]) {
      expect((await resolvePath(tree, root)).stat.id, root).to.equal(tree.rootId);
    }
    expect((await resolvePath(tree, "a/b/../link")).stat.kind).to.equal("symlink");
  });

  it("names the first part that is missing", async () => {
    const error = await expectReelError(resolvePath(tree, "/a/none/c"), "not-found");
    expect(error.message).to.equal("there is no /a/none");
  });

  it("does not go through files, nor follow links", async () => {
    await expectReelError(resolvePath(tree, "/file/x"), "not-a-directory");
    await expectReelError(resolvePath(tree, "/a/link/c"), "not-a-directory");
    await expectReelError(resolvePath(tree, "a/".repeat(5000)), "name-too-long");
  });
});

describe("walk", () => {
  const literal = { a: { b: { c: "x" }, d: {} }, e: "y", f: { g: "z" } };

  const pathsOf = async (
    tree: FileTree,
    skip = "",
    failed?: (path: string, error: unknown) => void,
  ): Promise<string[]> => {
    const paths: string[] = [];
    await walk(
      tree,
      tree.rootId,
      (path) => {
        paths.push(path);
        return path === skip ? "skip" : undefined;
      },
      { failed },
    );
    return paths;
  };

  it("visits everything once, directories before what is in them", async () => {
    const paths = await pathsOf(memoryTree(literal));
    expect(paths).to.deep.equal(["a", "a/b", "a/b/c", "a/d", "e", "f", "f/g"]);
  });

  it("passes over what the visitor skips", async () => {
    const paths = await pathsOf(memoryTree(literal), "a");
    expect(paths).to.deep.equal(["a", "e", "f", "f/g"]);
  });

  it("goes on behind a directory that cannot be read, if told to", async () => {
    const tree = memoryTree(literal);
    const damaged = await idOf(tree, "a/b");
    const list = tree.readDirectory.bind(tree);
    tree.readDirectory = async (id) => {
      if (id === damaged) throw new ReelError("damaged", "a chain that loops");
      return list(id);
    };
    const failures: string[] = [];
    const paths = await pathsOf(tree, "", (path) => failures.push(path));
    expect(paths).to.deep.equal(["a", "a/b", "a/d", "e", "f", "f/g"]);
    expect(failures).to.deep.equal(["a/b"]);
    await expectReelError(pathsOf(tree), "damaged");
  });

  it("ends in a directory that contains itself, and when it is told to stop", async () => {
    const tree = memoryTree(literal);
    const looping = await idOf(tree, "f");
    const list = tree.readDirectory.bind(tree);
    const root = tree.rootId;
    tree.readDirectory = async (id) => list(id === looping ? root : id);
    const error = await expectReelError(pathsOf(tree), "damaged");
    expect(error.message).to.contain("f/f");
    const walking = walk(tree, root, () => undefined, { signal: AbortSignal.abort() });
    await expectReelError(walking, "aborted");
  });
});
