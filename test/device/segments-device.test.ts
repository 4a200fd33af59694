import { expect } from "chai";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { SegmentsDevice, WritableSegmentsDevice } from "../../src/device/segments-device.ts";
import { blockDeviceSuite, writableBlockDeviceSuite } from "../support/block-device-suite.ts";
import { expectReelError } from "../support/expect-error.ts";
import { FaultyDevice } from "../support/faulty-device.ts";
import { patternBytes } from "../support/pattern.ts";

const contents = patternBytes(30_000);
/** Where one segment ends and the next begins; two are empty, one is a single byte. */
const CUTS = [0, 0, 1000, 1001, 1001, 20_000, 30_000];

function segments(): MemoryDevice[] {
  return CUTS.slice(1).map((end, index) => new MemoryDevice(contents.slice(CUTS[index], end)));
}

blockDeviceSuite("SegmentsDevice", async () => ({
  device: new SegmentsDevice(segments(), { name: "joined" }),
  contents,
}));

writableBlockDeviceSuite("WritableSegmentsDevice", async () => ({
  device: new WritableSegmentsDevice(segments(), { name: "joined" }),
  contents,
}));

describe("segments joined end to end", () => {
  it("go to each segment once for a read across several", async () => {
    const faulty = segments().map((segment) => new FaultyDevice(segment));
    const joined = new SegmentsDevice(faulty, { name: "joined" });
    const target = new Uint8Array(1002);
    await joined.read(999, target);
    expect(Buffer.compare(target, contents.subarray(999, 2001))).to.equal(0);
    expect(faulty.map((each) => each.counts.reads)).to.deep.equal([0, 1, 1, 0, 1, 0]);
  });

  it("report the failure of one segment when all that were asked are done", async () => {
    const faulty = segments().map((segment) => new FaultyDevice(segment));
    const joined = new SegmentsDevice(faulty, { name: "joined" });
    faulty[1]?.failReads(0, 1000);
    faulty[4]?.hold();
    let settled = false;
    const read = joined.read(0, new Uint8Array(5000)).finally(() => {
      settled = true;
    });
    const failure = expectReelError(read, "io");
    await faulty[4]?.whenHeld(1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(settled, "settled while a segment still fills the target").to.be.false;
    faulty[4]?.letAllGo();
    await failure;
    await joined.read(1000, new Uint8Array(5000));
  });

  it("are flushed one and all", async () => {
    const flushed: number[] = [];
    class Flushed extends MemoryDevice {
      protected override async sync(): Promise<void> {
        flushed.push(this.sizeBytes);
      }
    }
    const parts = [new Flushed(10), new Flushed(20)];
    await new WritableSegmentsDevice(parts, { name: "joined" }).flush();
    expect(flushed).to.deep.equal([10, 20]);
  });

  it("may be none at all", async () => {
    const none = new SegmentsDevice([], { name: "nothing" });
    expect(none.sizeBytes).to.equal(0);
    await none.read(0, new Uint8Array(0));
  });

  it("have the largest sector size among them", () => {
    const parts = [512, 4096, 2048].map((size) => new MemoryDevice(1, { sectorSizeBytes: size }));
    expect(new SegmentsDevice(parts, { name: "joined" }).sectorSizeBytes).to.equal(4096);
  });

  it("are closed only when they were handed over", async () => {
    for (const make of [SegmentsDevice, WritableSegmentsDevice]) {
      const kept = segments();
      await new make(kept, { name: "joined" }).close();
      for (const each of kept) await each.read(0, new Uint8Array(0));
      await new make(kept, { name: "joined", ownsSegments: true }).close();
      for (const each of kept) await expectReelError(each.read(0, new Uint8Array(0)), "closed");
    }
  });
});
