import { expect } from "chai";
import { CountingDrive } from "../../src/tape/counting-drive.ts";
import { MemoryTape } from "../../src/tape/memory-tape.ts";
import { TAPE_MODEL_NAMES, estimateSeconds, tapeModel } from "../../src/tape/time-model.ts";
import { expectReelError } from "../support/expect-error.ts";
import { withRandom } from "../support/random.ts";

/** Published: MB/s, average locate from the load point and average rewind in seconds (a range). */
const PUBLISHED = [
  ["LTO-7", 300, [56, 56], [60, 60]],
  ["LTO-8", 360, [59, 59], [59, 59]],
  ["LTO-9", 400, [45, 45], [55, 55]],
  ["LTO-9-HH", 300, [65, 65], [62, 62]],
  ["LTO-10", 400, [65, 73], [62, 75]],
] as const;
const TOLERANCE_SECONDS = 0.5;

describe("tape time models", () => {
  for (const [name, rate, locate, rewind] of PUBLISHED) {
    it(`${name} takes what its maker says on average`, () => {
      const model = tapeModel(name);
      const bytes = model.wraps * model.bytesPerWrap;
      let locateSeconds = 0;
      let rewindSeconds = 0;
      const places = 9973;
      for (let place = 0; place < places; place++) {
        const byte = ((place + 0.5) / places) * bytes;
        locateSeconds += model.locateSeconds(0, byte) / places;
        rewindSeconds += model.rewindSeconds(byte) / places;
      }
      expect(locateSeconds).to.be.within(
        locate[0] - TOLERANCE_SECONDS,
        locate[1] + TOLERANCE_SECONDS,
      );
      expect(rewindSeconds).to.be.within(
        rewind[0] - TOLERANCE_SECONDS,
        rewind[1] + TOLERANCE_SECONDS,
      );
      expect(model.transferSeconds(rate * 1e6)).to.be.closeTo(1, 1e-9);
      expect(model.loadSeconds).to.be.within(10, 20);
    });
  }

  it("read through gaps under 1.3 GB at 300 MB/s and 1.7 GB at 400 MB/s", () => {
    expect(tapeModel("LTO-9-HH").readThroughGapBytes).to.be.closeTo(1.3e9, 0.05e9);
    expect(tapeModel("LTO-9").readThroughGapBytes).to.be.closeTo(1.7e9, 0.05e9);
    for (const name of TAPE_MODEL_NAMES) {
      const model = tapeModel(name);
      const gap = model.readThroughGapBytes;
      expect(model.transferSeconds(gap), name).to.be.at.most(model.locateSeconds(0, gap));
    }
  });

  it("run to and fro: neighbouring wraps touch at their ends", () => {
    const model = tapeModel("LTO-9");
    const wrap = model.bytesPerWrap;
    expect(wrap).to.be.closeTo(64e9, 1e9);
    const [first, turn, back] = [model.placeOf(0), model.placeOf(wrap - 1), model.placeOf(wrap)];
    expect(first).to.deep.include({ wrap: 0, forward: true });
    expect(back).to.deep.include({ wrap: 1, forward: false });
    expect(Math.abs(turn.lpos - back.lpos)).to.be.below(1);
    expect(Math.abs(model.placeOf(2 * wrap - 1).lpos - first.lpos)).to.be.below(1);
    expect(model.placeOf(1e18)).to.include({ wrap: 279 });
    // Side by side on two wraps is nearer than half a wrap away in order.
    expect(model.locateSeconds(0, 2 * wrap - 1e6)).to.be.below(model.locateSeconds(0, wrap * 0.6));
  });

  it("never take negative time, and none for staying", async () => {
    await withRandom((random) => {
      for (let probe = 0; probe < 2000; probe++) {
        const model = tapeModel(random.pick(TAPE_MODEL_NAMES));
        const bytes = Math.min(model.wraps * model.bytesPerWrap, 1e15);
        const [from, to] = [random.below(bytes), random.below(bytes)];
        expect(model.locateSeconds(from, to)).to.be.at.least(0);
        expect(model.locateSeconds(from, to)).to.be.below(200);
        expect(model.rewindSeconds(from)).to.be.within(0, 160);
        expect(model.locateSeconds(from, from)).to.equal(0);
      }
    });
  });

  it("are known by name", async () => {
    expect(tapeModel("lto-9").name).to.equal("LTO-9");
    await expectReelError((async () => tapeModel("DLT"))(), "invalid");
    expect(tapeModel("virtual").placeOf(7)).to.include({ wrap: 0, forward: true });
  });

  it("estimate a sequence of moves without waiting", () => {
    const model = tapeModel("LTO-9");
    expect(estimateSeconds(model, [])).to.equal(0);
    const straight = estimateSeconds(model, [{ read: 40e9 }]);
    expect(straight).to.be.closeTo(100, 1e-6);
    const scattered = [30e9, 10e9, 20e9, 0].flatMap((locateTo) => [{ locateTo }, { read: 10e9 }]);
    expect(estimateSeconds(model, scattered)).to.be.greaterThan(straight + 40);
    expect(estimateSeconds(tapeModel("virtual"), scattered)).to.equal(0);
  });
});

describe("a counting drive", () => {
  it("counts what is done and how far the tape runs", async () => {
    const drive = new CountingDrive(new MemoryTape(), tapeModel("LTO-9"));
    for (let record = 0; record < 4; record++) await drive.write([new Uint8Array(92)]);
    await drive.writeFilemarks(1);
    expect(drive.statistics()).to.deep.include({
      recordsWritten: 4,
      bytesWritten: 368,
      filemarksWritten: 1,
      distanceObjects: 5,
      distanceBytes: 404,
    });
    drive.reset();
    await drive.rewind();
    await drive.locate(3);
    await drive.read(new Uint8Array(10));
    await drive.read(new Uint8Array(10));
    await drive.read(new Uint8Array(10), { reverse: true });
    await drive.space("records", -2);
    await drive.spaceToEndOfData();
    const { seconds, ...counts } = drive.statistics();
    expect(counts).to.deep.equal({
      recordsRead: 1,
      recordsWritten: 0,
      bytesRead: 92,
      bytesWritten: 0,
      filemarksRead: 2,
      filemarksWritten: 0,
      locates: 1,
      spaces: 2,
      rewinds: 1,
      distanceObjects: 5 + 3 + 1 + 1 + 1 + 2 + 3,
      distanceBytes: 404 + 300 + 100 + 4 + 4 + 200 + 204,
    });
    const moved = tapeModel("LTO-9").locateSeconds(0, 300);
    expect(seconds).to.be.greaterThan(2 * moved);
  });

  it("counts what failed, too, and takes a drive where it stands", async () => {
    const tape = new MemoryTape({ objects: [new Uint8Array(4), new Uint8Array(4)] });
    await tape.locate(1);
    const drive = new CountingDrive(tape);
    await expectReelError(drive.locate(9), "out-of-range");
    expect(drive.statistics()).to.deep.include({ locates: 1, distanceObjects: 1, seconds: 0 });
  });
});
