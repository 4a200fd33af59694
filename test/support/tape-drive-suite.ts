/** What every TapeDrive must do (the rules of src/tape/tape-drive.ts), run on each implementation. */
import { expect } from "chai";
import type { TapeDrive, TapeRead } from "../../src/tape/tape-drive.ts";
import { expectReelError } from "./expect-error.ts";
import { patternBytes } from "./pattern.ts";
import { writeRecordsSuite } from "./write-records-suite.ts";

/** One tape, to be opened again and again; empty at first. */
export interface TapeFixture {
  open(
    mode: "read" | "write",
    limits?: { readonly capacityBytes: number; readonly earlyWarningBytes: number },
  ): Promise<TapeDrive>;
  remove(): Promise<void>;
}

const LENGTHS = [80, 1, 7, 4096, 300];

export function tapeDriveSuite(name: string, make: () => Promise<TapeFixture>): void {
  describe(`${name} keeps the rules of TapeDrive`, () => {
    let tape: TapeFixture;
    let drive: TapeDrive;

    beforeEach(async () => {
      tape = await make();
      drive = await tape.open("write");
    });

    afterEach(async () => {
      await drive.close();
      await tape.remove();
    });

    const reopen = async (mode: "read" | "write"): Promise<void> => {
      await drive.close();
      drive = await tape.open(mode);
    };

    /** Records of LENGTHS, a filemark, one more record, two filemarks: objects 0 to 8. */
    const fill = async (): Promise<void> => {
      for (const [salt, length] of LENGTHS.entries())
        await drive.write([patternBytes(length, salt)]);
      await drive.writeFilemarks(1);
      await drive.write([patternBytes(50, 9)]);
      await drive.writeFilemarks(2);
    };

    const readOne = async (reverse = false): Promise<{ read: TapeRead; data: Uint8Array }> => {
      const data = new Uint8Array(8192).fill(0xee);
      return { read: await drive.read(data, { reverse }), data };
    };

    const expectRecord = async (length: number, salt: number, reverse = false): Promise<void> => {
      const { read, data } = await readOne(reverse);
      expect(read).to.deep.equal({ kind: "record", lengthBytes: length, flawed: false });
      expect(data.subarray(0, length)).to.deep.equal(patternBytes(length, salt));
      expect(
        data.subarray(length).every((byte) => byte === 0xee),
        "bytes past the record",
      ).to.be.true;
    };

    it("is empty at first, and stands at the beginning", async () => {
      expect(await drive.position()).to.deep.equal({
        object: 0,
        file: 0,
        beginning: true,
        earlyWarning: false,
      });
      expect((await readOne()).read.kind).to.equal("end-of-data");
      expect((await readOne(true)).read.kind).to.equal("beginning");
      expect((await drive.spaceToEndOfData()).object).to.equal(0);
    });

    it("reads back what was written, after rewinding and after opening again", async () => {
      await fill();
      for (const again of [false, true]) {
        if (again) await reopen("read");
        else await drive.rewind();
        for (const [salt, length] of LENGTHS.entries()) await expectRecord(length, salt);
        expect((await readOne()).read).to.deep.equal({ kind: "filemark" });
        expect(await drive.position()).to.include({ object: 6, file: 1, beginning: false });
        await expectRecord(50, 9);
        expect((await readOne()).read.kind).to.equal("filemark");
        expect((await readOne()).read.kind).to.equal("filemark");
        for (let repeat = 0; repeat < 2; repeat++) {
          expect((await readOne()).read).to.deep.equal({ kind: "end-of-data" });
          expect(await drive.position()).to.include({ object: 9, file: 3 });
        }
      }
    });

    it("reads backward, in tape order within a record", async function () {
      if (!drive.capabilities.reverse) this.skip();
      await fill();
      await reopen("read");
      await drive.spaceToEndOfData();
      expect((await readOne(true)).read.kind).to.equal("filemark");
      expect((await readOne(true)).read.kind).to.equal("filemark");
      await expectRecord(50, 9, true);
      expect((await readOne(true)).read.kind).to.equal("filemark");
      for (const [salt, length] of [...LENGTHS.entries()].reverse()) {
        await expectRecord(length, salt, true);
        expect((await drive.position()).object).to.equal(salt);
      }
      expect((await readOne(true)).read).to.deep.equal({ kind: "beginning" });
      await expectRecord(80, 0);
    });

    it("joins the parts of a record", async () => {
      const whole = patternBytes(5000, 3);
      const parts = [whole.subarray(0, 1), whole.subarray(1, 1), whole.subarray(1, 4096)];
      await drive.write([...parts, whole.subarray(4096)]);
      await drive.rewind();
      await expectRecord(5000, 3);
    });

    it("joins very many parts", async () => {
      const whole = patternBytes(5001, 4);
      await drive.write(Array.from({ length: 5001 }, (_, at) => whole.subarray(at, at + 1)));
      await drive.rewind();
      await expectRecord(5001, 4);
    });

    it("fills a short target and passes the record whole", async () => {
      await fill();
      for (const [length, reverse] of [
        [100, false],
        [0, true],
      ] as const) {
        await drive.locate(reverse ? 4 : 3);
        const data = new Uint8Array(200).fill(0xee);
        const read = await drive.read(data.subarray(0, length), { reverse });
        expect(read).to.deep.include({ kind: "record", lengthBytes: 4096 });
        expect(data.subarray(0, length)).to.deep.equal(patternBytes(4096, 3).subarray(0, length));
        expect(data[length]).to.equal(0xee);
        expect((await drive.position()).object).to.equal(reverse ? 3 : 4);
      }
      await expectRecord(4096, 3);
      await expectRecord(300, 4);
    });

    it("refuses a record without bytes, and one too long", async () => {
      await fill();
      await expectReelError(drive.write([]), "invalid");
      await expectReelError(drive.write([new Uint8Array(0)]), "invalid");
      const tooLong = new Uint8Array(drive.capabilities.recordBytesMax + 1);
      await expectReelError(drive.write([tooLong]), "invalid");
      expect((await drive.position()).object).to.equal(9);
      await drive.locate(8);
      expect((await readOne()).read.kind).to.equal("filemark");
    });

    it("refuses counts and numbers that make no sense", async () => {
      await expectReelError(drive.writeFilemarks(-1), "invalid");
      await expectReelError(drive.writeFilemarks(1.5), "invalid");
      await expectReelError(drive.writeFilemarks(1e12), "invalid");
      await expectReelError(drive.locate(-1), "invalid");
      await expectReelError(drive.locate(0.5), "invalid");
      await expectReelError(drive.space("records", Number.NaN), "invalid");
    });

    it("writes no filemark when asked for none", async () => {
      await fill();
      await drive.locate(2);
      expect(await drive.writeFilemarks(0)).to.deep.equal({ earlyWarning: false });
      await expectRecord(7, 2);
      await expectRecord(4096, 3);
    });

    it("ends the tape where something is written", async () => {
      await fill();
      await drive.locate(2);
      await drive.write([patternBytes(33, 5)]);
      expect((await readOne()).read.kind).to.equal("end-of-data");
      expect((await drive.spaceToEndOfData()).object).to.equal(3);
      await drive.locate(1);
      await drive.writeFilemarks(1);
      expect(await drive.position()).to.include({ object: 2, file: 1 });
      await reopen("write");
      await expectRecord(80, 0);
      expect((await readOne()).read.kind).to.equal("filemark");
      expect((await readOne()).read.kind).to.equal("end-of-data");
      await drive.write([patternBytes(12, 6)]);
      await drive.rewind();
      await drive.write([patternBytes(13, 7)]);
      await reopen("read");
      await expectRecord(13, 7);
      expect((await readOne()).read.kind).to.equal("end-of-data");
    });

    it("appends to a tape that is opened again", async () => {
      await fill();
      await reopen("write");
      expect(await drive.spaceToEndOfData()).to.include({ object: 9, file: 3 });
      await drive.write([patternBytes(21, 8)]);
      await reopen("read");
      await drive.locate(9);
      await expectRecord(21, 8);
      await drive.locate(3);
      await expectRecord(4096, 3);
    });

    it("spaces over records, and a filemark stops it and is passed", async () => {
      await fill();
      await reopen("read");
      expect(await drive.space("records", 2)).to.include({ passed: 2 });
      await expectRecord(7, 2);
      expect(await drive.space("records", 5)).to.deep.include({ passed: 2, stoppedBy: "filemark" });
      expect((await drive.position()).object).to.equal(6);
      expect(await drive.space("records", -1)).to.deep.include({
        passed: 0,
        stoppedBy: "filemark",
      });
      expect((await drive.position()).object).to.equal(5);
      expect(await drive.space("records", -4)).to.include({ passed: 4 });
      expect((await drive.position()).object).to.equal(1);
      expect(await drive.space("records", -4)).to.deep.include({
        passed: 1,
        stoppedBy: "beginning",
      });
      expect(await drive.space("records", 0)).to.include({ passed: 0 });
      await drive.spaceToEndOfData();
      expect(await drive.space("records", 1)).to.deep.include({
        passed: 0,
        stoppedBy: "end-of-data",
      });
    });

    it("spaces over filemarks", async () => {
      await fill();
      await reopen("read");
      expect(await drive.space("filemarks", 1)).to.include({ passed: 1 });
      await expectRecord(50, 9);
      expect(await drive.space("filemarks", 2)).to.include({ passed: 2 });
      expect((await drive.position()).object).to.equal(9);
      expect(await drive.space("filemarks", -3)).to.include({ passed: 3 });
      expect(await drive.position()).to.include({ object: 5, file: 0 });
      expect(await drive.space("filemarks", -1)).to.deep.include({
        passed: 0,
        stoppedBy: "beginning",
      });
      expect((await drive.position()).beginning).to.be.true;
      expect(await drive.space("filemarks", 7)).to.deep.include({
        passed: 3,
        stoppedBy: "end-of-data",
      });
      expect((await drive.position()).object).to.equal(9);
    });

    it("locates any object, and stops at the end of the data when there is none", async () => {
      await fill();
      await reopen("read");
      for (const object of [7, 0, 9, 3, 6, 1]) {
        await drive.locate(object);
        expect((await drive.position()).object).to.equal(object);
      }
      await expectRecord(1, 1);
      await expectReelError(drive.locate(10), "out-of-range");
      expect((await drive.position()).object).to.equal(9);
      await expectReelError(drive.locate(Number.MAX_SAFE_INTEGER), "out-of-range");
    });

    it("runs calls in the order made, without waiting for one another", async () => {
      const target = new Uint8Array(4096);
      const results = await Promise.all([
        drive.write([patternBytes(10, 1)]),
        drive.write([patternBytes(20, 2)]),
        drive.writeFilemarks(1),
        drive.position(),
        drive.locate(1),
        drive.read(target),
        drive.position(),
        drive.rewind(),
        drive.position(),
      ]);
      expect(results[3]).to.include({ object: 3, file: 1 });
      expect(results[5]).to.include({ kind: "record", lengthBytes: 20 });
      expect(target.subarray(0, 20)).to.deep.equal(patternBytes(20, 2));
      expect(results[6]).to.include({ object: 2 });
      expect(results[8]).to.include({ object: 0 });
    });

    it("goes on after a call that failed", async () => {
      const failed = drive.locate(5);
      const written = drive.write([patternBytes(10, 1)]);
      await expectReelError(failed, "out-of-range");
      await written;
      await drive.rewind();
      await expectRecord(10, 1);
    });

    it("refuses to write a tape that was opened for reading", async () => {
      await fill();
      await reopen("read");
      expect(drive.capabilities.writable).to.be.false;
      await expectReelError(drive.write([patternBytes(10)]), "read-only");
      await expectReelError(drive.writeFilemarks(1), "read-only");
      expect((await drive.spaceToEndOfData()).object).to.equal(9);
    });

    it("warns before the end, and at the end writes nothing of what does not fit", async () => {
      await drive.close();
      drive = await tape.open("write", { capacityBytes: 4000, earlyWarningBytes: 1500 });
      const record = patternBytes(992, 1);
      expect(await drive.write([record])).to.deep.equal({ earlyWarning: false });
      expect(await drive.write([record])).to.deep.equal({ earlyWarning: false });
      expect((await drive.position()).earlyWarning).to.be.false;
      expect(await drive.write([record])).to.deep.equal({ earlyWarning: true });
      expect((await drive.position()).earlyWarning).to.be.true;
      expect(await drive.write([record])).to.deep.equal({ earlyWarning: true });
      await expectReelError(drive.write([patternBytes(1)]), "end-of-medium");
      await expectReelError(drive.writeFilemarks(1), "end-of-medium");
      expect(await drive.position()).to.include({ object: 4, earlyWarning: true });
      await reopen("read");
      expect((await drive.spaceToEndOfData()).object).to.equal(4);
      await drive.locate(3);
      expect((await readOne()).read).to.include({ kind: "record", lengthBytes: 992 });
    });

    it("leaves the tape as it is when a write in the middle does not fit", async () => {
      await drive.close();
      drive = await tape.open("write", { capacityBytes: 2000, earlyWarningBytes: 0 });
      await drive.write([patternBytes(100, 1)]);
      await drive.write([patternBytes(100, 2)]);
      await drive.locate(1);
      await expectReelError(drive.write([patternBytes(1900)]), "end-of-medium");
      await expectRecord(100, 2);
    });

    it("tells where objects begin, where it tells at all", async function () {
      await fill();
      const offsets: (number | undefined)[] = [];
      for (let object = 0; object <= 9; object++) {
        offsets.push(await drive.objectOffsetBytes?.(object));
      }
      if (offsets[0] === undefined) this.skip();
      expect(offsets[0]).to.equal(0);
      for (let object = 1; object <= 9; object++) {
        expect(offsets[object]).to.be.greaterThan(offsets[object - 1] ?? 0);
      }
      expect(await drive.objectOffsetBytes?.(10)).to.equal(undefined);
      expect((await drive.position()).object).to.equal(9);
    });

    it("closes once for all, after what was queued", async () => {
      const written = drive.write([patternBytes(10, 1)]);
      const closes = [drive.close(), drive.close()];
      const late = drive.position();
      await expectReelError(late, "closed");
      await written;
      await Promise.all(closes);
      await drive.close();
      for (const call of [
        drive.position(),
        drive.read(new Uint8Array(1)),
        drive.write([patternBytes(1)]),
        drive.writeFilemarks(1),
        drive.space("records", 1),
        drive.spaceToEndOfData(),
        drive.locate(0),
        drive.rewind(),
      ]) {
        await expectReelError(call, "closed");
      }
      drive = await tape.open("read");
      await expectRecord(10, 1);
    });

    it("is closed when its block ends", async () => {
      await drive.close();
      let inner: TapeDrive;
      {
        await using scoped = await tape.open("read");
        inner = scoped;
      }
      await expectReelError(inner.position(), "closed");
      drive = await tape.open("write");
    });
  });

  writeRecordsSuite(name, make);
}
