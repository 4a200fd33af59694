import { expect } from "chai";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { readRunsFrom } from "../../src/tapeimage/source-reader.ts";
import { FaultyDevice } from "../support/faulty-device.ts";
import { patternBytes } from "../support/pattern.ts";
import { chance, withRandom } from "../support/random.ts";

const BLOCK_BYTES = 4096;
const BLOCKS = 2048;

describe("reading runs of a source", () => {
  const bytes = patternBytes(BLOCKS * BLOCK_BYTES, 1);
  const device = (): FaultyDevice => new FaultyDevice(new MemoryDevice(bytes));

  it("reads once what lies together, however it is cut into records", async () => {
    await using source = device();
    const target = Buffer.alloc(512 * BLOCK_BYTES);
    const runs = Array.from({ length: 8 }, (_, record) => [100 + record * 64, 64] as const);
    await readRunsFrom(source, runs, BLOCK_BYTES, target);
    expect(source.counts).to.include({ reads: 1, bytesRead: target.length });
    const from = 100 * BLOCK_BYTES;
    expect(Buffer.compare(target, bytes.subarray(from, from + target.length))).to.equal(0);
  });

  it("puts all runs in their places, those between short gaps read together", async () => {
    await withRandom(async (random) => {
      await using source = device();
      const runs: (readonly [start: number, count: number])[] = [];
      for (let block = random.below(9); block < BLOCKS - 300;) {
        const count = 1 + random.below(chance(random, 20) ? 300 : 9);
        runs.push([block, count]);
        block += count + (chance(random, 30) ? 0 : random.below(20));
      }
      const parts = runs.map(([start, count]) =>
        bytes.subarray(start * BLOCK_BYTES, (start + count) * BLOCK_BYTES),
      );
      const expected = Buffer.concat(parts);
      const target = Buffer.alloc(expected.length);
      await readRunsFrom(source, runs, BLOCK_BYTES, target);
      expect(Buffer.compare(target, expected)).to.equal(0);
      expect(source.counts.reads).to.be.lessThan(runs.length);
    });
  });
});
