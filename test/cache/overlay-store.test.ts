import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { OVERLAY_BLOCK_BYTES, OverlayStore } from "../../src/cache/overlay-store.ts";
import type { BlockRun } from "../../src/cache/overlay-store.ts";
import { isReelError } from "../../src/errors.ts";
import { codeOf } from "../support/memory-tree.ts";
import { seededRandom } from "../support/seeded-random.ts";

const BLOCK = OVERLAY_BLOCK_BYTES;

function codeFrom(call: () => unknown): string | undefined {
  try {
    call();
    return undefined;
  } catch (error) {
    return isReelError(error) ? error.code : "foreign";
  }
}

describe("overlay store", () => {
  let directory: string;
  let store: OverlayStore;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "reelfs-overlay-"));
    store = await OverlayStore.open({ budgetBytes: 64 * BLOCK, directory });
  });

  afterEach(async () => {
    await store.close();
    await rm(directory, { recursive: true });
  });

  it("leaves no name behind that another user could open", async () => {
    expect(await readdir(directory)).to.deep.equal([]);
  });

  it("gives a 128 KiB write one run of blocks", () => {
    expect(store.allocate(32)).to.deep.equal([{ start: 0, count: 32 }]);
  });

  it("reads back what was written, also within a block", async () => {
    const [run] = store.allocate(3);
    const start = run?.start ?? -1;
    await store.write(start, 0, Buffer.alloc(3 * BLOCK, "a"));
    await store.write(start + 1, 100, Buffer.from("within"));
    const target = Buffer.alloc(8);
    await store.read(start + 1, 99, target);
    expect(target.toString()).to.equal("awithina");
  });

  it("says no-space when the budget is used up, and takes nothing", () => {
    store.allocate(60);
    expect(codeFrom(() => store.allocate(5))).to.equal("no-space");
    expect(store.statistics().blocksUsed).to.equal(60);
    expect(store.allocate(4)).to.have.length(1);
    expect(store.statistics().bytesFree).to.equal(0);
  });

  it("uses freed blocks again, in pieces when it must", () => {
    store.allocate(64);
    for (let block = 0; block < 64; block += 2) store.free(block, 1);
    const runs = store.allocate(32);
    expect(runs).to.have.length(32);
    expect(runs.every((run) => run.start % 2 === 0 && run.count === 1)).to.be.true;
    expect(store.statistics().bytesFree).to.equal(0);
  });

  it("finds a freed run before it lets the file grow", () => {
    store.allocate(40);
    store.free(10, 8);
    expect(store.allocate(8)).to.deep.equal([{ start: 10, count: 8 }]);
  });

  it("counts metadata toward the same budget", () => {
    store.chargeMetadata(60 * BLOCK + 1);
    expect(codeFrom(() => store.allocate(4))).to.equal("no-space");
    expect(store.allocate(3)).to.have.length(1);
    expect(
      codeFrom(() => {
        store.chargeMetadata(BLOCK);
      }),
    ).to.equal("no-space");
    store.refundMetadata(BLOCK);
    store.chargeMetadata(BLOCK);
  });

  it("holds metadata to a limit of its own, but never refuses what deleting needs", async () => {
    const small = await OverlayStore.open({
      budgetBytes: 1 << 30,
      metadataMaxBytes: 1000,
      directory,
    });
    try {
      expect(
        codeFrom(() => {
          small.chargeMetadata(1001);
        }),
      ).to.equal("no-space");
      small.forceMetadata(1001);
      expect(small.statistics().metadataBytesFree).to.equal(0);
      expect(small.statistics().metadataBytes).to.equal(1001);
    } finally {
      await small.close();
    }
  });

  it("reports a block that is freed twice as a bug", () => {
    store.allocate(4);
    store.free(1, 2);
    expect(
      codeFrom(() => {
        store.free(2, 1);
      }),
    ).to.equal("internal");
    expect(
      codeFrom(() => {
        store.free(3, 2);
      }),
    ).to.equal("internal");
    expect(
      codeFrom(() => {
        store.refundMetadata(1);
      }),
    ).to.equal("internal");
  });

  it("never promises more than the disk under it has", async () => {
    const huge = await OverlayStore.open({ budgetBytes: 2 ** 50, directory });
    try {
      expect(await huge.writableBytes()).to.be.lessThan(2 ** 50);
      expect(await store.writableBytes()).to.equal(64 * BLOCK);
    } finally {
      await huge.close();
    }
  });

  it("refuses a budget that is no size", async () => {
    for (const budgetBytes of [-1, NaN, 1.5, Infinity]) {
      expect(await codeOf(OverlayStore.open({ budgetBytes, directory }))).to.equal("invalid");
    }
  });

  it("is closed after close", async () => {
    await store.close();
    expect(await codeOf(store.write(0, 0, Buffer.alloc(1)))).to.equal("closed");
    expect(await codeOf(store.read(0, 0, Buffer.alloc(1)))).to.equal("closed");
  });

  it("keeps blocks apart through random allocation and freeing", async () => {
    const random = seededRandom();
    const large = await OverlayStore.open({ budgetBytes: 5000 * BLOCK, directory });
    try {
      const owner = new Map<number, number>();
      const held: BlockRun[] = [];
      for (let step = 0; step < 4000; step++) {
        const wanted = 1 + random.below(random.below(10) === 0 ? 600 : 40);
        if (random.below(2) === 0 && held.length > 0) {
          const [run] = held.splice(random.below(held.length), 1);
          if (run === undefined) continue;
          for (let i = 0; i < run.count; i++) owner.delete(run.start + i);
          large.free(run.start, run.count);
        } else if (owner.size + wanted > 5000) {
          expect(
            codeFrom(() => large.allocate(wanted)),
            random.seedNote,
          ).to.equal("no-space");
        } else {
          for (const run of large.allocate(wanted)) {
            held.push(run);
            for (let block = run.start; block < run.start + run.count; block++) {
              if (owner.has(block) || block >= 5000) {
                expect.fail(`block ${block} given twice or beyond the budget, ${random.seedNote}`);
              }
              owner.set(block, step);
            }
          }
        }
        expect(large.statistics().blocksUsed, random.seedNote).to.equal(owner.size);
      }
    } finally {
      await large.close();
    }
  });
});
