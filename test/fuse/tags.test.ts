import { expect } from "chai";
import { ENODATA, EOPNOTSUPP } from "../../src/fuse/errno.ts";
import { TAG_XATTR } from "../../src/fuse/tags.ts";
import { TreeHandlers } from "../../src/fuse/tree-handlers.ts";
import { ScratchTree } from "./scratch-tree.ts";

function tagged(handlers: TreeHandlers): string[] {
  return handlers.tags.list(0, 100).map(({ path, imagePath }) => `${path} ${imagePath}`);
}

describe("tags", () => {
  it("follow a file whose folders are renamed, and remember where the image has it", async () => {
    const tree = new ScratchTree();
    tree.addFile("/a/b/c", "x");
    const handlers = new TreeHandlers(tree);
    await handlers.rename("/a/b", "/a/moved");
    expect(await handlers.setxattr("/a/moved/c", TAG_XATTR, Buffer.alloc(0), 0)).to.equal(0);
    expect(tagged(handlers)).to.deep.equal(["/a/moved/c /a/b/c"]);
    await handlers.rename("/a", "/z");
    expect(tagged(handlers)).to.deep.equal(["/z/moved/c /a/b/c"]);
  });

  it("stand for the image's file when an editor has replaced it", async () => {
    const tree = new ScratchTree();
    tree.addFile("/a", "old");
    const handlers = new TreeHandlers(tree);
    await handlers.mknod("/a.new", 0o100644);
    await handlers.rename("/a.new", "/a");
    await handlers.tag("/a");
    expect(tagged(handlers)).to.deep.equal(["/a /a"]);
  });

  it("spell names as the tree does, and end with the file", async () => {
    const tree = new ScratchTree({ foldsCase: true });
    tree.addFile("/Dir/File", "x");
    const handlers = new TreeHandlers(tree);
    await handlers.tag("/DIR/FILE");
    await handlers.tag("/");
    expect(tagged(handlers)).to.deep.equal(["/Dir/File /Dir/File", "/ /"]);
    expect(await handlers.listxattr("/dir/file")).to.deep.equal([TAG_XATTR]);
    await handlers.unlink("/dir/file");
    expect(tagged(handlers)).to.deep.equal(["/ /"]);
  });

  it("are attributes like others: absent until set, and removed once", async () => {
    const tree = new ScratchTree();
    tree.addFile("/a", "x");
    const handlers = new TreeHandlers(tree, { readOnly: true });
    expect(await handlers.getxattr("/a", TAG_XATTR)).to.equal(ENODATA);
    await handlers.tag("/a");
    expect(String(await handlers.getxattr("/a", TAG_XATTR))).to.equal("1");
    expect(await handlers.removexattr("/a", TAG_XATTR)).to.equal(0);
    expect(await handlers.removexattr("/a", TAG_XATTR)).to.equal(ENODATA);
    expect(await handlers.untag("/a")).to.be.false;
  });

  it("are the only attribute of their kind that can be set: where a file lies is a fact", async () => {
    const tree = new ScratchTree();
    tree.addFile("/a", "x");
    const handlers = new TreeHandlers(tree);
    const value = Buffer.from("[[1,2]]");
    const names = ["user.reelfs.image", "user.reelfs.extents", "user.reelfs.tape-records"];
    for (const name of names) {
      expect(await handlers.setxattr("/a", name, value, 0), name).to.equal(EOPNOTSUPP);
      expect(await handlers.removexattr("/a", name), name).to.equal(EOPNOTSUPP);
      expect(await handlers.getxattr("/a", name), name).to.equal(ENODATA);
    }
  });
});
