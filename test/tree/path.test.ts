import { expect } from "chai";
import { resolvePath } from "../../src/tree/path.ts";
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
