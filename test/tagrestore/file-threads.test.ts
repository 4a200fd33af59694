import { lstat, readFile, readdir, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { expect } from "chai";

import type { FileOutcome, FileToWrite } from "../../src/tagrestore/file-protocol.ts";
import { FileThreads } from "../../src/tagrestore/file-threads.ts";
import { perform } from "../../src/tagrestore/file-work.ts";
import { patternBytes } from "../support/pattern.ts";
import { withTempFolder } from "../support/temp.ts";

const MODIFIED_MS = Date.UTC(1969, 5, 1);

function toWrite(path: string, rest: Partial<FileToWrite> = {}): FileToWrite {
  return {
    ...{ path, at: 0, length: 0, offset: 0, sizeBytes: 0, createMode: 0o600 },
    ...{ owner: undefined, mode: undefined, accessedMs: 0, modifiedMs: MODIFIED_MS },
    ...rest,
  };
}

function memoryOf(bytes: Uint8Array): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(bytes.length);
  new Uint8Array(memory).set(bytes);
  return memory;
}

/** "done", "exists", or the system's name of what failed. */
function words(outcomes: readonly FileOutcome[]): string[] {
  return outcomes.map((outcome) => (typeof outcome === "string" ? outcome : outcome.code));
}

describe("writing many files together", () => {
  it("gives each its bytes, holes, permissions and times", async () => {
    await withTempFolder(async (folder) => {
      const bytes = patternBytes(5000, 1);
      const write = [
        toWrite(join(folder, "a"), { length: 3000, sizeBytes: 3000, mode: 0o4751 }),
        toWrite(join(folder, "b"), { at: 3000, length: 2000, offset: 8192, sizeBytes: 20_000 }),
        toWrite(join(folder, "c"), { sizeBytes: 70_000 }),
      ];
      expect(perform({ write, memory: memoryOf(bytes) })).to.deep.equal(["done", "done", "done"]);
      expect(await readFile(join(folder, "a"))).to.deep.equal(Buffer.from(bytes.subarray(0, 3000)));
      const expected = Buffer.alloc(20_000);
      expected.set(bytes.subarray(3000), 8192);
      expect((await readFile(join(folder, "b"))).equals(expected)).to.be.true;
      expect((await readFile(join(folder, "c"))).equals(Buffer.alloc(70_000))).to.be.true;
      const { mode, mtimeMs } = await stat(join(folder, "a"));
      expect(mode & 0o7777).to.equal(0o4751);
      expect(mtimeMs).to.equal(MODIFIED_MS);
    });
  });

  it("fails for those that it cannot write, and writes through no link", async () => {
    await withTempFolder(async (folder) => {
      await writeFile(join(folder, "there"), "mine");
      await symlink("elsewhere", join(folder, "link"));
      const paths = ["there", "link", "no/such/folder", "sound"];
      const write = paths.map((path) => toWrite(join(folder, path)));
      const outcomes = perform({ write, memory: new SharedArrayBuffer(0) });
      expect(words(outcomes)).to.deep.equal(["EEXIST", "EEXIST", "ENOENT", "done"]);
      expect(await readFile(join(folder, "there"), "utf8")).to.equal("mine");
      expect(await readdir(folder)).to.have.members(["there", "link", "sound"]);
    });
  });
});

describe("naming many files together", () => {
  it("leaves what bears the name, unless it is to be replaced", async () => {
    await withTempFolder(async (folder) => {
      const at = (name: string): string => join(folder, name);
      for (const name of ["1", "2", "3", "taken", "old"]) await writeFile(at(name), name);
      const name = [
        { from: at("1"), to: at("new"), replace: false },
        { from: at("2"), to: at("taken"), replace: false },
        { from: at("3"), to: at("old"), replace: true },
        { from: at("4"), to: at("nothing"), replace: false },
        { from: at("2"), to: at("no/folder"), replace: true },
      ];
      expect(words(perform({ name }))).to.deep.equal([
        "done",
        "exists",
        "done",
        "ENOENT",
        "ENOENT",
      ]);
      expect(await readdir(folder)).to.have.members(["2", "new", "taken", "old"]);
      expect(await readFile(at("taken"), "utf8")).to.equal("taken");
      expect(await readFile(at("old"), "utf8")).to.equal("3");
      expect((await lstat(at("new"))).nlink).to.equal(1);
    });
  });
});

describe("file threads", function () {
  this.timeout(60_000);

  it("answer each request with its own outcomes, and become more where a file takes long", async () => {
    await withTempFolder(async (folder) => {
      // Every file takes longer than this.
      const threads = new FileThreads(0);
      const requests = Array.from({ length: 12 }, (_, request) => [
        toWrite(join(folder, String(request))),
        toWrite(join(folder, "never/there", String(request))),
      ]);
      const memory = new SharedArrayBuffer(0);
      const outcomes = await Promise.all(
        requests.map(async (write) => words(await threads.run({ write, memory }))),
      );
      for (const each of outcomes) expect(each).to.deep.equal(["done", "ENOENT"]);
      expect(await readdir(folder)).to.have.length(requests.length);
      expect(threads.size).to.be.greaterThan(1).and.at.most(4);
    });
  });

  it("let a process end that has started them, used or not", async () => {
    const threads = pathToFileURL(
      join(import.meta.dirname, "../../src/tagrestore/file-threads.ts"),
    );
    for (const use of ["threads.start();", "await threads.run({ name: [] });"]) {
      const script = `
        const { FileThreads } = await import(${JSON.stringify(threads.href)});
        const threads = new FileThreads();
        ${use}
        console.log("used");`;
      const args = ["--import", "tsx", "--input-type=module", "--eval", script];
      const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 50_000 });
      expect(stdout).to.equal("used\n");
    }
  });
});
