/** Volumes that the kernel left with fast commits: all as it shows them after its own replay. */
import { expect } from "chai";
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  constants,
  ftruncateSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { canMountExt, hasExtTools, hasTool, readMounted } from "../../support/ext-tools.ts";
import { NO_EXT_TOOLS, NO_KERNEL } from "../../support/ext-tools.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";
import { readContents } from "../../support/volume-suite.ts";
import {
  allocate,
  commitFully,
  expectAsMounted,
  sync,
  withFastVolume,
  withImage,
} from "./fast-commit-tools.ts";
import type { Mounted } from "./fast-commit-tools.ts";

const MIB = 1024 * 1024;
/** Of which the kernel makes one for each that is asked for, where it can. */
const COMMITS_MIN = 30;
const NO_FAST_COMMITS = "the kernel here makes no fast commits";

/** Each with files of its own before; what is done to them is all in fast commits. */
const CASES: readonly (readonly [string, (at: (name: string) => string) => void])[] = [
  [
    "an inode that another file had before, with holes where that had data",
    (at) => {
      const { ino } = statSync(at("large"));
      rmSync(at("large"));
      change(at("next"), (file) => writeSync(file, Buffer.alloc(100, 4), 0, 100, 200_000));
      expect(statSync(at("next")).ino, "the first inode that is free").to.equal(ino);
    },
  ],
  [
    "files that were made",
    (at) => {
      for (let i = 0; i < 10; i++) write(at(`new-${i}`), Buffer.alloc(i * 1500, i));
    },
  ],
  [
    "folders that were made, one in the other, and what is in them",
    (at) => {
      mkdirSync(at("a"));
      mkdirSync(at("a/b"));
      write(at("a/b/file"), Buffer.alloc(5000, 7));
      mkdirSync(at("a/empty"));
      write(at("a/other"), Buffer.alloc(1, 7));
    },
  ],
  [
    "contents that were appended, replaced, cut off and punched out",
    (at) => {
      change(at("large"), (file) => writeSync(file, Buffer.alloc(30_000, 9), 0, 30_000, 300_000));
      change(at("large"), (file) => writeSync(file, Buffer.alloc(9000, 8), 0, 9000, 10_000));
      allocate("-p", "-o", "20480", "-l", "40960", at("large"));
      sync(at("large"));
      allocate("-o", "400000", "-l", "90000", at("large"));
      sync(at("large"));
      change(at("large"), (file) => writeSync(file, Buffer.alloc(100, 8), 0, 100, 450_000));
      change(at("large"), (file) => {
        ftruncateSync(file, 250_001);
        ftruncateSync(file, 270_000);
      });
      write(at("small"), Buffer.alloc(3000, 6));
    },
  ],
  [
    "names that were added, moved and removed",
    (at) => {
      linkSync(at("small"), at("folder/small too"));
      sync(at("small"));
      renameSync(at("large"), at("folder/moved"));
      sync(at("folder/moved"));
      rmSync(at("gone"));
      write(at("in its place"), Buffer.alloc(2000, 5));
      renameSync(at("one"), at("two"));
      sync(at("two"));
      rmdirSync(at("folder/empty"));
      write(at("last"), Buffer.alloc(10, 5));
    },
  ],
  [
    "owners, modes and times that were changed",
    (at) => {
      chmodSync(at("small"), 0o4711);
      utimesSync(at("small"), 1_000_000_000.5, 1_234_567_890.25);
      sync(at("small"));
      execFileSync("chown", ["1234:70000", at("large")]);
      sync(at("large"));
    },
  ],
  [
    "names with all letters, and long ones",
    (at) => {
      for (const name of ["ü ß 漢字", "n".repeat(255), "-", " ", "..."]) {
        write(at(name), Buffer.alloc(10, 3));
      }
    },
  ],
];

/** Writes a file and waits until it is safe. */
function write(path: string, contents: Uint8Array): void {
  writeFileSync(path, contents);
  sync(path);
}

function change(path: string, use: (file: number) => void): void {
  const file = openSync(path, "a+");
  closeSync(file);
  const writable = openSync(path, "r+");
  use(writable);
  closeSync(writable);
  sync(path);
}

function fill(at: (name: string) => string): void {
  mkdirSync(at("folder"));
  mkdirSync(at("folder/empty"));
  writeFileSync(at("large"), Buffer.alloc(300_000, "large"));
  for (const name of ["small", "gone", "one", "two"])
    writeFileSync(at(name), Buffer.alloc(6000, name));
}

const SHAPES: readonly (readonly [string, readonly string[]])[] = [
  ["blocks of 4 KiB", ["-b", "4096"]],
  ["no checksums, inodes of 128 bytes", ["-b", "1024", "-I", "128", "-O", "^metadata_csum"]],
  ["inline data", ["-b", "1024", "-O", "inline_data"]],
  ["bigalloc", ["-b", "1024", "-O", "bigalloc", "-C", "16384"]],
];
/** Of such volumes the kernel writes fast commits that it cannot replay. */
const NO_EXTENTS = ["-b", "1024", "-O", "^extents,^64bit"];

const makeOf = (shape: readonly string[]): string[] => [
  ...["-t", "ext4", "-J", "size=4,fast_commit_size=512", "-O", "fast_commit"],
  ...shape,
];

async function fastCommitsIn(image: string): Promise<number> {
  return withImage(image, async ({ info }) => {
    expect(info.notices).to.have.length(1);
    return Number(/fast commits: (\d+) with \d+ change/.exec(info.notices?.[0] ?? "")?.[1] ?? 0);
  });
}

async function makesFastCommits(): Promise<boolean> {
  return withTempFolder(async (folder) => {
    let notices: readonly string[] = [];
    const volume = { sizeBytes: 16 * MIB, make: makeOf([]) };
    await withFastVolume(folder, volume, async (mountpoint, snapshot) => {
      write(join(mountpoint, "file"), Buffer.alloc(100, 1));
      const image = await snapshot("copy.img");
      notices = await withImage(image, async ({ info }) => info.notices ?? []);
    });
    return notices.join().includes("fast commits: ");
  });
}

describe("Fast commits that the kernel wrote", function () {
  this.timeout(180_000);
  before(async function () {
    skipUnless(this, hasExtTools(), NO_EXT_TOOLS);
    skipUnless(this, canMountExt() && hasTool("fallocate"), NO_KERNEL);
    skipUnless(this, await makesFastCommits(), NO_FAST_COMMITS);
  });

  for (const [shape, make] of SHAPES) {
    it(`are all replayed to what the kernel showed, on a volume with ${shape}`, async () => {
      await withChanged(make, async (image, live) => {
        expect(await fastCommitsIn(image)).to.be.above(COMMITS_MIN);
        await expectAsMounted(image, live);
      });
    });
  }

  it("are all replayed on a volume without extents, so that all is as it was", async () => {
    await withChanged(NO_EXTENTS, async (image, live) => {
      expect(await fastCommitsIn(image)).to.be.above(0);
      await expectAsMounted(image, live);
    });
  });

  it("bring back a file that was made without a name, which the kernel forgets", async () => {
    await withTempFolder(async (folder) => {
      await withFastVolume(
        folder,
        { sizeBytes: 16 * MIB, make: makeOf([]) },
        async (mountpoint, snapshot) => {
          commitFully(mountpoint);
          const contents = Buffer.alloc(9000, "nameless");
          await nameLater(mountpoint, "named", contents);
          const image = await snapshot("copy.img");
          expect(await fastCommitsIn(image)).to.equal(1);
          await withImage(image, async (volume, device) => {
            const named = (await volume.readDirectory(volume.rootId)).find(
              ({ name }) => name === "named",
            );
            const found = await readContents(volume, device, named?.stat.id ?? 0);
            expect(Buffer.compare(found, contents)).to.equal(0);
          });
        },
      );
    });
  });
});

/** Makes a file without a name (O_TMPFILE), writes to it, and gives it a name. */
async function nameLater(folder: string, name: string, contents: Uint8Array): Promise<void> {
  const O_TMPFILE = 0o20200000;
  const file = await open(folder, constants.O_RDWR | O_TMPFILE, 0o644);
  await file.write(contents);
  execFileSync("ln", ["-L", `/proc/${process.pid}/fd/${file.fd}`, join(folder, name)]);
  await file.sync();
  await file.close();
}

/** Makes all changes on a new volume; hands over an image of it, and the tree as it was then. */
async function withChanged(
  make: readonly string[],
  use: (image: string, live: Mounted) => Promise<void>,
): Promise<void> {
  await withTempFolder(async (folder) => {
    const images: [string, Mounted][] = [];
    const volume = { sizeBytes: 24 * MIB, make: makeOf(make) };
    await withFastVolume(folder, volume, async (mountpoint, snapshot) => {
      const at = (index: number, name: string): string => join(mountpoint, String(index), name);
      CASES.forEach((_, index) => {
        mkdirSync(at(index, ""));
        fill((name) => at(index, name));
      });
      commitFully(mountpoint);
      CASES.forEach(([, makeChanges], index) => {
        makeChanges((name) => at(index, name));
      });
      images.push([await snapshot("copy.img"), await readMounted(mountpoint)]);
    });
    for (const [image, live] of images) await use(image, live);
  });
}
