import { expect } from "chai";
import { ExtentSet, ExtentSetBuilder } from "../../src/device/extents.ts";
import { withRandom } from "../support/random.ts";
import type { SeededRandom } from "../support/seeded-random.ts";

const BLOCKS = 300;
const ROUNDS = 300;

type Run = readonly [start: number, count: number];

function randomRuns(random: SeededRandom): Run[] {
  return Array.from({ length: random.below(25) }, () => {
    const start = random.below(BLOCKS);
    return [start, random.below(Math.min(20, BLOCKS - start) + 1)] as const;
  });
}

/** The model: one flag for each block. */
function flagsOf(runs: Iterable<Run>): boolean[] {
  const flags = new Array<boolean>(BLOCKS).fill(false);
  for (const [start, count] of runs) flags.fill(true, start, start + count);
  return flags;
}

/** The runs of the model, which a set must have exactly: rising, disjoint, never adjacent. */
function runsOf(flags: readonly boolean[]): Run[] {
  const runs: [number, number][] = [];
  flags.forEach((flag, block) => {
    if (!flag) return;
    const last = runs.at(-1);
    if (last !== undefined && last[0] + last[1] === block) last[1]++;
    else runs.push([block, 1]);
  });
  return runs;
}

function expectSet(set: ExtentSet, flags: readonly boolean[]): void {
  const runs = runsOf(flags);
  expect([...set]).to.deep.equal(runs);
  expect(set.length).to.equal(runs.length);
  expect(set.total).to.equal(flags.filter(Boolean).length);
  expect(set.end).to.equal(flags.lastIndexOf(true) + 1);
}

describe("ExtentSet agrees with one flag for each block", () => {
  it("when made from runs in any order, overlapping, touching and empty ones", async () => {
    await withRandom((random) => {
      for (let round = 0; round < ROUNDS; round++) {
        const runs = randomRuns(random);
        expectSet(ExtentSet.from(runs), flagsOf(runs));
      }
    });
  });

  it("when asked for a block, and for the first run that ends after it", async () => {
    await withRandom((random) => {
      for (let round = 0; round < 30; round++) {
        const runs = randomRuns(random);
        const set = ExtentSet.from(runs);
        const flags = flagsOf(runs);
        const merged = runsOf(flags);
        for (let block = 0; block < BLOCKS; block++) {
          expect(set.has(block)).to.equal(flags[block]);
          const index = merged.findIndex(([start, count]) => start + count > block);
          expect(set.indexFrom(block)).to.equal(index < 0 ? merged.length : index);
        }
        expect(set.has(BLOCKS + 5)).to.be.false;
      }
    });
  });

  it("in union, difference and intersection", async () => {
    await withRandom((random) => {
      for (let round = 0; round < ROUNDS; round++) {
        const [first, second] = [randomRuns(random), randomRuns(random)];
        const [a, b] = [ExtentSet.from(first), ExtentSet.from(second)];
        const [inA, inB] = [flagsOf(first), flagsOf(second)];
        expectSet(
          a.union(b),
          inA.map((flag, block) => flag || inB[block] === true),
        );
        expectSet(
          a.subtract(b),
          inA.map((flag, block) => flag && inB[block] !== true),
        );
        expectSet(
          a.intersect(b),
          inA.map((flag, block) => flag && inB[block] === true),
        );
      }
    });
  });
});

describe("ExtentSet", () => {
  it("holds nothing when it is empty", () => {
    expect([...ExtentSet.empty]).to.deep.equal([]);
    expect(ExtentSet.empty.end).to.equal(0);
    expect(ExtentSet.empty.has(0)).to.be.false;
    expect([...ExtentSet.from([[7, 0]])]).to.deep.equal([]);
  });

  it("holds block numbers beyond 32 bits", () => {
    const start = 2 ** 45;
    const set = ExtentSet.from([
      [start, 10],
      [start + 10, 5],
    ]);
    expect([...set]).to.deep.equal([[start, 15]]);
    expect(set.has(start + 14)).to.be.true;
    expect(set.has(start + 15)).to.be.false;
  });
});

describe("ExtentSetBuilder", () => {
  it("refuses runs whose starts fall, rather than make a wrong set", () => {
    const builder = new ExtentSetBuilder();
    builder.add(10, 5);
    expect(() => {
      builder.add(9, 1);
    }).to.throw(/out of order: 9 after 10/);
  });

  it("grows as runs come, and can go on after a set was built", () => {
    const builder = new ExtentSetBuilder();
    for (let i = 0; i < 1000; i++) builder.add(i * 3, 2);
    const early = builder.build();
    builder.add(10_000, 1);
    expect(early.length).to.equal(1000);
    expect(early.total).to.equal(2000);
    expect(builder.build().end).to.equal(10_001);
  });
});
