import { expect } from "chai";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import type { WritableBlockDevice } from "../../src/device/block-device.ts";
import { ReelError } from "../../src/errors.ts";
import { RestoreWriter } from "../../src/tapeimage/restore-writer.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { withRandom } from "../support/random.ts";

const MIB = 1024 * 1024;
const TARGET_BYTES = 8 * MIB;

/** Memory that counts its writes, and fails those behind `goodBytes`. */
function target(goodBytes = TARGET_BYTES) {
  const memory = new Uint8Array(TARGET_BYTES);
  const writes: number[] = [];
  const reading = new MemoryDevice(memory);
  const device: WritableBlockDevice = {
    name: "the disk",
    sizeBytes: TARGET_BYTES,
    sectorSizeBytes: 512,
    read: async (offsetBytes, into) => reading.read(offsetBytes, into),
    write: async (offsetBytes, source) => {
      if (offsetBytes + source.length > goodBytes) throw new ReelError("no-space", "it is full");
      memory.set(source, offsetBytes);
      writes.push(source.length);
    },
    zero: async () => undefined,
    flush: async () => undefined,
    close: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  };
  return { device, memory, writes };
}

describe("writing what comes from an image", () => {
  it("puts every byte in its place, in whatever order and lengths they come", async () => {
    await withRandom(async (random) => {
      const bytes = patternBytes(TARGET_BYTES);
      const { device, memory } = target();
      const writer = new RestoreWriter(device);
      const pieces: [number, number][] = [];
      for (let at = 0; at < TARGET_BYTES;) {
        const length = Math.min(TARGET_BYTES - at, 512 * (1 + random.below(6000)));
        pieces.push([at, length]);
        at += length;
      }
      pieces.sort(() => random.below(3) - 1);
      for (const [at, length] of pieces) {
        const piece = bytes.slice(at, at + length);
        await writer.write(at, piece);
        piece.fill(0);
      }
      await writer.finish();
      expect(writer.bytesWritten).to.equal(TARGET_BYTES);
      expect(Buffer.compare(memory, bytes)).to.equal(0);
    });
  });

  it("joins what belongs together to a few large writes", async () => {
    const { device, writes } = target();
    const writer = new RestoreWriter(device);
    const piece = new Uint8Array(MIB / 16);
    for (let at = 0; at < TARGET_BYTES; at += piece.length) await writer.write(at, piece);
    await writer.finish();
    expect(writes).to.deep.equal([2 * MIB, 2 * MIB, 2 * MIB, 2 * MIB]);
  });

  it("says why, when something could not be written", async () => {
    const { device } = target(5 * MIB);
    const writer = new RestoreWriter(device);
    for (let at = 0; at < 6 * MIB; at += MIB) await writer.write(at, new Uint8Array(MIB));
    await expectReelError(writer.finish(), "no-space");
    expect(writer.bytesWritten).to.equal(4 * MIB);
  });
});
