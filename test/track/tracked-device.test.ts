/** The tracked device against a model: what it marks, and what a backup sees while it is written. */
import { setImmediate as turn } from "node:timers/promises";
import { expect } from "chai";
import { ExtentSet } from "../../src/device/extents.ts";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { DirtyBitmap } from "../../src/track/dirty-bitmap.ts";
import type { Freeze } from "../../src/track/snapshot.ts";
import { TrackedDevice } from "../../src/track/tracked-device.ts";
import { writableBlockDeviceSuite } from "../support/block-device-suite.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { randomBytes, withRandom } from "../support/random.ts";
import type { SeededRandom } from "../support/seeded-random.ts";

const BLOCK = 4096;
const BLOCKS = 64;
const SIZE = BLOCKS * BLOCK - 1000;
const ROUNDS = 30;
const IMAGES = ["one", "two"] as const;

/** A device whose reads and writes end in any order, and whose writes reach it in two halves. */
class LooseDevice extends MemoryDevice {
  readonly #random: SeededRandom;

  constructor(bytes: Uint8Array<ArrayBuffer>, random: SeededRandom) {
    super(bytes);
    this.#random = random;
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    const half = target.length >>> 1;
    await this.#aWhile();
    if (half > 0) await super.readRange(offsetBytes, target.subarray(0, half));
    await this.#aWhile();
    await super.readRange(offsetBytes + half, target.subarray(half));
  }

  protected override async writeRange(offsetBytes: number, source: Uint8Array): Promise<void> {
    const half = source.length >>> 1;
    await this.#aWhile();
    if (half > 0) await super.writeRange(offsetBytes, source.subarray(0, half));
    await this.#aWhile();
    await super.writeRange(offsetBytes + half, source.subarray(half));
  }

  async #aWhile(): Promise<void> {
    for (let turns = this.#random.below(4); turns > 0; turns--) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

function randomRange(random: SeededRandom, longest: number): [offset: number, length: number] {
  const offset = random.below(SIZE);
  return [offset, 1 + random.below(Math.min(longest, SIZE - offset))];
}

function randomSet(random: SeededRandom, runs: number): ExtentSet {
  return ExtentSet.from(
    Array.from({ length: runs }, (): [number, number] => {
      const start = random.below(BLOCKS);
      return [start, Math.min(BLOCKS - start, 1 + random.below(12))];
    }),
  );
}

function newDevice(base: MemoryDevice): TrackedDevice {
  return new TrackedDevice(base, { bitmap: new DirtyBitmap(SIZE), image: "zero" });
}

/** Reads the sections as a backup does, telling how far it is. */
async function readAsBackup(
  backup: Awaited<ReturnType<TrackedDevice["begin"]>>,
  sections: { data: ExtentSet; control: ExtentSet },
  visit: (offset: number, bytes: Uint8Array) => void,
): Promise<void> {
  backup.plan(sections);
  for (const section of ["data", "control"] as const) {
    for (const [start, count] of sections[section]) {
      const offset = start * BLOCK;
      const bytes = Buffer.alloc(Math.min((start + count) * BLOCK, SIZE) - offset);
      await backup.device.read(offset, bytes);
      visit(offset, bytes);
      backup.passed(section, start + count);
    }
  }
}

async function round(random: SeededRandom, freeze: Freeze): Promise<void> {
  const bytes = new Uint8Array(SIZE).map(() => random.below(256));
  const base = new LooseDevice(bytes, random);
  const device = newDevice(base);
  for (let i = 0; i < 5; i++) {
    const [offset, length] = randomRange(random, 3 * BLOCK);
    await device.write(offset, randomBytes(random, length));
  }
  const cacheBytes = random.below(4) === 0 ? 5 * BLOCK : 1 << 20;
  // Some are under way when the backup begins: it must have all or nothing of each.
  let stop = false;
  const writers = Array.from({ length: 3 }, async () => {
    while (!stop) {
      const [offset, length] = randomRange(random, 3 * BLOCK);
      await device.write(offset, randomBytes(random, length));
      await new Promise((resolve) => setImmediate(resolve));
    }
  });
  const backup = await device.begin({ freeze, cacheBytes });
  // No write is under way at that moment: this is the volume as it must be seen.
  const expected = bytes.slice();
  const before = { ...backup.dirt };
  await expectReelError(device.begin({ freeze, cacheBytes }), "busy");
  const sections = { data: randomSet(random, 4), control: randomSet(random, 2) };
  await readAsBackup(backup, sections, (offset, found) => {
    const wanted = Buffer.from(expected.subarray(offset, offset + found.length));
    expect(wanted.equals(found), `${freeze} at ${offset}`).to.equal(true);
  });
  const isDone = random.below(2) === 0;
  const atEnd = { ...device.dirt };
  if (isDone) await backup.done(IMAGES[0]);
  else await backup.undone();
  stop = true;
  await Promise.all(writers);
  const { bitmap, image } = device.dirt;
  expect(image).to.equal(isDone ? IMAGES[0] : "zero");
  for (let block = 0; block < BLOCKS; block++) {
    const [from, to] = [block * BLOCK, Math.min((block + 1) * BLOCK, SIZE)];
    const isChanged = Buffer.compare(expected.subarray(from, to), bytes.subarray(from, to)) !== 0;
    if (isChanged) expect(bitmap.has(block), `block ${block}`).to.equal(true);
    if (!isDone && before.bitmap.has(block)) expect(bitmap.has(block)).to.equal(true);
    if (atEnd.bitmap.has(block)) expect(bitmap.has(block)).to.equal(true);
  }
  await device.close();
}

describe("a tracked volume", function () {
  this.timeout(60_000);

  for (const freeze of ["wait", "copy"] as const) {
    it(`shows a backup the moment it began, whatever is written (${freeze})`, async () => {
      await withRandom(async (random) => {
        for (let i = 0; i < ROUNDS; i++) await round(random, freeze);
      });
    });
  }

  it("marks what is written, and no more", async () => {
    await withRandom(async (random) => {
      const device = newDevice(new MemoryDevice(new Uint8Array(SIZE)));
      const expected = new Set<number>();
      for (let i = 0; i < 20; i++) {
        const [offset, length] = randomRange(random, 5 * BLOCK);
        if (i % 3 === 0) await device.zero(offset, length);
        else await device.write(offset, randomBytes(random, length));
        const last = Math.floor((offset + length - 1) / BLOCK);
        for (let block = Math.floor(offset / BLOCK); block <= last; block++) expected.add(block);
        const { bitmap } = device.dirt;
        expect(bitmap.count).to.equal(expected.size);
        const found = [...bitmap.extents()].flatMap(([start, count]) =>
          Array.from({ length: count }, (_, each) => start + each),
        );
        expect(found).to.deep.equal([...expected].sort((a, b) => a - b));
      }
      await device.close();
    });
  });

  it("lets writes to what is not read, and to what was passed, go on at once", async () => {
    const bytes = new Uint8Array(SIZE);
    const device = newDevice(new MemoryDevice(bytes));
    const backup = await device.begin({ freeze: "wait", cacheBytes: 0 });
    const done: string[] = [];
    const write = async (block: number, name: string): Promise<void> => {
      await device.write(block * BLOCK, Buffer.from("x"));
      done.push(name);
    };
    // Nothing here waits for more than promises: what can go on has gone on after a turn.
    const settle = async (): Promise<void> => turn();
    const writes = [write(1, "unread"), write(10, "data"), write(20, "control")];
    await settle();
    expect(done).to.deep.equal([]);
    backup.plan({ data: ExtentSet.from([[10, 5]]), control: ExtentSet.from([[20, 1]]) });
    await settle();
    expect(done).to.deep.equal(["unread"]);
    backup.passed("data", 11);
    await settle();
    expect(done).to.deep.equal(["unread", "data"]);
    // Reads never wait.
    await device.read(20 * BLOCK, new Uint8Array(1));
    backup.passed("control", 21);
    await Promise.all(writes);
    await backup.undone();
    await device.close();
  });

  it("frees writers that wait when the backup ends, and when it is closed", async () => {
    for (const end of ["undone", "close"] as const) {
      const bytes = new Uint8Array(SIZE);
      const device = newDevice(new MemoryDevice(bytes));
      const backup = await device.begin({ freeze: "wait", cacheBytes: 0 });
      const waiting = device.write(0, Buffer.from("x"));
      await (end === "undone" ? backup.undone() : device.close());
      await waiting;
      expect(bytes[0]).to.equal("x".charCodeAt(0));
      await expectReelError(backup.device.read(0, new Uint8Array(1)), "closed");
      await expectReelError(backup.done("late"), "closed");
      await device.close();
      expect(device.dirt.bitmap.has(0)).to.equal(true);
    }
  });

  it("waits when there is no room for more originals", async () => {
    const bytes = new Uint8Array(SIZE).fill(7);
    const device = newDevice(new MemoryDevice(bytes));
    const backup = await device.begin({ freeze: "copy", cacheBytes: 2 * (BLOCK + 64) });
    for (const block of [3, 4]) await device.write(block * BLOCK, new Uint8Array(BLOCK));
    let isThere = false;
    const third = device.write(5 * BLOCK, new Uint8Array(BLOCK)).then(() => (isThere = true));
    const seen = Buffer.alloc(4 * BLOCK);
    await backup.device.read(2 * BLOCK, seen);
    expect(seen.every((byte) => byte === 7)).to.equal(true);
    expect(isThere).to.equal(false);
    // What has its original kept can be written again.
    await device.write(3 * BLOCK, new Uint8Array(BLOCK).fill(9));
    expect(device.statistics).to.deep.include({
      backup: { freeze: "copy", originals: 2, full: true },
    });
    await backup.done("image");
    await third;
    await device.close();
  });
});

writableBlockDeviceSuite("a tracked device", async () => {
  const contents = patternBytes(SIZE);
  return { device: newDevice(new MemoryDevice(Uint8Array.from(contents))), contents };
});
