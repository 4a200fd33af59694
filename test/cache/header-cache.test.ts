import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect } from "chai";
import { HeaderCache } from "../../src/cache/header-cache.ts";
import { ReelError } from "../../src/errors.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { withRandom } from "../support/random.ts";
import { skipUnless } from "../support/skip.ts";
import { withTempFolder } from "../support/temp.ts";
import { endKernelMount } from "../support/end-kernel-mount.ts";

const run = promisify(execFile);
const KIB = 1024;
const MIB = 1024 * KIB;
const contents = patternBytes(3 * MIB + 777);

async function makeFull(
  memoryBudgetBytes: number,
  pieceBytes = 256 * KIB,
  directory?: string,
): Promise<HeaderCache> {
  const place = directory === undefined ? {} : { directory };
  const cache = new HeaderCache({ memoryBudgetBytes, ...place });
  for (let at = 0; at < contents.length; at += pieceBytes) {
    await cache.append(contents.subarray(at, at + pieceBytes));
  }
  return cache;
}

async function expectRange(cache: HeaderCache, offset: number, length: number): Promise<void> {
  const target = new Uint8Array(length);
  await cache.read(offset, target);
  const expected = contents.subarray(offset, offset + length);
  expect(Buffer.compare(target, expected), `${length} bytes at ${offset}`).to.equal(0);
}

describe("HeaderCache", () => {
  for (const budget of [0, 1, 100 * KIB + 1, MIB, 2 * MIB + 5, 3 * MIB + 777, 64 * MIB]) {
    it(`gives back every byte with ${budget} bytes of memory`, async () => {
      const cache = await makeFull(budget, 200_001);
      expect(cache.sizeBytes).to.equal(contents.length);
      await expectRange(cache, 0, contents.length);
      for (let at = 0; at + 5000 < contents.length; at += 49_999)
        await expectRange(cache, at, 5000);
      await expectRange(cache, contents.length - 1, 1);
      const { spillBytes, memoryBytes } = cache.statistics();
      expect(spillBytes > 0).to.equal(budget < contents.length);
      // The budget, the pages kept of the file and one page that is not full yet.
      expect(memoryBytes).to.be.at.most(Math.min(budget, 4 * MIB) + 4 * MIB + 32 * KIB);
      await cache.close();
    });
  }

  it("answers at once from memory, and from pages that were read before", async () => {
    const cache = await makeFull(MIB);
    const target = new Uint8Array(4096);
    expect(cache.tryRead(MIB - 4096, target)).to.be.true;
    expect(Buffer.compare(target, contents.subarray(MIB - 4096, MIB))).to.equal(0);
    expect(cache.tryRead(MIB + 10_000, target)).to.be.false;
    expect(cache.statistics().spillReads).to.equal(0);
    await expectRange(cache, MIB + 10_000, 4096);
    for (let i = 0; i < 100; i++) {
      expect(cache.tryRead(MIB + 10_000, target)).to.be.true;
      await expectRange(cache, MIB + 10_500, 100);
    }
    expect(Buffer.compare(target, contents.subarray(MIB + 10_000, MIB + 14_096))).to.equal(0);
    expect(cache.statistics().spillReads).to.equal(1);
    expect(cache.tryRead(contents.length - 10, target.subarray(0, 10)), "the tail").to.be.true;
    expect([...target.subarray(0, 10)]).to.deep.equal([...contents.subarray(-10)]);
    await cache.close();
  });

  it("reads a long range of the spill file in one go, and keeps hot pages meanwhile", async () => {
    const cache = await makeFull(0);
    await expectRange(cache, 5000, 100);
    await expectRange(cache, 0, 2 * MIB);
    await expectRange(cache, 5000, 100);
    expect(cache.statistics().spillReads).to.equal(2);
    await cache.close();
  });

  it("keeps few pages of a large spill file in memory", async () => {
    const cache = new HeaderCache({ memoryBudgetBytes: 0 });
    for (let i = 0; i < 4; i++) await cache.append(contents);
    const target = new Uint8Array(10);
    for (let at = 0; at + 10 < cache.sizeBytes; at += 32 * KIB) {
      await cache.read(at, target);
    }
    expect(cache.statistics().memoryBytes).to.be.at.most(4 * MIB + 32 * KIB);
    await cache.close();
  });

  it("takes memory as it fills, and needs no file while the budget lasts", async () => {
    await withTempFolder(async (folder) => {
      const absent = join(folder, "absent");
      const cache = new HeaderCache({ memoryBudgetBytes: 64 * MIB, directory: absent });
      expect(cache.statistics()).to.deep.equal({ memoryBytes: 0, spillBytes: 0, spillReads: 0 });
      await cache.append(contents);
      expect(cache.statistics().memoryBytes).to.equal(4 * MIB);
      await cache.close();
      const small = new HeaderCache({ memoryBudgetBytes: 1000, directory: absent });
      const error = await expectReelError(small.append(contents), "not-found");
      expect(error.message).to.include(absent);
      await expectRange(small, 0, 1000);
      await small.close();
    });
  });

  it("leaves no file behind that anybody could see, even while it is open", async () => {
    await withTempFolder(async (folder) => {
      const cache = await makeFull(0, MIB, folder);
      expect(cache.statistics().spillBytes).to.be.above(2 * MIB);
      expect(await readdir(folder)).to.deep.equal([]);
      await cache.close();
    });
  });

  it("refuses what lies outside", async () => {
    const cache = await makeFull(MIB);
    for (const [offset, length] of [
      [contents.length, 1],
      [contents.length - 1, 2],
      [-1, 1],
      [0.5, 1],
    ] as const) {
      const target = new Uint8Array(length);
      await expectReelError(cache.read(offset, target), "out-of-range");
      expect(() => cache.tryRead(offset, target)).to.throw(ReelError);
    }
    await cache.read(contents.length, new Uint8Array(0));
    await cache.close();
  });

  it("keeps what it has when the disk is full, and says why it takes no more", async function () {
    await withTempFolder(async (folder) => {
      const mounted = await run("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]).then(
        () => true,
        () => false,
      );
      skipUnless(this, mounted, "no tmpfs can be mounted here");
      try {
        const cache = new HeaderCache({ memoryBudgetBytes: 100_000, directory: folder });
        await cache.append(contents.subarray(0, 500_001));
        await expectReelError(cache.append(contents.subarray(500_001)), "no-space");
        await expectReelError(cache.append(new Uint8Array(1)), "no-space");
        await expectRange(cache, 0, 500_001);
        await expectRange(cache, cache.sizeBytes - 10, 10);
        await cache.close();
      } finally {
        endKernelMount(folder);
      }
    });
  });

  it('finishes what is under way before it is closed, and is "closed" after', async () => {
    const cache = await makeFull(MIB);
    const sizeBytes = cache.sizeBytes;
    let unfinished = 3;
    const count = (): void => {
      unfinished--;
    };
    const calls = [
      cache.append(contents).then(count),
      expectRange(cache, MIB + 5, 3 * 32 * KIB).then(count),
      expectRange(cache, 0, sizeBytes).then(count),
    ];
    await Promise.all([cache.close(), cache.close()]);
    expect(unfinished, "calls under way when close() had resolved").to.equal(0);
    await Promise.all(calls);
    await expectReelError(cache.read(0, new Uint8Array(1)), "closed");
    await expectReelError(cache.append(new Uint8Array(1)), "closed");
    expect(() => cache.tryRead(0, new Uint8Array(1))).to.throw(ReelError, /closed/);
  });

  it("agrees with a plain array while it is filled and read at random", async function () {
    this.timeout(20_000);
    await withRandom(async (random) => {
      for (let round = 0; round < 12; round++) {
        const budget = random.below(300_000);
        const cache = new HeaderCache({ memoryBudgetBytes: budget });
        const readSome = async (): Promise<void> => {
          for (let i = 0; i < 10; i++) {
            const offset = random.below(cache.sizeBytes + 1);
            const most = Math.min(cache.sizeBytes - offset, random.below(4) === 0 ? MIB : 9000);
            await expectRange(cache, offset, random.below(most + 1));
          }
        };
        let end = 0;
        while (end < 1_000_000) {
          const length = random.below(random.below(3) === 0 ? 200_000 : 3000);
          const appended = cache.append(contents.subarray(end, end + length));
          end += length;
          await Promise.all([appended, readSome(), readSome()]);
          expect(cache.sizeBytes).to.equal(end);
        }
        await cache.close();
      }
    });
  });
});
