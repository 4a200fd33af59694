import { expect } from "chai";
import { copyFile, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { isReelError } from "../../src/errors.ts";
import { listImages, openTapeImage } from "../../src/tapeimage/open-image.ts";
import { restoreImage } from "../../src/tapeimage/restore-image.ts";
import type { TapeImage } from "../../src/tapeimage/tape-image.ts";
import { verifyImage } from "../../src/tapeimage/verify.ts";
import { expectReelError } from "../support/expect-error.ts";
import { makeTestTape } from "../support/image-fixture.ts";
import { patternBytes } from "../support/pattern.ts";
import { withRandom } from "../support/random.ts";
import { tapRecords } from "../support/tap-records.ts";
import { withTempFolder } from "../support/temp.ts";

const BLOCK = 512;
const BLOCKS = 2000;
const USED = [
  [0, 900],
  [1000, 700],
] as const;
const CONTROL = [
  [0, 100],
  [1000, 100],
] as const;
/** Records: header, map, 2 control, 11 data, 1 checksums, trailer. */
const FIRST_DATA = 4;
const LAST_RECORD = 16;

const contents = patternBytes(BLOCKS * BLOCK);

function isUsed(block: number): boolean {
  return USED.some(([start, count]) => block >= start && block < start + count);
}

async function makeTape(folder: string): Promise<string> {
  const device = new MemoryDevice(contents);
  const { path, written } = await makeTestTape(folder, device, { used: USED, control: CONTROL });
  expect(written.records).to.equal(LAST_RECORD + 1);
  return path;
}

/**
 * Reads every block on its own: right bytes, or an error. Returns how many could not be read. A block
 * that is not in use may read as zeros.
 */
async function readEveryBlock(image: TapeImage): Promise<number> {
  let lost = 0;
  const target = Buffer.alloc(BLOCK);
  for (let block = 0; block < BLOCKS; block++) {
    try {
      await image.read(block * BLOCK, target);
    } catch (error) {
      if (!isReelError(error, "damaged")) throw error;
      lost++;
      continue;
    }
    const right = contents.subarray(block * BLOCK, (block + 1) * BLOCK);
    const same = isUsed(block) ? target.equals(right) : target.every((byte) => byte === 0);
    if (!same) throw new Error(`block ${block} has wrong bytes`);
  }
  return lost;
}

/** A copy of the tape with one record changed by `change`. */
async function damaged(
  tape: string,
  record: number,
  change: (data: Buffer) => void,
): Promise<string> {
  const bytes = await readFile(tape);
  const { offset, length } = tapRecords(bytes)[record] ?? { offset: 0, length: 0 };
  change(bytes.subarray(offset, offset + length));
  const path = tape.replace(/\.tap$/, `-damaged.tap`);
  await writeFile(path, bytes);
  return path;
}

describe("a damaged image", function () {
  this.timeout(20_000);

  it("never serves a wrong byte, whatever byte of it was changed", async () => {
    await withRandom(async (random) =>
      withTempFolder(async (folder) => {
        const tape = await makeTape(folder);
        const clean = await readFile(tape);
        for (let round = 0; round < 20; round++) {
          const bytes = Buffer.from(clean);
          for (let flips = 1 + random.below(3); flips > 0; flips--) {
            const at = random.below(bytes.length);
            bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
          }
          const path = join(folder, `flip-${round}.tap`);
          await writeFile(path, bytes);
          try {
            await using image = await openTapeImage(path);
            await readEveryBlock(image);
          } catch (error) {
            if (!isReelError(error)) throw error;
            expect(error.code).to.be.oneOf(["damaged", "not-found", "unsupported"]);
          }
        }
      }),
    );
  });

  it("loses only the blocks of a damaged data record, and verify names it", async () => {
    await withTempFolder(async (folder) => {
      const path = await damaged(await makeTape(folder), FIRST_DATA + 3, (data) => {
        data[data.length - 5] = (data[data.length - 5] ?? 0) ^ 1;
      });
      await using image = await openTapeImage(path);
      expect(await readEveryBlock(image)).to.equal(128);
      const result = await verifyImage(image);
      expect(result).to.include({ sound: false, recordsDamaged: 1, hashMatches: undefined });
      expect(result.damage[0]).to.include(`record ${FIRST_DATA + 3} of`);
      expect(result.lostBlocks.total).to.equal(128);
    });
  });

  it("is rebuilt from its records when header or map are lost", async () => {
    await withTempFolder(async (folder) => {
      const tape = await makeTape(folder);
      for (const lost of [[0], [1], [0, 1]]) {
        let path = tape;
        for (const record of lost) path = await damaged(path, record, (data) => data.fill(0x5a));
        await using image = await openTapeImage(path);
        expect(image.state.state, `without ${String(lost)}`).to.equal("rebuilt");
        expect(image.state.notices.join()).to.match(/lost|damaged/);
        expect(await readEveryBlock(image)).to.equal(0);
        const { damage, ...verified } = await verifyImage(image);
        expect(verified).to.include({ sound: false, recordsDamaged: lost.length });
        expect(verified.lostBlocks.total).to.equal(0);
        expect(damage).to.have.length(lost.length);
        expect(damage[0]).to.include(`record ${lost[0] ?? ""} of`);
      }
    });
  });

  it("does not take blocks of lost records for unused ones after a rebuild", async () => {
    await withTempFolder(async (folder) => {
      let path = await makeTape(folder);
      path = await damaged(path, 0, (data) => data.fill(0));
      path = await damaged(path, FIRST_DATA + 1, (data) => data.fill(0));
      await using image = await openTapeImage(path);
      // 128 blocks are lost for certain; the 400 unused ones cannot be told from them.
      expect(await readEveryBlock(image)).to.equal(128 + 400);
      expect(image.state.notices.join()).to.include("what was in them is lost");
      const verified = await verifyImage(image);
      expect([verified.sound, verified.lostBlocks.total]).to.deep.equal([false, 128 + 400]);
      // Nobody must take the disk for whole, nor lose what it had where nothing is known.
      const target = join(folder, "disk.img");
      await writeFile(target, Buffer.alloc(BLOCKS * BLOCK, 0x33));
      const restored = await restoreImage(image, target, { zero: true, force: true });
      expect(restored.lostBlocks.total).to.equal(128 + 400);
      expect(restored.damage.join()).to.include("may have been in use");
      expect((await readFile(target)).subarray(950 * BLOCK, 951 * BLOCK)[0]).to.equal(0x33);
    });
  });

  it("without a control record still serves all others", async () => {
    await withTempFolder(async (folder) => {
      const path = await damaged(await makeTape(folder), 2, (data) => data.fill(1));
      await using image = await openTapeImage(path);
      expect(await readEveryBlock(image)).to.equal(128);
      expect(image.state.notices.join()).to.include("1 of 2 control records");
    });
  });

  it("has done with the target of a read when the read fails", async () => {
    await withTempFolder(async (folder) => {
      const path = await damaged(await makeTape(folder), 2, (data) => data.fill(1));
      await using image = await openTapeImage(path);
      // The control blocks are known to be lost; data records behind them have yet to be loaded.
      const target = Buffer.alloc(BLOCK * 900);
      await expectReelError(image.read(0, target), "damaged");
      target.fill(0x5a);
      await image.read(BLOCK * 128, Buffer.alloc(BLOCK * 772));
      expect(target.every((byte) => byte === 0x5a)).to.equal(true);
    });
  });

  it("of which any part is left, cut at any record or inside one, serves what is there", async () => {
    await withTempFolder(async (folder) => {
      const tape = await makeTape(folder);
      const records = tapRecords(await readFile(tape));
      for (const [index, record] of records.entries()) {
        for (const cut of [record.offset - 4, record.offset + 50]) {
          const path = join(folder, `cut-${cut}.tap`);
          await copyFile(tape, path);
          await truncate(path, cut);
          // Header, or all of header, map and control set, are not there.
          if (index <= 1) continue;
          await using image = await openTapeImage(path);
          expect(image.state.state).to.equal("interrupted");
          const lost = await readEveryBlock(image);
          expect(lost).to.equal(lostWithout(index));
          const [listed] = await listImages(path);
          expect(listed?.state).to.equal("interrupted");
        }
      }
    });
  });

  it("cut before its map says that nothing is left to use", async () => {
    await withTempFolder(async (folder) => {
      const tape = await makeTape(folder);
      const records = tapRecords(await readFile(tape));
      await truncate(tape, (records[1]?.offset ?? 0) - 4);
      await expectReelError(openTapeImage(tape), "damaged");
    });
  });

  it("of a newer major version is refused, with the version that is needed", async () => {
    await withTempFolder(async (folder) => {
      const tape = await makeTape(folder);
      const bytes = await readFile(tape);
      for (const { offset } of tapRecords(bytes)) bytes.writeUInt8(2, offset + 8);
      await writeFile(tape, bytes);
      const error = await expectReelError(openTapeImage(tape), "unsupported");
      expect(error.message).to.include("version 2.0").and.include("newer ReelFS");
    });
  });

  it("restores to a disk but for its damaged records, which are named", async () => {
    await withTempFolder(async (folder) => {
      const path = await damaged(await makeTape(folder), FIRST_DATA + 2, (data) => {
        data[200] = (data[200] ?? 0) ^ 0x80;
      });
      await using image = await openTapeImage(path);
      const target = join(folder, "disk.img");
      const result = await restoreImage(image, target, { verify: true });
      expect(result).to.include({ recordsDamaged: 1, verified: true });
      expect(result.lostBlocks.total).to.equal(128);
      const disk = await readFile(target);
      for (let block = 0; block < BLOCKS; block++) {
        const here = disk.subarray(block * BLOCK, (block + 1) * BLOCK);
        const whole = isUsed(block) && !result.lostBlocks.has(block);
        const right = whole
          ? here.equals(contents.subarray(block * BLOCK, (block + 1) * BLOCK))
          : here.every((byte) => byte === 0);
        if (!right) throw new Error(`block ${block} of the disk is wrong`);
      }
    });
  });
});

/** Blocks that are gone when the tape ends before `record`. */
function lostWithout(record: number): number {
  const control = Math.max(0, 200 - Math.max(0, record - 2) * 128);
  const data = Math.max(0, 1400 - Math.max(0, record - FIRST_DATA) * 128);
  return control + data;
}
