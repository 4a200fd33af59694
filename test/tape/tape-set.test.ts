import { expect } from "chai";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { randomBytes, withRandom } from "../support/random.ts";
import { tapeDriveSuite } from "../support/tape-drive-suite.ts";
import { MemoryTape, type MemoryObject } from "../../src/tape/memory-tape.ts";
import { TapeSetDrive } from "../../src/tape/tape-set.ts";
import { TapeShelf } from "./tape-shelf.ts";

const shelfSuite = (name: string, capacityBytes: number, earlyWarningBytes: number): void => {
  tapeDriveSuite(name, async () => {
    const shelf = new TapeShelf(() => ({ capacityBytes, earlyWarningBytes }));
    return {
      open: async (mode, limits) => shelf.open(mode, { limits, spans: limits === undefined }),
      remove: async () => undefined,
    };
  });
};

shelfSuite("a set of tapes that change after every record", 12_000, 11_950);
shelfSuite("a set of tapes that change when a record does not fit", 8_000, 0);
shelfSuite("a set of one tape", Number.MAX_SAFE_INTEGER, 0);

describe("a set of tapes", () => {
  /** Records of 1000 bytes, with a filemark after every seventh object. */
  const written = (count: number): MemoryObject[] =>
    Array.from({ length: count }, (_, at) => (at % 7 === 6 ? undefined : patternBytes(1000, at)));

  const write = async (drive: TapeSetDrive, objects: readonly MemoryObject[]): Promise<void> => {
    for (const object of objects) {
      if (object === undefined) await drive.writeFilemarks(1);
      else await drive.write([object]);
    }
  };

  const expectAll = async (
    drive: TapeSetDrive,
    objects: readonly MemoryObject[],
  ): Promise<void> => {
    const target = new Uint8Array(20_000);
    for (const [at, object] of objects.entries()) {
      const read = await drive.read(target);
      expect(read.kind, `object ${at}`).to.equal(object === undefined ? "filemark" : "record");
      if (read.kind !== "record" || object === undefined) continue;
      expect(Buffer.compare(target.subarray(0, read.lengthBytes), object), `object ${at}`).to.equal(
        0,
      );
    }
    expect((await drive.read(target)).kind).to.equal("end-of-data");
  };

  it("reads in one pass what was written, and asks for each tape once, in order", async () => {
    const shelf = new TapeShelf(() => ({ capacityBytes: 20_000 }));
    const objects = written(100);
    await using drive = await shelf.open("write");
    await write(drive, objects);
    shelf.asked.length = 0;
    await using reader = await shelf.open("read");
    await expectAll(reader, objects);
    const tapes = shelf.tapes.size;
    expect(tapes).to.be.greaterThan(4);
    expect(shelf.asked).to.deep.equal(Array.from({ length: tapes - 1 }, (_, at) => at + 2));
    expect(reader.notices()).to.deep.equal([]);
  });

  it("is the same set from whichever tape it is opened", async () => {
    const shelf = new TapeShelf(() => ({ capacityBytes: 20_000 }));
    const objects = written(60);
    await using drive = await shelf.open("write");
    await write(drive, objects);
    for (let from = 1; from <= shelf.tapes.size; from++) {
      await using reader = await shelf.open("read", { from });
      expect((await reader.spaceToEndOfData()).object).to.equal(60);
      await reader.rewind();
      await expectAll(reader, objects);
    }
  });

  it("keeps what was written, whatever the tapes hold, and takes no more room than there is", async () => {
    await withRandom(async (random) => {
      const capacities = Array.from({ length: 200 }, () => 12_000 + random.below(40_000));
      const shelf = new TapeShelf((sequence) => ({
        capacityBytes: capacities[sequence] ?? 20_000,
        ...(sequence % 3 === 0 ? { earlyWarningBytes: 0 } : {}),
      }));
      const objects = Array.from({ length: 150 }, () =>
        random.below(10) === 0 ? undefined : randomBytes(random, 1 + random.below(6000)),
      );
      await using drive = await shelf.open("write");
      await write(drive, objects);
      await using reader = await shelf.open("read");
      await expectAll(reader, objects);
      for (let tries = 0; tries < 200; tries++) {
        const at = random.below(objects.length + 1);
        await reader.locate(at);
        const marks = objects.slice(0, at).filter((each) => each === undefined).length;
        const target = new Uint8Array(6000);
        const reverse = random.below(2) === 0 && at > 0;
        const object = objects[reverse ? at - 1 : at];
        const read = await reader.read(target, { reverse });
        if (at === objects.length && !reverse) expect(read.kind).to.equal("end-of-data");
        else if (object === undefined) expect(read.kind).to.equal("filemark");
        else expect(Buffer.compare(target.subarray(0, object.length), object)).to.equal(0);
        await reader.locate(at);
        expect(await reader.position()).to.include({ object: at, file: marks });
      }
    });
  });

  it("loses with a tape what is on it, and no more", async () => {
    const shelf = new TapeShelf(() => ({ capacityBytes: 20_000 }));
    const objects = written(80);
    await using drive = await shelf.open("write");
    await write(drive, objects);
    shelf.lost.add("tape 3");
    await using reader = await shelf.open("read");
    expect((await reader.spaceToEndOfData()).object).to.equal(80);
    const target = new Uint8Array(1000);
    const lost: number[] = [];
    for (const [at, object] of objects.entries()) {
      await reader.locate(at);
      try {
        const read = await reader.read(target);
        if (object === undefined) expect(read.kind).to.equal("filemark");
        else expect(Buffer.compare(target, object), `object ${at}`).to.equal(0);
      } catch (error) {
        expect(error).to.include({ code: "not-found" });
        expect(String(error)).to.include("tape 3 of the set, tape 3 (serial S3)");
        lost.push(at);
      }
    }
    const onTape = shelf.tapes.get("tape 3")?.length ?? 0;
    // Without label, continuation and end, and the filemarks between them.
    expect(lost.length).to.equal(onTape - 7);
    expect(lost.at(-1)).to.equal((lost[0] ?? 0) + lost.length - 1);
    expect(reader.notices().join()).to.include("tape 3");
  });

  it("says which tape goes on where the last one is missing", async () => {
    const shelf = new TapeShelf(() => ({ capacityBytes: 20_000 }));
    await using drive = await shelf.open("write");
    await write(drive, written(30));
    shelf.lost.add("tape 2");
    await using reader = await shelf.open("read");
    const end = await reader.spaceToEndOfData();
    expect(end.object).to.be.lessThan(30);
    const { message } = await expectReelError(reader.read(new Uint8Array(1)), "not-found");
    expect(message).to.include("tape 2 of the set, tape 2 (serial S2)");
    await expectReelError(reader.locate(29), "not-found");
  });

  it("does not take a tape that was written anew for what it was", async () => {
    const shelf = new TapeShelf(() => ({ capacityBytes: 20_000 }));
    await using drive = await shelf.open("write");
    await write(drive, written(60));
    const old = [...(shelf.tapes.get("tape 3") ?? [])];
    // The set is cut on tape 1, and grows again over the same tapes.
    await drive.locate(3);
    await write(drive, written(60));
    shelf.tapes.set("tape 3", old);
    await using reader = await shelf.open("read");
    await reader.spaceToEndOfData();
    expect(reader.notices().join()).to.include("tape 3");
    await using other = await shelf.open("read", { from: 3 });
    await expectReelError(other.read(new Uint8Array(1)), "not-found");
  });

  it("goes on where a change of tapes was cut short before the next tape was written to", async () => {
    const shelf = new TapeShelf(() => ({ capacityBytes: 20_000 }));
    await using drive = await shelf.open("write");
    await write(drive, written(30));
    shelf.tapes.set("tape 2", []);
    await using again = await shelf.open("write");
    const { object } = await again.spaceToEndOfData();
    await write(again, written(60).slice(object));
    await using reader = await shelf.open("read");
    await expectAll(reader, written(60));
  });

  it("ends with its last tape when there is no other", async () => {
    const tapes: MemoryObject[] = [];
    await using drive = await TapeSetDrive.open(
      new MemoryTape({ objects: tapes, capacityBytes: 10_000 }),
      { nextTape: async () => undefined },
    );
    for (let record = 0; record < 9; record++) await drive.write([patternBytes(1000, record)]);
    await expectReelError(drive.write([patternBytes(1000)]), "end-of-medium");
    await drive.writeFilemarks(1);
    expect(tapes.length).to.equal(10);
  });
});
