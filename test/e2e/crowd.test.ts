/** Many readers and writers on one mount, each writer against a model of its own folder. */
import { expect } from "chai";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compileScript } from "../support/compiled-script.ts";
import type { CrowdCounts } from "../support/crowd.ts";
import type { CrowdOrder } from "../support/crowd-worker.ts";
import { makeFatVolume, needsFatTools } from "../support/fat-volume.ts";
import { makePlace, type Place, requireFuse, runTool } from "../support/mountpoint.ts";
import { withRandom } from "../support/random.ts";

const WORKER = fileURLToPath(new URL("../support/crowd-worker.ts", import.meta.url));
const MAIN = fileURLToPath(new URL("expose-cli.ts", import.meta.url));
const PROCESSES = 4;
const ROUNDS = Number(process.env["REELFS_ROUNDS"] ?? 5);

describe("64 readers and writers on one mount", function () {
  this.timeout(120_000 + ROUNDS * 2000);
  let place: Place | undefined;

  before(function () {
    requireFuse(this);
    needsFatTools(this);
  });
  after(async () => place?.remove());

  it("see what is on the tape, and what they wrote themselves", async () => {
    place = await makePlace();
    const at = (...names: string[]): string => join(place?.folder ?? "", ...names);
    await mkdir(at("main"));
    const main = await compileScript(MAIN, at("main"));
    await copyFile(new URL("../../package.json", import.meta.url), at("main/package.json"));
    await mkdir(at("worker"));
    const worker = await compileScript(WORKER, at("worker"));
    const volume = await makeFatVolume(place.folder, { sizeBytes: 12 << 20, files: 120 });
    for (const [path, bytes] of volume.files) {
      await mkdir(dirname(at("truth", path)), { recursive: true });
      await writeFile(at("truth", path), bytes);
    }
    const { env, mountpoint } = place;
    const reelfs = async (...args: string[]): Promise<void> => {
      const ran = await runTool(process.execPath, [main, ...args], { env });
      expect(ran.status, ran.stderr).to.equal(0);
    };
    await reelfs("backup", "--record-size", "64K", volume.path, at("crowd.tap"));
    await reelfs("mount", "--cache-size", "2M", at("crowd.tap"), mountpoint);
    await withRandom(async (random) => {
      const order = { root: mountpoint, truth: at("truth"), paths: [...volume.files.keys()] };
      const some = { mayFail: false, rounds: ROUNDS, seconds: 3600, readers: 8, writers: 8 };
      const seed = random.below(2 ** 30) + 1;
      const ran = await Promise.all(
        Array.from({ length: PROCESSES }, async (_, number) => {
          const whole: CrowdOrder = { ...order, ...some, name: `w${number}`, seed: seed + number };
          return runTool(process.execPath, [worker, JSON.stringify(whole)], {
            env: { UV_THREADPOOL_SIZE: "16" },
          });
        }),
      );
      for (const { status, stdout, stderr } of ran) {
        expect(status, stderr).to.equal(0);
        const counts = JSON.parse(stdout.replace("ready\n", "")) as CrowdCounts;
        expect(counts.wrong).to.deep.equal([]);
        expect(counts.calls).to.be.at.least(ROUNDS * 8);
      }
    });
    await reelfs("umount", mountpoint);
  });
});
