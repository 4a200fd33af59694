import { chmod, chown, lstat, mkdir, readFile, readdir, readlink } from "node:fs/promises";
import { symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { expect } from "chai";

import { planSelection, restoreSelection } from "../../src/tagrestore/restore.ts";
import type { RestoreOptions, RestoreSummary } from "../../src/tagrestore/restore.ts";
import { selectEntries } from "../../src/tagrestore/select.ts";
import type { SelectionRequest } from "../../src/tagrestore/select.ts";
import { majorOf, minorOf } from "../../src/tagrestore/special-nodes.ts";
import { expectReelError } from "../support/expect-error.ts";
import { hasTool } from "../support/mountpoint.ts";
import { patternBytes } from "../support/pattern.ts";
import { skipUnless } from "../support/skip.ts";
import { stubImage } from "../support/stub-image.ts";
import type { StubFile, StubImage } from "../support/stub-image.ts";
import { withTempFolder } from "../support/temp.ts";
import { xattrsOf } from "./restored.ts";

const NOBODY = 65534;
const TIME_MS = Date.UTC(2001, 1, 3, 4, 5, 6);

async function restore(
  stub: StubImage,
  directory: string,
  options: RestoreOptions = {},
  request: SelectionRequest = {},
): Promise<RestoreSummary> {
  const { table } = await selectEntries(stub.volume, request);
  return restoreSelection(stub, table, directory, options);
}

const isRoot = process.geteuid?.() === 0;

/** Runs `work` as a user who may do nothing special. */
async function asNobody(work: () => Promise<void>): Promise<void> {
  process.setegid?.(NOBODY);
  process.seteuid?.(NOBODY);
  try {
    await work();
  } finally {
    process.seteuid?.(0);
    process.setegid?.(0);
  }
}

const LARGE = patternBytes(9000, 1);

/** A file with three names and one with two, in pieces; a pipe with two. */
const LINKED: readonly StubFile[] = [
  { path: "/a/one", content: LARGE, fragmentBlocks: 1, mode: 0o640 },
  { path: "/b/two", linkTo: "/a/one" },
  { path: "/a/small", content: patternBytes(10, 2) },
  { path: "/c/deep/three", linkTo: "/a/one" },
  { path: "/small too", linkTo: "/a/small" },
  { path: "/pipe", kind: "fifo" },
  { path: "/a/pipe too", linkTo: "/pipe" },
  { path: "/link", kind: "symlink", target: "a/one" },
  { path: "/link too", linkTo: "/link" },
];

async function inodesOf(folder: string, ...names: string[]): Promise<number[]> {
  return Promise.all(names.map(async (name) => (await lstat(join(folder, name))).ino));
}

describe("restoring hard links", () => {
  it("makes names of one file names of one file, read once", async () => {
    await withTempFolder(async (folder) => {
      const stub = stubImage(LINKED);
      const summary = await restore(stub, folder);
      const [one, two, three] = await inodesOf(folder, "a/one", "b/two", "c/deep/three");
      expect([two, three]).to.deep.equal([one, one]);
      const [small, smallToo] = await inodesOf(folder, "a/small", "small too");
      expect(smallToo).to.equal(small).and.not.to.equal(one);
      const [pipe, pipeToo, link, linkToo] = await inodesOf(
        folder,
        ...["pipe", "a/pipe too", "link", "link too"],
      );
      expect([pipeToo, linkToo]).to.deep.equal([pipe, link]);
      expect((await lstat(join(folder, "b/two"))).nlink).to.equal(3);
      expect((await readFile(join(folder, "b/two"))).equals(LARGE)).to.be.true;
      expect(summary.files).to.equal(LINKED.length);
      expect(summary.bytes).to.equal(LARGE.length + 10);
      expect(new Set(stub.log).size).to.equal(stub.log.length);
      expect(summary.losses.links).to.equal(0);
      expect((await readdir(folder)).sort()).to.deep.equal([
        ...["a", "b", "c", "link", "link too", "pipe", "small too"],
      ]);
    });
  });

  it("restores a selection that leaves the first name out", async () => {
    await withTempFolder(async (folder) => {
      const paths = ["/b/two", "/c/deep/three"];
      const stub = stubImage(LINKED);
      const { table } = await selectEntries(stub.volume, { paths });
      const { plan } = await planSelection(stub.volume, stub.image, table);
      expect(plan.bytes).to.equal(LARGE.length);
      await restore(stub, folder, {}, { paths });
      const [two, three] = await inodesOf(folder, "b/two", "c/deep/three");
      expect(three).to.equal(two);
      expect((await lstat(join(folder, "b/two"))).nlink).to.equal(2);
      expect((await lstat(join(folder, "b/two"))).mode & 0o777).to.equal(0o640);
    });
  });

  it("leaves names alone that are there, and replaces them when told to", async () => {
    await withTempFolder(async (folder) => {
      await mkdir(join(folder, "a"));
      await writeFile(join(folder, "a/one"), "mine");
      const first = await restore(stubImage(LINKED), folder);
      expect(first.existing).to.deep.equal(["/a/one"]);
      expect(await readFile(join(folder, "a/one"), "utf8")).to.equal("mine");
      const [two, three] = await inodesOf(folder, "b/two", "c/deep/three");
      expect(three).to.equal(two);
      const again = await restore(stubImage(LINKED), folder, { overwrite: true });
      expect(again.problems).to.deep.equal([]);
      const [one, ...others] = await inodesOf(folder, "a/one", "b/two", "c/deep/three");
      expect(others).to.deep.equal([one, one]);
      expect((await lstat(join(folder, "a/one"))).nlink).to.equal(3);
    });
  });

  it("loses all names of a file that is damaged, and says so for each", async () => {
    await withTempFolder(async (folder) => {
      const record = stubImage(LINKED).log[0] ?? 8;
      const summary = await restore(stubImage(LINKED, { damaged: new Set([record]) }), folder);
      const lost = summary.problems.map(({ path }) => path).sort();
      expect(lost).to.deep.equal(["/a/one", "/b/two", "/c/deep/three"]);
      expect(summary.files).to.equal(LINKED.length - 3);
    });
  });

  it("links to what an interrupted run had restored, without reading it again", async () => {
    await withTempFolder(async (folder) => {
      const files: StubFile[] = [...LINKED, { path: "/z", content: patternBytes(50_000, 9) }];
      const controller = new AbortController();
      const whole = stubImage(files).image.recordCount;
      const beforeRecord = (record: number): void => {
        if (record === whole - 2) controller.abort();
      };
      const { signal } = controller;
      await expectReelError(
        restore(stubImage(files, { beforeRecord }), folder, { signal }),
        "aborted",
      );
      const { unlink } = await import("node:fs/promises");
      await unlink(join(folder, "b/two"));
      const stub = stubImage(files);
      const summary = await restore(stub, folder, { resume: true });
      expect(summary.problems).to.deep.equal([]);
      const [one, two] = await inodesOf(folder, "a/one", "b/two");
      expect(two).to.equal(one);
      expect(stub.log[0], "a record that only the linked file needs").to.be.greaterThan(8);
    });
  });
});

const TTY = (4 << 8) | 64;
const LARGE_MINOR = (259 << 8) | (0x12345 & 0xff) | ((0x12345 & ~0xff) << 12);

const SPECIAL: readonly StubFile[] = [
  { path: "/dev/ttyS0", kind: "character", deviceNumber: TTY, mode: 0o660, uid: 0, gid: 20 },
  { path: "/dev/nvme", kind: "block", deviceNumber: LARGE_MINOR, mode: 0o600, uid: 0, gid: 6 },
  { path: "/run/socket", kind: "socket", mode: 0o777 },
  { path: "/run/pipe", kind: "fifo", mode: 0o4622, uid: 7, gid: 8 },
  { path: "/file", content: patternBytes(10), mode: 0o6755, uid: 7, gid: 8 },
  { path: "/tmp", kind: "directory", mode: 0o1777, uid: 0, gid: 0 },
  { path: "/link", kind: "symlink", target: "/etc/passwd", uid: 7, gid: 8 },
];

describe("restoring devices, pipes and owners", () => {
  it("splits device numbers as makedev(3) packs them", () => {
    expect([majorOf(TTY), minorOf(TTY)]).to.deep.equal([4, 64]);
    expect([majorOf(LARGE_MINOR), minorOf(LARGE_MINOR)]).to.deep.equal([259, 0x12345]);
  });

  it("makes all of them as root, with owners, modes and times; sockets are left out", async function () {
    skipUnless(this, isRoot, "needs root to make devices");
    await withTempFolder(async (folder) => {
      const summary = await restore(stubImage(SPECIAL), folder);
      skipUnless(this, summary.losses.devices === 0, "root may not make devices here");
      const tty = await lstat(join(folder, "dev/ttyS0"));
      expect([tty.isCharacterDevice(), tty.rdev, tty.gid]).to.deep.equal([true, TTY, 20]);
      expect([tty.mode & 0o7777, tty.mtimeMs]).to.deep.equal([0o660, TIME_MS]);
      const nvme = await lstat(join(folder, "dev/nvme"));
      expect([nvme.isBlockDevice(), majorOf(nvme.rdev), minorOf(nvme.rdev)]).to.deep.equal([
        ...[true, 259, 0x12345],
      ]);
      const pipe = await lstat(join(folder, "run/pipe"));
      expect([pipe.isFIFO(), pipe.mode & 0o7777, pipe.uid]).to.deep.equal([true, 0o4622, 7]);
      expect((await lstat(join(folder, "file"))).mode & 0o7777).to.equal(0o6755);
      expect((await lstat(join(folder, "tmp"))).mode & 0o7777).to.equal(0o1777);
      const link = await lstat(join(folder, "link"));
      expect([link.isSymbolicLink(), link.uid, link.gid]).to.deep.equal([true, 7, 8]);
      expect(await readdir(join(folder, "run"))).to.deep.equal(["pipe"]);
      expect(summary.problems).to.deep.equal([]);
      expect(summary.losses).to.deep.include({ owners: 0, sockets: 1, devices: 0, setIds: 0 });
    });
  });

  it("restores what a user can, and counts the rest by kind", async function () {
    skipUnless(this, isRoot, "needs root to become somebody else");
    await withTempFolder(async (folder) => {
      const target = join(folder, "out");
      await chmod(folder, 0o755);
      await mkdir(target);
      await chown(target, NOBODY, NOBODY);
      await asNobody(async () => {
        const own = { path: "/own", content: patternBytes(5), mode: 0o4755 };
        const files = [...SPECIAL, { ...own, uid: NOBODY, gid: NOBODY }];
        const summary = await restore(stubImage(files), target);
        expect(summary.problems).to.deep.equal([]);
        expect(summary.losses).to.deep.include({ devices: 2, sockets: 1, setIds: 2, owners: 4 });
        const file = await lstat(join(target, "file"));
        expect([file.mode & 0o7777, file.uid]).to.deep.equal([0o755, NOBODY]);
        expect((await lstat(join(target, "own"))).mode & 0o7777).to.equal(0o4755);
        expect((await lstat(join(target, "run/pipe"))).isFIFO()).to.be.true;
        expect((await lstat(join(target, "tmp"))).mode & 0o7777).to.equal(0o1777);
        expect(await readlink(join(target, "link"))).to.equal("/etc/passwd");
        expect(await readdir(join(target, "dev"))).to.deep.equal([]);
      });
    });
  });

  it("never writes, links or makes anything through a link of the image", async () => {
    await withTempFolder(async (folder) => {
      const [out, elsewhere] = [join(folder, "out"), join(folder, "elsewhere")];
      await mkdir(elsewhere);
      await mkdir(out);
      // As an earlier restore of a hostile image left it.
      await symlink(elsewhere, join(out, "dev"));
      await symlink(join(elsewhere, "new"), join(out, "file"));
      const files = [...SPECIAL, { path: "/dev/linked", linkTo: "/file" }];
      for (const overwrite of [false, true]) {
        await restore(stubImage(files), out, { overwrite });
        expect(await readdir(elsewhere)).to.deep.equal([]);
      }
      expect((await lstat(join(out, "file"))).isFile()).to.be.true;
    });
  });
});

/** An ACL as the kernel takes it: version 2; rw for the owner, r for user 7, mask r, others none. */
const ACL = Buffer.from(
  "0200000001000600ffffffff020004000700000004000400ffffffff10000400ffffffff20000000ffffffff",
  "hex",
).toString("latin1");

describe("restoring extended attributes", () => {
  const big = Buffer.from(patternBytes(3000, 3));
  const files: readonly StubFile[] = [
    { path: "/d", kind: "directory", mode: 0o755, xattrs: { "user.dir": "of a directory" } },
    { path: "/d/f", content: LARGE, mode: 0o444, xattrs: { "user.a": "1", "user.big": big } },
    { path: "/d/g", linkTo: "/d/f" },
    { path: "/d/empty value", content: patternBytes(3), xattrs: { "user.none": "" } },
    { path: "/d/odd", content: patternBytes(3), xattrs: { "user.a=b\n# file: 1\\": "x" } },
    { path: "/d/plain", content: patternBytes(3) },
  ];

  async function check(folder: string): Promise<void> {
    for (const { path, xattrs } of files) {
      if (path.includes("odd") || path === "/d/g") continue;
      const expected = Object.entries(xattrs ?? {}).map(([name, value]) => [
        name,
        Buffer.from(value).toString("latin1"),
      ]);
      const found = await xattrsOf(join(folder, path));
      delete found["security.selinux"];
      expect(found, path).to.deep.equal(Object.fromEntries(expected));
    }
  }

  before(async function () {
    skipUnless(this, hasTool("setfattr"), "setfattr is not installed (package attr)");
    const sample = stubImage([{ path: "/x", content: patternBytes(1), xattrs: { "user.x": "1" } }]);
    await withTempFolder(async (folder) => {
      const { losses } = await restore(sample, folder);
      skipUnless(this, losses.xattrs === 0, "the temporary folder keeps no extended attributes");
    });
  });

  it("sets them on files and directories, whatever their names and values", async () => {
    await withTempFolder(async (folder) => {
      const summary = await restore(stubImage(files), folder);
      expect(summary.losses.xattrs).to.equal(0);
      await check(folder);
      expect((await lstat(join(folder, "d/f"))).mtimeMs).to.equal(TIME_MS);
      expect((await lstat(join(folder, "d/f"))).mode & 0o777).to.equal(0o444);
      expect(await readdir(join(folder, "d"))).to.have.length(5);
    });
  });

  it("sets them as a user too, on files closed for writing, and counts what it may not", async function () {
    skipUnless(this, isRoot, "needs root to become somebody else");
    await withTempFolder(async (folder) => {
      const target = join(folder, "out");
      await chmod(folder, 0o755);
      await mkdir(target);
      await chown(target, NOBODY, NOBODY);
      await asNobody(async () => {
        const trusted = { path: "/t", content: patternBytes(1), xattrs: { "trusted.x": "1" } };
        const summary = await restore(stubImage([...files, trusted]), target);
        expect(summary.losses.xattrs).to.equal(1);
        await check(target);
        expect((await lstat(join(target, "d/f"))).mode & 0o777).to.equal(0o444);
      });
    });
  });

  it("restores access control lists, and leaves permissions as they were", async () => {
    await withTempFolder(async (folder) => {
      const acl = { "system.posix_acl_access": Buffer.from(ACL, "latin1") };
      const inherited = { "system.posix_acl_default": Buffer.from(ACL, "latin1") };
      const summary = await restore(
        stubImage([
          { path: "/d", kind: "directory", mode: 0o750, xattrs: inherited },
          { path: "/d/f", content: patternBytes(10), mode: 0o640, xattrs: acl },
          { path: "/d/plain", content: patternBytes(10), mode: 0o640 },
        ]),
        folder,
      );
      if (summary.losses.xattrs > 0) return; // A filesystem without lists has counted them.
      expect(await xattrsOf(join(folder, "d/f"))).to.deep.equal({ "system.posix_acl_access": ACL });
      expect(await xattrsOf(join(folder, "d"))).to.deep.equal({ "system.posix_acl_default": ACL });
      expect(await xattrsOf(join(folder, "d/plain"))).to.deep.equal({});
      expect((await lstat(join(folder, "d/f"))).mode & 0o777).to.equal(0o640);
    });
  });

  it("counts them all where the tool is missing", async () => {
    const path = process.env["PATH"];
    await withTempFolder(async (folder) => {
      process.env["PATH"] = folder;
      try {
        const summary = await restore(stubImage(files), join(folder, "out"));
        expect(summary.losses.xattrs).to.equal(5);
        expect(summary.problems).to.deep.equal([]);
      } finally {
        process.env["PATH"] = path;
      }
    });
  });

  it("sets those of a thousand files without starting a tool for each", async function () {
    this.timeout(20_000);
    const many = Array.from({ length: 1000 }, (_, i) => ({
      path: `/f${i}`,
      content: patternBytes(20, i),
      xattrs: { "user.number": String(i) },
    }));
    await withTempFolder(async (folder) => {
      const summary = await restore(stubImage(many), folder);
      expect([summary.files, summary.losses.xattrs]).to.deep.equal([1000, 0]);
      for (const i of [0, 500, 999]) {
        expect(await xattrsOf(join(folder, `f${i}`))).to.deep.equal({ "user.number": String(i) });
      }
    });
  });
});
