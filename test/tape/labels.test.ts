import { expect } from "chai";
import {
  LABEL_BYTES,
  decodeFileLabel,
  decodeVolumeLabel,
  encodeVolumeLabel,
  readLabel,
  writeLabel,
} from "../../src/tape/labels.ts";
import { MemoryTape } from "../../src/tape/memory-tape.ts";
import { expectReelError } from "../support/expect-error.ts";

function ascii(text: string): Buffer {
  return Buffer.from(text.padEnd(LABEL_BYTES), "latin1");
}

/** "VOL1", "REEL01" and an owner in EBCDIC, as on an IBM standard label. */
const EBCDIC_VOL1 = Buffer.alloc(LABEL_BYTES, 0x40);
Buffer.from("e5d6d3f1d9c5c5d3f0f1", "hex").copy(EBCDIC_VOL1);
Buffer.from("c1c3d4c5", "hex").copy(EBCDIC_VOL1, 37);

describe("tape labels", () => {
  it("put the serial where the standard has it", () => {
    const text = Buffer.from(encodeVolumeLabel("REEL07")).toString("latin1");
    expect(text).to.equal(`VOL1REEL07${" ".repeat(14)}REELFS${" ".repeat(49)}4`);
    expect(decodeVolumeLabel(encodeVolumeLabel("AB"))).to.deep.equal({
      serial: "AB",
      owner: "",
      encoding: "ascii",
    });
  });

  it("refuse serials that no label can hold", () => {
    for (const serial of ["", "REEL0007", "reel01", "ÄÖ", " A", "A ", "A\n", "A#"]) {
      expect(() => encodeVolumeLabel(serial), serial).to.throw("volume serial");
    }
  });

  it("are read in EBCDIC too", () => {
    expect(decodeVolumeLabel(EBCDIC_VOL1)).to.deep.equal({
      serial: "REEL01",
      owner: "ACME",
      encoding: "ebcdic",
    });
  });

  it("are only what looks like one", () => {
    expect(decodeVolumeLabel(ascii("VOL2REEL01"))).to.equal(undefined);
    expect(decodeVolumeLabel(ascii("VOL1REEL01").subarray(0, 79))).to.equal(undefined);
    expect(decodeVolumeLabel(new Uint8Array(80))).to.equal(undefined);
    expect(decodeFileLabel(encodeVolumeLabel("REEL01"))).to.equal(undefined);
  });

  it("describe the files between them", () => {
    const header =
      "HDR1PAYROLL.WEEKLY   REEL01" + "00010002000300" + " 99032" + "020365" + " 000017IBMOS400";
    expect(decodeFileLabel(ascii(header))).to.deep.equal({
      kind: "HDR1",
      name: "PAYROLL.WEEKLY",
      setSerial: "REEL01",
      section: 1,
      sequence: 2,
      generation: 3,
      created: "1999-02-01",
      expires: "2020-12-30",
      blocks: 17,
      system: "IBMOS400",
      encoding: "ascii",
    });
    const blank = decodeFileLabel(ascii("EOF1"));
    expect(blank).to.include({ kind: "EOF1", name: "", created: undefined, blocks: undefined });
    expect(decodeFileLabel(ascii("EOV1".padEnd(41) + "000000"))?.created).to.equal(undefined);
  });

  it("are written and read through a drive, and leave it at the data", async () => {
    const drive = new MemoryTape();
    await writeLabel(drive, "REEL07");
    await drive.write([Buffer.from("data")]);
    expect(await readLabel(drive)).to.deep.include({ serial: "REEL07" });
    expect((await drive.position()).object).to.equal(2);
    await writeLabel(drive, "REEL08");
    expect((await drive.spaceToEndOfData()).object).to.equal(2);
    await expectReelError(writeLabel(drive, "TOO LONG"), "invalid");
    expect(await readLabel(drive)).to.deep.include({ serial: "REEL08" });
  });

  it("are followed by other labels on some tapes", async () => {
    const drive = new MemoryTape({ objects: [EBCDIC_VOL1, ascii("HDR1A"), undefined] });
    expect(await readLabel(drive)).to.include({ encoding: "ebcdic" });
    expect((await drive.position()).object).to.equal(1);
    const alone = new MemoryTape({ objects: [EBCDIC_VOL1] });
    expect(await readLabel(alone)).to.include({ serial: "REEL01" });
    expect((await alone.position()).object).to.equal(1);
  });

  it("are missing on some tapes, which is fine", async () => {
    for (const objects of [[], [undefined], [ascii("HELLO")], [ascii("VOL1").subarray(0, 20)]]) {
      const drive = new MemoryTape({ objects });
      expect(await readLabel(drive)).to.equal(undefined);
      expect((await drive.position()).object).to.equal(0);
    }
  });
});
