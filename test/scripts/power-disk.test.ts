/** The disk that torture cuts the power of: it must keep what was promised, and may lose the rest. */
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import { PowerDisk } from "../../scripts/torturing/power-disk.ts";
import { readRecording, recordingUnder } from "../../scripts/torturing/power-log.ts";
import { hasTool, runTool } from "../support/mountpoint.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { skipUnless } from "../support/skip.ts";
import { withTempFolder } from "../support/temp.ts";

const CUTS = 80;
const OLD = "old".repeat(3000);
const NEW = "new".repeat(4000);

/** A file that takes the place of another as it should, and one that is written in place and not synced. */
const PROGRAM = `
  const fs = require("node:fs");
  const at = (name) => process.cwd() + "/" + name;
  const draft = fs.openSync(at("safe.new"), "w");
  fs.writeSync(draft, Buffer.from("new".repeat(4000)), 0, 5000, 0);
  fs.writeSync(draft, Buffer.from("new".repeat(4000)), 5000, 7000, 5000);
  fs.fsyncSync(draft);
  fs.renameSync(at("safe.new"), at("safe"));
  fs.fsyncSync(fs.openSync(process.cwd(), "r"));
  fs.writeFileSync(at("loose.new"), "new".repeat(4000));
  fs.renameSync(at("loose.new"), at("loose"));
  fs.truncateSync(at("cut"), 100);
`;

interface Found {
  readonly safe: string;
  readonly loose: string;
  readonly names: string;
}

/** What is found after many cuts behind the last call. */
async function foundAfter(folder: string): Promise<Found[]> {
  const [root, before] = [join(folder, "root"), join(folder, "before")];
  const calls = await readRecording(join(folder, "logs"));
  const found: Found[] = [];
  for (let seed = 1; seed <= CUTS; seed++) {
    const disk = await PowerDisk.of(root, before);
    for (const call of calls) await disk.play(call);
    await disk.writeOut(seededRandom(seed));
    const textOf = async (name: string): Promise<string> => readFile(join(root, name), "utf8");
    const names = (await readdir(root)).sort().join(" ");
    found.push({ safe: await textOf("safe"), loose: await textOf("loose"), names });
  }
  return found;
}

describe("a disk that loses its power", () => {
  async function withRecording(use: (folder: string) => Promise<void>): Promise<void> {
    await withTempFolder(async (folder) => {
      const [root, before] = [join(folder, "root"), join(folder, "before")];
      for (const each of [root, before, join(folder, "logs")]) await mkdir(each);
      for (const each of [root, before]) {
        for (const name of ["safe", "loose", "cut"]) await writeFile(join(each, name), OLD);
      }
      const [strace = "", ...how] = recordingUnder(join(folder, "logs/calls"));
      const ran = await runTool(strace, [...how, process.execPath, "-e", PROGRAM], { cwd: root });
      expect(ran.status, ran.stderr).to.equal(0);
      await use(folder);
    });
  }

  before(function () {
    skipUnless(this, hasTool("strace"), "strace is not installed");
  });

  it("keeps what was synced under a synced name, whatever else it loses", async function () {
    this.timeout(60_000);
    await withRecording(async (folder) => {
      const found = await foundAfter(folder);
      expect(found.every(({ safe }) => safe === NEW)).to.equal(true);
      expect(found.every(({ names }) => !names.includes("safe.new"))).to.equal(true);
      const loose = new Set(found.map((each) => each.loose));
      expect(loose.has(OLD) && loose.has(NEW) && loose.has("")).to.equal(true);
      expect([...loose].some((text) => text.includes("\0") && text.includes("new"))).to.equal(true);
    });
  });
});
