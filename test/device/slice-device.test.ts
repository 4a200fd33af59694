import { expect } from "chai";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { SliceDevice, WritableSliceDevice } from "../../src/device/slice-device.ts";
import { blockDeviceSuite, writableBlockDeviceSuite } from "../support/block-device-suite.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";

const all = patternBytes(40_000);
const place = { offsetBytes: 1537, lengthBytes: 30_003 };
const contents = all.slice(1537, 1537 + 30_003);

blockDeviceSuite("SliceDevice", async () => ({
  device: new SliceDevice(new MemoryDevice(all.slice()), place),
  contents,
}));

writableBlockDeviceSuite("WritableSliceDevice", async () => ({
  device: new WritableSliceDevice(new MemoryDevice(all.slice()), place),
  contents,
}));

describe("a slice", () => {
  it("leaves what lies around it alone when all of it is overwritten", async () => {
    const base = new MemoryDevice(all.slice());
    const slice = new WritableSliceDevice(base, place);
    await slice.zero(0, slice.sizeBytes);
    const after = new Uint8Array(all.length);
    await base.read(0, after);
    const expected = all.slice();
    expected.fill(0, 1537, 1537 + 30_003);
    expect(Buffer.compare(after, expected)).to.equal(0);
  });

  it("is named after its place, or as it is told", () => {
    const base = new MemoryDevice(2048, { name: "disk.img", sectorSizeBytes: 1024 });
    const options = { offsetBytes: 512, lengthBytes: 1024 };
    const slice = new SliceDevice(base, options);
    expect(slice.name).to.equal("bytes 512 to 1535 of disk.img");
    expect(slice.sectorSizeBytes).to.equal(1024);
    const named = new SliceDevice(base, { ...options, name: "partition 1 of disk.img" });
    expect(named.name).to.equal("partition 1 of disk.img");
  });

  it("may be all of the device or none of it, but not more", () => {
    const base = new MemoryDevice(1000);
    expect(new SliceDevice(base, { offsetBytes: 0, lengthBytes: 1000 }).sizeBytes).to.equal(1000);
    expect(new SliceDevice(base, { offsetBytes: 1000, lengthBytes: 0 }).sizeBytes).to.equal(0);
    for (const [offsetBytes, lengthBytes] of [
      [0, 1001],
      [999, 2],
      [-1, 5],
      [Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER],
    ] as const) {
      expect(() => new SliceDevice(base, { offsetBytes, lengthBytes })).to.throw(/1000 bytes/);
    }
  });

  it("closes the device below only when that was handed over", async () => {
    for (const make of [SliceDevice, WritableSliceDevice]) {
      const kept = new MemoryDevice(1000);
      await new make(kept, { offsetBytes: 0, lengthBytes: 10 }).close();
      await kept.read(0, new Uint8Array(1));
      await new make(kept, { offsetBytes: 0, lengthBytes: 10, ownsBase: true }).close();
      await expectReelError(kept.read(0, new Uint8Array(1)), "closed");
    }
  });
});
