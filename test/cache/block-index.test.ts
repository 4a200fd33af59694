import { expect } from "chai";
import { BlockIndex, NOT_STORED } from "../../src/cache/block-index.ts";
import { withRandom } from "../support/random.ts";

describe("block index", () => {
  it("knows what it was told, in runs that are as long as can be", async () => {
    await withRandom((random) => {
      // Beyond 32 bits, where bit operators would fail.
      const start = 2 ** 40;
      const index = new BlockIndex();
      const model = new Map<number, number>();
      for (let step = 0; step < 400; step++) {
        const at = start + random.below(2000);
        const count = 1 + random.below(50);
        const stored = random.below(2 ** 31) * 2;
        for (let i = 0; i < count; i++) {
          index.set(at + i, stored + i);
          model.set(at + i, stored + i);
        }
        if (step % 50 === 49) {
          const from = start + random.below(2100);
          const freed = index.clearFrom(from).reduce((sum, run) => sum + run.count, 0);
          const gone = [...model.keys()].filter((block) => block >= from);
          for (const block of gone) model.delete(block);
          expect(freed).to.equal(gone.length);
        }
        expect(index.count).to.equal(model.size);
        checkRuns(index, model, start + random.below(1000) - 200, 1 + random.below(1500));
      }
    });
  });

  it("needs one page for 512 KiB of a file, made only where something is", () => {
    const index = new BlockIndex();
    expect(index.pagesMissing(100, 300)).to.equal(3);
    index.set(128, 7);
    expect(index.pages).to.equal(1);
    expect(index.pagesMissing(100, 300)).to.equal(2);
    index.clearFrom(0);
    expect(index.pages).to.equal(0);
  });

  it("passes over a terabyte with nothing in it in one run", () => {
    const index = new BlockIndex();
    index.set(2 ** 20, 1);
    expect([...index.runs(0, 2 ** 20 + 2)]).to.deep.equal([
      { block: 0, count: 2 ** 20, stored: NOT_STORED },
      { block: 2 ** 20, count: 1, stored: 1 },
      { block: 2 ** 20 + 1, count: 1, stored: NOT_STORED },
    ]);
  });
});

function checkRuns(
  index: BlockIndex,
  model: ReadonlyMap<number, number>,
  first: number,
  count: number,
): void {
  let at = first;
  /** Where the next block must not be, or the run before was cut short. */
  let continuation: number | undefined;
  for (const run of index.runs(first, first + count)) {
    expect(run.block).to.equal(at);
    expect(run.stored, "a run was cut").to.not.equal(continuation);
    for (let i = 0; i < run.count; i++) {
      const wanted = model.get(at + i) ?? NOT_STORED;
      const found = run.stored === NOT_STORED ? NOT_STORED : run.stored + i;
      if (found !== wanted) expect.fail(`block ${at + i}: ${found}, not ${wanted}`);
    }
    at += run.count;
    continuation = run.stored === NOT_STORED ? NOT_STORED : run.stored + run.count;
  }
  expect(at).to.equal(first + count);
}
