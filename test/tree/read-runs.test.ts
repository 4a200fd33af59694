/** Reading through a layout, from devices that have bytes at hand and from those that have not. */
import { expect } from "chai";
import { ReelError } from "../../src/errors.ts";
import { readRuns } from "../../src/tree/read-runs.ts";
import type { FileLayout } from "../../src/volume/volume.ts";
import { expectReelError } from "../support/expect-error.ts";

const BLOCK = 8;

/** Every second block of a device of `blocks`, so that no two runs are neighbours. */
function fragmented(blocks: number): FileLayout {
  const index = Array.from({ length: blocks }, (_, each) => each);
  return {
    direct: true,
    sizeBytes: blocks * BLOCK,
    length: blocks,
    fileOffsets: Float64Array.from(index, (each) => each * BLOCK),
    deviceOffsets: Float64Array.from(index, (each) => each * 2 * BLOCK),
    lengths: Float64Array.from(index, () => BLOCK),
  };
}

/** A device whose block n is full of n; `waits` says which offsets it has not at hand. */
function deviceOf(waits: (offsetBytes: number) => boolean) {
  const fill = (offsetBytes: number, target: Uint8Array): void => {
    for (let at = 0; at < target.length; at++) target[at] = Math.floor((offsetBytes + at) / BLOCK);
  };
  let promises = 0;
  const read = async (offsetBytes: number, target: Uint8Array): Promise<void> => {
    promises++;
    await Promise.resolve();
    fill(offsetBytes, target);
  };
  return {
    ...{ name: "device", sizeBytes: 2 ** 20, sectorSizeBytes: 512 },
    read,
    readOrWait: (offsetBytes: number, target: Uint8Array): Promise<void> | undefined => {
      if (waits(offsetBytes)) return read(offsetBytes, target);
      fill(offsetBytes, target);
      return undefined;
    },
    promises: () => promises,
    close: async () => undefined,
    [Symbol.asyncDispose]: async () => undefined,
  };
}

describe("Reading through a layout", () => {
  it("has the result at once where the device has all bytes at hand", () => {
    const target = new Uint8Array(3 * BLOCK);
    const device = deviceOf(() => false);
    expect(readRuns(device, fragmented(10), BLOCK, target)).to.equal(3 * BLOCK);
    expect([...target.filter((_, at) => at % BLOCK === 0)]).to.deep.equal([2, 4, 6]);
  });

  it("waits for what is not at hand, and for no more", async () => {
    const target = new Uint8Array(100 * BLOCK);
    const device = deviceOf((offsetBytes) => offsetBytes % 64 === 0);
    expect(await readRuns(device, fragmented(100), 0, target)).to.equal(100 * BLOCK);
    expect(target.every((value, at) => value === 2 * Math.floor(at / BLOCK))).to.be.true;
    expect(device.promises()).to.equal(25);
  });

  it("fails once all reads have ended, when one throws", async () => {
    const device = deviceOf((offsetBytes) => offsetBytes === 0);
    const broken = {
      ...device,
      readOrWait: (offsetBytes: number, target: Uint8Array): Promise<void> | undefined => {
        if (offsetBytes > 0) throw new ReelError("damaged", "block 2 is damaged");
        return device.read(offsetBytes, target);
      },
    };
    const target = new Uint8Array(2 * BLOCK).fill(9);
    await expectReelError(Promise.resolve(readRuns(broken, fragmented(2), 0, target)), "damaged");
    expect(target[0], "written before it failed").to.equal(0);
  });
});
