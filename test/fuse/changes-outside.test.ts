/** Mounts of trees that change by themselves: nothing of them is remembered. */
import { expect } from "chai";
import { optionText } from "../../src/fuse/mount-options.ts";
import { TreeHandlers } from "../../src/fuse/tree-handlers.ts";
import { ScratchTree } from "./scratch-tree.ts";

describe("a mount of a tree that changes outside of it", () => {
  it("tells the kernel to ask again for every name and every size, and to keep no pages", () => {
    for (const writable of [true, false]) {
      const text = optionText({ name: "x", changesOutside: true }, writable);
      expect(text).to.contain("entry_timeout=0,attr_timeout=0,negative_timeout=0");
      expect(text).not.to.contain("kernel_cache").and.not.to.contain("auto_cache");
      expect(text.includes(",ro")).to.equal(!writable);
    }
    expect(optionText({ name: "x", changesOutside: false }, false)).to.contain("kernel_cache");
  });

  it("sees names and sizes as they are now, also of the root and of what was listed", async () => {
    const tree = new ScratchTree();
    const id = tree.addFile("/dir/file.txt", "one");
    const handlers = new TreeHandlers(tree, { remembersNames: false });
    await handlers.readdir("/");
    await handlers.readdir("/dir");
    expect(await handlers.getattr("/dir/file.txt")).to.include({ sizeBytes: 3 });
    await tree.writable.write(id, 3, Buffer.from(" two"));
    expect(await handlers.getattr("/dir/file.txt")).to.include({ sizeBytes: 7 });
    const directory = await tree.lookup(tree.rootId, "dir");
    await tree.writable.rename(directory?.stat.id ?? 0, "file.txt", tree.rootId, "moved.txt");
    expect(await handlers.getattr("/dir/file.txt")).to.equal(-2);
    expect(await handlers.getattr("/moved.txt")).to.include({ id });
    expect(handlers.cachedNames).to.equal(0);
    const remembering = new TreeHandlers(tree);
    await remembering.readdir("/");
    expect(remembering.cachedNames).to.be.above(0);
  });
});
