import { expect } from "chai";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { nextOfFiles } from "../../src/tape/set/open-for-writing.ts";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { backupVolume } from "../../src/tapeimage/backup.ts";
import type { BackupResult } from "../../src/tapeimage/backup-options.ts";
import { listImages, openTapeImage } from "../../src/tapeimage/open-image.ts";
import { verifyImage } from "../../src/tapeimage/verify.ts";
import { expectReelError } from "../support/expect-error.ts";
import { makeFatVolume, needsFatTools, type MadeVolume } from "../support/fat-volume.ts";
import { patternBytes } from "../support/pattern.ts";
import { withRandom } from "../support/random.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { tapRecords } from "../support/tap-records.ts";
import { withTempFolder } from "../support/temp.ts";

const MIB = 1024 * 1024;
const PAGE_BYTES = 4096;
const RECORD_BYTES = 64 * 1024;
const ROUNDS = 12;
/** VOL1, and the words around it. */
const LABEL_END_BYTES = 88;

interface Tape {
  readonly path: string;
  readonly volume: MadeVolume;
  readonly bytes: Buffer;
  /** Where each image begins, and the tape ends. */
  readonly bounds: readonly number[];
}

/** A tape with so many images of one volume. */
async function makeTape(folder: string, images: number): Promise<Tape> {
  const volume = await makeFatVolume(folder, { sizeBytes: 4 * MIB, bits: 12, files: 60 });
  const path = join(folder, "t.tap");
  const bounds: number[] = [0];
  for (let i = 0; i < images; i++) {
    await append({ path, volume });
    bounds.push((await readFile(path)).length);
  }
  return { path, volume, bounds, bytes: await readFile(path) };
}

async function append({ path, volume }: Pick<Tape, "path" | "volume">): Promise<BackupResult> {
  return backupVolume({
    ...{ sourcePath: volume.path, tapePath: path },
    ...{ codec: "none", recordSizeBytes: RECORD_BYTES },
  });
}

async function expectSound(path: string, number: number): Promise<void> {
  await using image = await openTapeImage(`${path}#${number}`);
  expect((await verifyImage(image)).sound, `image ${number}`).to.equal(true);
}

/** Pages that never reached the disk. */
function loseRange(bytes: Buffer, from: number, pages: number): void {
  const start = Math.ceil(from / PAGE_BYTES) * PAGE_BYTES;
  bytes.fill(0, start, Math.min(bytes.length, start + pages * PAGE_BYTES));
}

/** Image 2 as far as it was written, with holes. */
function cutAtRandom({ bytes, bounds }: Tape, random: SeededRandom): Buffer {
  const [, from = 0, to = 0] = bounds;
  const trailer = tapRecords(bytes).at(-1);
  const last = Math.min(to, (trailer?.offset ?? to) - 4);
  const torn = Buffer.from(
    bytes.subarray(0, from + 4 * PAGE_BYTES + random.below(last - from - 4 * PAGE_BYTES)),
  );
  for (let holes = 1 + random.below(4); holes > 0; holes--) {
    loseRange(torn, from + random.below(torn.length - from), 1 + random.below(30));
  }
  return torn;
}

/** A whole record, as it lies in the file. */
function framed(data: Buffer): Buffer {
  const word = Buffer.alloc(4);
  word.writeUInt32LE(data.length);
  return Buffer.concat([word, data, word]);
}

async function expectRefused(tape: Tape, bytes: Buffer, why: string): Promise<void> {
  await writeFile(tape.path, bytes);
  await rm(`${tape.path}.idx`, { force: true });
  const error = await expectReelError(append(tape), "damaged");
  expect(error.message).to.include(why).and.include("reelfs consolidate");
  expect((await readFile(tape.path)).equals(bytes), "the tape is as it was").to.equal(true);
}

describe("a tape after a power cut", function () {
  this.timeout(60_000);
  before(function () {
    needsFatTools(this);
  });

  it("takes the next image behind what can be read of the unfinished one", async () => {
    await withRandom(async (random) =>
      withTempFolder(async (folder) => {
        const tape = await makeTape(folder, 2);
        const [, firstEnd = 0] = tape.bounds;
        for (let round = 0; round < ROUNDS; round++) {
          const torn = cutAtRandom(tape, random);
          await writeFile(tape.path, torn);
          await rm(`${tape.path}.idx`, { force: true });
          const { number } = await append(tape);
          const after = await readFile(tape.path);
          const kept = after.subarray(0, firstEnd);
          expect(kept.equals(tape.bytes.subarray(0, firstEnd)), "image 1").to.equal(true);
          await expectSound(tape.path, 1);
          await expectSound(tape.path, number);
          expect((await listImages(tape.path)).at(-1)?.state).to.equal("complete");
        }
      }),
    );
  });

  it("says what was overwritten, and leaves no empty tape files where pages were lost", async () => {
    await withTempFolder(async (folder) => {
      const tape = await makeTape(folder, 2);
      const [, from = 0, to = 0] = tape.bounds;
      const torn = Buffer.from(tape.bytes.subarray(0, to - 300_000));
      // A hole right behind a record, which reads as thousands of filemarks.
      const hole = tapRecords(torn).find(({ offset }) => offset > from + 10 * RECORD_BYTES);
      torn.fill(0, (hole?.offset ?? 0) - 4, (hole?.offset ?? 0) + 20 * PAGE_BYTES);
      await writeFile(tape.path, torn);
      await rm(`${tape.path}.idx`, { force: true });
      const { number, notices } = await append(tape);
      expect(number).to.equal(3);
      expect(notices.join()).to.match(/the unfinished image 2 of \d{4}-.* was overwritten/);
      const states = (await listImages(tape.path)).map(({ state }) => state);
      expect(states).to.deep.equal(["complete", "interrupted", "complete"]);
      await using drive = await openSimhTape(tape.path, { mode: "read" });
      // Label and three images.
      expect((await drive.spaceToEndOfData()).file).to.equal(4);
    });
  });

  it("takes the next image where a page in the middle of a record is all that came of one", async () => {
    await withTempFolder(async (folder) => {
      const tape = await makeTape(folder, 2);
      const [, first = 0] = tape.bounds;
      for (const [from, images] of [
        [LABEL_END_BYTES, 0],
        [first, 1],
      ] as const) {
        const page = Math.ceil(from / PAGE_BYTES) * PAGE_BYTES + 2 * PAGE_BYTES;
        const torn = Buffer.from(tape.bytes.subarray(0, page + PAGE_BYTES));
        torn.fill(0, from, page).set(patternBytes(PAGE_BYTES, 3), page);
        await writeFile(tape.path, torn);
        await rm(`${tape.path}.idx`, { force: true });
        await append(tape);
        const states = (await listImages(tape.path)).map(({ state }) => state);
        expect(states).to.deep.equal(Array<string>(images + 1).fill("complete"));
        await expectSound(tape.path, images + 1);
      }
    });
  });

  it("is found as the last of a set, and goes on there", async () => {
    await withTempFolder(async (folder) => {
      const volume = await makeFatVolume(folder, { sizeBytes: 4 * MIB, bits: 12, files: 60 });
      const [path, second] = [join(folder, "t1.tap"), join(folder, "t2.tap")];
      const options = { codec: "none", recordSizeBytes: RECORD_BYTES } as const;
      const nextTape = nextOfFiles([second], undefined);
      const tapes = { capacityBytes: MIB, nextTape };
      await backupVolume({ sourcePath: volume.path, tapePath: path, ...options, tapes });
      const torn = (await readFile(second)).subarray(0, -100_000);
      loseRange(torn, 300_000, 20);
      await writeFile(second, torn);
      await rm(`${second}.idx`, { force: true });
      const firstTape = await readFile(path);
      const { number, notices } = await append({ path, volume });
      expect(number).to.equal(2);
      expect(notices.join()).to.include("the unfinished image 1");
      expect((await readFile(path)).equals(firstTape), "the full tape").to.equal(true);
      await expectSound(path, 2);
      expect((await listImages(path)).map(({ state }) => state)).to.deep.equal([
        "interrupted",
        "complete",
      ]);
    });
  });

  it("is left alone where another image, or the end of one, lies behind the damage", async () => {
    await withTempFolder(async (folder) => {
      const tape = await makeTape(folder, 3);
      const [, from = 0, middle = 0, to = 0] = tape.bounds;
      const whole = Buffer.from(tape.bytes.subarray(0, middle));
      loseRange(whole, from + 600_000, 20);
      await expectRefused(tape, whole, "the end of an image");
      const three = Buffer.from(tape.bytes);
      loseRange(three, from + 600_000, 20);
      await expectRefused(tape, three, "an image");
      // Image 2 without its end, and part of image 3.
      const records = tapRecords(tape.bytes.subarray(0, middle));
      const trailerAt = (records.at(-1)?.offset ?? 0) - 4;
      const parts = Buffer.concat([
        tape.bytes.subarray(0, trailerAt),
        Buffer.alloc(4),
        tape.bytes.subarray(middle, to - 300_000),
      ]);
      loseRange(parts, from + 600_000, 20);
      await expectRefused(tape, parts, "parts of another image");
    });
  });

  it("is left alone where an image may have lost its end to age: there are no zeros", async () => {
    await withTempFolder(async (folder) => {
      const tape = await makeTape(folder, 2);
      const aged = Buffer.from(tape.bytes);
      for (const record of [-8, -1]) {
        const { offset = 0, length = 0 } = tapRecords(tape.bytes).at(record) ?? {};
        aged.fill(0xee, offset - 4, offset + length + 4);
      }
      await expectRefused(tape, aged, "more of an image");
    });
  });

  it("is left alone where a file of another program lies behind the damage", async () => {
    await withTempFolder(async (folder) => {
      const tape = await makeTape(folder, 2);
      const [, from = 0, to = 0] = tape.bounds;
      const unfinished = Buffer.from(tape.bytes.subarray(0, to - 300_000));
      loseRange(unfinished, from + 600_000, 20);
      const strange = framed(Buffer.alloc(10_240, "strange"));
      const mark = Buffer.alloc(4);
      const file = [mark, strange, strange, mark];
      await expectRefused(tape, Buffer.concat([unfinished, ...file]), "another tape file");
      const torn = strange.subarray(0, 5_000);
      await expectRefused(
        tape,
        Buffer.concat([unfinished, mark, strange, torn]),
        "another tape file",
      );
      // The damage is in that file itself.
      const first = Buffer.from(strange);
      first.fill(0xee, 0, 4);
      first.fill(0xee, first.length - 4);
      const whole = tape.bytes;
      await expectRefused(tape, Buffer.concat([whole, first, first, mark]), "another program");
      await expectRefused(tape, Buffer.concat([whole, first, strange, mark]), "a whole record");
      // Its beginning was lost, its end is torn, and between them it can be read.
      const lost = Buffer.concat([Buffer.alloc(3 * PAGE_BYTES), first.subarray(1000)]);
      await expectRefused(tape, Buffer.concat([whole, lost, strange, torn]), "another program");
    });
  });
});
