/** Ranges laid over a map of blocks, beside the same done block by block. */
import { expect } from "chai";
import { BlockRuns } from "../../../src/volume/ext/block-runs.ts";
import { PaintedRanges } from "../../../src/volume/ext/painted-ranges.ts";
import { chance, withRandom } from "../../support/random.ts";

const ROUNDS = 500;
const BLOCKS = 60;
const HOLE = -1;

function listed(runs: BlockRuns): number[] {
  const blocks = new Array<number>(BLOCKS).fill(HOLE);
  let end = 0;
  for (let i = 0; i < runs.length; i++) {
    expect(runs.logicalAt(i), "runs rise").to.be.at.least(end);
    end = runs.logicalAt(i) + runs.countAt(i);
    for (let block = 0; block < runs.countAt(i); block++) {
      blocks[runs.logicalAt(i) + block] = runs.physicalAt(i) + block;
    }
  }
  return blocks;
}

describe("Ranges that are laid over a file's blocks", () => {
  it("hide what is below them, whatever their order", async () => {
    await withRandom((random) => {
      for (let round = 0; round < ROUNDS; round++) {
        const base = new BlockRuns();
        for (let at = random.below(5); at < BLOCKS - 8; at += 1 + random.below(12)) {
          const count = 1 + random.below(6);
          base.add(at, 1000 + random.below(1000), count);
          at += count;
        }
        const expected = listed(base);
        const ranges = new PaintedRanges();
        for (let i = random.below(12); i > 0; i--) {
          const logical = random.below(BLOCKS);
          const count = random.below(BLOCKS - logical + 1);
          const physical = chance(random, 40) ? undefined : 3000 + random.below(1000);
          ranges.add(logical, count, physical);
          for (let block = 0; block < count; block++) {
            expected[logical + block] = physical === undefined ? HOLE : physical + block;
          }
        }
        const limit = random.below(BLOCKS + 1);
        expected.fill(HOLE, limit);
        const cut = new BlockRuns();
        for (let i = 0; i < base.length; i++) {
          const count = Math.min(base.countAt(i), limit - base.logicalAt(i));
          if (count > 0) cut.add(base.logicalAt(i), base.physicalAt(i), count);
        }
        expect(listed(ranges.over(cut, limit))).to.deep.equal(expected);
      }
    });
  });

  it("can be forgotten, the first first", () => {
    const ranges = new PaintedRanges();
    ranges.add(0, 10, 100);
    expect(listed(ranges.over(new BlockRuns(), BLOCKS))[9]).to.equal(109);
    ranges.add(5, 1, undefined);
    ranges.removeFirst(1);
    expect(ranges.length).to.equal(1);
    expect(ranges.over(new BlockRuns(), BLOCKS).length).to.equal(0);
  });

  it("may be many, and reach as far as files do", () => {
    const ranges = new PaintedRanges();
    for (let i = 0; i < 100_000; i++)
      ranges.add(i * 3, 2 ** 32 - i * 6, i % 2 === 0 ? 5 : undefined);
    const runs = ranges.over(new BlockRuns(), 2 ** 32);
    expect(runs.length).to.equal(100_000);
  });
});
