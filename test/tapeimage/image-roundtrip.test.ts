import { expect } from "chai";
import { ExtentSet } from "../../src/device/extents.ts";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { listImages, openTapeImage } from "../../src/tapeimage/open-image.ts";
import { verifyImage } from "../../src/tapeimage/verify.ts";
import { blockDeviceSuite } from "../support/block-device-suite.ts";
import { expectReelError } from "../support/expect-error.ts";
import { makeTestTape, writeTestImage, type RunList } from "../support/image-fixture.ts";
import { patternBytes } from "../support/pattern.ts";
import { withRandom } from "../support/random.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { makeTempFolder, withTempFolder } from "../support/temp.ts";

const BLOCK = 512;

/** What an image of `bytes` must read as: blocks that are not in use are zeros. */
function expectedBytes(bytes: Uint8Array, runs: RunList): Uint8Array {
  const expected = new Uint8Array(bytes.length);
  for (const [start, count] of runs) {
    expected.set(bytes.subarray(start * BLOCK, (start + count) * BLOCK), start * BLOCK);
  }
  return expected;
}

function randomRuns(random: SeededRandom, blocks: number): [number, number][] {
  const runs: [number, number][] = [];
  for (let at = random.below(20); at < blocks;) {
    const count = Math.min(blocks - at, 1 + random.below(random.below(4) === 0 ? 400 : 12));
    runs.push([at, count]);
    at += count + 1 + random.below(30);
  }
  return runs;
}

describe("a tape image, written and read", () => {
  it("gives back every used block, whatever is used and however it is asked for", async function () {
    this.timeout(20_000);
    await withRandom(async (random) =>
      withTempFolder(async (folder) => {
        const blocks = 3000 + random.below(3000);
        const bytes = patternBytes(blocks * BLOCK, random.below(1000));
        const used = randomRuns(random, blocks);
        const control = used.filter(() => random.below(3) === 0);
        const codec = random.pick(["none", "zstd"] as const);
        const { path } = await makeTestTape(folder, new MemoryDevice(bytes), {
          ...{ used, control, codec },
        });
        const expected = expectedBytes(bytes, used);
        await using image = await openTapeImage(path, { cacheBytes: 4 * 64 * 1024 });
        expect(image.state).to.deep.include({ state: "complete", notices: [] });
        expect(image.map.blocksMapped).to.equal(ExtentSet.from(used).total);
        for (let i = 0; i < 400; i++) {
          const offset = random.below(expected.length);
          const length = random.below(Math.min(200_000, expected.length - offset));
          const target = new Uint8Array(length).fill(0xee);
          await image.read(offset, target);
          const same = Buffer.compare(target, expected.subarray(offset, offset + length)) === 0;
          expect(same, `bytes ${offset} to ${offset + length}`).to.equal(true);
        }
        const verified = await verifyImage(image);
        expect(verified.damage).to.deep.equal([]);
        expect(verified).to.include({ sound: true, hashMatches: true, recordsDamaged: 0 });
      }),
    );
  });

  it("an empty volume is an image with nothing but its frame", async () => {
    await withTempFolder(async (folder) => {
      const device = new MemoryDevice(patternBytes(64 * BLOCK));
      const { path } = await makeTestTape(folder, device, { used: [], control: [] });
      await using image = await openTapeImage(path);
      const target = new Uint8Array(64 * BLOCK).fill(1);
      await image.read(0, target);
      expect(target.every((byte) => byte === 0)).to.equal(true);
      expect((await verifyImage(image)).sound).to.equal(true);
    });
  });

  it("many images share a tape, each found by its number, the last by default", async () => {
    await withTempFolder(async (folder) => {
      const devices = [1, 2, 3].map((salt) => new MemoryDevice(patternBytes(100 * BLOCK, salt)));
      const path = `${folder}/many.tap`;
      await using drive = await openSimhTape(path, { mode: "write", create: true });
      for (const [index, device] of devices.entries()) {
        await writeTestImage(drive, device, {
          ...{ used: [[0, 100]], control: [[0, 4]], number: index + 1 },
        });
      }
      await drive.close();
      expect((await listImages(path)).map(({ number, state }) => [number, state])).to.deep.equal([
        [1, "complete"],
        [2, "complete"],
        [3, "complete"],
      ]);
      for (const [spec, salt] of [
        ["#1", 1],
        ["#2", 2],
        ["#3", 3],
        ["", 3],
      ] as const) {
        await using image = await openTapeImage(path + spec);
        const target = new Uint8Array(100 * BLOCK);
        await image.read(0, target);
        expect(Buffer.compare(target, patternBytes(100 * BLOCK, salt))).to.equal(0);
        expect(image.number).to.equal(salt);
      }
      await expectReelError(openTapeImage(`${path}#4`), "not-found");
    });
  });

  it("opening reads header, map and control set in one forward pass, and no file data", async () => {
    await withTempFolder(async (folder) => {
      const device = new MemoryDevice(patternBytes(4000 * BLOCK));
      const { path, header } = await makeTestTape(folder, device, {
        ...{
          used: [[0, 4000]],
          control: [
            [0, 300],
            [2000, 300],
          ],
        },
      });
      await using image = await openTapeImage(path);
      const { map, control } = header.sections;
      expect(image.statistics()).to.include({
        recordsRead: map.records + control.records,
        dataRecordsRead: 0,
        locates: 1,
      });
      await image.read(2000 * BLOCK, new Uint8Array(300 * BLOCK));
      expect(image.statistics().dataRecordsRead, "control blocks come from memory").to.equal(0);
      await image.read(1000 * BLOCK, new Uint8Array(BLOCK));
      expect(image.statistics().dataRecordsRead).to.be.greaterThan(0);
    });
  });

  it("a tape without an image says so", async () => {
    await withTempFolder(async (folder) => {
      const path = `${folder}/blank.tap`;
      await (await openSimhTape(path, { mode: "write", create: true })).close();
      await expectReelError(openTapeImage(path), "not-found");
      expect(await listImages(path)).to.deep.equal([]);
    });
  });
});

const SUITE_BYTES = 1500 * BLOCK;
blockDeviceSuite("tape image", async () => {
  const { folder, remove } = await makeTempFolder();
  const bytes = patternBytes(SUITE_BYTES);
  const { path } = await makeTestTape(folder, new MemoryDevice(bytes), {
    ...{ used: [[0, 1500]], control: [[0, 40]] },
  });
  const device = await openTapeImage(path);
  return { device, contents: bytes, cleanUp: remove };
});
