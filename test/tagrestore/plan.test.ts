import { expect } from "chai";

import { BlockMapBuilder } from "../../src/tapeimage/block-map.ts";
import type { BlockMap } from "../../src/tapeimage/block-map.ts";
import { LayoutTable } from "../../src/tagrestore/layouts.ts";
import { PieceCursor } from "../../src/tagrestore/piece-cursor.ts";
import type { Piece } from "../../src/tagrestore/piece-cursor.ts";
import { planRestore, recordsOf } from "../../src/tagrestore/plan.ts";
import type { RestorePlan } from "../../src/tagrestore/plan.ts";
import { singlePassThrough, stretchesIn } from "../../src/tagrestore/read-order.ts";
import { locateRecords, planStatistics } from "../../src/tagrestore/plan-statistics.ts";
import type { DriveTimes, PlanStatistics } from "../../src/tagrestore/plan-statistics.ts";
import { chance, withRandom } from "../support/random.ts";
import type { SeededRandom } from "../support/seeded-random.ts";

const BLOCK = 16;

type Runs = readonly (readonly [fileOffset: number, deviceOffset: number, length: number])[];

function layoutsOf(files: readonly Runs[]): LayoutTable {
  const layouts = new LayoutTable();
  for (const [index, runs] of files.entries()) {
    layouts.add(index, {
      sizeBytes: Math.max(0, ...runs.map(([offset, , length]) => offset + length)),
      length: runs.length,
      fileOffsets: Float64Array.from(runs, (run) => run[0]),
      deviceOffsets: Float64Array.from(runs, (run) => run[1]),
      lengths: Float64Array.from(runs, (run) => run[2]),
      direct: true,
    });
  }
  return layouts;
}

/** A map with holes, in `images` images of different packing. */
function randomMap(random: SeededRandom, blocks: number, images: number): BlockMap {
  const builder = new BlockMapBuilder();
  const packed = Array.from({ length: images }, () => random.below(5));
  for (let block = 0; block < blocks;) {
    const count = 1 + random.below(20);
    if (chance(random, 80)) {
      const image = random.below(images);
      builder.add(block, Math.min(count, blocks - block), packed[image] ?? 0, image);
      packed[image] = (packed[image] ?? 0) + count + random.below(3);
    }
    block += count;
  }
  const packings = packed.map((_, image) => ({
    firstRecord: 3 + image,
    blocksPerRecord: 2 ** (1 + image),
  }));
  return builder.build(BLOCK, packings);
}

function randomFiles(random: SeededRandom, blocks: number): Runs[] {
  return Array.from({ length: random.below(12) }, () => {
    const runs: [number, number, number][] = [];
    let fileOffset = 0;
    for (let i = random.below(5); i > 0; i--) {
      const device = random.below(blocks * BLOCK);
      const length = 1 + random.below(Math.min(300, blocks * BLOCK - device));
      fileOffset += random.below(3) * 10;
      runs.push([fileOffset, device, length]);
      fileOffset += length;
    }
    return runs;
  });
}

/** By brute force: for each byte wanted, where it lies. "image:record" -> "offset:file:fileOffset". */
function bytesWanted(files: readonly Runs[], map: BlockMap): Map<string, Set<string>> {
  const wanted = new Map<string, Set<string>>();
  for (const [file, runs] of files.entries()) {
    for (const [fileOffset, deviceOffset, length] of runs) {
      for (let i = 0; i < length; i++) {
        const device = deviceOffset + i;
        map.visitPieces(Math.floor(device / BLOCK), 1, (piece) => {
          if (piece.image < 0) return;
          const key = `${piece.image}:${piece.record}`;
          const offset = piece.blockInRecord * BLOCK + (device % BLOCK);
          const bytes = wanted.get(key) ?? new Set<string>();
          wanted.set(key, bytes.add(`${offset}:${file}:${fileOffset + i}`));
        });
      }
    }
  }
  return wanted;
}

function bytesOf(pieces: readonly Piece[]): Set<string> {
  const bytes = new Set<string>();
  for (const piece of pieces) {
    for (let i = 0; i < piece.length; i++) {
      bytes.add(`${piece.offsetInRecord + i}:${piece.file}:${piece.fileOffset + i}`);
    }
  }
  return bytes;
}

const TIMES: DriveTimes = {
  loadSeconds: 0,
  unloadSeconds: 0,
  rewindSeconds: () => 0,
  locateSeconds: (from, to) => 10 + Math.abs(to - from) / 1000,
  transferSeconds: (bytes) => bytes / 100,
  readThroughGapBytes: 3000,
};

/** Every record is 1000 bytes on tape. */
const LOCATOR = { recordCount: 1000, recordOffsetBytes: async (record: number) => record * 1000 };

function onePacking(blocks: number, blocksPerRecord: number): BlockMap {
  const builder = new BlockMapBuilder();
  builder.add(0, blocks, 0);
  return builder.build(BLOCK, [{ firstRecord: 0, blocksPerRecord }]);
}

describe("planning", () => {
  it("wants each record once, rising, with exactly the bytes of the files in it", async function () {
    this.timeout(20_000);
    await withRandom((random) => {
      for (let round = 0; round < 30; round++) {
        const blocks = 60 + random.below(100);
        const map = randomMap(random, blocks, 1 + random.below(3));
        const files = randomFiles(random, blocks);
        const plan = planRestore(layoutsOf(files), map);
        const wanted = bytesWanted(files, map);
        let records = 0;
        let lastImage = -1;
        for (const each of plan.images) {
          expect(each.image).to.be.greaterThan(lastImage);
          lastImage = each.image;
          const cursor = new PieceCursor(each);
          let last = -1;
          for (const record of recordsOf(each.needed)) {
            expect(record).to.be.greaterThan(last);
            last = record;
            records++;
            const pieces = cursor.piecesOf(record);
            const offsets = pieces.map((piece) => piece.offsetInRecord);
            expect(offsets).to.deep.equal([...offsets].sort((a, b) => a - b));
            expect(bytesOf(pieces)).to.deep.equal(wanted.get(`${each.image}:${record}`));
          }
        }
        expect(records).to.equal(wanted.size);
        expect(plan.records).to.equal(wanted.size);
        expect(sum(plan.bytesOfFile)).to.equal(plan.bytes);
      }
    });
  });

  it("plans nothing for no files, and for files without bytes on the tape", () => {
    expect(planRestore(layoutsOf([]), onePacking(10, 4)).images).to.deep.equal([]);
    const plan = planRestore(layoutsOf([[], [[0, 20 * BLOCK, 20]]]), onePacking(10, 4));
    expect(plan.images).to.deep.equal([]);
    expect([...plan.bytesOfFile]).to.deep.equal([0, 0]);
    expect([...plan.blocksOffTape]).to.deep.equal([[1, 20]]);
  });

  it("keeps one row for a file that is packed in one stretch, however long", () => {
    const blocks = 2 ** 31;
    const plan = planRestore(layoutsOf([[[0, 0, blocks * BLOCK]]]), onePacking(blocks, 2 ** 13));
    expect(plan.images[0]?.places).to.have.length(1);
    expect(plan.records).to.equal(2 ** 18);
  });

  it("cuts the same pieces in whatever order the records come", async function () {
    this.timeout(20_000);
    await withRandom((random) => {
      for (let round = 0; round < 30; round++) {
        const blocks = 60 + random.below(100);
        const map = randomMap(random, blocks, 1);
        const plan = planRestore(layoutsOf(randomFiles(random, blocks)), map);
        for (const each of plan.images) {
          const rising = new PieceCursor(each);
          const records = [...recordsOf(each.needed)];
          const expected = new Map(records.map((record) => [record, rising.piecesOf(record)]));
          const shuffled = new PieceCursor(each);
          for (let probe = 0; probe < 2 * records.length; probe++) {
            const record = random.pick(records);
            expect(bytesOf(shuffled.piecesOf(record))).to.deep.equal(
              bytesOf(expected.get(record) ?? []),
            );
          }
        }
      }
    });
  });

  it("gives a record that is only read through no pieces", () => {
    const plan = planRestore(layoutsOf([[[0, 0, 10]], [[0, 40 * BLOCK, 10]]]), onePacking(99, 4));
    const [each] = plan.images;
    if (each === undefined) throw new Error("nothing planned");
    const cursor = new PieceCursor(each);
    const counts = [0, 1, 2, 9, 10, 11].map((record) => cursor.piecesOf(record).length);
    expect(counts).to.deep.equal([1, 0, 0, 0, 1, 0]);
  });
});

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

async function statisticsOf(plan: RestorePlan): Promise<PlanStatistics> {
  return planStatistics(plan, await locateRecords(plan, LOCATOR), TIMES);
}

describe("what a plan costs", () => {
  /** One block a record: file offsets of block numbers. */
  const at = (...blocks: number[]): Runs =>
    blocks.map((block, index) => [index * BLOCK, block * BLOCK, BLOCK] as const);

  it("counts records, distance, locates and time in both orders", async () => {
    // In the order selected: 50, then back to 10 and 11, forward to 13.
    const plan = planRestore(layoutsOf([at(50), at(10, 11), at(13)]), onePacking(100, 1));
    const { tapeOrder, fileOrder } = await statisticsOf(plan);
    expect(tapeOrder).to.deep.equal({
      records: 4,
      recordsReadThrough: 1,
      passes: 1,
      locates: 2,
      distanceBytes: 51_000,
      seconds: 10 + 10 + 20 + 10 + 10 + (10 + 36) + 10,
    });
    expect(fileOrder).to.deep.equal({
      records: 4,
      recordsReadThrough: 1,
      passes: 2,
      locates: 2,
      distanceBytes: 51_000 + 41_000 + 4000,
      seconds: 10 + 50 + 10 + (10 + 41) + 20 + 10 + 10,
    });
  });

  it("does not charge the file order for a record that is still in memory", async () => {
    const small: Runs[] = Array.from({ length: 8 }, (_, i) => [[0, i * BLOCK, 10] as const]);
    const plan = planRestore(layoutsOf(small), onePacking(100, 4));
    const { tapeOrder, fileOrder } = await statisticsOf(plan);
    expect(fileOrder.records).to.equal(2);
    expect(fileOrder).to.deep.equal(tapeOrder);
  });

  it("is free for nothing", async () => {
    const { tapeOrder } = await statisticsOf(planRestore(layoutsOf([]), onePacking(9, 1)));
    expect(tapeOrder.passes).to.equal(0);
    expect(tapeOrder.seconds).to.equal(0);
  });

  it("estimates where records beyond a cut tape would lie", async () => {
    const plan = planRestore(layoutsOf([at(30)]), onePacking(100, 1));
    const offsets = await locateRecords(plan, { ...LOCATOR, recordCount: 21 });
    expect(offsets(0, 30)).to.equal(20_000 + 10 * BLOCK);
  });

  it("never makes tape order longer than file order", async () => {
    await withRandom(async (random) => {
      for (let round = 0; round < 50; round++) {
        const map = randomMap(random, 200, 1);
        const plan = planRestore(layoutsOf(randomFiles(random, 200)), map);
        const { tapeOrder, fileOrder } = await statisticsOf(plan);
        expect(tapeOrder.records).to.equal(plan.records);
        expect(fileOrder.records).to.be.at.least(tapeOrder.records);
        expect(fileOrder.distanceBytes).to.be.at.least(tapeOrder.distanceBytes);
      }
    });
  });

  it("reads through short gaps and locates over long ones", async () => {
    const plan = planRestore(layoutsOf([at(1, 2, 5, 9, 10)]), onePacking(100, 1));
    const offsets = await locateRecords(plan, LOCATOR);
    const runs = (gapBytes: number): number[][] => {
      const stretches = [...stretchesIn(plan, singlePassThrough(plan, offsets, gapBytes))];
      const counts = stretches.map((each) => each.endRecord - each.firstRecord);
      return [stretches.map((each) => each.firstRecord), counts];
    };
    expect(runs(0)).to.deep.equal([
      [1, 5, 9],
      [2, 1, 2],
    ]);
    expect(runs(2000)).to.deep.equal([
      [1, 9],
      [5, 2],
    ]);
    expect(runs(3000)).to.deep.equal([[1], [10]]);
  });
});
