/**
 * What writing several records at once must do on every TapeDrive: the same as writing them one by
 * one. Part of the conformance suite (tape-drive-suite.ts); drives that cannot write several at once
 * write the first.
 */
import { expect } from "chai";
import type { TapeDrive, TapeRead, TapeRecord } from "../../src/tape/tape-drive.ts";
import { writeRecords } from "../../src/tape/write-records.ts";
import { expectReelError } from "./expect-error.ts";
import { patternBytes } from "./pattern.ts";
import type { TapeFixture } from "./tape-drive-suite.ts";

const LENGTHS = [80, 1, 7, 4096, 300];

export function writeRecordsSuite(name: string, make: () => Promise<TapeFixture>): void {
  describe(`${name} writes records together`, () => {
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

    const reopen = async (
      mode: "read" | "write",
      limits?: Parameters<TapeFixture["open"]>[1],
    ): Promise<void> => {
      await drive.close();
      drive = await tape.open(mode, limits);
    };

    const writeAll = async (records: readonly TapeRecord[]): Promise<void> => {
      const { object } = await drive.position();
      for (let done = 0; done < records.length;) {
        const { written } = await writeRecords(drive, records.slice(done));
        expect(written).to.be.within(1, records.length - done);
        done += written;
        expect((await drive.position()).object).to.equal(object + done);
      }
    };

    const readOne = async (target = new Uint8Array(8192)): Promise<TapeRead> => drive.read(target);

    const expectRecord = async (expected: Uint8Array): Promise<void> => {
      const target = new Uint8Array(expected.length);
      const read = await readOne(target);
      expect(read).to.deep.equal({ kind: "record", lengthBytes: expected.length, flawed: false });
      expect(Buffer.compare(target, expected)).to.equal(0);
    };

    it("as it writes them one by one", async () => {
      const records = LENGTHS.map((length, salt): TapeRecord => {
        const whole = patternBytes(length, salt);
        return [whole.subarray(0, 1), whole.subarray(1, 1), whole.subarray(1)];
      });
      await writeAll(records);
      await writeAll(records);
      await drive.writeFilemarks(1);
      expect(await drive.position()).to.include({ object: 11, file: 1 });
      for (const again of [false, true]) {
        if (again) await reopen("read");
        else await drive.rewind();
        for (let round = 0; round < 2; round++) {
          for (const [salt, length] of LENGTHS.entries()) {
            await expectRecord(patternBytes(length, salt));
          }
        }
        expect((await readOne()).kind).to.equal("filemark");
        expect((await readOne()).kind).to.equal("end-of-data");
      }
    });

    it("of more parts, and of more bytes, than go into one call of the system", async () => {
      await reopen("write", { capacityBytes: 1e9, earlyWarningBytes: 0 });
      const whole = patternBytes(1500, 4);
      const bytes = Array.from({ length: 1500 }, (_, at) => whole.subarray(at, at + 1));
      const large = patternBytes(3_000_001, 5);
      await writeAll([bytes, bytes, [large], [large]]);
      await drive.rewind();
      for (const record of [whole, whole, large, large]) await expectRecord(record);
    });

    it("and ends the tape behind them", async () => {
      for (let salt = 0; salt < 5; salt++) await drive.write([patternBytes(100, salt)]);
      await drive.locate(2);
      const records = [patternBytes(33, 5), patternBytes(34, 6)];
      await writeAll(records.map((record) => [record]));
      expect((await readOne()).kind).to.equal("end-of-data");
      expect((await drive.spaceToEndOfData()).object).to.equal(4);
      await drive.locate(1);
      for (const record of [patternBytes(100, 1), ...records]) await expectRecord(record);
    });

    it("up to one that is no record", async () => {
      const records = [patternBytes(10, 1), patternBytes(20, 2)];
      for (const wrong of [[], [new Uint8Array(drive.capabilities.recordBytesMax + 1)]]) {
        await drive.rewind();
        const all = [...records.map((record) => [record]), wrong, [patternBytes(5)]];
        await expectReelError(writeAll(all), "invalid");
        expect(await drive.position()).to.include({ object: 2 });
        await drive.rewind();
        for (const record of records) await expectRecord(record);
        expect((await readOne()).kind).to.equal("end-of-data");
      }
      await expectReelError(writeRecords(drive, []), "invalid");
    });

    it("up to the one that warns, and before the one that does not fit", async () => {
      await reopen("write", { capacityBytes: 4500, earlyWarningBytes: 1500 });
      const left = Array.from({ length: 6 }, (_, salt): TapeRecord => [patternBytes(992, salt)]);
      const warned: boolean[] = [];
      const writeOn = async (): Promise<void> => {
        while (left.length > 0) {
          const { written, earlyWarning } = await writeRecords(drive, left);
          left.splice(0, written);
          for (let each = 1; each < written; each++) warned.push(false);
          warned.push(earlyWarning);
        }
      };
      await expectReelError(writeOn(), "end-of-medium");
      expect(warned).to.deep.equal([false, false, true, true]);
      expect(left.length).to.equal(2);
      expect(await drive.position()).to.include({ object: 4, earlyWarning: true });
      await reopen("read");
      expect((await drive.spaceToEndOfData()).object).to.equal(4);
      await drive.rewind();
      for (let salt = 0; salt < 4; salt++) await expectRecord(patternBytes(992, salt));
      expect((await readOne()).kind).to.equal("end-of-data");
    });

    it("not where the first does not fit: the tape is as it was", async () => {
      await reopen("write", { capacityBytes: 2000, earlyWarningBytes: 0 });
      for (const salt of [1, 2]) await drive.write([patternBytes(100, salt)]);
      await drive.locate(1);
      const records = [[patternBytes(1900)], [patternBytes(10)]];
      await expectReelError(writeRecords(drive, records), "end-of-medium");
      await expectRecord(patternBytes(100, 2));
    });

    it("not on a tape that was opened for reading, nor on one that was closed", async () => {
      await writeAll([[patternBytes(10)], [patternBytes(20)]]);
      await reopen("read");
      await expectReelError(writeRecords(drive, [[patternBytes(10)]]), "read-only");
      expect((await drive.spaceToEndOfData()).object).to.equal(2);
      await drive.close();
      await expectReelError(writeRecords(drive, [[patternBytes(10)]]), "closed");
    });

    it("in the order of the calls", async () => {
      const results = await Promise.all([
        drive.write([patternBytes(10, 1)]),
        writeRecords(drive, [[patternBytes(20, 2)]]),
        drive.writeFilemarks(1),
        writeRecords(drive, [[patternBytes(30, 3)]]),
        drive.position(),
      ]);
      expect(results[4]).to.include({ object: 4, file: 1 });
      await drive.rewind();
      await expectRecord(patternBytes(10, 1));
      await expectRecord(patternBytes(20, 2));
    });
  });
}
