import { expect } from "chai";
import { RecordCache } from "../../src/cache/record-cache.ts";
import type { RecordCacheOptions, RecordSource } from "../../src/cache/record-cache.ts";
import { ReelError, isReelError } from "../../src/errors.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { chance, withRandom } from "../support/random.ts";

const RECORD_BYTES = 1000;
const FIRST = 10;
const SHORT_BYTES = 345;

/**
 * Records of known bytes. A load first soils its slot, then fills it in two halves with turns of
 * the event loop between, so that anybody who is served from a slot at a wrong time gets bytes that
 * are wrong.
 */
class TestSource implements RecordSource {
  readonly recordSizeBytes = RECORD_BYTES;
  readonly firstRecord = FIRST;
  endRecord: number;
  /** Records in the order in which their loads began. */
  readonly loaded: number[] = [];
  readonly failing = new Set<number>();
  underWay = 0;
  underWayMost = 0;
  /** How many turns of the event loop a load waits before each half. */
  turns: () => number = () => 1;
  isHolding = false;
  readonly #held = new Map<number, () => void>();
  readonly #loading = new Set<number>();

  constructor(endRecord: number) {
    this.endRecord = endRecord;
  }

  /** The last record is short. */
  bytesOf(record: number): Uint8Array {
    const length = record === this.endRecord - 1 ? SHORT_BYTES : RECORD_BYTES;
    return patternBytes(length, record);
  }

  async load(record: number, target: Uint8Array): Promise<number> {
    expect(this.#loading.has(record), `two loads of record ${record} at once`).to.be.false;
    expect(target.length).to.equal(RECORD_BYTES);
    this.#loading.add(record);
    this.loaded.push(record);
    this.underWay++;
    this.underWayMost = Math.max(this.underWayMost, this.underWay);
    const bytes = this.bytesOf(record);
    const fails = this.failing.has(record);
    target.fill(0xee);
    if (this.isHolding) await new Promise<void>((resolve) => this.#held.set(record, resolve));
    await this.#wait();
    target.set(bytes.subarray(0, bytes.length >>> 1));
    await this.#wait();
    if (!fails) target.set(bytes);
    this.underWay--;
    this.#loading.delete(record);
    if (fails) throw new ReelError("damaged", `record ${record} is damaged`);
    return bytes.length;
  }

  letGo(record: number): void {
    this.#held.get(record)?.();
    this.#held.delete(record);
  }

  letAllGo(): void {
    this.isHolding = false;
    for (const record of [...this.#held.keys()]) this.letGo(record);
  }

  async #wait(): Promise<void> {
    for (let i = this.turns(); i > 0; i--) await nextTurn();
  }
}

async function nextTurn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

/** Until nothing is under way at the source any more. */
async function settle(source: TestSource): Promise<void> {
  do await nextTurn();
  while (source.underWay > 0);
}

async function readWhole(cache: RecordCache, source: TestSource, record: number): Promise<void> {
  const expected = source.bytesOf(record);
  const target = new Uint8Array(expected.length);
  await cache.read(record, 0, target);
  expect(Buffer.compare(target, expected), `bytes of record ${record}`).to.equal(0);
}

function makeCache(
  endRecord: number,
  options: Partial<RecordCacheOptions> = {},
): { source: TestSource; cache: RecordCache } {
  const source = new TestSource(endRecord);
  const cache = new RecordCache(source, { budgetBytes: 20 * RECORD_BYTES, ...options });
  return { source, cache };
}

describe("RecordCache", () => {
  it("loads a record once for all who want it at the same time, and not again after", async () => {
    const { source, cache } = makeCache(100, { readAheadRecords: 0 });
    await Promise.all(Array.from({ length: 50 }, async () => readWhole(cache, source, 20)));
    await readWhole(cache, source, 20);
    expect(source.loaded).to.deep.equal([20]);
    expect(cache.statistics()).to.include({ hits: 1, misses: 50, evictions: 0 });
    await cache.close();
  });

  it("gives any part of a record", async () => {
    const { source, cache } = makeCache(100);
    const bytes = source.bytesOf(30);
    for (const [offset, length] of [
      [0, 1],
      [999, 1],
      [333, 444],
      [1000, 0],
    ] as const) {
      const target = new Uint8Array(length);
      await cache.read(30, offset, target);
      expect([...target]).to.deep.equal([...bytes.subarray(offset, offset + length)]);
    }
    await cache.close();
  });

  it("answers at once from memory, and loads nothing when only asked what it has", async () => {
    const { source, cache } = makeCache(100);
    const target = new Uint8Array(10);
    expect(cache.tryRead(40, 5, target)).to.be.false;
    await settle(source);
    expect(source.loaded).to.deep.equal([]);
    const read = readWhole(cache, source, 40);
    expect(cache.tryRead(40, 5, target), "while the record is being loaded").to.be.false;
    await read;
    expect(cache.tryRead(40, 5, target)).to.be.true;
    expect([...target]).to.deep.equal([...source.bytesOf(40).subarray(5, 15)]);
    await cache.close();
  });

  it("fails all who wait for a failed load, and tries again for the next", async () => {
    const { source, cache } = makeCache(100);
    source.failing.add(50);
    const reads = [0, 1, 2].map(async () => cache.read(50, 0, new Uint8Array(10)));
    await Promise.all(reads.map(async (read) => expectReelError(read, "damaged")));
    expect(source.loaded).to.deep.equal([50]);
    source.failing.clear();
    await readWhole(cache, source, 50);
    expect(source.loaded).to.deep.equal([50, 50]);
    await cache.close();
  });

  it("never gives bytes beyond a short record, whatever was in the slot before", async () => {
    const { source, cache } = makeCache(100, { budgetBytes: 0, readAheadRecords: 0 });
    for (const record of [20, 21, 22, 23]) await readWhole(cache, source, record);
    const last = 99;
    for (const [offset, length] of [
      [0, SHORT_BYTES + 1],
      [SHORT_BYTES, 1],
      [RECORD_BYTES, 0],
    ] as const) {
      const target = new Uint8Array(length).fill(0xa5);
      const error = await expectReelError(cache.read(last, offset, target), "out-of-range");
      expect(error.message).to.include(`record ${last}`).and.to.include(`${SHORT_BYTES} bytes`);
      expect(target.every((byte) => byte === 0xa5)).to.be.true;
      expect(() => cache.tryRead(last, offset, target)).to.throw(ReelError, /holds 345 bytes/);
    }
    await readWhole(cache, source, last);
    await cache.read(last, SHORT_BYTES, new Uint8Array(0));
    await cache.close();
  });

  it("refuses records and places that cannot be", async () => {
    const { source, cache } = makeCache(100);
    const one = new Uint8Array(1);
    for (const [record, offset, target] of [
      [FIRST - 1, 0, one],
      [100, 0, one],
      [20.5, 0, one],
      [Number.NaN, 0, one],
      [20, -1, one],
      [20, 0.5, one],
      [20, RECORD_BYTES, one],
      [20, 0, new Uint8Array(RECORD_BYTES + 1)],
    ] as const) {
      await expectReelError(cache.read(record, offset, target), "out-of-range");
    }
    expect(source.loaded).to.deep.equal([]);
    source.endRecord = 101;
    await readWhole(cache, source, 100);
    await cache.close();
  });

  it("takes a source that returns an impossible length for the bug it is", async () => {
    const source = new TestSource(100);
    source.load = async () => RECORD_BYTES + 1;
    const cache = new RecordCache(source, { budgetBytes: 0 });
    await expectReelError(cache.read(20, 0, new Uint8Array(1)), "internal");
    await cache.close();
  });

  it("turns whatever a source throws into a ReelError that names the record", async () => {
    const source = new TestSource(100);
    source.load = async () => {
      throw new TypeError("unexpected");
    };
    const cache = new RecordCache(source, { budgetBytes: 0 });
    const error = await expectReelError(cache.read(20, 0, new Uint8Array(1)), "io");
    expect(error.message).to.equal("cannot load record 20: unexpected");
    await cache.close();
  });
});

describe("RecordCache memory", () => {
  it("is taken as records come, never beyond the budget, and given back at the end", async () => {
    const { source, cache } = makeCache(100, {
      budgetBytes: 5 * RECORD_BYTES + 999,
      readAheadRecords: 2,
    });
    expect(cache.statistics()).to.include({ bytes: 0, budgetBytes: 5 * RECORD_BYTES });
    await readWhole(cache, source, 20);
    expect(cache.statistics().bytes).to.equal(RECORD_BYTES);
    for (let record = FIRST; record < 100; record++) await readWhole(cache, source, record);
    expect(cache.statistics().bytes).to.equal(5 * RECORD_BYTES);
    await cache.close();
    expect(cache.statistics().bytes).to.equal(0);
  });

  it("is enough for two readers and reading ahead, however small the budget", () => {
    const { cache } = makeCache(100, { budgetBytes: 1, readAheadRecords: 3 });
    expect(cache.statistics().budgetBytes).to.equal(5 * RECORD_BYTES);
  });

  it("can be filled by a worker thread", async () => {
    const source = new TestSource(100);
    let isShared = false;
    source.load = async (_record, target) => {
      isShared = target.buffer instanceof SharedArrayBuffer && target.byteOffset === 0;
      return RECORD_BYTES;
    };
    const cache = new RecordCache(source, { budgetBytes: 0 });
    await cache.read(20, 0, new Uint8Array(1));
    expect(isShared).to.be.true;
    await cache.close();
  });

  it("keeps what was used last", async () => {
    const { source, cache } = makeCache(100, {
      budgetBytes: 3 * RECORD_BYTES,
      readAheadRecords: 0,
    });
    for (const record of [20, 30, 40, 20, 50]) await readWhole(cache, source, record);
    const target = new Uint8Array(1);
    expect([20, 30, 40, 50].map((record) => cache.tryRead(record, 0, target))).to.deep.equal([
      true,
      false,
      true,
      true,
    ]);
    expect(cache.statistics().evictions).to.equal(1);
    await cache.close();
  });

  it("serves those who wait in the order they came when every slot is being loaded", async () => {
    const { source, cache } = makeCache(100, { budgetBytes: 0, readAheadRecords: 0 });
    source.isHolding = true;
    const order = [20, 30, 40, 50, 60];
    const reads = order.map(async (record) => readWhole(cache, source, record));
    await nextTurn();
    expect(source.loaded).to.deep.equal([20, 30]);
    source.letGo(30);
    await reads[1];
    expect(source.loaded).to.deep.equal([20, 30, 40]);
    source.letAllGo();
    await Promise.all(reads);
    expect(source.loaded).to.deep.equal(order);
    await cache.close();
  });

  it("asks the source for no more than eight records at a time", async () => {
    const { source, cache } = makeCache(100, { budgetBytes: 100 * RECORD_BYTES });
    const records = Array.from({ length: 40 }, (_, index) => FIRST + index * 2);
    await Promise.all(records.map(async (record) => readWhole(cache, source, record)));
    expect(source.underWayMost).to.equal(8);
    await cache.close();
  });
});

describe("RecordCache reading ahead", () => {
  it("widens its window as a reader goes on in sequence: 1, 2, 4 records", async () => {
    const { source, cache } = makeCache(100);
    const ahead: number[] = [];
    for (let record = 20; record < 26; record++) {
      await readWhole(cache, source, record);
      await settle(source);
      ahead.push(Math.max(...source.loaded) - record);
    }
    expect(ahead).to.deep.equal([0, 1, 2, 4, 4, 4]);
    expect(cache.statistics()).to.include({ hits: 4, misses: 2, readAhead: 8, readAheadUsed: 4 });
    await cache.close();
  });

  it("loads each record once, and stops at the last", async () => {
    const { source, cache } = makeCache(60, { budgetBytes: 0 });
    for (let record = FIRST; record < 60; record++) await readWhole(cache, source, record);
    await settle(source);
    expect(source.loaded).to.deep.equal(Array.from({ length: 50 }, (_, index) => FIRST + index));
    await cache.close();
  });

  it("serves a reader who catches up with it from the load under way", async () => {
    const { source, cache } = makeCache(100);
    await readWhole(cache, source, 20);
    await readWhole(cache, source, 21);
    expect(source.loaded).to.deep.equal([20, 21, 22]);
    expect(cache.tryRead(22, 0, new Uint8Array(1))).to.be.false;
    await Promise.all([readWhole(cache, source, 22), readWhole(cache, source, 22)]);
    expect(source.loaded.filter((record) => record === 22)).to.have.length(1);
    expect(cache.statistics().readAheadUsed).to.equal(1);
    await cache.close();
  });

  it("does nothing for a random reader", async () => {
    const { source, cache } = makeCache(1000);
    for (const record of [500, 20, 700, 698, 300, 303, 299]) await readWhole(cache, source, record);
    await settle(source);
    expect(cache.statistics().readAhead).to.equal(0);
    await cache.close();
  });

  it("keeps several sequential readers apart", async () => {
    const { source, cache } = makeCache(1000, { budgetBytes: 40 * RECORD_BYTES });
    for (let step = 0; step < 20; step++) {
      for (const start of [100, 300, 500, 700]) await readWhole(cache, source, start + step);
      await settle(source);
    }
    expect(cache.statistics().misses).to.equal(4 * 2);
    expect(new Set(source.loaded).size).to.equal(source.loaded.length);
    await cache.close();
  });

  it("goes on for readers in the kernel that overtake one another", async () => {
    const { source, cache } = makeCache(100);
    for (const record of [20, 21, 22, 24, 23, 26, 25, 28, 27, 29]) {
      await readWhole(cache, source, record);
      await settle(source);
    }
    expect(cache.statistics().misses).to.equal(2);
    expect(new Set(source.loaded).size).to.equal(source.loaded.length);
    await cache.close();
  });

  it("keeps its failures to itself until somebody asks", async () => {
    const { source, cache } = makeCache(100);
    source.failing.add(22).add(23);
    await readWhole(cache, source, 20);
    await readWhole(cache, source, 21);
    await settle(source);
    expect(source.loaded).to.deep.equal([20, 21, 22]);
    await expectReelError(cache.read(22, 0, new Uint8Array(1)), "damaged");
    await settle(source);
    expect(source.loaded.filter((record) => record === 22)).to.have.length(2);
    source.failing.clear();
    await readWhole(cache, source, 23);
    await cache.close();
  });

  it("leaves places at the source to those who wait", async () => {
    const { source, cache } = makeCache(1000, { readAheadRecords: 16 });
    for (let record = 20; record < 26; record++) await readWhole(cache, source, record);
    await settle(source);
    source.isHolding = true;
    source.loaded.length = 0;
    for (let record = 26; record < 36; record++) cache.tryRead(record, 0, new Uint8Array(1));
    expect(source.loaded).to.have.length(4);
    const reads = [500, 600, 700, 800].map(async (record) => readWhole(cache, source, record));
    await nextTurn();
    expect(source.loaded.slice(4)).to.deep.equal([500, 600, 700, 800]);
    source.letAllGo();
    await Promise.all(reads);
    await cache.close();
  });

  it("loads hardly anything twice when readers share too little memory", async () => {
    const { source, cache } = makeCache(1000, { budgetBytes: 0, readAheadRecords: 4 });
    const starts = [100, 300];
    for (let step = 0; step < 50; step++) {
      for (const start of starts) await readWhole(cache, source, start + step);
      await settle(source);
    }
    expect(source.loaded.length).to.be.below(starts.length * 50 * 1.2);
    await cache.close();
  });

  it("makes room in the end when nobody comes for what was read ahead", async () => {
    const { source, cache } = makeCache(1000, { budgetBytes: 0, readAheadRecords: 4 });
    for (const record of [100, 101, 102, 103]) await readWhole(cache, source, record);
    await settle(source);
    for (let record = 500; record < 540; record += 4) await readWhole(cache, source, record);
    const target = new Uint8Array(1);
    const left = [104, 105, 106, 107].filter((record) => cache.tryRead(record, 0, target));
    expect(left).to.deep.equal([]);
    await cache.close();
  });
});

describe("RecordCache closing", () => {
  it("turns away those who wait, and is done when the source is", async () => {
    const { source, cache } = makeCache(100, { budgetBytes: 0, readAheadRecords: 0 });
    source.isHolding = true;
    const target = new Uint8Array(10).fill(0xa5);
    const reads = [20, 20, 30, 40, 50].map(async (record) =>
      expectReelError(cache.read(record, 0, target), "closed"),
    );
    await nextTurn();
    let isClosed = false;
    const closing = cache.close().then(() => {
      isClosed = true;
    });
    await Promise.all(reads);
    await nextTurn();
    expect(isClosed, "closed while the source still writes into slots").to.be.false;
    source.letAllGo();
    await closing;
    expect(source.underWay).to.equal(0);
    expect(source.loaded).to.deep.equal([20, 30]);
    expect(target.every((byte) => byte === 0xa5)).to.be.true;
    await cache.close();
  });

  it('answers every call with "closed" after', async () => {
    const { source, cache } = makeCache(100);
    await readWhole(cache, source, 20);
    await Promise.all([cache.close(), cache.close()]);
    await expectReelError(cache.read(20, 0, new Uint8Array(1)), "closed");
    expect(() => cache.tryRead(20, 0, new Uint8Array(1))).to.throw(ReelError, /closed/);
  });
});

describe("RecordCache under random use", () => {
  /** One reader: whole records, parts, sequences; never a byte that is not the record's. */
  it("never gives a wrong byte, with few slots, failures and many readers", async function () {
    this.timeout(20_000);
    await withRandom(async (random) => {
      for (let round = 0; round < 40; round++) {
        const source = new TestSource(FIRST + 1 + random.below(30));
        source.turns = () => random.below(3);
        const cache = new RecordCache(source, {
          budgetBytes: random.below(12) * RECORD_BYTES,
          readAheadRecords: random.below(6),
        });
        const reader = async (): Promise<void> => {
          let record = FIRST;
          for (let i = 0; i < 40; i++) {
            const count = source.endRecord - FIRST;
            record = chance(random, 50) ? record + 1 : FIRST + random.below(count);
            if (record >= source.endRecord) record = FIRST;
            if (chance(random, 3)) source.failing.add(record);
            if (chance(random, 10)) source.failing.clear();
            await checkedRead(cache, source, record, (limit) => random.below(limit));
            if (chance(random, 20)) await nextTurn();
          }
        };
        await Promise.all(Array.from({ length: 1 + random.below(12) }, reader));
        await cache.close();
        expect(source.underWay).to.equal(0);
        const { bytes, budgetBytes, readAhead, readAheadUsed, misses } = cache.statistics();
        expect(bytes).to.equal(0);
        expect(budgetBytes).to.be.at.most(12 * RECORD_BYTES);
        expect(readAheadUsed).to.be.at.most(readAhead);
        expect(source.loaded.length).to.be.at.most(readAhead + misses);
        expect(source.underWayMost).to.be.at.most(8);
      }
    });
  });
});

/** Reads a part of a record; the outcome is its bytes or, where that can be, its failure. */
async function checkedRead(
  cache: RecordCache,
  source: TestSource,
  record: number,
  below: (limit: number) => number,
): Promise<void> {
  const bytes = source.bytesOf(record);
  const offset = below(RECORD_BYTES);
  const target = new Uint8Array(below(RECORD_BYTES - offset + 1)).fill(0xa5);
  const fits = offset + target.length <= bytes.length;
  try {
    await cache.read(record, offset, target);
  } catch (error) {
    const isRight = fits
      ? isReelError(error, "damaged")
      : isReelError(error, "out-of-range") || isReelError(error, "damaged");
    if (!isRight) throw error;
    expect(target.every((byte) => byte === 0xa5)).to.be.true;
    return;
  }
  expect(fits, `bytes beyond the end of record ${record}`).to.be.true;
  const expected = bytes.subarray(offset, offset + target.length);
  expect(Buffer.compare(target, expected), `bytes of record ${record}`).to.equal(0);
}
