import { execFileSync } from "node:child_process";
import {
  lstat,
  mkdir,
  readFile,
  readdir,
  readlink,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";

import { expect } from "chai";

import { ReelError } from "../../src/errors.ts";
import { restoreSelection } from "../../src/tagrestore/restore.ts";
import type { RestoreOptions, RestoreSummary } from "../../src/tagrestore/restore.ts";
import { selectEntries } from "../../src/tagrestore/select.ts";
import type { SelectionRequest } from "../../src/tagrestore/select.ts";
import { tapeModel } from "../../src/tape/time-model.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { withRandom } from "../support/random.ts";
import { skipUnless } from "../support/skip.ts";
import { stubImage } from "../support/stub-image.ts";
import type { StubFile, StubImage, StubOptions } from "../support/stub-image.ts";
import { withTempFolder } from "../support/temp.ts";

const STAGING = ".reelfs-restore-0badcafe";

async function restore(
  stub: StubImage,
  directory: string,
  options: RestoreOptions = {},
  request: SelectionRequest = {},
): Promise<RestoreSummary> {
  const { table } = await selectEntries(stub.volume, request);
  return restoreSelection(stub, table, directory, options);
}

/** Files of many shapes: tiny, several to a record, several records long, fragmented, empty. */
const FILES: readonly StubFile[] = [
  { path: "/README.TXT", content: patternBytes(10, 1) },
  { path: "/DCIM/A.JPG", content: patternBytes(20_000, 2), fragmentBlocks: 3 },
  { path: "/DCIM/B.JPG", content: patternBytes(4096, 3) },
  { path: "/DCIM/deep/er/C.JPG", content: patternBytes(9999, 4), fragmentBlocks: 1 },
  { path: "/empty.txt", content: new Uint8Array(0) },
  { path: "/void", kind: "directory" },
  ...Array.from({ length: 40 }, (_, i) => ({
    path: `/small/${i}`,
    content: patternBytes(1 + ((i * 97) % 1500), 10 + i),
  })),
];

/** What a restore of these takes from the tape. */
function bytesOf(files: readonly StubFile[]): number {
  return files.reduce((sum, { content }) => sum + (content?.length ?? 0), 0);
}

async function expectRestored(directory: string, files: readonly StubFile[]): Promise<void> {
  for (const file of files) {
    const full = join(directory, file.path);
    const found = await stat(full);
    expect(found.mtimeMs, file.path).to.equal(file.modifiedMs ?? Date.UTC(2001, 1, 3, 4, 5, 6));
    if (file.kind === "directory") continue;
    const bytes = await readFile(full);
    expect(bytes.equals(file.content ?? new Uint8Array(0)), `${file.path} differs`).to.be.true;
  }
}

/** Every path below, folders with a slash at the end. */
async function allPaths(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.map((entry) => join(entry.parentPath, entry.name).slice(directory.length)).sort();
}

describe("restoring", () => {
  it("puts every file in its place, byte for byte, each record read once and rising", async () => {
    await withRandom(async (random) => {
      await withTempFolder(async (folder) => {
        const stub = stubImage(FILES, { random });
        const target = join(folder, "new/out");
        const summary = await restore(stub, target);
        await expectRestored(target, FILES);
        expect(summary.files).to.equal(FILES.length - 1);
        expect(summary.problems).to.deep.equal([]);
        expect(summary.flushed).to.be.true;
        expect(stub.log).to.deep.equal([...new Set(stub.log)].sort((a, b) => a - b));
        expect(stub.log).to.have.length(summary.records);
        expect(await readdir(target)).not.to.include(STAGING);
      });
    });
  });

  it("reads only the records of what was selected", async () => {
    await withTempFolder(async (folder) => {
      const stub = stubImage(FILES);
      const summary = await restore(stub, folder, {}, { patterns: ["/DCIM/b.jpg"] });
      expect(await allPaths(folder)).to.deep.equal(["/DCIM", "/DCIM/B.JPG"]);
      expect(summary.records).to.be.at.most(2);
      expect(stub.log).to.have.length(summary.records);
    });
  });

  it("reads through short gaps on a drive that takes its time, with the same result", async () => {
    await withTempFolder(async (folder) => {
      const stub = stubImage(FILES);
      const request = { patterns: ["/README.TXT", "/small/39"] };
      const summary = await restore(stub, folder, { drive: tapeModel("LTO-9") }, request);
      expect(summary.records).to.equal(2);
      const [first = 0, last = 0] = [stub.log[0], stub.log.at(-1)];
      expect(stub.log)
        .to.have.length(last - first + 1)
        .and.length.greaterThan(2);
      await expectRestored(
        folder,
        FILES.filter((file) => request.patterns.includes(file.path)),
      );
    });
  });

  it("keeps times to the microsecond, before 1970 too, of files and directories", async () => {
    const times = [0, -1000, 1_700_000_000_120, 315_532_801_010, 4_354_819_198_000];
    const files = times.map((modifiedMs, i) => ({
      path: `/d${i}`,
      kind: "directory" as const,
      modifiedMs,
    }));
    const inside = times.map((modifiedMs, i) => ({
      path: `/d${i}/f`,
      content: patternBytes(5000 * (i % 2) + 5),
      modifiedMs,
      accessedMs: modifiedMs + 10_000,
    }));
    await withTempFolder(async (folder) => {
      await restore(stubImage([...files, ...inside], { blocksPerRecord: 2 }), folder);
      const { atimeMs } = await stat(join(folder, "d2/f"));
      expect(atimeMs).to.equal(1_700_000_010_120);
      await expectRestored(folder, [...files, ...inside]);
    });
  });

  it("leaves holes where the image has none of a file", async () => {
    const content = patternBytes(4096 * 40, 5);
    const holes = Array.from({ length: 38 }, (_, i) => i + 1);
    content.fill(0, 4096, 4096 * 39);
    const tail = new Uint8Array(4096 * 20);
    tail.set(patternBytes(4096, 6));
    const files: StubFile[] = [
      { path: "/middle", content, holes },
      { path: "/end", content: tail, holes: Array.from({ length: 19 }, (_, i) => i + 1) },
      {
        path: "/all",
        content: new Uint8Array(1 << 20),
        holes: Array.from({ length: 256 }, (_, i) => i),
      },
      { path: "/unused", content: new Uint8Array(1 << 20) },
    ];
    await withTempFolder(async (folder) => {
      const options = { blockSizeBytes: 4096, unmapped: ["/unused"] };
      await restore(stubImage(files, options), folder);
      await expectRestored(folder, files);
      for (const [name, blocks] of [
        ["middle", 16],
        ["end", 8],
        ["all", 0],
        ["unused", 0],
      ] as const) {
        expect((await stat(join(folder, name))).blocks, name).to.equal(blocks);
      }
    });
  });

  it("names files whose blocks were lost with the map, instead of filling in zeros", async () => {
    await withTempFolder(async (folder) => {
      const options = { unmapped: ["/DCIM/A.JPG"], unmappedIsLost: true };
      const summary = await restore(stubImage(FILES, options), folder);
      expect(summary.problems.map(({ path, code }) => [path, code])).to.deep.equal([
        ["/DCIM/A.JPG", "damaged"],
      ]);
      await expectRestored(
        folder,
        FILES.filter((file) => file.path !== "/DCIM/A.JPG"),
      );
    });
  });

  it("takes the write permission from read-only files, small and large", async () => {
    const files: StubFile[] = [
      { path: "/small", content: patternBytes(10), readOnly: true },
      { path: "/large", content: patternBytes(50_000), readOnly: true },
      { path: "/free", content: patternBytes(10) },
    ];
    await withTempFolder(async (folder) => {
      await restore(stubImage(files), folder);
      const modes = await Promise.all(
        files.map(async ({ path }) => (await stat(join(folder, path))).mode & 0o222),
      );
      expect(modes.slice(0, 2)).to.deep.equal([0, 0]);
      expect(modes[2]).to.not.equal(0);
    });
  });

  it("restores permissions, owners and symbolic links where the volume has them", async function () {
    skipUnless(this, process.geteuid?.() === 0, "needs root to change owners");
    const files: StubFile[] = [
      { path: "/dir", kind: "directory", mode: 0o500, uid: 1234, gid: 99 },
      { path: "/dir/file", content: patternBytes(10), mode: 0o4711, uid: 1234, gid: 99 },
      { path: "/dir/large", content: patternBytes(9000), mode: 0o400, uid: 1234, gid: 99 },
      { path: "/dir/link", kind: "symlink", target: "../elsewhere" },
    ];
    await withTempFolder(async (folder) => {
      const summary = await restore(stubImage(files, { blocksPerRecord: 2 }), folder);
      for (const [path, mode] of [
        ["dir", 0o500],
        ["dir/file", 0o4711],
        ["dir/large", 0o400],
      ] as const) {
        const found = await stat(join(folder, path));
        expect([found.mode & 0o7777, found.uid, found.gid], path).to.deep.equal([mode, 1234, 99]);
      }
      expect(await readlink(join(folder, "dir/link"))).to.equal("../elsewhere");
      expect((await lstat(join(folder, "dir/link"))).mtimeMs).to.equal(
        Date.UTC(2001, 1, 3, 4, 5, 6),
      );
      expect(summary.problems).to.deep.equal([]);
    });
  });

  it("gives cross-linked files the blocks they share", async () => {
    const content = patternBytes(9000, 8);
    const files: StubFile[] = [
      { path: "/one", content, fragmentBlocks: 2 },
      { path: "/two", content, sharesBlocksOf: "/one" },
      { path: "/part", content: content.subarray(0, 700), sharesBlocksOf: "/one" },
    ];
    await withTempFolder(async (folder) => {
      const stub = stubImage(files);
      await restore(stub, folder);
      await expectRestored(folder, files);
      expect(new Set(stub.log).size).to.equal(stub.log.length);
    });
  });
});

describe("restoring where something is already", () => {
  it("leaves what is there alone and names it", async () => {
    await withTempFolder(async (folder) => {
      await mkdir(join(folder, "DCIM"));
      await writeFile(join(folder, "DCIM/A.JPG"), "mine");
      await writeFile(join(folder, "empty.txt"), "mine too");
      const stub = stubImage(FILES);
      const summary = await restore(stub, folder);
      expect(summary.existing).to.have.members(["/DCIM/A.JPG", "/empty.txt"]);
      expect(await readFile(join(folder, "DCIM/A.JPG"), "utf8")).to.equal("mine");
      expect(await readFile(join(folder, "empty.txt"), "utf8")).to.equal("mine too");
      expect(summary.files).to.equal(FILES.length - 3);
    });
  });

  it("does not read from the tape what it will not write", async () => {
    await withTempFolder(async (folder) => {
      await restore(stubImage(FILES), folder);
      const again = stubImage(FILES);
      const summary = await restore(again, folder);
      expect(again.log).to.deep.equal([]);
      expect(summary.existing).to.have.length(FILES.length - 1);
      await expectRestored(folder, FILES);
    });
  });

  it("replaces files with --overwrite, but no directory by a file", async () => {
    await withTempFolder(async (folder) => {
      await writeFile(join(folder, "README.TXT"), "old");
      await mkdir(join(folder, "empty.txt"));
      await writeFile(join(folder, "void"), "a file where a directory must go");
      const summary = await restore(stubImage(FILES), folder, { overwrite: true });
      expect(summary.problems.map((each) => each.path)).to.have.members(["/empty.txt", "/void"]);
      const others = FILES.filter((file) => !["/empty.txt", "/void"].includes(file.path));
      await expectRestored(folder, others);
      expect(await readFile(join(folder, "void"), "utf8")).to.contain("a file");
    });
  });

  it("does not replace a file that appears while the tape runs", async () => {
    await withTempFolder(async (folder) => {
      const beforeRecord = async (): Promise<void> =>
        writeFile(join(folder, "README.TXT"), "quick", { flag: "w" });
      const summary = await restore(stubImage(FILES, { beforeRecord }), folder);
      expect(summary.existing).to.deep.equal(["/README.TXT"]);
      expect(await readFile(join(folder, "README.TXT"), "utf8")).to.equal("quick");
    });
  });

  for (const overwrite of [false, true]) {
    it(`never goes through a symbolic link${overwrite ? ", with --overwrite neither" : ""}`, async () => {
      await withTempFolder(async (folder) => {
        const [out, elsewhere] = [join(folder, "out"), join(folder, "elsewhere")];
        await mkdir(out);
        await mkdir(join(elsewhere, "deep"), { recursive: true });
        await writeFile(join(elsewhere, "secret"), "keep");
        await symlink(elsewhere, join(out, "DCIM"));
        await symlink(join(elsewhere, "secret"), join(out, "README.TXT"));
        await symlink(join(elsewhere, "nosuch"), join(out, "empty.txt"));
        const summary = await restore(stubImage(FILES), out, { overwrite });
        expect(await allPaths(elsewhere)).to.deep.equal(["/deep", "/secret"]);
        expect(await readFile(join(elsewhere, "secret"), "utf8")).to.equal("keep");
        const lost = summary.problems.map((each) => each.path);
        expect(lost).to.include.members(["/DCIM", "/DCIM/A.JPG", "/DCIM/deep/er/C.JPG"]);
        expect(summary.problems[0]?.message).to.contain("is a symbolic link");
        expect((await lstat(join(out, "README.TXT"))).isSymbolicLink()).to.equal(!overwrite);
        await expectRestored(
          out,
          FILES.filter((file) => file.path.startsWith("/small")),
        );
      });
    });
  }

  it("says what keeps it from making the target, which may lie deep", async function () {
    skipUnless(this, process.getuid?.() === 0, "only root can mount");
    await withTempFolder(async (folder) => {
      const deep = join(folder, "a", "b", "c");
      await restore(stubImage(FILES), deep);
      await expectRestored(deep, FILES);
      const fixed = join(folder, "fixed");
      await mkdir(fixed);
      execFileSync("mount", ["-t", "tmpfs", "-o", "ro", "none", fixed]);
      try {
        await expectReelError(restore(stubImage(FILES), join(fixed, "a", "b")), "read-only");
      } finally {
        execFileSync("umount", [fixed]);
      }
    });
  });

  it("refuses a target that is a file, and a staging folder that is not its own", async () => {
    await withTempFolder(async (folder) => {
      await writeFile(join(folder, "file"), "");
      await expectReelError(restore(stubImage(FILES), join(folder, "file")), "not-a-directory");
      await mkdir(join(folder, "elsewhere"));
      await symlink(join(folder, "elsewhere"), join(folder, STAGING));
      await expectReelError(restore(stubImage(FILES), folder, { resume: true }), "exists");
      expect(await readdir(join(folder, "elsewhere"))).to.deep.equal([]);
    });
  });

  it("does not let a file of the image into its own staging folder", async () => {
    const trap = { path: `/${STAGING}/journal`, content: patternBytes(10) };
    await withTempFolder(async (folder) => {
      const summary = await restore(stubImage([trap, ...FILES]), folder, { overwrite: true });
      expect(summary.problems.map((each) => each.path)).to.include(`/${STAGING}/journal`);
      await expectRestored(folder, FILES);
    });
  });
});

describe("restoring from a damaged tape", () => {
  it("loses only the files that have a piece in the damaged record", async function () {
    this.timeout(30_000);
    await withRandom(async (random) => {
      const sound = stubImage(FILES);
      await withTempFolder(async (folder) => restore(sound, folder));
      for (let round = 0; round < 6; round++) {
        const record = random.pick(sound.log);
        const stub = stubImage(FILES, { damaged: new Set([record]) });
        await withTempFolder(async (folder) => {
          const summary = await restore(stub, folder);
          const lost = summary.problems.map((each) => each.path);
          expect(lost).not.to.deep.equal([]);
          for (const problem of summary.problems) {
            expect(problem.code).to.equal("damaged");
            expect(problem.message).to.contain(`record ${record}`);
          }
          const kept = FILES.filter((file) => !lost.includes(file.path));
          await expectRestored(folder, kept);
          expect(summary.files).to.equal(kept.filter((file) => file.kind !== "directory").length);
          expect(summary.bytes).to.equal(bytesOf(kept));
          expect(summary.records).to.equal(sound.log.length - 1);
          const files = (await allPaths(folder)).filter((path) => lost.includes(path));
          expect(files, "a damaged file is there").to.deep.equal([]);
          expect(await readdir(folder)).not.to.include(STAGING);
          expect(stub.log).to.deep.equal(sound.log);
        });
      }
    });
  });

  it("names files that the volume cannot locate", async () => {
    const failure = new ReelError("damaged", "the chain of /bad ends at cluster 9");
    const files: StubFile[] = [
      { path: "/bad", content: patternBytes(10), failure },
      { path: "/good", content: patternBytes(10) },
    ];
    await withTempFolder(async (folder) => {
      const { problems } = await restore(stubImage(files), folder);
      expect(problems.map(({ path, code }) => [path, code])).to.deep.equal([["/bad", "damaged"]]);
      await expectRestored(folder, files.slice(1));
    });
  });

  it("takes a file whose name is too long for the target as that file's problem", async () => {
    const files = [
      { path: `/${"x".repeat(300)}`, content: patternBytes(10) },
      { path: `/${"y".repeat(300)}/below`, content: patternBytes(10) },
      { path: "/good", content: patternBytes(10) },
    ];
    await withTempFolder(async (folder) => {
      const { problems } = await restore(stubImage(files), folder);
      expect(problems.map((each) => each.code)).to.deep.equal(Array(3).fill("name-too-long"));
      await expectRestored(folder, files.slice(2));
    });
  });
});

async function snapshot(folder: string): Promise<unknown> {
  const paths = await allPaths(folder);
  return Promise.all(
    paths.map(async (path) => {
      const { mode, size, mtimeMs } = await lstat(join(folder, path));
      return [path, mode, size, mtimeMs];
    }),
  );
}

describe("going on with an interrupted restore", () => {
  /** A restore that is interrupted before record number `stop` of its order is delivered. */
  function interrupted(
    stop: number,
    options: StubOptions = {},
  ): { stub: StubImage; signal: AbortSignal } {
    const controller = new AbortController();
    const beforeRecord = (_: number, delivered: number): void => {
      if (delivered === stop) controller.abort();
    };
    return { stub: stubImage(FILES, { ...options, beforeRecord }), signal: controller.signal };
  }

  it("finishes with the same result, wherever it was interrupted", async function () {
    this.timeout(60_000);
    await withTempFolder(async (reference) => {
      const whole = stubImage(FILES);
      await restore(whole, reference);
      const expected = await snapshot(reference);
      for (let stop = 0; stop < whole.log.length; stop += 2) {
        await withTempFolder(async (folder) => {
          const { stub, signal } = interrupted(stop);
          const error = await expectReelError(restore(stub, folder, { signal }), "aborted");
          expect(error.message).to.contain("--resume");
          expect(await readdir(join(folder, STAGING))).to.deep.equal(["journal"]);
          const again = stubImage(FILES);
          const summary = await restore(again, folder, { resume: true });
          expect(summary.files + summary.filesResumed).to.equal(FILES.length - 1);
          expect(summary.existing).to.deep.equal([]);
          expect(await snapshot(folder)).to.deep.equal(expected);
          await expectRestored(folder, FILES);
          const reread = again.log.filter((record) => stub.log.includes(record));
          expect(again.log.length, `stop ${stop}`).to.be.at.most(whole.log.length);
          if (stop > 25) expect(reread.length).to.be.lessThan(stop);
        });
      }
    });
  });

  it("says what to do when asked to start over what was not finished", async () => {
    await withTempFolder(async (folder) => {
      const { stub, signal } = interrupted(2);
      await expectReelError(restore(stub, folder, { signal }), "aborted");
      const error = await expectReelError(restore(stubImage(FILES), folder), "exists");
      expect(error.message).to.contain("--resume").and.to.contain(join(folder, STAGING));
      const resumed = restore(stubImage(FILES), folder, { resume: true }, { paths: ["/small"] });
      expect((await expectReelError(resumed, "invalid")).message).to.contain("other files");
      // Another image has another journal.
      const uuid = "12345678-0000-4000-8000-000000000001";
      await restore(stubImage(FILES, { uuid }), folder);
      await restore(stubImage(FILES), folder, { resume: true });
      expect(await readdir(folder)).not.to.include(STAGING);
    });
  });

  it("resumes what was never begun", async () => {
    await withTempFolder(async (folder) => {
      await restore(stubImage(FILES), folder, { resume: true });
      await expectRestored(folder, FILES);
    });
  });

  it("leaves what somebody has edited since, and mends what a power cut emptied", async () => {
    await withTempFolder(async (folder) => {
      const { stub, signal } = interrupted(12);
      await expectReelError(restore(stub, folder, { signal }), "aborted");
      const small = (await readdir(join(folder, "small"))).map((name) =>
        join(folder, "small", name),
      );
      const [edited = "", emptied = "", removed = ""] = small;
      await writeFile(edited, "my own words");
      const { atime, mtime } = await stat(emptied);
      await writeFile(emptied, "");
      const { utimes, rm } = await import("node:fs/promises");
      await utimes(emptied, atime, mtime);
      await rm(removed);
      const summary = await restore(stubImage(FILES), folder, { resume: true });
      const path = edited.slice(folder.length);
      expect(summary.existing).to.deep.equal([path]);
      expect(await readFile(edited, "utf8")).to.equal("my own words");
      await expectRestored(
        folder,
        FILES.filter((file) => file.path !== path),
      );
    });
  });

  it("restores again, after a power cut, what has its size and time but maybe not its bytes", async () => {
    await withTempFolder(async (folder) => {
      const { stub, signal } = interrupted(12);
      await expectReelError(restore(stub, folder, { signal }), "aborted");
      const [name = "", other = ""] = await readdir(join(folder, "small"));
      const hollow = join(folder, "small", name);
      await writeFile(join(folder, "small", other), "");
      const { atime, mtime, size } = await stat(hollow);
      await writeFile(hollow, new Uint8Array(size));
      const { utimes } = await import("node:fs/promises");
      await utimes(hollow, atime, mtime);
      const journal = join(folder, STAGING, "journal");
      const text = await readFile(journal, "utf8");
      await writeFile(journal, text.replaceAll(/"boot":"[^"]*"/g, '"boot":"the one before"'));
      const summary = await restore(stubImage(FILES), folder, { resume: true });
      expect(summary.existing).to.deep.equal([]);
      await expectRestored(folder, FILES);
    });
  });

  it("keeps to the rule about existing files after a resume", async () => {
    await withTempFolder(async (folder) => {
      await writeFile(join(folder, "README.TXT"), "mine");
      const { stub, signal } = interrupted(9);
      await expectReelError(restore(stub, folder, { signal }), "aborted");
      const summary = await restore(stubImage(FILES), folder, { resume: true });
      expect(summary.existing).to.deep.equal(["/README.TXT"]);
      expect(await readFile(join(folder, "README.TXT"), "utf8")).to.equal("mine");
    });
  });

  it("stops where the disk does, with nothing half-written", async function () {
    skipUnless(this, process.geteuid?.() === 0, "needs root to mount a small filesystem");
    this.timeout(20_000);
    const { execFile } = await import("node:child_process");
    const { promisify } = await import("node:util");
    const run = promisify(execFile);
    await withTempFolder(async (folder) => {
      const small = join(folder, "small");
      await mkdir(small);
      const mounted = await run("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", small]).then(
        () => true,
        () => false,
      );
      skipUnless(this, mounted, "cannot mount a tmpfs here");
      try {
        const error = await expectReelError(restore(stubImage(FILES), small), "no-space");
        expect(error.message).to.contain("--resume");
        expect(await readdir(join(small, STAGING))).to.deep.equal(["journal"]);
        await run("mount", ["-o", "remount,size=2m", small]);
        await restore(stubImage(FILES), small, { resume: true });
        await expectRestored(small, FILES);
      } finally {
        await run("umount", ["-l", small]);
      }
    });
  });
});

describe("restoring very many files", () => {
  it("keeps descriptors bounded while 1,000 files are open at once", async function () {
    this.timeout(30_000);
    await withRandom(async (random) => {
      // Fragments of all files are shuffled: nearly every file is half-written for the whole pass.
      const files = Array.from({ length: 1000 }, (_, i) => ({
        path: `/f${i}`,
        content: patternBytes(2000, i),
        fragmentBlocks: 1,
      }));
      let most = 0;
      const beforeRecord = async (): Promise<void> => {
        most = Math.max(most, (await readdir("/proc/self/fd")).length);
      };
      await withTempFolder(async (folder) => {
        const before = (await readdir("/proc/self/fd")).length;
        const summary = await restore(stubImage(files, { random, beforeRecord }), folder);
        expect(summary.files).to.equal(1000);
        expect(most - before).to.be.within(100, 140);
        await expectRestored(folder, files);
      });
    });
  });

  it("restores 20,000 small files", async function () {
    this.timeout(60_000);
    const files = Array.from({ length: 20_000 }, (_, i) => ({
      path: `/d${i % 50}/f${i}`,
      content: patternBytes(300, i),
    }));
    await withTempFolder(async (folder) => {
      const summary = await restore(stubImage(files, { blocksPerRecord: 512 }), folder);
      expect(summary.files).to.equal(20_000);
      expect(summary.directoriesMade).to.equal(50);
      await expectRestored(
        folder,
        files.filter((_, i) => i % 500 === 0),
      );
    });
  });
});
