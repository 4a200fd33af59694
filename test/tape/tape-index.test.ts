import { expect } from "chai";
import { chmod, readFile, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CountingDrive } from "../../src/tape/counting-drive.ts";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import { FILEMARK_WORD, objectSizeBytes } from "../../src/tape/simh-format.ts";
import { TapeIndex } from "../../src/tape/tape-index.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { chance, withRandom } from "../support/random.ts";
import { makeTempFolder } from "../support/temp.ts";
import * as tap from "./tap-builder.ts";

describe("TapeIndex", () => {
  it("agrees with plain lists, however it is grown and cut", async () => {
    await withRandom((random) => {
      const index = new TapeIndex();
      const words: number[] = [];
      const offsets: number[] = [];
      let endBytes = 0;
      for (let round = 0; round < 6; round++) {
        for (let count = random.below(9000); count > 0; count--) {
          const word = chance(random, 5) ? FILEMARK_WORD : 1 + random.below(1000);
          const skipped = chance(random, 3) ? 2 * (1 + random.below(500)) : 0;
          index.append(word, skipped);
          words.push(word);
          offsets.push(endBytes + skipped);
          endBytes += skipped + objectSizeBytes(word);
        }
        for (let probe = 0; probe < 300; probe++) {
          const object = random.below(words.length + 1);
          expect(index.offsetBytes(object)).to.equal(offsets[object] ?? endBytes);
          if (object < words.length) expect(index.word(object)).to.equal(words[object]);
          const marks = words.slice(0, object).filter((word) => word === FILEMARK_WORD).length;
          expect(index.filesBefore(object)).to.equal(marks);
        }
        expect(index.count).to.equal(words.length);
        expect(index.endBytes).to.equal(endBytes);
        const keep = random.below(words.length + 1);
        index.truncate(keep);
        words.length = offsets.length = keep;
        const last = keep - 1;
        endBytes = keep === 0 ? 0 : (offsets[last] ?? 0) + objectSizeBytes(words[last] ?? 0);
      }
    });
  });
});

describe("the index beside a tape", () => {
  const RECORDS = 300;
  let folder: string;
  let remove: () => Promise<void>;
  let path: string;
  let indexFile: string;

  beforeEach(async () => {
    ({ folder, remove } = await makeTempFolder());
    path = join(folder, "test.tap");
    indexFile = `${path}.idx`;
  });

  afterEach(async () => remove());

  const writeTape = async (): Promise<void> => {
    await using drive = await openSimhTape(path, { mode: "write", create: true });
    for (let record = 0; record < RECORDS; record++) {
      await drive.write([patternBytes(20 + record, record)]);
      if (record % 100 === 99) await drive.writeFilemarks(1);
    }
  };

  /** Reads here and there; every record must be its own. */
  const expectReadable = async (): Promise<void> => {
    await using drive = await openSimhTape(path, { mode: "read" });
    const target = new Uint8Array(1000);
    for (const record of [250, 3, 199, 100, 0, 299]) {
      await drive.locate(record + Math.floor(record / 100));
      expect(await drive.read(target)).to.include({ lengthBytes: 20 + record });
      expect(target.subarray(0, 20 + record)).to.deep.equal(patternBytes(20 + record, record));
    }
    expect(await drive.spaceToEndOfData()).to.include({ object: RECORDS + 3, file: 3 });
  };

  it("is written when the tape is closed, and nothing else is left beside the tape", async () => {
    await writeTape();
    expect((await readdir(folder)).sort()).to.deep.equal(["test.tap", "test.tap.idx"]);
    await expectReadable();
  });

  it("is not made for a file that is no tape, and begins with zeros as disks do", async () => {
    const disk = join(folder, "disk.img");
    for (const end of [Buffer.alloc(0), Buffer.alloc(8192, 0xaa)]) {
      await writeFile(disk, Buffer.concat([Buffer.alloc(4096), end]));
      await using drive = await openSimhTape(disk, { mode: "read" });
      const atEnd = drive.spaceToEndOfData();
      await (end.length === 0 ? atEnd : expectReelError(atEnd, "damaged"));
      await drive.close();
      expect(await readdir(folder)).to.deep.equal(["disk.img"]);
    }
  });

  it("lets a drive read on behind damage that a scan cannot pass", async () => {
    await writeTape();
    const { atime, mtime } = await stat(path);
    const whole = new Date(Math.floor(mtime.getTime() / 1000) * 1000);
    await utimes(path, atime, whole);
    await rm(indexFile);
    await expectReadable();
    const bytes = await readFile(path);
    bytes.fill(0xaa, 0, 8000);
    await writeFile(path, bytes);
    await utimes(path, atime, whole);
    await using drive = await openSimhTape(path, { mode: "read" });
    await drive.locate(0);
    await expectReelError(drive.read(new Uint8Array(1000)), "damaged");
    await using other = await openSimhTape(path, { mode: "read" });
    const target = new Uint8Array(319);
    await other.locate(301);
    await other.read(target);
    expect(target).to.deep.equal(patternBytes(319, 299));
  });

  it("is not made for a tape of a few objects, nor when not wanted", async () => {
    await writeFile(path, Buffer.concat([tap.good(80), tap.FILEMARK]));
    await using few = await openSimhTape(path, { mode: "read" });
    await few.spaceToEndOfData();
    await few.close();
    expect(await readdir(folder)).to.deep.equal(["test.tap"]);
    await writeTape();
    await rm(indexFile);
    await using unwanted = await openSimhTape(path, { mode: "read", useIndex: false });
    await unwanted.spaceToEndOfData();
    await unwanted.close();
    expect(await readdir(folder)).to.deep.equal(["test.tap"]);
  });

  it("is made again by a reader where it is missing, gaps and all", async () => {
    await writeTape();
    const bytes = await readFile(path);
    await writeFile(path, Buffer.concat([tap.record(patternBytes(9), 14), tap.ERASE_GAP, bytes]));
    await expectReadable();
    const made = await readFile(indexFile);
    await expectReadable();
    expect(await readFile(indexFile), "was used, not made again").to.deep.equal(made);
    await rm(indexFile);
    await expectReadable();
    expect(await readFile(indexFile)).to.deep.equal(made);
  });

  it("is as good as missing when any byte of it is wrong, or it is cut", async () => {
    await writeTape();
    const whole = await readFile(indexFile);
    await withRandom(async (random) => {
      for (let round = 0; round < 30; round++) {
        const bytes = Buffer.from(whole);
        const at = round < 8 ? round * 8 : random.below(bytes.length);
        bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << random.below(8)), at);
        const cut = chance(random, 20) ? random.below(bytes.length) : bytes.length;
        await writeFile(indexFile, bytes.subarray(0, cut));
        await expectReadable();
      }
    });
  });

  it("of another tape is not believed, even of the same size and time", async () => {
    await writeTape();
    const other = join(folder, "other.tap");
    await using drive = await openSimhTape(other, { mode: "write", create: true });
    for (let record = RECORDS - 1; record >= 0; record--) {
      await drive.write([patternBytes(20 + record, record)]);
      if (record % 100 === 0) await drive.writeFilemarks(1);
    }
    await drive.close();
    const index = await readFile(`${other}.idx`);
    const stamp = (await readFile(indexFile)).subarray(16, 32);
    stamp.copy(index, 16);
    index.writeUInt32LE(0, 12);
    const { crc32c } = await import("@node-rs/crc32");
    index.writeUInt32LE(crc32c(index.subarray(0, 64)), 12);
    await writeFile(indexFile, index);
    await expectReadable();
  });

  it("of an older state of the tape is not believed", async () => {
    await writeTape();
    const old = await readFile(indexFile);
    await using drive = await openSimhTape(path, { mode: "write" });
    await drive.locate(150);
    await drive.write([patternBytes(5, 1)]);
    await drive.close();
    await writeFile(indexFile, old);
    await using reader = await openSimhTape(path, { mode: "read" });
    expect((await reader.spaceToEndOfData()).object).to.equal(151);
  });

  it("is gone as soon as the tape is written", async () => {
    await writeTape();
    await using drive = await openSimhTape(path, { mode: "write" });
    await drive.spaceToEndOfData();
    expect(await readdir(folder)).to.include("test.tap.idx");
    await drive.write([patternBytes(5, 1)]);
    expect(await readdir(folder)).to.not.include("test.tap.idx");
  });

  it("that cannot be written harms nobody", async () => {
    await writeTape();
    await rm(indexFile);
    await chmod(folder, 0o555);
    try {
      await expectReadable();
    } finally {
      await chmod(folder, 0o755);
    }
  });

  it("spares the tape: locating far off reads one record", async () => {
    await writeTape();
    await using drive = new CountingDrive(await openSimhTape(path, { mode: "read" }));
    await drive.locate(301);
    await drive.read(new Uint8Array(1000));
    expect(drive.statistics()).to.include({ locates: 1, recordsRead: 1, bytesRead: 319 });
  });
});
