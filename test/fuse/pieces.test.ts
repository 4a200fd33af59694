import { expect } from "chai";
import { chmod, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ReelError } from "../../src/errors.ts";
import { newStatWords, packStat, packStatfs, permissionsOf } from "../../src/fuse/attributes.ts";
import { explainLoadFailure, loadAddon } from "../../src/fuse/binding.ts";
import { parseRequest } from "../../src/fuse/control.ts";
import { errnoOf } from "../../src/fuse/errno.ts";
import { HandleTable } from "../../src/fuse/handle-table.ts";
import { InodeNumbers } from "../../src/fuse/inode-numbers.ts";
import { optionText, ownershipOf, timeoutMsOf } from "../../src/fuse/mount-options.ts";
import { mountOf, parseMountinfo } from "../../src/fuse/mountinfo.ts";
import { processStart, runtimeFolder } from "../../src/fuse/registry.ts";
import { SharedNodes } from "../../src/fuse/shared-nodes.ts";
import type { NodeStat } from "../../src/tree/file-tree.ts";
import { codeOf } from "../support/memory-tree.ts";
import { withTempFolder } from "../support/temp.ts";

const STAT: NodeStat = {
  id: 1,
  kind: "file",
  sizeBytes: 5 * 2 ** 32 + 7,
  linkCount: 1,
  modifiedMs: 1234567890123.75,
  accessedMs: -5,
  changedMs: 0,
  allocatedBytes: 1000,
};
const OWNER = { uid: 10, gid: 20, umask: 0o022, fileMode: 0o777 };

describe("attributes", () => {
  it("carry sizes and times beyond 32 bits; times before 1970 are shown as 1970", () => {
    const words = newStatWords();
    packStat(words, STAT, OWNER, 77);
    const wide = (index: number): number => (words[index] ?? 0) + (words[index + 1] ?? 0) * 2 ** 32;
    expect(wide(3)).to.equal(STAT.sizeBytes);
    expect(words[7]).to.equal(77);
    expect(wide(10)).to.equal(2);
    expect(wide(12)).to.equal(0);
    expect(wide(14)).to.equal(1234567890123);
    expect([...words.subarray(0, 3)]).to.deep.equal([0o100755, 10, 20]);
  });

  it("take write permission from files marked read-only, not from folders", () => {
    const marked = { ...STAT, readOnly: true };
    expect(permissionsOf(marked, OWNER)).to.equal(0o555);
    expect(permissionsOf({ ...marked, mode: 0o600 }, OWNER)).to.equal(0o400);
    expect(permissionsOf({ ...marked, kind: "directory" }, OWNER)).to.equal(0o755);
  });

  it("report a volume of 2^40 blocks in larger ones", () => {
    const words = packStatfs({
      blockSizeBytes: 512,
      blocks: 2 ** 40,
      blocksFree: 2 ** 39,
      files: 2 ** 35,
      filesFree: 3,
      nameMaxBytes: 255,
    });
    const [size = 0, , blocks = 0, free = 0] = words;
    expect(size * blocks).to.equal(512 * 2 ** 40);
    expect(size * free).to.equal(512 * 2 ** 39);
    expect(words[5]).to.equal(2 ** 32 - 1);
  });
});

describe("inode numbers", () => {
  it("are the node's own where they fit, and never the same for two nodes", () => {
    const numbers = new InodeNumbers(2);
    const ids = [1, 12, 2 ** 31 - 1, 2 ** 31, 2 ** 40, 0, 2 ** 50, 2 ** 50 + 1];
    const given = ids.map((id) => numbers.of(id));
    expect(given.slice(0, 3)).to.deep.equal(ids.slice(0, 3));
    expect(new Set(given).size).to.equal(ids.length);
    for (const number of given) expect(number).to.be.within(1, 2 ** 32 - 2);
    expect(numbers.of(0)).to.equal(given[5]);
    // Forgotten: a new number, not one of another node.
    expect(given).to.not.include(numbers.of(2 ** 31));
  });
});

describe("names of one file", () => {
  const stat = (linkCount: number): NodeStat => ({ ...STAT, linkCount });

  it("make a change wait until the kernel has forgotten what it was shown", async () => {
    let nowMs = 1000;
    const shared = new SharedNodes(20, () => nowMs);
    shared.shown(stat(2));
    const startMs = performance.now();
    await shared.changed(STAT.id);
    expect(performance.now() - startMs).to.be.at.least(25);
    nowMs += 30;
    let isDone = false;
    void shared.changed(STAT.id).then(() => (isDone = true));
    await Promise.resolve();
    await Promise.resolve();
    expect(isDone, "waits though all is forgotten").to.be.true;
  });

  it("are nobody's concern for files with one name", async () => {
    const shared = new SharedNodes(1e9);
    shared.shown(stat(1));
    shared.shown({ ...stat(5), kind: "directory" });
    await shared.changed(STAT.id);
  });
});

describe("errors", () => {
  it("become the errno of their code; bugs become EIO", () => {
    expect(errnoOf(new ReelError("damaged", ""))).to.equal(-5);
    expect(errnoOf(new ReelError("no-space", ""))).to.equal(-28);
    expect(errnoOf(new ReelError("read-only", ""))).to.equal(-30);
    expect(errnoOf(new TypeError("x"))).to.equal(-5);
  });

  it("name the package that is missing when FUSE cannot be loaded", () => {
    const dlopen = new Error("libfuse.so.2: cannot open shared object file");
    expect(explainLoadFailure(dlopen).message).to.contain("libfuse2").and.contain("fuse3");
    expect(() => loadAddon(() => "/nowhere/package.json")).to.throw(ReelError, /reinstall/);
  });
});

describe("mount options", () => {
  it("let nothing of a name become an option", () => {
    const text = optionText({ name: "x,allow_other\\,suid y\n" }, true);
    expect(text).to.match(/^-ofsname=x_allow_other__suid_y_,subtype=reelfs,big_writes,/);
    expect(text).not.to.contain("default_permissions");
  });

  it("let the kernel remember only what cannot change behind its back", () => {
    expect(optionText({ name: "x" }, true)).to.contain("entry_timeout=0");
    expect(optionText({ name: "x" }, false))
      .to.contain("kernel_cache")
      .and.contain(",ro");
    // Hard links are names of one file that the kernel does not know to be one.
    expect(optionText({ name: "x", foldsCase: false }, true))
      .to.contain("entry_timeout=86400,attr_timeout=0.02")
      .and.not.contain("kernel_cache");
  });

  it("are refused outside their limits", () => {
    expect(() => ownershipOf({ name: "x", uid: -1 })).to.throw(ReelError, /user id/);
    expect(() => ownershipOf({ name: "x", umask: 0o1000 })).to.throw(ReelError, /umask/);
    expect(() => timeoutMsOf({ name: "x", timeoutSeconds: NaN })).to.throw(ReelError);
    expect(timeoutMsOf({ name: "x", timeoutSeconds: 0.5 })).to.equal(500);
  });
});

describe("mountinfo", () => {
  const text = [
    "22 1 8:1 / / rw - ext4 /dev/sda1 rw",
    "40 22 0:50 / /mnt/a\\040b\\134c rw shared:1 - fuse.reelfs photos.tap\\0431 rw",
    "41 22 0:51 / /mnt/\u00e4\\040 rw - fuse.reelfs other rw",
    "not a line",
  ].join("\n");

  it("is read with its escapes, also beside letters that are not ASCII", () => {
    const mounts = parseMountinfo(text);
    expect(mounts.map(({ mountpoint }) => mountpoint)).to.deep.equal([
      "/",
      "/mnt/a b\\c",
      "/mnt/\u00e4 ",
    ]);
    expect(mounts[1]).to.deep.include({
      type: "fuse.reelfs",
      source: "photos.tap#1",
      device: "0:50",
    });
  });

  it("finds the innermost mount of a path, not one that only begins alike", () => {
    const mounts = parseMountinfo(text);
    expect(mountOf("/mnt/a b\\c/d", mounts)?.device).to.equal("0:50");
    expect(mountOf("/mnt/a b\\cd", mounts)?.device).to.equal("8:1");
  });
});

describe("handles", () => {
  it("are never 0 and are used again", () => {
    const table = new HandleTable();
    expect(table.open(77)).to.equal(1);
    expect(table.open(78)).to.equal(2);
    table.close(1);
    table.close(1);
    expect(table.node(1)).to.be.undefined;
    expect(table.open(79)).to.equal(1);
    expect(table.size).to.equal(2);
  });
});

describe("the control socket", () => {
  it("takes known requests and refuses all else", () => {
    expect(parseRequest('{"op":"tag","paths":["/a"]}')).to.deep.equal({ op: "tag", paths: ["/a"] });
    expect(parseRequest('{"op":"tags"}')).to.deep.equal({ op: "tags", from: 0 });
    for (const line of [
      "",
      "[]",
      "{}",
      "null",
      '{"op":"tag","paths":[1]}',
      '{"op":"tags","from":-1}',
    ]) {
      expect(() => parseRequest(line), line).to.throw(ReelError);
    }
  });
});

describe("the runtime folder", () => {
  const before = process.env["XDG_RUNTIME_DIR"];
  afterEach(() => {
    if (before === undefined) delete process.env["XDG_RUNTIME_DIR"];
    else process.env["XDG_RUNTIME_DIR"] = before;
  });

  it("is made private, and refused when it is not", async () => {
    await withTempFolder(async (folder) => {
      process.env["XDG_RUNTIME_DIR"] = folder;
      expect(await runtimeFolder()).to.equal(join(folder, "reelfs"));
      await chmod(join(folder, "reelfs"), 0o755);
      expect(await codeOf(runtimeFolder())).to.equal("no-permission");
    });
    await withTempFolder(async (folder) => {
      process.env["XDG_RUNTIME_DIR"] = folder;
      await mkdir(join(folder, "elsewhere"), { mode: 0o700 });
      await symlink(join(folder, "elsewhere"), join(folder, "reelfs"));
      expect(await codeOf(runtimeFolder())).to.equal("no-permission");
    });
    await withTempFolder(async (folder) => {
      process.env["XDG_RUNTIME_DIR"] = folder;
      await writeFile(join(folder, "reelfs"), "");
      expect(await codeOf(runtimeFolder())).to.be.oneOf(["no-permission", "exists"]);
    });
  });

  it("knows a process by when it began", async () => {
    expect(await processStart(process.pid)).to.match(/^\d+$/);
    expect(await processStart(2 ** 30)).to.be.undefined;
  });
});
