import { expect } from "chai";
import { BlockMapBuilder, type BlockMap } from "../../src/tapeimage/block-map.ts";
import { decodeMapRecord, encodeMap } from "../../src/tapeimage/map-codec.ts";
import { writeVarint } from "../../src/tapeimage/varint.ts";
import { recordsInOrder } from "../../src/tapeimage/packed-order.ts";
import { withRandom } from "../support/random.ts";
import type { SeededRandom } from "../support/seeded-random.ts";

const PER_RECORD = 8;

/** A random map, and the same as a plain list: packed number by logical block, -1 for none. */
function randomMap(random: SeededRandom): { map: BlockMap; model: number[] } {
  const builder = new BlockMapBuilder();
  const model: number[] = [];
  // Two interleaved packings, as control set and data make them.
  const next = [0, 400];
  for (let i = 0; i < 60; i++) {
    for (let gap = random.below(5); gap > 0; gap--) model.push(-1);
    const section = random.below(2);
    const count = 1 + random.below(12);
    const packed = next[section] ?? 0;
    builder.add(model.length, count, packed);
    for (let k = 0; k < count; k++) model.push(packed + k);
    next[section] = packed + count;
  }
  const packing = { firstRecord: 3, blocksPerRecord: PER_RECORD };
  return { map: builder.build(512, [packing]), model };
}

function flatten(map: BlockMap, from: number, count: number): number[] {
  const blocks: number[] = [];
  map.visitPieces(from, count, (piece) => {
    expect(piece.block, "pieces follow one another").to.equal(from + blocks.length);
    for (let k = 0; k < piece.count; k++) {
      const packed = (piece.record - 3) * PER_RECORD + piece.blockInRecord + k;
      blocks.push(piece.image < 0 ? -1 : packed);
      if (piece.image >= 0) expect(piece.blockInRecord + k).to.be.below(PER_RECORD);
    }
  });
  return blocks;
}

describe("the block map", () => {
  it("finds every block of every range where a plain table has it", async () => {
    await withRandom((random) => {
      const { map, model } = randomMap(random);
      for (let i = 0; i < 300; i++) {
        const from = random.below(model.length);
        const count = random.below(model.length - from + 1);
        expect(flatten(map, from, count)).to.deep.equal(model.slice(from, from + count));
      }
      expect(map.blocksMapped).to.equal(model.filter((packed) => packed >= 0).length);
    });
  });

  it("merges what continues on the volume and on the tape", () => {
    const builder = new BlockMapBuilder();
    builder.add(10, 5, 100);
    builder.add(15, 5, 105);
    builder.add(20, 5, 200);
    builder.add(26, 5, 205);
    const map = builder.build(512, [{ firstRecord: 1, blocksPerRecord: 16 }]);
    expect(map.length).to.equal(3);
    expect(map.entryAt(0)).to.deep.equal({ start: 10, count: 10, image: 0, packed: 100 });
  });

  it("holds runs longer than 32 bits can count", () => {
    const builder = new BlockMapBuilder();
    const huge = 5 * 2 ** 32 + 7;
    builder.add(3, huge, 0);
    const map = builder.build(512, [{ firstRecord: 1, blocksPerRecord: 512 }]);
    expect(map.blocksMapped).to.equal(huge);
    const seen: number[] = [];
    map.visitPieces(huge, 3, (piece) => seen.push(piece.record, piece.blockInRecord));
    const packed = huge - 3;
    expect(seen).to.deep.equal([1 + Math.floor(packed / 512), packed % 512]);
  });

  it("finds blocks where entries crowd together, and far away from the others", async () => {
    await withRandom((random) => {
      const builder = new BlockMapBuilder();
      const entries: { start: number; count: number; packed: number; image: number }[] = [];
      let end = 0;
      for (let i = 0; i < 500; i++) {
        const start = end + 1 + (i % 100 === 99 ? random.below(2 ** 31) * 700 : random.below(4));
        const count = 1 + random.below(i % 50 === 0 ? 2 ** 30 - 1 : 9);
        const packed = random.below(2 ** 31) * 8000 + random.below(8000);
        const image = random.below(1000);
        builder.add(start, count, packed, image);
        entries.push({ start, count, packed, image });
        end = start + count;
      }
      const map = builder.build(512, []);
      expect(Array.from({ length: map.length }, (_, index) => map.entryAt(index))).to.deep.equal(
        entries,
      );
      entries.forEach(({ start, count }, index) => {
        expect(map.indexFrom(start - 1)).to.be.oneOf([index - 1, index]);
        expect(map.indexFrom(start)).to.equal(index);
        expect(map.indexFrom(start + random.below(count))).to.equal(index);
        expect(map.indexFrom(start + count - 1)).to.equal(index);
        const next = entries[index + 1];
        if (next !== undefined) {
          const gap = start + count + random.below(next.start - start - count);
          expect(map.indexFrom(gap)).to.equal(index + 1);
        }
      });
      expect(map.indexFrom(end)).to.equal(map.length);
      expect(map.indexFrom(2 ** 50)).to.equal(map.length);
    });
  });

  it("has nothing where it is empty", () => {
    const map = new BlockMapBuilder().build(512, []);
    expect([map.length, map.indexFrom(0), map.indexFrom(2 ** 40)]).to.deep.equal([0, 0, 0]);
    expect(flatten(map, 7, 2)).to.deep.equal([-1, -1]);
  });

  it("refuses numbers of blocks that no volume reaches", () => {
    const builder = new BlockMapBuilder();
    expect(() => {
      builder.add(0, 1, 2 ** 44);
    }).to.throw("too far");
    const bytes = new Uint8Array(40);
    const cursor = { bytes, at: 0 };
    for (const value of [3, 1, 0, 2 ** 44]) writeVarint(cursor, value);
    const limits = { blockCount: 100, imageCount: 1, endBlock: 0 };
    expect(() => decodeMapRecord(bytes.subarray(0, cursor.at), builder, limits, "test")).to.throw(
      "entry 0 is damaged",
    );
  });

  it("survives its form on tape, cut into records of any size", async () => {
    await withRandom((random) => {
      const { map, model } = randomMap(random);
      const builder = new BlockMapBuilder();
      const limits = { blockCount: model.length, imageCount: 1, endBlock: 0 };
      let entries = 0;
      for (const { payload, firstEntry } of encodeMap(map, 40 + random.below(200))) {
        expect(firstEntry).to.equal(entries);
        const decoded = decodeMapRecord(payload, builder, limits, "test");
        entries += decoded.entries;
        limits.endBlock = decoded.endBlock;
      }
      expect(entries).to.equal(map.length);
      const again = builder.build(512, map.packings);
      expect(flatten(again, 0, model.length)).to.deep.equal(model);
    });
  });

  it("refuses damaged entries instead of believing them", async () => {
    await withRandom((random) => {
      const { map, model } = randomMap(random);
      const [record] = encodeMap(map, 4096);
      const payload = record?.payload ?? new Uint8Array(0);
      for (let i = 0; i < 300; i++) {
        const bytes = payload.slice(0, payload.length - random.below(3));
        const at = random.below(bytes.length);
        bytes[at] = random.below(256);
        const builder = new BlockMapBuilder();
        const limits = { blockCount: model.length, imageCount: 1, endBlock: 0 };
        try {
          decodeMapRecord(bytes, builder, limits, "test");
        } catch (error) {
          expect(error).to.have.property("code", "damaged");
          continue;
        }
        const rebuilt = builder.build(512, map.packings);
        const { start, count } = rebuilt.entryAt(rebuilt.length - 1);
        expect(start + count).to.be.at.most(model.length);
      }
    });
  });

  it("turned round, names each record once, with all that it holds", async () => {
    await withRandom((random) => {
      const { map, model } = randomMap(random);
      const seen = new Map<number, number>();
      let last = -1;
      for (const { record, runs, blockOffsets } of recordsInOrder(map)) {
        expect(record).to.be.greaterThan(last);
        last = record;
        runs.forEach(([start, count], i) => {
          for (let k = 0; k < count; k++) {
            seen.set(start + k, (record - 3) * PER_RECORD + (blockOffsets[i] ?? 0) + k);
          }
        });
      }
      const expected = model.flatMap((packed, block) => (packed < 0 ? [] : [[block, packed]]));
      expect([...seen].sort(([a], [b]) => a - b)).to.deep.equal(expected);
    });
  });
});
