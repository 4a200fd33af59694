/** Commands and answers as developers read them. */
import { expect } from "chai";
import { describeAnswer, describeCdb } from "../../../src/vtl/scsi/decode.ts";
import { randomBytes, withRandom } from "../../support/random.ts";
import {
  CHANGER,
  DRIVE,
  Host,
  bench,
  inquiry,
  logSense,
  modeSelect6,
  modeSense6,
  moveMedium,
  read,
  readBlockLimits,
  readElementStatus,
  readPosition,
  requestSense,
  type Bytes,
} from "./host.ts";

const bytes = (cdb: Bytes): Uint8Array => Uint8Array.from(cdb);

describe("SCSI in words: commands", () => {
  it("names the command and its fields", () => {
    expect(describeCdb(bytes(read(300, 1)))).to.equal(
      "READ(6): suppress length 0, fixed 1, transfer length 300",
    );
    expect(describeCdb(bytes([0, 0xe0, 0, 0, 0, 0]))).to.equal("TEST UNIT READY");
    expect(describeCdb(bytes(readPosition(6)))).to.equal("READ POSITION, long form");
  });

  it("knows that the same code means another thing to a changer", () => {
    expect(describeCdb(bytes([0x01, 0, 0, 0, 0, 0]))).to.match(/^REWIND/);
    expect(describeCdb(bytes([0x01, 0, 0, 0, 0, 0]), "changer")).to.equal("REZERO UNIT");
    expect(describeCdb(bytes(moveMedium(4096, 256)), "changer")).to.include(
      "source 4096, destination 256",
    );
  });

  it("says what it does not know, and what is missing", () => {
    expect(describeCdb(bytes([0xfe, 0]))).to.include("command FE: not one of a drive");
    expect(describeCdb(bytes([]), "changer")).to.include("of no bytes");
    expect(describeCdb(bytes([0x08, 0]))).to.match(/^READ\(6\) \(4 bytes short\)/);
  });
});

describe("SCSI in words: answers", () => {
  it("tells status, sense and field", async () => {
    const { drive } = await bench();
    const cdb = bytes(read(1, 1));
    const text = describeAnswer(cdb, await drive.send(cdb));
    expect(text).to.equal(
      "CHECK CONDITION\nsense: ILLEGAL REQUEST 05/24/00: invalid field in CDB, " +
        "wrong: byte 1 bit 0 of the CDB",
    );
    const list = bytes([0, 0, 0x70, 0]);
    const select = await drive.send(modeSelect6(4), list);
    expect(describeAnswer(bytes(modeSelect6(4)), select)).to.include("of the parameter list");
    const end = bytes(read(10));
    expect(describeAnswer(end, await drive.send(end))).to.include(
      "BLANK CHECK 08/00/05: end of data detected, information 10\nnot moved: 10 bytes",
    );
  });

  it("tells FILEMARK, EOM and ILI", async () => {
    const objects = [Buffer.from("abc"), undefined];
    const { drive } = await bench({
      tapes: [{ barcode: "REEL0001", objects, capacityBytes: 16, earlyWarningBytes: 8 }],
    });
    const long = bytes(read(2));
    const ili = describeAnswer(long, await drive.send(long));
    expect(ili).to.include("ILI, information -1").and.to.include("61 62");
    expect(describeAnswer(long, await drive.send(long))).to.include("FILEMARK");
    expect(describeAnswer(long, await drive.send(long))).to.include("EOM");
  });

  it("takes data apart that people look at", async () => {
    const { target } = await bench({ tapes: [{ barcode: "REEL0001" }, { barcode: "REEL0002" }] });
    const drive = new Host(target, DRIVE);
    const changer = new Host(target, CHANGER);
    const cases = [
      [drive, "tape", inquiry(96), "REELFS  VIRTUAL TAPE"],
      [drive, "tape", inquiry(96, 0x80), "page 80"],
      [drive, "tape", requestSense, "NO SENSE"],
      [drive, "tape", readBlockLimits, "max 16777215"],
      [drive, "tape", readPosition(0), "beginning 1"],
      [drive, "tape", readPosition(6), "file 0"],
      [drive, "tape", modeSense6(0x3f), "page 0F Data Compression: enabled 0, capable 1"],
      [drive, "tape", [0x5a, 0, 0x3f, 0xff, 0, 0, 0, 1, 0, 0], "Device Configuration Extension"],
      [drive, "tape", logSense(0x17), 'parameter 0042: "REEL0001"'],
      [drive, "tape", logSense(0), "log page 00"],
      [drive, "tape", [0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], "LUN 2"],
      [changer, "changer", readElementStatus(0), 'tag "REEL0002"'],
      [changer, "changer", modeSense6(0x1d), "Element Address Assignment"],
    ] as const;
    for (const [host, kind, cdb, part] of cases) {
      const text = describeAnswer(bytes(cdb), await host.send(cdb), kind);
      expect(text).to.include("GOOD").and.to.include(part);
    }
  });

  it("cuts a long dump, and says by how much", async () => {
    const { drive } = await bench({
      tapes: [{ barcode: "REEL0001", objects: [Buffer.alloc(1000, 0x41)] }],
    });
    const text = describeAnswer(bytes(read(1000)), await drive.send(read(1000)));
    expect(text).to.include("AAAAAAAAAAAAAAAA").and.to.include("and 744 bytes more");
  });

  it("survives answers of any other device", async () => {
    await withRandom((random) => {
      for (let i = 0; i < 2000; i++) {
        const opcodes = [0x03, 0x05, 0x12, 0x1a, 0x34, 0x4d, 0x5a, 0xa0, 0xb8, random.below(256)];
        const cdb = randomBytes(random, random.below(16));
        if (cdb.length > 0) cdb[0] = random.pick(opcodes);
        const dataIn = randomBytes(random, random.below(80)).map((byte) =>
          random.below(2) === 0 ? 0 : byte,
        );
        const kind = random.pick(["tape", "changer"] as const);
        const sense = randomBytes(random, random.below(19));
        const status = random.pick([0, 2, 8, 0x18, 0x55]);
        expect(describeCdb(cdb, kind)).to.not.equal("");
        expect(describeAnswer(cdb, { status, sense, dataIn }, kind)).to.not.equal("");
      }
    });
  });
});
