import { expect } from "chai";
import { execFile, spawnSync } from "node:child_process";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  lastTapeOf,
  nextOfFiles,
  openTapeForWriting,
} from "../../src/tape/set/open-for-writing.ts";
import { openTapeForReading, TapeFiles } from "../../src/tape/set/set-files.ts";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { TapeSetDrive } from "../../src/tape/tape-set.ts";
import { writeRecords } from "../../src/tape/write-records.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { withRandom } from "../support/random.ts";
import { skipUnless } from "../support/skip.ts";
import { tapRecords } from "../support/tap-records.ts";
import { tapeDriveSuite } from "../support/tape-drive-suite.ts";
import { makeTempFolder, withTempFolder } from "../support/temp.ts";

const CAPACITY_BYTES = 12_000;

tapeDriveSuite("a set of tape files", async () => {
  const { folder, remove } = await makeTempFolder();
  const path = (sequence: number): string => join(folder, `t${sequence}.tap`);
  return {
    open: async (mode, limits) => {
      const options = { capacityBytes: CAPACITY_BYTES, earlyWarningBytes: CAPACITY_BYTES - 50 };
      const drive = await openSimhTape(path(1), {
        ...(limits ?? options),
        ...{ mode, create: mode === "write" },
      });
      return TapeSetDrive.open(drive, {
        source: new WritableFiles(path(1), mode),
        nextTape:
          limits === undefined
            ? async (sequence) => ({
                name: path(sequence),
                serial: `S${sequence}`,
                open: async () =>
                  openSimhTape(path(sequence), { ...options, mode: "write", create: true }),
              })
            : undefined,
      });
    },
    remove,
  };
});

/** All tapes are writable here, so that any of them can be cut. */
class WritableFiles extends TapeFiles {
  readonly #mode: "read" | "write";

  constructor(near: string, mode: "read" | "write") {
    super(near);
    this.#mode = mode;
  }

  override async *candidates(
    ...[request]: Parameters<TapeFiles["candidates"]>
  ): ReturnType<TapeFiles["candidates"]> {
    for await (const found of super.candidates(request)) {
      const { name } = found;
      await found.close();
      yield await openSimhTape(name, { mode: this.#mode, capacityBytes: CAPACITY_BYTES });
    }
  }
}

describe("tape files that make a set", () => {
  const write = async (folder: string, tapes: number, records: number): Promise<string> => {
    const paths = Array.from({ length: tapes }, (_, at) => join(folder, `t${at + 1}.tap`));
    const [first = "", ...further] = paths;
    await using drive = await openTapeForWriting(first, {
      capacityBytes: 100_000,
      nextTape: nextOfFiles(further, 100_000),
    });
    for (let record = 0; record < records; record++) {
      await drive.write([patternBytes(4000, record)]);
      if (record % 10 === 9) await drive.writeFilemarks(1);
    }
    return first;
  };

  it("hold the same, whether records are written together or one by one", async () => {
    await withRandom(async (random) => {
      await withTempFolder(async (folder) => {
        const records = Array.from({ length: 200 }, (_, at) => [
          patternBytes(1 + random.below(4000), at),
        ]);
        const capacityBytes = 30_000 + random.below(100_000);
        const writeSet = async (name: string, most: () => number): Promise<number[][]> => {
          const paths = Array.from({ length: 40 }, (_, at) =>
            join(folder, `${10 + at}-${name}.tap`),
          );
          const [first = "", ...further] = paths;
          const nextTape = nextOfFiles(further, capacityBytes);
          await using drive = await openTapeForWriting(first, { capacityBytes, nextTape });
          for (let done = 0; done < records.length;) {
            const { written } = await writeRecords(drive, records.slice(done, done + most()));
            done += written;
          }
          await drive.writeFilemarks(1);
          const made = (await readdir(folder)).filter((each) => each.endsWith(`-${name}.tap`));
          const tapes = await Promise.all(made.map(async (each) => readFile(join(folder, each))));
          return tapes.map((tape) => tapRecords(tape).map(({ length }) => length));
        };
        const single = await writeSet("a", () => 1);
        expect(single.length).to.be.greaterThan(3);
        expect(await writeSet("b", () => 1 + random.below(30))).to.deep.equal(single);
      });
    });
  });

  it("are listed by mtdump, and name one another in words", async function () {
    skipUnless(this, spawnSync("mtdump", []).error === undefined, "mtdump is not installed");
    await withTempFolder(async (folder) => {
      await write(folder, 4, 80);
      for (const sequence of [1, 2, 3, 4]) {
        const path = join(folder, `t${sequence}.tap`);
        const { stdout } = await promisify(execFile)("mtdump", [path]);
        await using drive = await openSimhTape(path, { mode: "read" });
        const { object, file } = await drive.spaceToEndOfData();
        expect(stdout.match(/record \d+, length/g)?.length).to.equal(object - file);
        const bytes = (await readFile(path)).toString("latin1");
        expect(bytes.includes('"kind":"ends"')).to.equal(sequence < 4);
        expect(bytes.includes('"kind":"continues"')).to.equal(sequence > 1);
        if (sequence < 4) expect(bytes).to.include(`t${sequence + 1}.tap","serial":"REEL0`);
      }
    });
  });

  it("are not made over tapes that hold something, and the full one stays as it is", async () => {
    await withTempFolder(async (folder) => {
      const other = await write(folder, 1, 3);
      const path = join(folder, "new.tap");
      await using drive = await openTapeForWriting(path, {
        capacityBytes: 100_000,
        nextTape: nextOfFiles([other], 100_000),
      });
      const writing = (async (): Promise<void> => {
        for (let record = 0; record < 30; record++) await drive.write([patternBytes(4000, record)]);
      })();
      const { message } = await expectReelError(writing, "exists");
      expect(message).to.include("t1.tap: there is something on it already");
      await using reader = await openTapeForReading(path);
      expect((await reader.spaceToEndOfData()).object).to.be.within(20, 25);
      await using untouched = await openTapeForReading(other);
      expect((await untouched.spaceToEndOfData()).object).to.equal(3);
    });
  });

  it("are refused, with words for a person, when they are used up", async () => {
    await withTempFolder(async (folder) => {
      const { message } = await expectReelError(write(folder, 2, 80), "end-of-medium");
      expect(message).to.include("t2.tap: it is full, and there is no further tape");
      expect(await readdir(folder)).to.include.members(["t1.tap", "t2.tap"]);
    });
  });

  it("are appended to at the end of the last, and not while one is missing", async () => {
    await withTempFolder(async (folder) => {
      const first = await write(folder, 3, 60);
      expect(await lastTapeOf(first)).to.equal(join(folder, "t3.tap"));
      const { message } = await expectReelError(lastTapeOf(join(folder, "t2.tap")), "invalid");
      expect(message).to.include("tape 2 of the set that begins on");
      {
        await using drive = await openTapeForWriting(first);
        const { object } = await drive.spaceToEndOfData();
        await drive.write([patternBytes(100, 1)]);
        await drive.locate(object);
        expect(await drive.read(new Uint8Array(100))).to.include({ lengthBytes: 100 });
      }
      await rm(join(folder, "t2.tap"));
      const missing = await expectReelError(openTapeForWriting(first), "not-found");
      expect(missing.message).to.include("tape 2 of the set");
    });
  });
});
