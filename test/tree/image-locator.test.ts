import { expect } from "chai";
import { BlockMapBuilder } from "../../src/tapeimage/block-map.ts";
import type { ImageHeader } from "../../src/tapeimage/header.ts";
import { imageLocator } from "../../src/tree/image-locator.ts";
import type { FileLayout } from "../../src/volume/volume.ts";
import { withRandom } from "../support/random.ts";

const BLOCK = 512;

function layoutOf(runs: readonly (readonly [deviceOffset: number, length: number])[]): FileLayout {
  const lengths = runs.map(([, length]) => length);
  return {
    sizeBytes: lengths.reduce((sum, length) => sum + length, 0),
    length: runs.length,
    fileOffsets: Float64Array.from(lengths, (_, i) =>
      lengths.slice(0, i).reduce((sum, length) => sum + length, 0),
    ),
    deviceOffsets: Float64Array.from(runs, ([offset]) => offset),
    lengths: Float64Array.from(lengths),
    direct: true,
  };
}

describe("image locator", () => {
  it("names every record that the block map has for a file, and no other", async () => {
    await withRandom((random) => {
      const builder = new BlockMapBuilder();
      const packed = [0, 0];
      for (let at = random.below(10), i = 0; i < 200; i++) {
        const image = random.below(2);
        const count = 1 + random.below(60);
        builder.add(at, count, packed[image] ?? 0, image);
        packed[image] = (packed[image] ?? 0) + count;
        at += count + random.below(3);
      }
      const map = builder.build(BLOCK, [
        { firstRecord: 3, blocksPerRecord: 16 },
        { firstRecord: 40, blocksPerRecord: 7 },
      ]);
      const chain = ["me", "parent"];
      const locator = imageLocator({
        header: { uuid: "me", chain } as unknown as ImageHeader,
        map,
      });
      for (let i = 0; i < 50; i++) {
        const runs = Array.from(
          { length: 1 + random.below(5) },
          () => [random.below(5000) * BLOCK, 1 + random.below(40 * BLOCK)] as const,
        );
        const wanted = new Set<string>();
        for (const [offset, length] of runs) {
          const first = offset / BLOCK;
          map.visitPieces(first, Math.ceil(length / BLOCK), ({ image, record }) => {
            if (image >= 0) wanted.add(`${chain[image] ?? ""}:${record}`);
          });
        }
        const found = new Set<string>();
        for (const range of locator.recordRanges(layoutOf(runs))) {
          for (let record = range.firstRecord; record <= range.lastRecord; record++) {
            found.add(`${range.imageUuid}:${record}`);
          }
        }
        expect([...found]).to.have.members([...wanted]);
      }
    });
  });

  it("gives one range for a file in one piece, however large", () => {
    const builder = new BlockMapBuilder();
    builder.add(0, 2 ** 31, 0);
    const map = builder.build(BLOCK, [{ firstRecord: 1, blocksPerRecord: 512 }]);
    const header = { uuid: "me", chain: ["me"] } as unknown as ImageHeader;
    const ranges = [...imageLocator({ header, map }).recordRanges(layoutOf([[0, 2 ** 40]]))];
    expect(ranges).to.deep.equal([{ firstRecord: 1, lastRecord: 2 ** 22, imageUuid: "me" }]);
  });
});
