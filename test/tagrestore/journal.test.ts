import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdir, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { expect } from "chai";

import { RestoreJournal, stagingName } from "../../src/tagrestore/journal.ts";
import { expectReelError } from "../support/expect-error.ts";
import { withRandom } from "../support/random.ts";
import { withTempFolder } from "../support/temp.ts";
import { KILLED_FILES } from "./killed-restore.ts";

const IDENTITY = { image: "0badcafe-0000-4000-8000-000000000001", selection: "abc" };
const PROGRAM = fileURLToPath(new URL("killed-restore.ts", import.meta.url));

async function begin(directory: string): Promise<string> {
  const journal = await RestoreJournal.open(directory, IDENTITY, false);
  await journal.append("directories", [1, 2]);
  await journal.append("files", [3, 4]);
  await journal.append("files", []);
  await journal.close();
  return join(journal.folder, "journal");
}

describe("the journal of a restore", () => {
  it("tells the next run what was about to be done", async () => {
    await withTempFolder(async (folder) => {
      await begin(folder);
      await writeFile(join(folder, stagingName(IDENTITY.image), "4"), "half");
      const journal = await RestoreJournal.open(folder, IDENTITY, true);
      expect([...(journal.remains?.directories ?? [])]).to.deep.equal([1, 2]);
      expect([...(journal.remains?.published ?? [])]).to.deep.equal([3, 4]);
      expect([...(journal.remains?.staged ?? [])]).to.deep.equal([4]);
      await journal.finish();
      expect(await readdir(folder)).to.deep.equal([]);
    });
  });

  it("does not trust what was published before the machine was started again", async () => {
    await withTempFolder(async (folder) => {
      const path = await begin(folder);
      const text = await readFile(path, "utf8");
      await writeFile(path, text.replace(/"boot":"[^"]*"/, '"boot":"another"'));
      const second = await RestoreJournal.open(folder, IDENTITY, true);
      expect([...(second.remains?.unsure ?? [])]).to.deep.equal([3, 4]);
      await second.append("files", [4]);
      await second.close();
      const third = await RestoreJournal.open(folder, IDENTITY, true);
      expect([...(third.remains?.published ?? [])]).to.deep.equal([3, 4]);
      expect([...(third.remains?.unsure ?? [])]).to.deep.equal([3]);
      await third.finish();
    });
  });

  it("does not trust what the system could not store", async () => {
    await withTempFolder(async (folder) => {
      await begin(folder);
      const second = await RestoreJournal.open(folder, IDENTITY, true);
      await second.doubt();
      await second.append("files", [4]);
      await second.close();
      const third = await RestoreJournal.open(folder, IDENTITY, true);
      expect([...(third.remains?.published ?? [])]).to.deep.equal([3, 4]);
      expect([...(third.remains?.unsure ?? [])]).to.deep.equal([3, 4]);
      await third.finish();
    });
  });

  it("forgets a torn last line, and writes no line into it", async () => {
    await withTempFolder(async (folder) => {
      await appendFile(await begin(folder), '{"files":[5,6');
      const second = await RestoreJournal.open(folder, IDENTITY, true);
      await second.append("files", [7]);
      await second.close();
      const third = await RestoreJournal.open(folder, IDENTITY, true);
      expect([...(third.remains?.published ?? [])]).to.deep.equal([3, 4, 7]);
      await third.close();
    });
  });

  it("starts afresh where the earlier run died before its first line", async () => {
    for (const torn of ["", '{"format":"reelfs-re', "null\n[1]\n7\n"]) {
      await withTempFolder(async (folder) => {
        const staging = join(folder, stagingName(IDENTITY.image));
        await mkdir(staging);
        await writeFile(join(staging, "journal"), torn);
        // A power cut may leave the files of a run and take its journal.
        await writeFile(join(staging, "7"), "half");
        const journal = await RestoreJournal.open(folder, IDENTITY, true);
        expect(journal.remains).to.equal(undefined);
        expect(await readdir(staging)).to.deep.equal(["journal"]);
        await journal.finish();
      });
    }
  });

  it("refuses the journal of another selection, another version, and what is no journal", async () => {
    await withTempFolder(async (folder) => {
      const path = await begin(folder);
      const other = { ...IDENTITY, selection: "def" };
      await expectReelError(RestoreJournal.open(folder, other, true), "invalid");
      const text = await readFile(path, "utf8");
      await writeFile(path, text.replace('"version":1', '"version":2'));
      await expectReelError(RestoreJournal.open(folder, IDENTITY, true), "unsupported");
    });
    await withTempFolder(async (folder) => {
      await mkdir(join(folder, stagingName(IDENTITY.image), "journal"), { recursive: true });
      await expectReelError(RestoreJournal.open(folder, IDENTITY, true), "damaged");
    });
  });

  it("is not taken from a process that still restores, but from a dead one of the same number", async () => {
    await withTempFolder(async (folder) => {
      const path = await begin(folder);
      const fields = await readFile(`/proc/${process.ppid}/stat`, "utf8");
      const started = fields.slice(fields.lastIndexOf(")") + 2).split(" ")[19];
      await appendFile(path, `${JSON.stringify({ pid: process.ppid, started })}\n`);
      await expectReelError(RestoreJournal.open(folder, IDENTITY, true), "busy");
      await appendFile(path, `${JSON.stringify({ pid: process.ppid, started: "1" })}\n`);
      await (await RestoreJournal.open(folder, IDENTITY, true)).finish();
    });
  });
});

describe("a restore that is killed", () => {
  /** Resolves to the signal that ended the program, undefined when it finished. */
  async function run(...args: readonly string[]): Promise<string | undefined> {
    const nodeOptions = ["--import", "tsx", "--no-experimental-require-module"];
    const child = spawn(process.execPath, [...nodeOptions, PROGRAM, ...args], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let words = "";
    child.stderr.on("data", (data: Buffer) => (words += data.toString()));
    const [status, signal] = (await once(child, "close")) as [number | null, string | null];
    if (signal === null) expect(status, words).to.equal(0);
    return signal ?? undefined;
  }

  /** Every file under its final name must be whole; returns how many there are. */
  async function expectOnlyWhole(directory: string): Promise<number> {
    let there = 0;
    for (const file of KILLED_FILES) {
      const bytes = await readFile(join(directory, file.path)).catch(() => undefined);
      if (bytes === undefined) continue;
      there++;
      expect(bytes.equals(file.content ?? new Uint8Array(0)), `${file.path} is half`).to.be.true;
    }
    return there;
  }

  it("has no half-written file under a final name, and finishes with --resume", async function () {
    this.timeout(120_000);
    await withRandom(async (random) => {
      await withTempFolder(async (folder) => {
        const counts: number[] = [];
        let mode = "begin";
        for (let kill = 0; kill < 4; kill++) {
          const signal = await run(folder, String(1 + random.below(2 ** 20)), mode);
          counts.push(await expectOnlyWhole(folder));
          mode = "resume";
          if (signal === undefined) break;
        }
        await run(folder, "live", "resume");
        expect(await expectOnlyWhole(folder), `after ${counts.join(", ")}`).to.equal(
          KILLED_FILES.length,
        );
        for (const { path, modifiedMs = Date.UTC(2001, 1, 3, 4, 5, 6) } of KILLED_FILES) {
          expect((await stat(join(folder, path))).mtimeMs, path).to.equal(modifiedMs);
        }
        for (const name of await readdir(folder)) {
          expect(name.startsWith(".reelfs"), "staging folder left").to.be.false;
          const { mtimeMs } = await stat(join(folder, name));
          expect(mtimeMs, name).to.equal(Date.UTC(2001, 1, 3, 4, 5, 6));
        }
      });
    });
  });
});
