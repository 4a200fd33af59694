import { expect } from "chai";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { blockDeviceSuite, writableBlockDeviceSuite } from "../support/block-device-suite.ts";
import { expectReelError } from "../support/expect-error.ts";
import { FaultyDevice } from "../support/faulty-device.ts";
import { patternBytes } from "../support/pattern.ts";

const contents = patternBytes(50_001);

writableBlockDeviceSuite("MemoryDevice", async () => ({
  device: new MemoryDevice(contents.slice()),
  contents,
}));

writableBlockDeviceSuite("FaultyDevice (no faults)", async () => ({
  device: new FaultyDevice(new MemoryDevice(contents.slice())),
  contents,
}));

blockDeviceSuite("FaultyDevice (holding reads)", async () => {
  const device = new FaultyDevice(new MemoryDevice(contents.slice()));
  device.hold();
  const pump = setInterval(() => {
    while (device.held > 0) device.letGo(device.held - 1);
  }, 0);
  return {
    device,
    contents,
    cleanUp: async () => {
      clearInterval(pump);
    },
  };
});

describe("MemoryDevice", () => {
  it("is a device of zeros when it is given a size", async () => {
    const device = new MemoryDevice(600, { name: "scratch", sectorSizeBytes: 4096 });
    const target = new Uint8Array(600).fill(1);
    await device.read(0, target);
    expect(target.every((byte) => byte === 0)).to.be.true;
    expect(device.name).to.equal("scratch");
    expect(device.sectorSizeBytes).to.equal(4096);
  });
});

describe("FaultyDevice", () => {
  it("fails reads and writes that touch a range, until it is healed", async () => {
    const device = new FaultyDevice(new MemoryDevice(1000));
    device.failReads(100, 10);
    device.failWrites(200, 10, "no-space");
    await expectReelError(device.read(0, new Uint8Array(101)), "io");
    await expectReelError(device.read(109, new Uint8Array(1)), "io");
    await device.read(0, new Uint8Array(100));
    await device.read(110, new Uint8Array(100));
    await expectReelError(device.write(209, new Uint8Array(5)), "no-space");
    await expectReelError(device.zero(0, 1000), "no-space");
    await device.write(210, new Uint8Array(5));
    device.heal();
    await device.read(0, new Uint8Array(1000));
    expect(device.counts).to.deep.equal({ reads: 5, bytesRead: 1302, writes: 2, bytesWritten: 10 });
  });

  it("flips the bits of a range", async () => {
    const device = new FaultyDevice(new MemoryDevice(Uint8Array.of(1, 2, 3, 4)));
    device.corrupt(1, 2);
    const target = new Uint8Array(3);
    await device.read(1, target);
    expect([...target]).to.deep.equal([0xfd, 0xfc, 4]);
  });

  it("holds reads until the test lets them go, in the order it likes", async () => {
    const device = new FaultyDevice(new MemoryDevice(10));
    device.hold();
    const order: number[] = [];
    const reads = [0, 1, 2].map(async (index) => {
      await device.read(index, new Uint8Array(1));
      order.push(index);
    });
    await device.whenHeld(3);
    device.letGo(2);
    await reads[2];
    device.letAllGo();
    await Promise.all(reads);
    expect(order).to.deep.equal([2, 0, 1]);
    await device.read(0, new Uint8Array(1));
  });

  it("is read-only over a device that is", async () => {
    const base = new MemoryDevice(10);
    const readOnly = new FaultyDevice({
      name: "read-only",
      sizeBytes: 10,
      sectorSizeBytes: 512,
      read: async (offset, target) => base.read(offset, target),
      close: async () => base.close(),
      [Symbol.asyncDispose]: async () => base.close(),
    });
    await expectReelError(readOnly.write(0, new Uint8Array(1)), "read-only");
  });
});
