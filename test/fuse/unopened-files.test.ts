/** Files of a mount that cannot change: read without being opened. */
import { constants } from "node:fs";
import { expect } from "chai";
import { EBADF, ENOENT, ENOSYS, EROFS } from "../../src/fuse/errno.ts";
import { TreeHandlers } from "../../src/fuse/tree-handlers.ts";
import { memoryTree } from "../support/memory-tree.ts";

describe("A mount whose files need not be opened", () => {
  it("tells the kernel so at the first open, and reads by path", async () => {
    const handlers = new TreeHandlers(memoryTree({ "a.txt": "contents" }), { opensNothing: true });
    expect(await handlers.open("/a.txt", constants.O_RDONLY)).to.equal(ENOSYS);
    const target = Buffer.alloc(16);
    expect(await handlers.read("/a.txt", 0, 4, target)).to.equal(4);
    expect(target.toString("latin1", 0, 4)).to.equal("ents");
    expect(await handlers.fgetattr("/a.txt", 0)).to.include({ sizeBytes: 8 });
    expect(handlers.openFiles).to.equal(0);
  });

  it("still knows what is not there and what cannot be written", async () => {
    const handlers = new TreeHandlers(memoryTree({ "a.txt": "contents" }), { opensNothing: true });
    expect(await handlers.read("/b.txt", 0, 0, Buffer.alloc(4))).to.equal(ENOENT);
    expect(await handlers.open("/a.txt", constants.O_RDWR)).to.equal(EROFS);
  });

  it("is none that has to know which files are open", async () => {
    const handlers = new TreeHandlers(memoryTree({ "a.txt": "contents" }));
    expect(await handlers.open("/a.txt", constants.O_RDONLY)).to.be.above(0);
    expect(handlers.openFiles).to.equal(1);
    expect(await handlers.read("/a.txt", 0, 0, Buffer.alloc(4))).to.equal(EBADF);
  });
});
