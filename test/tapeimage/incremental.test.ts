/** Chains of incremental images against a model: the bytes of the volume at each generation. */
import { expect } from "chai";
import { readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import { ExtentSet } from "../../src/device/extents.ts";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { consolidateImage } from "../../src/tapeimage/incremental/consolidate.ts";
import { openTapeImage } from "../../src/tapeimage/open-image.ts";
import { restoreImage } from "../../src/tapeimage/restore-image.ts";
import { verifyImage } from "../../src/tapeimage/verify.ts";
import { expectReelError } from "../support/expect-error.ts";
import { writeTestImage, writeTestIncremental } from "../support/image-fixture.ts";
import { withRandom } from "../support/random.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { withTempFolder } from "../support/temp.ts";

const BLOCK = 512;
const BLOCKS = 4096;
const CHUNK_BLOCKS = 128;
const GENERATIONS = 8;
const TAPES = ["a.tap", "b.tap", "c.tap"];

interface Generation {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly used: ExtentSet;
  readonly control: ExtentSet;
}

function randomRuns(random: SeededRandom, count: number, longest: number): ExtentSet {
  const runs = Array.from({ length: count }, (): [number, number] => {
    const start = random.below(BLOCKS);
    return [start, Math.min(BLOCKS - start, 1 + random.below(longest))];
  });
  return ExtentSet.from(runs);
}

function firstGeneration(random: SeededRandom): Generation {
  const bytes = new Uint8Array(BLOCKS * BLOCK);
  for (let at = 0; at < bytes.length; at += 97) bytes[at] = random.below(256);
  return withSets(bytes, randomRuns(random, 20, 300), randomRuns(random, 5, 40));
}

function withSets(bytes: Uint8Array<ArrayBuffer>, used: ExtentSet, control: ExtentSet): Generation {
  return { bytes, control, used: used.union(control) };
}

/** Some blocks written, some taken into use, some given back, some now structure. */
function nextGeneration(random: SeededRandom, before: Generation): Generation {
  const bytes = before.bytes.slice();
  for (const [start, count] of randomRuns(random, random.below(6), 30)) {
    bytes.fill(random.below(256), start * BLOCK, (start + count) * BLOCK);
  }
  const used = before.used
    .union(randomRuns(random, random.below(4), 50))
    .subtract(randomRuns(random, random.below(3), 50));
  const control = random.below(3) === 0 ? randomRuns(random, 5, 40) : before.control;
  return withSets(bytes, used, control);
}

/** What the image must read as: blocks in use as they were, all others zeros. */
function expectedBytes({ bytes, used }: Generation): Uint8Array {
  const expected = new Uint8Array(bytes.length);
  for (const [start, count] of used) {
    const [from, to] = [start * BLOCK, (start + count) * BLOCK];
    expected.set(bytes.subarray(from, to), from);
  }
  return expected;
}

async function expectImage(spec: string, expected: Generation, note: string): Promise<void> {
  await using image = await openTapeImage(spec);
  const found = new Uint8Array(image.sizeBytes);
  await image.read(0, found);
  expect(Buffer.compare(found, expectedBytes(expected)), note).to.equal(0);
}

/** Blocks that may have to be stored: those of chunks with a block that differs. */
function changedBlocks(before: Generation, after: Generation): number {
  const dataOf = ({ used, control }: Generation): ExtentSet => used.subtract(control);
  const [old, now] = [dataOf(before), dataOf(after)];
  const moved = now.subtract(old).union(old.subtract(now));
  let blocks = 0;
  for (let chunk = 0; chunk < BLOCKS / CHUNK_BLOCKS; chunk++) {
    const here = ExtentSet.from([[chunk * CHUNK_BLOCKS, CHUNK_BLOCKS]]);
    const inUse = now.intersect(here);
    const isChanged =
      moved.intersect(here).total > 0 ||
      [...inUse].some(([start, count]) => {
        const [from, to] = [start * BLOCK, (start + count) * BLOCK];
        return (
          Buffer.compare(before.bytes.subarray(from, to), after.bytes.subarray(from, to)) !== 0
        );
      });
    if (isChanged) blocks += inUse.total;
  }
  return blocks;
}

describe("incremental images", function () {
  this.timeout(60_000);

  it("read as the volume was at each generation, on any mix of tapes, and hold what changed", async () => {
    await withRandom(async (random) => {
      await withTempFolder(async (folder) => {
        const specs: string[] = [];
        const generations: Generation[] = [];
        const numbers = new Map<string, number>();
        for (let round = 0; round < GENERATIONS; round++) {
          const before = generations.at(-1);
          const now =
            before === undefined ? firstGeneration(random) : nextGeneration(random, before);
          const tape = join(folder, random.pick(TAPES));
          const number = (numbers.get(tape) ?? 0) + 1;
          numbers.set(tape, number);
          const device = new MemoryDevice(now.bytes.slice());
          const sets = { used: [...now.used], control: [...now.control], number };
          const parent = specs.at(-1);
          const full = before === undefined || parent === undefined;
          const { written } = full
            ? await onTape(tape, async (drive) => writeTestImage(drive, device, sets))
            : await writeTestIncremental(tape, parent, device, sets);
          if (!full) {
            const most = changedBlocks(before, now) + now.control.total;
            expect(written.rawBytes / BLOCK, `generation ${round}`).to.equal(most);
          }
          specs.push(`${tape}#${number}`);
          generations.push(now);
        }
        for (const [round, expected] of generations.entries()) {
          await expectImage(specs[round] ?? "", expected, `generation ${round}`);
        }
        const disk = join(folder, "disk.img");
        {
          await using image = await openTapeImage(specs.at(-1) ?? "");
          expect(await verifyImage(image)).to.deep.include({ sound: true, damage: [] });
          await restoreImage(image, disk, { verify: true });
        }
        const restored = await readFile(disk);
        const target = join(folder, "full.tap");
        const last = generations.at(-1) ?? firstGeneration(random);
        await consolidate(specs.at(-1) ?? "", target);
        expect(Buffer.compare(restored, expectedBytes(last)), "restored").to.equal(0);
        await expectImage(target, last, "consolidated");
        await using full = await openTapeImage(target);
        expect(full.header.chain).to.deep.equal([full.header.uuid]);
        expect(await verifyImage(full)).to.deep.include({ sound: true, damage: [] });
        // It is as good a parent as any.
        const next = nextGeneration(random, last);
        const sets = { used: [...next.used], control: [...next.control], number: 2 };
        const { written } = await writeTestIncremental(
          ...([target, `${target}#1`, new MemoryDevice(next.bytes.slice()), sets] as const),
        );
        expect(written.rawBytes / BLOCK).to.equal(changedBlocks(last, next) + next.control.total);
        await expectImage(`${target}#2`, next, "against the consolidated image");
      });
    });
  });

  it("of an unchanged volume holds its control set and nothing else", async () => {
    await withTempFolder(async (folder) => {
      const tape = join(folder, "a.tap");
      const bytes = new Uint8Array(BLOCKS * BLOCK).map((_, at) => at % 251);
      const made = { used: [[0, 3000]] as const, control: [[10, 20]] as const };
      const device = new MemoryDevice(bytes);
      await onTape(tape, async (drive) => writeTestImage(drive, device, { ...made, number: 1 }));
      const second = { ...made, number: 2 };
      const { written } = await writeTestIncremental(tape, `${tape}#1`, device, second);
      expect(written.rawBytes).to.equal(20 * BLOCK);
      await using image = await openTapeImage(tape);
      expect(image.header.chain.length).to.equal(2);
      expect((await image.missingAncestors()).size).to.equal(0);
      const found = new Uint8Array(3000 * BLOCK);
      await image.read(0, found);
      expect(Buffer.compare(found, bytes.subarray(0, found.length))).to.equal(0);
    });
  });

  it("find their ancestors on tapes that were moved, and name one that is missing", async () => {
    await withTempFolder(async (folder) => {
      const [first, second] = [join(folder, "first.tap"), join(folder, "second.tap")];
      const device = new MemoryDevice(new Uint8Array(BLOCKS * BLOCK).fill(7));
      const made = { used: [[0, 1000]] as const, control: [[0, 10]] as const };
      await onTape(first, async (drive) => writeTestImage(drive, device, { ...made, number: 1 }));
      await writeTestIncremental(second, `${first}#1`, device, { ...made, number: 1 });
      const elsewhere = join(folder, "renamed.tap");
      await rename(first, elsewhere);
      const found = new Uint8Array(BLOCK);
      {
        await using image = await openTapeImage(second);
        const error = await expectReelError(image.read(500 * BLOCK, found), "not-found");
        expect(error.message).to.include(first).and.to.include("image 1");
        expect([...(await image.missingAncestors()).keys()]).to.deep.equal([1]);
        const { sound, damage, lostBlocks } = await verifyImage(image);
        expect([sound, lostBlocks.total]).to.deep.equal([false, 990]);
        expect(damage.join()).to.include(first);
        await expectReelError(restoreImage(image, join(folder, "disk.img")), "not-found");
        // What is in the image itself is there all the same.
        await image.read(0, found);
        expect(found[0]).to.equal(7);
      }
      for (const places of [[elsewhere], [folder]]) {
        await using image = await openTapeImage(second, { places });
        await image.read(500 * BLOCK, found.fill(0));
        expect(found[0]).to.equal(7);
      }
    });
  });

  it("without its trailer is refused, because its map is not there", async () => {
    await withTempFolder(async (folder) => {
      const tape = join(folder, "a.tap");
      const device = new MemoryDevice(new Uint8Array(BLOCKS * BLOCK).fill(7));
      const made = { used: [[0, 1000]] as const, control: [[0, 10]] as const };
      await onTape(tape, async (drive) => writeTestImage(drive, device, { ...made, number: 1 }));
      await writeTestIncremental(tape, `${tape}#1`, device, { ...made, number: 2 });
      await onTape(tape, async (drive) => {
        const { object } = await drive.spaceToEndOfData();
        await drive.locate(object - 2);
        await drive.writeFilemarks(1);
      });
      const error = await expectReelError(openTapeImage(`${tape}#2`), "damaged");
      expect(error.message).to.include("interrupted");
      await using image = await openTapeImage(`${tape}#1`);
      expect(image.state.state).to.equal("complete");
    });
  });
});

async function consolidate(spec: string, target: string): Promise<void> {
  await using image = await openTapeImage(spec);
  await onTape(target, async (drive) =>
    consolidateImage(image, drive, { number: 1, tool: "reelfs test" }),
  );
}

async function onTape<T>(
  path: string,
  work: (drive: Awaited<ReturnType<typeof openSimhTape>>) => Promise<T>,
): Promise<T> {
  await using drive = await openSimhTape(path, { mode: "write", create: true });
  await drive.spaceToEndOfData();
  return await work(drive);
}
