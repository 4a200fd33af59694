/** Incremental images of volumes of which it is known what was written. */
import { expect } from "chai";
import { join } from "node:path";
import { ExtentSet } from "../../src/device/extents.ts";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { openTapeImage } from "../../src/tapeimage/open-image.ts";
import { verifyImage } from "../../src/tapeimage/verify.ts";
import { makeTestTape, type RunList, writeTestIncremental } from "../support/image-fixture.ts";
import { withRandom } from "../support/random.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { withTempFolder } from "../support/temp.ts";

const BLOCK = 512;
const BLOCKS = 8192;
const CHUNK_BLOCKS = 128;
const GENERATIONS = 6;

/** Counts what is read of it. */
class CountingDevice extends MemoryDevice {
  bytesRead = 0;

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    this.bytesRead += target.length;
    await super.readRange(offsetBytes, target);
  }
}

function randomRuns(random: SeededRandom, count: number, longest: number): [number, number][] {
  return Array.from({ length: count }, (): [number, number] => {
    const start = random.below(BLOCKS);
    return [start, Math.min(BLOCKS - start, 1 + random.below(longest))];
  });
}

describe("incremental images of a tracked volume", function () {
  this.timeout(30_000);

  it("hold the same as if all had been read, and are good parents", async () => {
    await withRandom(async (random) => {
      await withTempFolder(async (folder) => {
        const bytes = new Uint8Array(BLOCKS * BLOCK).map((_, at) => (at * 31) % 253);
        let used = ExtentSet.from(randomRuns(random, 30, 600));
        let control = ExtentSet.from(randomRuns(random, 5, 40));
        const sets = (): { used: RunList; control: RunList } => ({
          used: [...used.union(control)],
          control: [...control],
        });
        const { path } = await makeTestTape(folder, new MemoryDevice(bytes), sets());
        for (let number = 2; number < 2 + GENERATIONS; number++) {
          const dirty = ExtentSet.from(randomRuns(random, random.below(8), 60));
          for (const [start, count] of dirty) {
            // Some were marked and not changed.
            if (random.below(3) === 0) continue;
            bytes.fill(random.below(256), start * BLOCK, (start + count) * BLOCK);
          }
          used = used
            .union(ExtentSet.from(randomRuns(random, random.below(4), 80)))
            .subtract(ExtentSet.from(randomRuns(random, random.below(4), 80)));
          if (random.below(3) === 0) control = ExtentSet.from(randomRuns(random, 5, 40));
          // Elsewhere nothing matters to the image: it must not be read.
          const made = { ...sets(), number, dirty: [...dirty] };
          await writeTestIncremental(path, `${path}#${number - 1}`, new MemoryDevice(bytes), made);
          await using image = await openTapeImage(`${path}#${number}`);
          expect(await verifyImage(image)).to.deep.include({ sound: true, damage: [] });
          const found = Buffer.alloc(bytes.length);
          await image.read(0, found);
          for (const [start, count] of used.union(control)) {
            const [from, to] = [start * BLOCK, (start + count) * BLOCK];
            const isSame = found.subarray(from, to).equals(bytes.subarray(from, to));
            expect(isSame, `image ${number}, blocks from ${start}`).to.equal(true);
          }
        }
      });
    });
  });

  it("are made without reading what has not changed", async () => {
    await withTempFolder(async (folder) => {
      const bytes = new Uint8Array(BLOCKS * BLOCK).map((_, at) => (at * 31) % 253);
      const made = { used: [[0, BLOCKS]] as const, control: [[0, 16]] as const };
      const { path } = await makeTestTape(folder, new MemoryDevice(bytes), made);
      for (const [dirty, chunks] of [
        [[], 0],
        [
          [
            [1000, 1],
            [5000, CHUNK_BLOCKS + 1],
          ],
          3,
        ],
      ] as const) {
        const device = new CountingDevice(bytes);
        const parent = join(folder, "test.tap#1");
        await writeTestIncremental(path, parent, device, { ...made, number: 2, dirty });
        expect(device.bytesRead).to.equal((16 + chunks * CHUNK_BLOCKS) * BLOCK);
      }
    });
  });
});
