import { expect } from "chai";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { OverlayDevice } from "../../src/expose/overlay-device.ts";
import { writableBlockDeviceSuite } from "../support/block-device-suite.ts";
import { expectReelError } from "../support/expect-error.ts";
import { FaultyDevice } from "../support/faulty-device.ts";
import { patternBytes } from "../support/pattern.ts";
import { chance, randomBytes, withRandom } from "../support/random.ts";

const MIB = 1 << 20;

writableBlockDeviceSuite("OverlayDevice", async () => {
  const contents = patternBytes(50_001);
  const base = new MemoryDevice(contents.slice());
  return {
    device: await OverlayDevice.open(base, { budgetBytes: MIB, ownsBase: true }),
    contents,
  };
});

/** A device under an overlay that both are closed after the test. */
async function withOverlay(
  contents: Uint8Array,
  budgetBytes: number,
  body: (overlay: OverlayDevice, base: FaultyDevice) => Promise<void>,
): Promise<void> {
  const base = new FaultyDevice(new MemoryDevice(contents.slice()));
  const overlay = await OverlayDevice.open(base, { budgetBytes, ownsBase: true });
  try {
    await body(overlay, base);
  } finally {
    await overlay.close();
  }
}

async function bytesOf(device: OverlayDevice, offset = 0, length = device.sizeBytes - offset) {
  const target = new Uint8Array(length);
  await device.read(offset, target);
  return target;
}

describe("an overlay on a device", () => {
  it("never writes to the device below", async () => {
    const contents = patternBytes(100_000);
    await withOverlay(contents, MIB, async (overlay, base) => {
      await overlay.write(0, new Uint8Array(100_000));
      await overlay.zero(10, 50_000);
      await overlay.flush();
      expect(base.counts.writes).to.equal(0);
      const below = new Uint8Array(100_000);
      await base.read(0, below);
      expect(Buffer.compare(below, contents)).to.equal(0);
    });
  });

  it("reads whole blocks that were written without asking the device below", async () => {
    await withOverlay(patternBytes(100_000), MIB, async (overlay, base) => {
      await overlay.write(8192, new Uint8Array(16384));
      const before = base.counts.reads;
      await bytesOf(overlay, 8192, 16384);
      expect(base.counts.reads).to.equal(before);
      expect(before, "a write of whole blocks needs nothing from below").to.equal(0);
    });
  });

  it("agrees with an array of bytes, whatever is written in whatever order at once", async function () {
    this.timeout(30_000);
    await withRandom(async (random) => {
      const size = 3 * MIB + 1 + random.below(5000);
      const model = patternBytes(size, random.below(1000));
      await withOverlay(model, 8 * MIB, async (overlay) => {
        for (let round = 0; round < 60; round++) {
          // Pieces that do not overlap may be written in any order, also when they share a block.
          const calls: Promise<void>[] = [];
          let at = random.below(size);
          for (let i = random.below(8); i >= 0 && at < size; i--) {
            const most = chance(random, 5) ? 2 * MIB : chance(random, 50) ? 300 : 20_000;
            const length = Math.min(size - at, random.below(most));
            if (chance(random, 20)) {
              calls.push(overlay.zero(at, length));
              model.fill(0, at, at + length);
            } else {
              const bytes = randomBytes(random, length);
              calls.push(overlay.write(at, bytes));
              model.set(bytes, at);
            }
            at += length + (chance(random, 50) ? 0 : random.below(9000));
          }
          await Promise.all(calls);
          const from = random.below(size);
          const length = random.below(Math.min(size - from, 200_000));
          const read = await bytesOf(overlay, from, length);
          expect(
            Buffer.compare(read, model.subarray(from, from + length)),
            `round ${round}`,
          ).to.equal(0);
        }
        expect(Buffer.compare(await bytesOf(overlay), model)).to.equal(0);
      });
    });
  });

  it("stores two parts of one block that were written at the same time", async () => {
    await withOverlay(patternBytes(8192), MIB, async (overlay, base) => {
      base.hold();
      const writes = [
        overlay.write(100, Buffer.from("one")),
        overlay.write(200, Buffer.from("two")),
      ];
      await base.whenHeld(4);
      base.letAllGo();
      await Promise.all(writes);
      const expected = patternBytes(8192);
      expected.set(Buffer.from("one"), 100);
      expected.set(Buffer.from("two"), 200);
      expect(Buffer.compare(await bytesOf(overlay), expected)).to.equal(0);
    });
  });

  it("writes elsewhere while a write waits for a tape to bring the rest of its block", async () => {
    await withOverlay(patternBytes(40_000), MIB, async (overlay, base) => {
      base.hold();
      const slow = overlay.write(5000, Buffer.from("x"));
      await base.whenHeld(2);
      await overlay.write(16384, new Uint8Array(8192));
      expect((await bytesOf(overlay, 16384, 8192)).every((byte) => byte === 0)).to.be.true;
      base.letAllGo();
      await slow;
    });
  });

  it("refuses what does not fit in its budget, and keeps all it has", async () => {
    const contents = patternBytes(400_000);
    await withOverlay(contents, 100_000, async (overlay) => {
      await overlay.write(4096, Buffer.alloc(8192, 7));
      const error = await expectReelError(overlay.write(0, Buffer.alloc(300_000)), "no-space");
      expect(error.message).to.include("larger overlay");
      const expected = contents.slice();
      expected.fill(7, 4096, 12288);
      const read = await bytesOf(overlay, 12288);
      expect(Buffer.compare(read, expected.subarray(12288))).to.equal(0);
      await overlay.write(5000, Buffer.alloc(5000, 8));
      expect((await bytesOf(overlay, 5000, 5000)).every((byte) => byte === 8)).to.be.true;
      expect(overlay.statistics().blocksUsed).to.be.at.most(100_000 / 4096);
      expect(await overlay.writableBytes()).to.be.at.most(100_000);
    });
  });

  it("passes on what is wrong below, and stores nothing of such a write", async () => {
    await withOverlay(patternBytes(40_000), MIB, async (overlay, base) => {
      base.failReads(8192, 4096, "damaged");
      await expectReelError(overlay.write(9000, Buffer.from("x")), "damaged");
      await expectReelError(overlay.read(9000, new Uint8Array(1)), "damaged");
      expect(overlay.statistics().blocksUsed).to.equal(0);
      // All of the block is written: nothing of it is needed from below.
      await overlay.write(8192, Buffer.alloc(4096, 1));
      expect((await bytesOf(overlay, 8192, 4096)).every((byte) => byte === 1)).to.be.true;
    });
  });
});
