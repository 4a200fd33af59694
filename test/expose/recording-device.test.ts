import { expect } from "chai";
import { ExtentSet } from "../../src/device/extents.ts";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { SegmentsDevice } from "../../src/device/segments-device.ts";
import { RecordingDevice } from "../../src/expose/recording-device.ts";
import { blockDeviceSuite } from "../support/block-device-suite.ts";
import { FaultyDevice } from "../support/faulty-device.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { withRandom } from "../support/random.ts";

const contents = patternBytes(50_000);

blockDeviceSuite("RecordingDevice", async () => ({
  device: new RecordingDevice(new MemoryDevice(contents.slice()), { blockSizeBytes: 512 }),
  contents,
}));

describe("a recording device", () => {
  it("notes every block of which a byte was read, once", async () => {
    const device = new RecordingDevice(new MemoryDevice(contents), { blockSizeBytes: 4096 });
    expect(device.blocksRead().total).to.equal(0);
    for (const [offset, length] of [
      [4095, 2],
      [5000, 10],
      [20_480, 4096],
      [49_999, 1],
      [30_000, 0],
    ] as const) {
      await device.read(offset, new Uint8Array(length));
    }
    expect([...device.blocksRead()]).to.deep.equal([
      [0, 2],
      [5, 1],
      [12, 1],
    ]);
  });

  it("notes a block that could not be read: it was needed", async () => {
    const base = new FaultyDevice(new MemoryDevice(contents));
    base.failReads(0, 512);
    const device = new RecordingDevice(base, { blockSizeBytes: 512 });
    await expectReelError(device.read(100, new Uint8Array(1)), "io");
    expect([...device.blocksRead()]).to.deep.equal([[0, 1]]);
  });

  it("stays within its memory on a large device: it notes more, never less", async () => {
    await withRandom(async (random) => {
      // 16 GiB of zeros, most of which is not there.
      const gib = new MemoryDevice(1 << 20);
      const large = new SegmentsDevice(
        Array.from({ length: 16 * 1024 }, () => gib),
        { name: "large" },
      );
      const options = { blockSizeBytes: 4096, pagesMax: 16 };
      const device = new RecordingDevice(large, options);
      const reads: [number, number][] = [];
      for (let i = 0; i < 2000; i++) {
        const block = random.below(large.sizeBytes / 4096);
        reads.push([block, 1]);
        await device.read(block * 4096 + random.below(4096), new Uint8Array(1));
      }
      const noted = device.blocksRead();
      const truth = ExtentSet.from(reads);
      expect(truth.subtract(noted).total).to.equal(0);
      // 128 pages would do at 4 KiB a bit: it takes 8 blocks to one.
      expect(noted.total).to.be.at.most(truth.total * 8);
      expect(noted.end).to.be.at.most(large.sizeBytes / 4096);
    });
  });
});
