/** Records and filemarks through a SCSI drive: every way that reading, writing and spacing ends. */
import { expect } from "chai";
import type { MemoryObject } from "../../../src/tape/memory-tape.ts";
import { FaultyDrive } from "../../support/faulty-drive.ts";
import {
  DRIVE,
  Host,
  bench,
  blockLengthList,
  locate10,
  locate16,
  modeSelect6,
  read,
  readPosition,
  readReverse,
  rewind,
  space16,
  space6,
  testUnitReady,
  write,
  writeFilemarks,
  type Bench,
} from "./host.ts";

const FIXED = 0x01;
const SILI = 0x02;
const TAPE_ORDER = 0x04;
const CODE_RECORDS = 0;
const CODE_FILEMARKS = 1;
const CODE_END_OF_DATA = 3;

const record = (text: string): Uint8Array => Buffer.from(text);

/** "alpha" "be" | "gamma" | : two tape files. */
const someObjects = (): MemoryObject[] => [
  record("alpha"),
  record("be"),
  undefined,
  record("gamma"),
  undefined,
];

async function withTape(
  objects: MemoryObject[],
  tape: { writeProtected?: boolean; capacityBytes?: number; earlyWarningBytes?: number } = {},
): Promise<Bench> {
  return bench({ tapes: [{ barcode: "REEL0001", objects, ...tape }] });
}

async function objectNumber(drive: Host): Promise<number> {
  return (await drive.good(readPosition(0))).readUInt32BE(4);
}

async function setBlockLength(drive: Host, bytes: number): Promise<void> {
  await drive.good(modeSelect6(12), blockLengthList(bytes));
}

describe("SCSI drive: reading in variable blocks", () => {
  it("reads records, and the data comes back as it was written", async () => {
    const { drive } = await bench();
    await drive.good(write(5), record("hello"));
    await drive.good(write(3), record("you"));
    await drive.good(writeFilemarks(1));
    await drive.good(rewind);
    expect((await drive.good(read(5))).toString()).to.equal("hello");
    expect((await drive.good(read(3))).toString()).to.equal("you");
  });

  it("says how much shorter a record was than asked", async () => {
    const { drive } = await withTape(someObjects());
    const sense = await drive.check(read(100));
    expect(sense).to.include({ code: "00/00/00", incorrectLength: true, information: 95 });
    expect(sense.data.toString()).to.equal("alpha");
    expect(await objectNumber(drive)).to.equal(1);
  });

  it("says how much longer it was, with what fits, and stands behind it", async () => {
    const { drive } = await withTape(someObjects());
    const sense = await drive.check(read(2));
    expect(sense).to.include({ code: "00/00/00", incorrectLength: true, information: -3 });
    expect(sense.data.toString()).to.equal("al");
    expect((await drive.good(read(2))).toString()).to.equal("be");
  });

  it("keeps quiet about lengths with SILI", async () => {
    const { drive } = await withTape(someObjects());
    expect((await drive.good(read(100, SILI))).toString()).to.equal("alpha");
    await drive.good(rewind);
    expect((await drive.good(read(2, SILI))).toString()).to.equal("al");
  });

  it("reports a long record in spite of SILI when a block length is set", async () => {
    const { drive } = await withTape(someObjects());
    await setBlockLength(drive, 512);
    expect((await drive.good(read(100, SILI))).toString()).to.equal("alpha");
    await drive.good(rewind);
    const sense = await drive.check(read(2, SILI));
    expect(sense).to.include({ incorrectLength: true, information: -3 });
  });

  it("meets a filemark, and stands behind it", async () => {
    const { drive } = await withTape([undefined, record("x")]);
    const sense = await drive.check(read(10));
    expect(sense).to.include({ code: "00/00/01", filemark: true, information: 10 });
    expect(sense.data.length).to.equal(0);
    expect((await drive.good(read(1))).toString()).to.equal("x");
  });

  it("meets the end of the data, again and again", async () => {
    const { drive } = await withTape([record("x")]);
    await drive.good(read(1));
    for (let i = 0; i < 2; i++) {
      const sense = await drive.check(read(10));
      expect(sense).to.include({ code: "08/00/05", information: 10, endOfMedium: false });
      expect(await objectNumber(drive)).to.equal(1);
    }
  });

  it("moves nothing when asked for nothing", async () => {
    const { drive } = await withTape(someObjects());
    expect((await drive.good(read(0))).length).to.equal(0);
    expect(await objectNumber(drive)).to.equal(0);
  });

  it("tells a transport how many bytes did not move", async () => {
    const { drive } = await withTape(someObjects());
    expect((await drive.send(read(100, SILI))).residualBytes).to.equal(95);
    expect((await drive.send(read(2, SILI))).residualBytes).to.equal(undefined);
  });
});

describe("SCSI drive: reading in fixed blocks", () => {
  it("reads several blocks at once", async () => {
    const { drive } = await withTape([record("aaaa"), record("bbbb"), record("cccc")]);
    await setBlockLength(drive, 4);
    expect((await drive.good(read(2, FIXED))).toString()).to.equal("aaaabbbb");
    expect(await objectNumber(drive)).to.equal(2);
  });

  it("gives the blocks before a filemark, and counts those missing", async () => {
    const { drive } = await withTape([record("aaaa"), undefined, record("cccc")]);
    await setBlockLength(drive, 4);
    const sense = await drive.check(read(3, FIXED));
    expect(sense).to.include({ code: "00/00/01", filemark: true, information: 2 });
    expect(sense.data.toString()).to.equal("aaaa");
    expect(await objectNumber(drive)).to.equal(2);
  });

  it("gives the blocks before the end of the data", async () => {
    const { drive } = await withTape([record("aaaa")]);
    await setBlockLength(drive, 4);
    const sense = await drive.check(read(3, FIXED));
    expect(sense).to.include({ code: "08/00/05", information: 2 });
    expect(sense.data.toString()).to.equal("aaaa");
  });

  it("stops behind a record of another length", async () => {
    for (const odd of ["abc", "abcdef"]) {
      const { drive } = await withTape([record("aaaa"), record(odd), record("cccc")]);
      await setBlockLength(drive, 4);
      const sense = await drive.check(read(3, FIXED));
      expect(sense).to.include({ code: "00/00/00", incorrectLength: true, information: 2 });
      expect(sense.data.toString()).to.equal("aaaa");
      expect((await drive.good(read(1, FIXED))).toString()).to.equal("cccc");
    }
  });

  it("refuses FIXED without a block length, with SILI, and more than it will hold", async () => {
    const { drive } = await withTape(someObjects());
    expect(await drive.fails(read(1, FIXED), "05/24/00")).to.include({ pointer: "cdb 1.0" });
    await setBlockLength(drive, 4096);
    expect(await drive.fails(read(1, FIXED | SILI), "05/24/00")).to.include({ pointer: "cdb 1.1" });
    const sense = await drive.fails(read(0xff_ffff, FIXED), "05/24/00");
    expect(sense).to.include({ pointer: "cdb 2" });
  });
});

describe("SCSI drive: reading backward", () => {
  it("gives the record before, last byte first, or in tape order with BYTORD", async () => {
    const { drive } = await withTape([record("abc"), record("defg")]);
    await drive.good(space6(CODE_END_OF_DATA, 0));
    expect((await drive.good(readReverse(4))).toString()).to.equal("gfed");
    expect((await drive.good(readReverse(3, TAPE_ORDER))).toString()).to.equal("abc");
    expect(await objectNumber(drive)).to.equal(0);
  });

  it("gives the last bytes of a record that is too long", async () => {
    const { drive } = await withTape([record("abcdef")]);
    await drive.good(space6(CODE_END_OF_DATA, 0));
    const sense = await drive.check(readReverse(2));
    expect(sense).to.include({ incorrectLength: true, information: -4 });
    expect(sense.data.toString()).to.equal("fe");
    expect(await objectNumber(drive)).to.equal(0);
  });

  it("reads fixed blocks in both orders", async () => {
    const { drive } = await withTape([record("ab"), record("cd"), record("ef")]);
    await setBlockLength(drive, 2);
    await drive.good(space6(CODE_END_OF_DATA, 0));
    expect((await drive.good(readReverse(2, FIXED))).toString()).to.equal("fedc");
    await drive.good(space6(CODE_END_OF_DATA, 0));
    expect((await drive.good(readReverse(2, FIXED | TAPE_ORDER))).toString()).to.equal("cdef");
  });

  it("meets the beginning of the tape, and a filemark", async () => {
    const { drive } = await withTape([record("ab"), undefined]);
    await drive.good(space6(CODE_END_OF_DATA, 0));
    const atMark = await drive.check(readReverse(2));
    expect(atMark).to.include({ code: "00/00/01", filemark: true, information: 2 });
    await drive.good(readReverse(2));
    const atStart = await drive.check(readReverse(2));
    expect(atStart).to.include({ code: "00/00/04", endOfMedium: true, information: 2 });
  });
});

describe("SCSI drive: writing", () => {
  it("writes fixed blocks as records of their own", async () => {
    const objects: MemoryObject[] = [];
    const { drive, loader } = await withTape(objects);
    await setBlockLength(drive, 3);
    await drive.good(write(2, FIXED), record("abcdef"));
    await setBlockLength(drive, 0);
    expect((await drive.good(space6(CODE_RECORDS, -1 & 0xff_ffff))).length).to.equal(0);
    expect((await drive.good(read(3))).toString()).to.equal("def");
    expect(loader.drive(0).medium()?.usedBytes).to.equal(2 * 11);
  });

  it("ends the tape where it wrote", async () => {
    const { drive } = await withTape(someObjects());
    await drive.good(write(3), record("new"));
    await drive.fails(read(10), "08/00/05");
  });

  it("refuses what it cannot: FIXED in variable mode, bytes that never came", async () => {
    const { drive } = await bench();
    expect(await drive.fails(write(1, FIXED), "05/24/00")).to.include({ pointer: "cdb 1.0" });
    await drive.fails(write(10), "0b/4b/00", record("short"));
    await drive.good(write(0));
    expect(await objectNumber(drive)).to.equal(0);
  });

  it("warns early, with everything written, then says that the tape is full", async () => {
    const { drive } = await withTape([], { capacityBytes: 100, earlyWarningBytes: 40 });
    await drive.good(write(40), new Uint8Array(40));
    const warned = await drive.check(write(20), new Uint8Array(20));
    expect(warned).to.include({ code: "00/00/02", endOfMedium: true, information: 0 });
    expect((await drive.good(readPosition(0))).readUInt8(0) & 0x40, "EOP").to.equal(0x40);
    const mark = await drive.check(writeFilemarks(1));
    expect(mark).to.include({ code: "00/00/02", endOfMedium: true });
    const full = await drive.send(write(20), new Uint8Array(20));
    expect(full.residualBytes).to.equal(20);
    const sense = await drive.check(write(20), new Uint8Array(20));
    expect(sense).to.include({ code: "0d/00/02", endOfMedium: true, information: 20 });
    expect(await objectNumber(drive)).to.equal(3);
    const end = await drive.check(read(5));
    expect(end).to.include({ code: "08/00/05", endOfMedium: true });
  });

  it("writes the fixed blocks that fit, and counts the others", async () => {
    const { drive } = await withTape([], { capacityBytes: 50 });
    await setBlockLength(drive, 10);
    const sense = await drive.check(write(4, FIXED), new Uint8Array(40));
    expect(sense).to.include({ code: "0d/00/02", endOfMedium: true, information: 2 });
    expect(await objectNumber(drive)).to.equal(2);
  });

  it("writes the filemarks that fit, and counts the others", async () => {
    const { drive } = await withTape([], { capacityBytes: 10 });
    const sense = await drive.check(writeFilemarks(5));
    expect(sense).to.include({ code: "0d/00/02", endOfMedium: true, information: 3 });
    expect(await objectNumber(drive)).to.equal(2);
  });

  it("writes no filemark when asked for none, setmarks never, and not without measure", async () => {
    const { drive } = await bench();
    await drive.good(writeFilemarks(0));
    expect(await objectNumber(drive)).to.equal(0);
    expect(await drive.fails([0x10, 2, 0, 0, 1, 0], "05/24/00")).to.include({ pointer: "cdb 1.1" });
    await drive.fails(writeFilemarks(65_537), "05/24/00");
  });

  it("leaves a protected tape alone", async () => {
    const { drive } = await withTape(someObjects(), { writeProtected: true });
    await drive.fails(write(1), "07/27/00", [1]);
    await drive.fails(writeFilemarks(1), "07/27/00");
    await drive.fails([0x19, 1, 0, 0, 0, 0], "07/27/00");
    await drive.good(writeFilemarks(0));
    expect((await drive.good(read(5))).toString()).to.equal("alpha");
  });

  it("says apart from a full tape that the disk is nearly full", async () => {
    const { drive } = await bench({
      wrap: (tape) => new FaultyDrive(tape, [{ object: 1, kind: "no-space" }]),
    });
    await setBlockLength(drive, 2);
    const sense = await drive.check(write(3, FIXED), record("aabbcc"));
    expect(sense).to.include({ code: "07/27/07", information: 2, endOfMedium: false });
    await drive.fails(writeFilemarks(1), "07/27/07");
  });

  it("reports a write that the disk refused", async () => {
    const { drive } = await bench({
      wrap: (tape) => new FaultyDrive(tape, [{ object: 0, kind: "write-error" }]),
    });
    expect(await drive.fails(write(4), "03/0c/00", record("aabb"))).to.include({ information: 4 });
  });

  it("erases from here on, long and short", async () => {
    for (const long of [0, 1]) {
      const { drive } = await withTape(someObjects());
      await drive.good(read(5));
      await drive.good([0x19, long, 0, 0, 0, 0]);
      await drive.fails(read(5), "08/00/05");
      expect(await objectNumber(drive)).to.equal(1);
    }
  });
});

describe("SCSI drive: damage", () => {
  it("loses one record, and goes on behind it", async () => {
    for (const kind of ["damaged", "read-error"] as const) {
      const { drive } = await bench({
        tapes: [{ barcode: "REEL0001", objects: someObjects() }],
        wrap: (tape) => new FaultyDrive(tape, [{ object: 0, kind }]),
      });
      const sense = await drive.check(read(5));
      expect(sense).to.include({ code: "03/11/00", information: 5 });
      expect(sense.data.length).to.equal(0);
      expect((await drive.good(read(2))).toString()).to.equal("be");
    }
  });

  it("gives a flawed record with the error, never as a good one", async () => {
    const { drive } = await bench({
      tapes: [{ barcode: "REEL0001", objects: someObjects() }],
      wrap: (tape) => new FaultyDrive(tape, [{ object: 0, kind: "flawed" }]),
    });
    const sense = await drive.check(read(5));
    expect(sense.code).to.equal("03/11/00");
    expect(sense.data.toString()).to.equal("alpha");
    expect(await objectNumber(drive)).to.equal(1);
  });

  it("stops a fixed read at a bad block, with the good ones before it", async () => {
    const { drive } = await bench({
      tapes: [{ barcode: "REEL0001", objects: [record("aa"), record("bb"), record("cc")] }],
      wrap: (tape) => new FaultyDrive(tape, [{ object: 1, kind: "damaged" }]),
    });
    await setBlockLength(drive, 2);
    const sense = await drive.check(read(3, FIXED));
    expect(sense).to.include({ code: "03/11/00", information: 2 });
    expect(sense.data.toString()).to.equal("aa");
    expect((await drive.good(read(1, FIXED))).toString()).to.equal("cc");
  });

  it("says that it lost its way where the tape was cut", async () => {
    const { drive } = await bench({
      tapes: [{ barcode: "REEL0001", objects: someObjects() }],
      wrap: (tape) => new FaultyDrive(tape, [{ object: 1, kind: "cut" }]),
    });
    await drive.fails(space6(CODE_END_OF_DATA, 0), "03/3b/00");
    await drive.fails(read(5), "03/11/00");
  });
});

describe("SCSI drive: positioning", () => {
  it("spaces over records, and stops behind a filemark with what is left", async () => {
    const { drive } = await withTape(someObjects());
    await drive.good(space6(CODE_RECORDS, 2));
    const sense = await drive.check(space6(CODE_RECORDS, 5));
    expect(sense).to.include({ code: "00/00/01", filemark: true, information: 5 });
    expect(await objectNumber(drive)).to.equal(3);
  });

  it("spaces backward, and stops before a filemark", async () => {
    const { drive } = await withTape(someObjects());
    await drive.good(locate10(4));
    await drive.good(space6(CODE_RECORDS, -1 & 0xff_ffff));
    const sense = await drive.check(space6(CODE_RECORDS, -2 & 0xff_ffff));
    expect(sense).to.include({ code: "00/00/01", filemark: true, information: 2 });
    expect(await objectNumber(drive)).to.equal(2);
  });

  it("meets the beginning with what is left, for records and filemarks", async () => {
    const { drive } = await withTape(someObjects());
    await drive.good(read(5));
    const records = await drive.check(space6(CODE_RECORDS, -3 & 0xff_ffff));
    expect(records).to.include({ code: "00/00/04", endOfMedium: true, information: 2 });
    const marks = await drive.check(space6(CODE_FILEMARKS, -3 & 0xff_ffff));
    expect(marks).to.include({ code: "00/00/04", endOfMedium: true, information: 3 });
  });

  it("answers spacing past the end of the data with BLANK CHECK", async () => {
    const { drive } = await withTape([record("a"), record("b"), undefined]);
    const marks = await drive.check(space6(CODE_FILEMARKS, 3));
    expect(marks).to.include({ code: "08/00/05", information: 2 });
    const records = await drive.check(space6(CODE_RECORDS, 3));
    expect(records).to.include({ code: "08/00/05", information: 3 });
    const far = await drive.check(space16(CODE_RECORDS, Number.MAX_SAFE_INTEGER));
    expect(far.code).to.equal("08/00/05");
    expect(far.information, "a residual beyond 32 bits is not valid").to.equal(undefined);
  });

  it("spaces with 16 bytes as with 6", async () => {
    const { drive } = await withTape(someObjects());
    await drive.good(space16(CODE_FILEMARKS, 2));
    expect(await objectNumber(drive)).to.equal(5);
    await drive.good(space16(CODE_FILEMARKS, -1));
    expect(await objectNumber(drive)).to.equal(4);
    await drive.good(space16(CODE_END_OF_DATA, 0));
    expect(await objectNumber(drive)).to.equal(5);
    await drive.fails(space16(2, 1), "05/24/00");
    await drive.fails(space6(4, 1), "05/24/00");
    await drive.good(space6(CODE_RECORDS, 0));
  });

  it("locates objects and files, and stands at the end when there is no such one", async () => {
    const { drive } = await withTape(someObjects());
    await drive.good(locate10(3, 0x04));
    expect((await drive.good(read(5))).toString()).to.equal("gamma");
    await drive.good(locate16(0, 1));
    expect((await drive.good(read(2))).toString()).to.equal("be");
    await drive.good(locate16(1, 1));
    expect((await drive.good(read(5))).toString()).to.equal("gamma");
    await drive.good(locate16(3, 0));
    expect(await objectNumber(drive)).to.equal(5);
    await drive.good(rewind);
    await drive.fails(locate10(6), "08/00/05");
    expect(await objectNumber(drive)).to.equal(5);
    await drive.fails(locate16(1, 3), "08/00/05");
    await drive.fails(locate16(2, 0), "05/24/00");
    await drive.fails([0x2b, 0x02, 0, 0, 0, 0, 0, 0, 1, 0], "05/24/00");
    const explicit = locate16(0, 0);
    explicit[2] = 1;
    await drive.fails(explicit, "05/24/00");
    const other = locate16(0, 0);
    other[1] = 2;
    other[3] = 1;
    await drive.fails(other, "05/24/00");
  });

  it("tells the position in all its forms", async () => {
    const { drive } = await withTape(someObjects());
    expect((await drive.good(readPosition(0))).readUInt8(0)).to.equal(0x80);
    await drive.good(locate10(4));
    for (const action of [0, 1]) {
      const short = await drive.good(readPosition(action));
      expect(short.length).to.equal(20);
      expect(short.readUInt8(0)).to.equal(0);
      expect([short.readUInt32BE(4), short.readUInt32BE(8)]).to.deep.equal([4, 4]);
    }
    const long = await drive.good(readPosition(6));
    expect(long.length).to.equal(32);
    expect([long.readBigUInt64BE(8), long.readBigUInt64BE(16)]).to.deep.equal([4n, 1n]);
    const extended = await drive.good(readPosition(8, 255));
    expect(extended.length).to.equal(32);
    expect(extended.readUInt16BE(2)).to.equal(0x1c);
    expect([extended.readBigUInt64BE(8), extended.readBigUInt64BE(16)]).to.deep.equal([4n, 4n]);
    expect((await drive.good(readPosition(8, 12))).length).to.equal(12);
    expect(await drive.fails(readPosition(7), "05/24/00")).to.include({ pointer: "cdb 1.4" });
  });

  it("needs a tape for all of it", async () => {
    const { drive } = await bench({}, { load: false });
    for (const cdb of [testUnitReady, rewind, read(1), write(1), writeFilemarks(0)]) {
      await drive.fails(cdb, "02/3a/00", [0]);
    }
    for (const cdb of [space6(0, 1), locate10(0), locate16(0, 0), readPosition(0)]) {
      await drive.fails(cdb, "02/3a/00");
    }
    for (const cdb of [[0x19, 0, 0, 0, 0, 0], readPosition(8, 32), [0x0b, 0, 0, 0xff, 0xff, 0]]) {
      await drive.fails(cdb, "02/3a/00");
    }
  });

  it("addresses the second drive by its LUN", async () => {
    const { target, loader } = await bench({
      tapes: [{ barcode: "REEL0001" }, { barcode: "REEL0002", objects: [record("two")] }],
    });
    const second = await new Host(target, DRIVE + 1).settle();
    await second.fails(testUnitReady, "02/3a/00");
    await loader.move({ kind: "storage", number: 2 }, { kind: "drive", number: 1 });
    await second.fails(testUnitReady, "06/28/00");
    expect((await second.good(read(3))).toString()).to.equal("two");
  });
});
