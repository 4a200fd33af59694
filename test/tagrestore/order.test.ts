/** The order of reading: which one is chosen, and that any of them restores the same. */
import { join } from "node:path";

import { expect } from "chai";

import { chooseOrder } from "../../src/tagrestore/choose-order.ts";
import { LayoutTable } from "../../src/tagrestore/layouts.ts";
import { ORDERED_STRETCHES_MAX, shortestLocateOrder } from "../../src/tagrestore/locate-order.ts";
import { planRestore } from "../../src/tagrestore/plan.ts";
import type { ImagePlace, RestorePlan } from "../../src/tagrestore/plan.ts";
import { locateRecords, type DriveTimes } from "../../src/tagrestore/plan-statistics.ts";
import { reordered, singlePass, stretchesIn } from "../../src/tagrestore/read-order.ts";
import { restoreSelection } from "../../src/tagrestore/restore.ts";
import type { RestoreOptions, RestoreSummary } from "../../src/tagrestore/restore.ts";
import { selectEntries } from "../../src/tagrestore/select.ts";
import { StagedImage } from "../../src/tagrestore/staged-image.ts";
import { waitingBytesMax } from "../../src/tagrestore/waiting-bytes.ts";
import { tapeModel } from "../../src/tape/time-model.ts";
import { BlockMapBuilder } from "../../src/tapeimage/block-map.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { withRandom } from "../support/random.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { stubImage } from "../support/stub-image.ts";
import type { StubFile, StubImage } from "../support/stub-image.ts";
import { withTempFolder } from "../support/temp.ts";
import { contentsOf } from "./restored.ts";

const BLOCK = 16;
const RECORD_BYTES = 2 ** 20;

/** A drive on which every way is long or short by chance, so that the shortest is any. */
function chaoticDrive(random: SeededRandom): DriveTimes {
  const salt = random.below(2 ** 31);
  const scramble = (value: number): number => Math.imul(value ^ (value >>> 15), 0x2c1b_3c6d);
  return {
    loadSeconds: 1,
    unloadSeconds: 1,
    rewindSeconds: () => 1,
    locateSeconds: (from, to) =>
      from === to ? 0 : 1 + (scramble(scramble(from + salt) + to) >>> 0) / 1e7,
    transferSeconds: (bytes) => bytes / 1e9,
    readThroughGapBytes: random.pick([-1, 0, 3000]),
  };
}

/** Files of one block each, at these places of a tape of one record a block. */
function planOf(records: readonly number[], places?: readonly ImagePlace[]): RestorePlan {
  const builder = new BlockMapBuilder();
  const images = places?.length ?? 1;
  for (let image = 0; image < images; image++) builder.add(image * 2 ** 24, 2 ** 24, 0, image);
  const packings = Array.from({ length: images }, (_, image) => ({
    firstRecord: image * 2 ** 32,
    blocksPerRecord: 1,
  }));
  const layouts = new LayoutTable();
  for (const [row, record] of records.entries()) {
    layouts.add(row, {
      ...{ sizeBytes: BLOCK, length: 1, direct: true, lengths: Float64Array.of(BLOCK) },
      fileOffsets: Float64Array.of(0),
      deviceOffsets: Float64Array.of(record * BLOCK),
    });
  }
  return planRestore(layouts, builder.build(BLOCK, packings), { places });
}

const LOCATOR = {
  recordCount: 2 ** 32,
  recordOffsetBytes: async (record: number) => (record % 2 ** 32) * RECORD_BYTES,
};

function scattered(random: SeededRandom, count: number, spanBytes: number): number[] {
  const records = new Set<number>();
  while (records.size < count) records.add(random.below(Math.floor(spanBytes / RECORD_BYTES)));
  return [...records];
}

describe("the shortest way over a tape", () => {
  it("takes each stretch once, never longer than rising, and is found again", async function () {
    this.timeout(20_000);
    await withRandom(async (random) => {
      for (let round = 0; round < 20; round++) {
        const drive = round % 2 === 0 ? chaoticDrive(random) : tapeModel("LTO-9");
        const locateSeconds = (from: number, to: number): number => drive.locateSeconds(from, to);
        const startBytes = Float64Array.from({ length: random.below(80) }, () =>
          random.below(10e12),
        ).sort();
        const stretches = { startBytes, endBytes: startBytes.map((start) => start + 1e6) };
        const order = await shortestLocateOrder(stretches, locateSeconds);
        expect([...order].sort((a, b) => a - b)).to.deep.equal([...startBytes.keys()]);
        const seconds = (indexes: Iterable<number>): number => {
          let sum = 0;
          let at = 0;
          for (const index of indexes) {
            sum += locateSeconds(at, startBytes[index] ?? 0);
            at = stretches.endBytes[index] ?? 0;
          }
          return sum;
        };
        expect(seconds(order)).to.be.at.most(seconds(startBytes.keys()) + 1e-6);
        expect(await shortestLocateOrder(stretches, locateSeconds)).to.deep.equal(order);
      }
    });
  });

  it("is given up when nobody wants it any more", async () => {
    const startBytes = Float64Array.from({ length: 3000 }, (_, i) => i * 4e9);
    const stretches = { startBytes, endBytes: startBytes };
    const drive = tapeModel("LTO-9");
    const locateSeconds = (from: number, to: number): number => drive.locateSeconds(from, to);
    const search = shortestLocateOrder(stretches, locateSeconds, AbortSignal.abort());
    await expectReelError(search, "aborted");
  });
});

describe("choosing the order", () => {
  it("halves the time for a few files on many wraps of a physical tape", async () => {
    await withRandom(async (random) => {
      const drive = tapeModel("LTO-9");
      const plan = planOf(scattered(random, 100, 168 * drive.bytesPerWrap));
      const choice = await chooseOrder(plan, await locateRecords(plan, LOCATOR), drive);
      expect(choice.isSinglePass).to.be.false;
      const { singlePass: rising, shortestLocates } = choice;
      expect(shortestLocates?.seconds).to.be.below(0.65 * rising.seconds);
      expect(shortestLocates?.records).to.equal(rising.records);
      const records = [...stretchesIn(plan, choice.taken)].map((each) => each.firstRecord);
      expect(records).not.to.deep.equal([...records].sort((a, b) => a - b));
    });
  });

  it("takes the single pass where nothing is quicker, and always on a virtual tape", async () => {
    await withRandom(async (random) => {
      const plan = planOf(scattered(random, 100, 40e9));
      const offsets = await locateRecords(plan, LOCATOR);
      const near = await chooseOrder(plan, offsets, tapeModel("LTO-9"));
      expect(near.isSinglePass).to.be.true;
      expect(near.shortestLocates?.seconds).to.equal(near.singlePass.seconds);
      const far = planOf(scattered(random, 100, 10e12));
      const farOffsets = await locateRecords(far, LOCATOR);
      const virtual = await chooseOrder(far, farOffsets, tapeModel("virtual"));
      expect(virtual).to.include({ isSinglePass: true, shortestLocates: undefined });
      expect(virtual.taken).to.deep.equal(singlePass(far));
    });
  });

  it("does not look for it among very many stretches", async () => {
    // 2 GB apart: more than any drive reads through.
    const records = Array.from({ length: ORDERED_STRETCHES_MAX + 1 }, (_, i) => i * 2000);
    const plan = planOf(records);
    const choice = await chooseOrder(plan, await locateRecords(plan, LOCATOR), tapeModel("LTO-8"));
    expect(choice).to.include({ isSinglePass: true, shortestLocates: undefined });
    expect(choice.taken.images).to.have.length(records.length);
  });

  it("visits each tape once, and puts only what is on one tape in order", async () => {
    await withRandom(async (random) => {
      const tapes = [0, 0, undefined, 1];
      const places = tapes.map((tape, image) => ({ image, tape }));
      const records = tapes.flatMap((_, image) =>
        scattered(random, 20, 12e12).map((record) => image * 2 ** 24 + record),
      );
      const plan = planOf(records, places);
      const drive = tapeModel("LTO-9");
      const choice = await chooseOrder(plan, await locateRecords(plan, LOCATOR), drive);
      expect(choice.isSinglePass).to.be.false;
      const stretches = [...stretchesIn(plan, choice.taken)];
      const visited = stretches.map(({ image }) => tapes[image.image]);
      const changes = visited.filter((tape, index) => index === 0 || tape !== visited[index - 1]);
      expect(changes).to.deep.equal([0, undefined, 1]);
      const spread = stretches.filter(({ image }) => image.image === 2);
      const rising = spread.map(({ firstRecord }) => firstRecord);
      expect(rising).to.deep.equal([...rising].sort((a, b) => a - b));
      // Two changes of tape, each with its rewind.
      expect(choice.singlePass.passes).to.be.at.least(3);
    });
  });
});

const FILES: readonly StubFile[] = [
  { path: "/plain", content: patternBytes(60_000, 1), fragmentBlocks: 2 },
  { path: "/whole", content: patternBytes(700, 2) },
  { path: "/packed", content: patternBytes(50_000, 3), encoded: true, fragmentBlocks: 3 },
  { path: "/packed too", content: patternBytes(9000, 4), encoded: true, fragmentBlocks: 1 },
  { path: "/empty", content: new Uint8Array(0) },
  ...Array.from({ length: 30 }, (_, i) => ({
    path: `/small/${i}`,
    content: patternBytes(1 + ((i * 797) % 5000), 10 + i),
    fragmentBlocks: 1 + (i % 4),
  })),
];

async function restore(
  stub: StubImage,
  directory: string,
  options: RestoreOptions,
): Promise<RestoreSummary> {
  const staging = new StagedImage(stub.image);
  const volume = stub.openVolume(staging);
  const paths = FILES.filter((_, index) => index % 3 !== 2).map(({ path }) => path);
  const { table } = await selectEntries(volume, { paths });
  return restoreSelection({ image: staging, volume, staging }, table, directory, options);
}

async function expectRestored(directory: string): Promise<void> {
  for (const [index, { path, content }] of FILES.entries()) {
    if (index % 3 === 2) continue;
    const found = await contentsOf(join(directory, path));
    expect(found.equals(content ?? new Uint8Array(0)), `${path} differs`).to.be.true;
  }
}

describe("restoring in another order than the tape's", () => {
  it("brings the same bytes, each record read once", async function () {
    this.timeout(30_000);
    await withRandom(async (random) => {
      let fallen = 0;
      for (let round = 0; round < 10; round++) {
        await withTempFolder(async (folder) => {
          const stub = stubImage(FILES, { random, blocksPerRecord: 1 + random.below(6) });
          const summary = await restore(stub, folder, { drive: chaoticDrive(random) });
          await expectRestored(folder);
          expect(summary.problems).to.deep.equal([]);
          expect(new Set(stub.log).size, "a record was read twice").to.equal(stub.log.length);
          expect(stub.blockReads, "blocks read outside the plan").to.deep.equal([]);
          if (stub.log.some((record, index) => record < (stub.log[index - 1] ?? 0))) fallen++;
        });
      }
      expect(fallen, "every order was rising").to.be.greaterThan(0);
    });
  });

  it("goes on after an interruption in yet another order", async function () {
    this.timeout(30_000);
    await withRandom(async (random) => {
      for (let round = 0; round < 6; round++) {
        await withTempFolder(async (folder) => {
          const abort = new AbortController();
          const stopAt = 1 + random.below(40);
          const stub = stubImage(FILES, {
            blocksPerRecord: 2,
            beforeRecord: async (_, index) => {
              if (index === stopAt) abort.abort();
              return Promise.resolve();
            },
          });
          const first = restore(stub, folder, {
            drive: chaoticDrive(random),
            signal: abort.signal,
          });
          await expectReelError(first, "aborted");
          const again = stubImage(FILES, { blocksPerRecord: 2 });
          const summary = await restore(again, folder, {
            drive: chaoticDrive(random),
            resume: true,
          });
          expect(summary.problems).to.deep.equal([]);
          await expectRestored(folder);
        });
      }
    });
  });

  it("costs the files with a piece in a damaged record, and no others", async function () {
    this.timeout(30_000);
    await withRandom(async (random) => {
      for (let round = 0; round < 6; round++) {
        const sound = stubImage(FILES, { blocksPerRecord: 4 });
        await withTempFolder(async (folder) => restore(sound, folder, {}));
        const damaged = new Set([random.pick(sound.log)]);
        const lostIn = async (drive: DriveTimes | undefined): Promise<string[]> => {
          let lost: string[] = [];
          await withTempFolder(async (folder) => {
            const stub = stubImage(FILES, { blocksPerRecord: 4, damaged });
            const { problems } = await restore(stub, folder, { drive });
            lost = problems.map(({ path }) => path).sort();
          });
          return lost;
        };
        const lost = await lostIn(undefined);
        expect(lost).not.to.deep.equal([]);
        expect(await lostIn(chaoticDrive(random))).to.deep.equal(lost);
      }
    });
  });

  it("knows how much of encoded files waits at one time, in any order", async () => {
    await withRandom((random) => {
      for (let round = 0; round < 40; round++) {
        const { plan, recordsOfFile } = encodedPlan(random);
        const rising = singlePass(plan);
        const order = reordered(rising, shuffled(random, rising.images.length));
        const turns = new Map<number, number>();
        for (const { firstRecord, endRecord } of stretchesIn(plan, order)) {
          for (let record = firstRecord; record < endRecord; record++) {
            turns.set(record, turns.size);
          }
        }
        const waits = recordsOfFile.map((records) => {
          const read = records.map((record) => turns.get(record) ?? -1);
          return records.length === 1 ? [1, 0] : [Math.min(...read), Math.max(...read)];
        });
        let most = 0;
        for (let turn = 0; turn < turns.size; turn++) {
          const waiting = waits.filter(([from = 0, to = 0]) => from <= turn && turn <= to).length;
          most = Math.max(most, waiting * 4096);
        }
        expect(waitingBytesMax(plan, order)).to.equal(most);
      }
    });
  });
});

function shuffled(random: SeededRandom, length: number): Uint32Array {
  const left = Array.from({ length }, (_, index) => index);
  const next = (): number => left.splice(random.below(left.length), 1)[0] ?? 0;
  return Uint32Array.from({ length }, next);
}

/** Encoded files of a few blocks here and there, less than a page each; two blocks make a record. */
function encodedPlan(random: SeededRandom): {
  plan: RestorePlan;
  recordsOfFile: readonly (readonly number[])[];
} {
  const builder = new BlockMapBuilder();
  builder.add(0, 400, 0);
  const layouts = new LayoutTable();
  const recordsOfFile: number[][] = [];
  for (let row = 0; row < 12; row++) {
    const blocks = [
      ...new Set(Array.from({ length: 1 + random.below(4) }, () => random.below(400))),
    ];
    layouts.add(row, {
      sizeBytes: 4096,
      length: blocks.length,
      direct: false,
      fileOffsets: new Float64Array(blocks.length),
      deviceOffsets: Float64Array.from(blocks, (block) => block * BLOCK),
      lengths: new Float64Array(blocks.length).fill(BLOCK),
    });
    recordsOfFile.push([...new Set(blocks.map((block) => Math.floor(block / 2)))]);
  }
  const map = builder.build(BLOCK, [{ firstRecord: 0, blocksPerRecord: 2 }]);
  return { plan: planRestore(layouts, map), recordsOfFile };
}
