import { expect } from "chai";
import { appendFile, mkdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openSimhTape } from "../../src/tape/simh-tape.ts";
import type { TapeDrive } from "../../src/tape/tape-drive.ts";
import { expectReelError } from "../support/expect-error.ts";
import { patternBytes } from "../support/pattern.ts";
import { makeTempFolder } from "../support/temp.ts";
import { runWriter } from "./run-writer.ts";
import * as tap from "./tap-builder.ts";

describe("objects of a .tap file", () => {
  let folder: string;
  let remove: () => Promise<void>;
  let path: string;
  let drive: TapeDrive | undefined;

  beforeEach(async () => {
    ({ folder, remove } = await makeTempFolder());
    path = join(folder, "test.tap");
  });

  afterEach(async () => {
    await drive?.close();
    drive = undefined;
    await remove();
  });

  const openTap = async (parts: readonly Buffer[], mode: "read" | "write" = "read") => {
    await writeFile(path, Buffer.concat(parts));
    return (drive = await openSimhTape(path, { mode }));
  };

  /** One character for each object going forward, and the same going back. */
  const sketch = async (tape: TapeDrive): Promise<[forward: string, backward: string]> => {
    const letters: string[] = [];
    const target = new Uint8Array(64 * 1024);
    for (const reverse of [false, true]) {
      let line = "";
      for (;;) {
        const read = await tape.read(target, { reverse });
        if (read.kind === "end-of-data" || read.kind === "beginning") break;
        if (read.kind === "filemark") line += "|";
        else line += `${read.flawed ? "!" : ""}${read.lengthBytes} `;
      }
      letters.push(line);
    }
    return [letters[0] ?? "", letters[1] ?? ""];
  };

  it("passes over gaps, half gaps, private, reserved and descriptive objects, both ways", async () => {
    const strange = [
      tap.record(patternBytes(33), 14),
      tap.ERASE_GAP,
      tap.ERASE_GAP,
      tap.good(80, 1),
      tap.HALF_GAP,
      tap.ERASE_GAP,
      tap.good(7, 2),
      tap.PRIVATE_MARKER,
      tap.FILEMARK,
      tap.record(patternBytes(5), 3),
      tap.RESERVED_MARKER,
      tap.record(patternBytes(8), 12),
      tap.good(90, 3),
      tap.ERASE_GAP,
      tap.FILEMARK,
      tap.ERASE_GAP,
    ];
    const tape = await openTap(strange);
    expect(await sketch(tape)).to.deep.equal(["80 7 |90 |", "|90 |7 80 "]);
    await tape.locate(3);
    const target = new Uint8Array(90);
    await tape.read(target);
    expect(target).to.deep.equal(patternBytes(90, 3));
  });

  it("shows bad records as flawed, also those of which nothing was recovered", async () => {
    const tape = await openTap([
      tap.record(patternBytes(20), 8),
      tap.record(new Uint8Array(0), 8),
      tap.good(4),
    ]);
    expect(await sketch(tape)).to.deep.equal(["!20 !0 4 ", "4 !0 !20 "]);
  });

  it("reads records longer than it writes", async () => {
    const long = patternBytes(2 ** 24 + 5, 1);
    const tape = await openTap([tap.good(3), tap.record(long), tap.good(4)]);
    await tape.locate(1);
    const target = new Uint8Array(long.length);
    expect(await tape.read(target)).to.include({ lengthBytes: long.length });
    expect(Buffer.compare(target, long)).to.equal(0);
    expect(await tape.read(target)).to.include({ lengthBytes: 4 });
  });

  it("ends at an end-of-medium marker, whatever lies behind it, and writes over it", async () => {
    const tape = await openTap([tap.good(10, 1), tap.END_OF_MEDIUM, tap.good(11, 2)], "write");
    expect(await sketch(tape)).to.deep.equal(["10 ", "10 "]);
    await tape.spaceToEndOfData();
    await tape.write([patternBytes(12, 3)]);
    expect(await readFile(path)).to.deep.equal(Buffer.concat([tap.good(10, 1), tap.good(12, 3)]));
  });

  it("keeps gaps and descriptions that lie before what is written", async () => {
    const before = [tap.record(patternBytes(9), 14), tap.good(10, 1), tap.ERASE_GAP];
    const tape = await openTap([...before, tap.good(11, 2), tap.FILEMARK], "write");
    await tape.locate(1);
    await tape.write([patternBytes(12, 3)]);
    await tape.write([patternBytes(13, 4)]);
    expect(await readFile(path)).to.deep.equal(
      Buffer.concat([...before, tap.good(12, 3), tap.good(13, 4)]),
    );
    expect(await sketch(tape)).to.deep.equal(["", "13 12 10 "]);
  });

  it("writes what the format says, odd lengths with a pad byte", async () => {
    const tape = await openTap([], "write");
    await tape.write([patternBytes(5, 1)]);
    await tape.writeFilemarks(2);
    await tape.write([patternBytes(6, 2)]);
    expect(await readFile(path)).to.deep.equal(
      Buffer.concat([tap.good(5, 1), tap.FILEMARK, tap.FILEMARK, tap.good(6, 2)]),
    );
  });

  describe("damaged", () => {
    const TARGET = new Uint8Array(4096);

    /** Flips a bit of a tape of five records of 100 bytes (108 each). */
    const openFlipped = async (atByte: number, value: number): Promise<TapeDrive> => {
      const bytes = Buffer.concat([0, 1, 2, 3, 4].map((salt) => tap.good(100, salt)));
      bytes.writeUInt8(bytes.readUInt8(atByte) ^ value, atByte);
      return openTap([bytes]);
    };

    for (const [what, atByte, value] of [
      ["first word is wrong", 216, 0x04],
      ["first word leads out of the tape", 218, 0x40],
      ["first word is of no class", 219, 0xf0],
      ["last word is wrong", 216 + 104, 0x10],
    ] as const) {
      it(`one record is lost, and only that, when its ${what}`, async () => {
        const tape = await openFlipped(atByte, value);
        await tape.locate(2);
        const error = await expectReelError(tape.read(TARGET), "damaged");
        expect(error.message).to.include("object 2 at byte 216 is damaged");
        expect((await tape.position()).object).to.equal(2);
        expect((await tape.spaceToEndOfData()).object).to.equal(5);
        for (const object of [3, 4, 1]) {
          await tape.locate(object);
          expect(await tape.read(TARGET)).to.include({ lengthBytes: 100 });
          expect(TARGET.subarray(0, 100)).to.deep.equal(patternBytes(100, object));
        }
        await expectReelError(tape.read(TARGET), "damaged");
        await tape.locate(3);
        await expectReelError(tape.read(TARGET, { reverse: true }), "damaged");
      });
    }

    it("a number within the damaged record that leads back to its start is not its end", async () => {
      const bad = tap.good(100, 2);
      bad.writeUInt32LE(0x20, 36);
      bad.writeUInt32LE(120, 0);
      const tape = await openTap([tap.good(100, 1), bad, tap.good(90, 3)]);
      expect((await tape.spaceToEndOfData()).object).to.equal(3);
      await tape.locate(2);
      expect(await tape.read(TARGET)).to.include({ lengthBytes: 90 });
    });

    it("a record read forward without locating is checked as well", async () => {
      const tape = await openFlipped(216 + 104, 0x10);
      await tape.read(TARGET);
      await tape.read(TARGET);
      await expectReelError(tape.read(TARGET), "damaged");
      await expectReelError(tape.read(TARGET), "damaged");
      await tape.locate(3);
      expect(await tape.read(TARGET)).to.include({ kind: "record" });
    });

    it("what lies before the damage is read when both words are gone", async () => {
      const bytes = Buffer.concat([tap.good(100, 0), tap.good(100, 1), tap.good(100, 2)]);
      bytes.fill(0xa5, 108, 112);
      bytes.fill(0x5a, 212, 216);
      const tape = await openTap([bytes], "write");
      expect(await tape.read(TARGET)).to.include({ kind: "record" });
      const error = await expectReelError(tape.read(TARGET), "damaged");
      expect(error.message).to.include("object 1 at byte 108").and.include("lies before it");
      await expectReelError(tape.spaceToEndOfData(), "damaged");
      expect((await tape.position()).object).to.equal(1);
      await expectReelError(tape.space("records", 3), "damaged");
      await expectReelError(tape.space("filemarks", 1), "damaged");
      await expectReelError(tape.locate(2), "damaged");
      expect((await stat(path)).size).to.equal(324);
      await tape.locate(1);
      await tape.write([patternBytes(4, 5)]);
      expect((await stat(path)).size).to.equal(108 + 12);
    });

    it("a word of no meaning stops the tape there", async () => {
      const tape = await openTap([tap.good(4), tap.word(0xfffe_0001), Buffer.alloc(2)]);
      await tape.read(TARGET);
      const error = await expectReelError(tape.read(TARGET), "damaged");
      expect(error.message).to.include("FFFE0001 means nothing");
    });
  });

  describe("cut in the middle of a record", () => {
    const whole = Buffer.concat([tap.good(100, 1), tap.good(200, 2)]);

    for (const keptBytes of [109, 111, 113, 250, whole.length - 1]) {
      it(`is read up to the cut, and never shortened in reading (${keptBytes} bytes)`, async () => {
        const tape = await openTap([whole.subarray(0, keptBytes)]);
        const target = new Uint8Array(200);
        expect(await tape.read(target)).to.include({ lengthBytes: 100 });
        const error = await expectReelError(tape.read(target), "damaged");
        expect(error.message).to.include("object 1 at byte 108").and.include("cut");
        await expectReelError(tape.spaceToEndOfData(), "damaged");
        expect((await tape.position()).object).to.equal(1);
        await tape.close();
        expect((await stat(path)).size).to.equal(keptBytes);
      });

      it(`is written on from the cut (${keptBytes} bytes)`, async () => {
        const tape = await openTap([whole.subarray(0, keptBytes)], "write");
        expect((await tape.spaceToEndOfData()).object).to.equal(1);
        await tape.write([patternBytes(31, 3)]);
        expect(await readFile(path)).to.deep.equal(
          Buffer.concat([tap.good(100, 1), tap.good(31, 3)]),
        );
      });
    }

    it("is no damage for a number within it that happens to lead back to its start", async () => {
      const torn = tap.good(200, 2).subarray(0, 104);
      torn.writeUInt32LE(0x20, 36);
      const tape = await openTap([tap.good(100, 1), torn], "write");
      expect((await tape.spaceToEndOfData()).object).to.equal(1);
      await tape.write([patternBytes(31, 3)]);
      expect(await readFile(path)).to.deep.equal(
        Buffer.concat([tap.good(100, 1), tap.good(31, 3)]),
      );
    });

    it("is not what a wrong length in the middle looks like: nothing is cut off then", async () => {
      const bytes = Buffer.concat([tap.good(100, 1), tap.good(100, 2), tap.good(90, 3)]);
      bytes.writeUInt32LE(100_000, 108);
      bytes.writeUInt32LE(200_000, 212);
      const tape = await openTap([bytes, tap.FILEMARK, tap.FILEMARK], "write");
      await expectReelError(tape.spaceToEndOfData(), "damaged");
      await tape.close();
      expect((await stat(path)).size).to.equal(bytes.length + 8);
    });
  });

  it("a wrong length in the last record is damage too, and is not written over unasked", async () => {
    const bytes = Buffer.concat([tap.good(100, 1), tap.good(100, 2)]);
    bytes.writeUInt32LE(100_000, 108);
    const tape = await openTap([bytes], "write");
    expect((await tape.spaceToEndOfData()).object).to.equal(2);
    await tape.write([patternBytes(5, 3)]);
    await tape.locate(1);
    await expectReelError(tape.read(new Uint8Array(100)), "damaged");
    await tape.locate(2);
    expect(await tape.read(new Uint8Array(100))).to.include({ lengthBytes: 5 });
  });

  describe("that change while they are read", () => {
    it("are read as they grow", async () => {
      const target = new Uint8Array(100);
      const reader = await openTap([tap.good(10, 1)]);
      await reader.read(target);
      expect((await reader.read(target)).kind).to.equal("end-of-data");
      await using writer = await openSimhTape(path, { mode: "write" });
      await writer.spaceToEndOfData();
      await writer.write([patternBytes(20, 2)]);
      await writer.writeFilemarks(1);
      expect(await reader.read(target)).to.include({ lengthBytes: 20 });
      expect((await reader.read(target)).kind).to.equal("filemark");
      // Half a record, while the writer is at it: not damage, only not there yet.
      await appendFile(path, tap.good(30, 3).subarray(0, 20));
      expect((await reader.read(target)).kind).to.equal("end-of-data");
      await appendFile(path, tap.good(30, 3).subarray(20));
      expect(await reader.read(target)).to.include({ lengthBytes: 30 });
    });

    it("are read anew when they were written over", async () => {
      const reader = await openTap([tap.good(10, 1), tap.good(20, 2), tap.good(30, 3)]);
      await reader.spaceToEndOfData();
      await using writer = await openSimhTape(path, { mode: "write" });
      await writer.write([patternBytes(15, 4)]);
      await writer.write([patternBytes(25, 5)]);
      await reader.locate(1);
      const target = new Uint8Array(25);
      expect(await reader.read(target)).to.include({ lengthBytes: 25 });
      expect(target).to.deep.equal(patternBytes(25, 5));
      expect((await reader.read(target)).kind).to.equal("end-of-data");
    });

    it("are said to be gone when they are gone", async () => {
      const reader = await openTap([tap.good(10, 1), tap.good(20, 2), tap.good(30, 3)]);
      await reader.spaceToEndOfData();
      await truncate(path, 18);
      await expectReelError(reader.read(new Uint8Array(10), { reverse: true }), "damaged");
      await reader.rewind();
      expect(await reader.read(new Uint8Array(10))).to.include({ lengthBytes: 10 });
    });
  });

  it("says what cannot be opened, and why", async () => {
    await expectReelError(openSimhTape(path, { mode: "read" }), "not-found");
    await expectReelError(openSimhTape(path, { mode: "write" }), "not-found");
    await expectReelError(openSimhTape(path, { mode: "read", create: true }), "not-found");
    await mkdir(path);
    await expectReelError(openSimhTape(path, { mode: "read" }), "invalid");
    await expectReelError(openSimhTape("/dev/null", { mode: "read" }), "invalid");
    await expectReelError(openSimhTape(path, { mode: "read", capacityBytes: -1 }), "invalid");
  });

  it("ends before the record for which there was no room on the disk", async function () {
    this.timeout(20_000);
    const { lines } = await runWriter(path, { fileSizeLimitKiB: 64 });
    expect(lines.at(-1)).to.match(/^failed no-space at object 6: /);
    const bytes = await readFile(path);
    expect(bytes).to.deep.equal(
      Buffer.concat([0, 1, 2, 3, 4, 5].map((salt) => tap.good(10_000, salt))),
    );
  });
});
