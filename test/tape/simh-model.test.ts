/** A .tap file and a tape in memory, driven alike at random, must answer alike. */
import { expect } from "chai";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ReelError, isReelError } from "../../src/errors.ts";
import { MemoryTape, type MemoryObject } from "../../src/tape/memory-tape.ts";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import type { TapeDrive } from "../../src/tape/tape-drive.ts";
import { patternBytes } from "../support/pattern.ts";
import { chance, withRandom } from "../support/random.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import { withTempFolder } from "../support/temp.ts";

const STEPS = 1500;
const TARGET_BYTES = 3000;

type Step = (drive: TapeDrive) => Promise<unknown>;

/** Of an answer, what both drives must have in common: the value, or the code of the error. */
async function answer(run: Promise<unknown>): Promise<unknown> {
  try {
    return await run;
  } catch (error) {
    if (error instanceof ReelError) return error.code;
    throw error;
  }
}

function readStep(lengthBytes: number, reverse: boolean): Step {
  return async (drive) => {
    const target = new Uint8Array(lengthBytes).fill(0xee);
    return [await drive.read(target, { reverse }), Buffer.from(target).toString("latin1")];
  };
}

function anyStep(random: SeededRandom, objects: number): Step {
  const kind = random.below(100);
  if (kind < 30) {
    const long = chance(random, 3);
    const length = 1 + random.below(long ? 200_000 : chance(random, 50) ? 40 : 2500);
    const data = patternBytes(length, random.below(1000));
    const cut = random.below(length);
    return async (drive) => drive.write([data.subarray(0, cut), data.subarray(cut)]);
  }
  if (kind < 36) {
    const count = random.below(3);
    return async (drive) => drive.writeFilemarks(count);
  }
  if (kind < 65) return readStep(random.below(TARGET_BYTES), chance(random, 30));
  if (kind < 75) {
    const unit = chance(random, 50) ? "records" : "filemarks";
    const count = random.below(20) - 10;
    return async (drive) => drive.space(unit, count);
  }
  if (kind < 83) {
    const object = random.below(objects + 3);
    return async (drive) => drive.locate(object);
  }
  if (kind < 93) return async (drive) => drive.spaceToEndOfData();
  if (kind < 94) return async (drive) => drive.rewind();
  const object = random.below(objects + 2);
  return async (drive) => drive.objectOffsetBytes?.(object);
}

describe("a .tap file and a tape in memory", () => {
  it("answer alike, whatever is asked of them", async function () {
    this.timeout(20_000);
    await withRandom(async (random) =>
      withTempFolder(async (folder) => {
        const path = join(folder, "model.tap");
        const objects: MemoryObject[] = [];
        const limits = { capacityBytes: 600_000, earlyWarningBytes: 50_000 };
        const openBoth = async (): Promise<[TapeDrive, TapeDrive]> => {
          const useIndex = chance(random, 70);
          const tape = await openSimhTape(path, {
            mode: "write",
            create: true,
            useIndex,
            ...limits,
          });
          return [tape, new MemoryTape({ objects, ...limits })];
        };
        let [tape, memory] = await openBoth();
        for (let step = 0; step < STEPS; step++) {
          if (chance(random, 3)) {
            await tape.close();
            [tape, memory] = await openBoth();
          }
          const run = anyStep(random, objects.length);
          expect(await answer(run(tape)), `step ${step}`).to.deep.equal(await answer(run(memory)));
          expect(await tape.position(), `step ${step}`).to.deep.equal(await memory.position());
        }
        await tape.close();
      }),
    );
  });
});

describe("a .tap file with bytes that are wrong", () => {
  const ROUNDS = 150;

  /** Goes everywhere on the tape, both ways; only "damaged" and "out-of-range" may come of it. */
  const roam = async (drive: TapeDrive, random: SeededRandom, objectsMax: number) => {
    const target = new Uint8Array(4096);
    const attempt = async (run: Promise<unknown>): Promise<boolean> => {
      try {
        await run;
        return true;
      } catch (error) {
        if (!isReelError(error, "damaged") && !isReelError(error, "out-of-range")) throw error;
        return false;
      }
    };
    for (let object = 0; object <= objectsMax; object++) {
      const read = await drive.read(target).catch(() => undefined);
      if (read?.kind === "end-of-data") break;
      if (read === undefined && !(await attempt(drive.locate(object + 1)))) break;
    }
    await attempt(drive.spaceToEndOfData());
    expect((await drive.position()).object).to.be.at.most(objectsMax);
    for (let probe = 0; probe < 10; probe++) {
      await attempt(drive.locate(random.below(objectsMax)));
      await attempt(drive.read(target, { reverse: chance(random, 50) }));
      await attempt(drive.space(chance(random, 50) ? "records" : "filemarks", random.below(9) - 4));
    }
  };

  it("never hangs, never crashes, never shows more than the file holds", async function () {
    this.timeout(30_000);
    await withRandom(async (random) =>
      withTempFolder(async (folder) => {
        const path = join(folder, "hostile.tap");
        const clean = join(folder, "clean.tap");
        await using writer = await openSimhTape(clean, { mode: "write", create: true });
        for (let record = 0; record < 100; record++) {
          await writer.write([patternBytes(1 + random.below(300), record)]);
          if (chance(random, 10)) await writer.writeFilemarks(1);
        }
        await writer.close();
        const bytes = await readFile(clean);
        for (let round = 0; round < ROUNDS; round++) {
          const wrong = Buffer.from(bytes);
          for (let flips = 1 + random.below(8); flips > 0; flips--) {
            wrong.writeUInt8(random.below(256), random.below(wrong.length));
          }
          const length = chance(random, 30) ? random.below(wrong.length) : wrong.length;
          await writeFile(path, wrong.subarray(0, length));
          const before = process.memoryUsage().arrayBuffers;
          const mode = chance(random, 50) ? "read" : "write";
          await using drive = await openSimhTape(path, { mode });
          await roam(drive, random, Math.ceil(length / 4) + 1);
          await drive.close();
          expect(process.memoryUsage().arrayBuffers - before).to.be.below(64 * 1024 * 1024);
          expect((await readFile(path)).length, "nothing is cut off unasked").to.equal(length);
        }
      }),
    );
  });

  it("is refused, and not waited for, when all of it is noise", async () => {
    await withRandom(async (random) =>
      withTempFolder(async (folder) => {
        for (const fill of [0x00, 0x70, 0xff, 0x01, 0x80, 0xfe]) {
          const path = join(folder, `noise-${fill}.tap`);
          const noise = Buffer.alloc(60_000, fill);
          if (fill === 0x01)
            for (let at = 0; at < noise.length; at++) noise[at] = random.below(256);
          await writeFile(path, noise);
          await using drive = await openSimhTape(path, { mode: "read" });
          await roam(drive, random, noise.length / 2);
        }
      }),
    );
  });
});
