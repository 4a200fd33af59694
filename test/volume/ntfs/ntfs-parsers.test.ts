import { expect } from "chai";
import { deviceNumber } from "../../../src/device/device-number.ts";
import { ReelError } from "../../../src/errors.ts";
import { applyFixups } from "../../../src/volume/ntfs/fixup.ts";
import { parseExtendedAttributes } from "../../../src/volume/ntfs/extended-attributes.ts";
import { parseBootSector } from "../../../src/volume/ntfs/geometry.ts";
import { interixBySize, parseInterix } from "../../../src/volume/ntfs/interix.ts";
import { decompressLznt1 } from "../../../src/volume/ntfs/lznt1.ts";
import { linkTarget, refusalOf, TAG } from "../../../src/volume/ntfs/reparse.ts";
import { HOLE, RunListBuilder } from "../../../src/volume/ntfs/runs.ts";

function expectFault(work: () => unknown, words: string): void {
  let error: unknown;
  try {
    work();
  } catch (caught) {
    error = caught;
  }
  expect(error).to.be.instanceOf(ReelError);
  expect((error as ReelError).code).to.equal("damaged");
  expect((error as ReelError).message).to.include(words);
}

function runs(hex: string, last: number, volumeClusters = 1000) {
  const builder = new RunListBuilder(volumeClusters);
  builder.add(Buffer.from(hex.replaceAll(" ", ""), "hex"), 0, last);
  const list = builder.build();
  return Array.from({ length: list.length }, (_, i) => [
    list.startAt(i),
    list.clusterAt(i),
    list.countAt(i),
  ]);
}

describe("runs of NTFS", () => {
  it("are counted from the run before, backwards too, with holes between", () => {
    expect(runs("11 03 40 01 02 11 04 f0 00", 8)).to.deep.equal([
      [0, 0x40, 3],
      [3, HOLE, 2],
      [5, 0x30, 4],
    ]);
  });

  it("are joined where they follow one another on the volume", () => {
    expect(runs("11 03 40 11 02 03 00", 4)).to.deep.equal([[0, 0x40, 5]]);
  });

  it("may be holes as NT 3.51 wrote them", () => {
    expect(runs("11 02 ff 00", 1)).to.deep.equal([[0, HOLE, 2]]);
  });

  it("are refused when they make no sense", () => {
    expectFault(() => runs("11 03 40 00", 5), "end at cluster 3 instead of 6");
    expectFault(() => runs("11 03", 2), "coded wrongly");
    expectFault(() => runs("10 40 00", 2), "coded wrongly");
    expectFault(() => runs("91 03 01 01 01 01 01 01 01 01 01 00", 2), "coded wrongly");
    expectFault(() => runs("11 00 40 00", 2), "has 0 clusters");
    expectFault(() => runs("11 fd 40 00", 2), "has -3 clusters");
    expectFault(() => runs("21 03 ff 7f 00", 2), "the volume has 1000");
    expectFault(() => runs("18 ff ff ff ff ff ff ff 7f 40 00", 2), "clusters");
    const builder = new RunListBuilder(1000);
    expectFault(() => {
      builder.add(Buffer.from([0]), 5, 5);
    }, "where cluster 0 is missing");
  });
});

describe("update sequences of NTFS", () => {
  function record(change?: (bytes: Buffer) => void): { fault: string | undefined; bytes: Buffer } {
    const bytes = Buffer.alloc(1024);
    bytes.write("FILE", 0, "latin1");
    bytes.writeUInt16LE(48, 4);
    bytes.writeUInt16LE(3, 6);
    for (const [i, value] of [7, 0x1111, 0x2222].entries()) bytes.writeUInt16LE(value, 48 + 2 * i);
    for (const end of [510, 1022]) bytes.writeUInt16LE(7, end);
    change?.(bytes);
    return { fault: applyFixups(bytes, 0, 1024, "FILE"), bytes };
  }

  it("are undone", () => {
    const { fault, bytes } = record();
    expect(fault).to.equal(undefined);
    expect([bytes.readUInt16LE(510), bytes.readUInt16LE(1022)]).to.deep.equal([0x1111, 0x2222]);
  });

  it("show what was written in part", () => {
    expect(record((bytes) => bytes.writeUInt16LE(8, 1022)).fault).to.include("sector 1 differs");
    expect(record((bytes) => bytes.write("BAAD", 0, "latin1")).fault).to.include("BAAD");
    expect(record((bytes) => bytes.write("INDX", 0, "latin1")).fault).to.include("FILE");
    expect(record((bytes) => bytes.writeUInt16LE(2, 6)).fault).to.include("2 entries");
    for (const offset of [6, 49, 508]) {
      expect(record((bytes) => bytes.writeUInt16LE(offset, 4)).fault).to.include(
        "would be at byte",
      );
    }
  });
});

describe("LZNT1", () => {
  function unpack(hex: string, size: number): string {
    const target = Buffer.alloc(size, 0xee);
    decompressLznt1(Buffer.from(hex.replaceAll(" ", ""), "hex"), target);
    return target.toString("latin1");
  }

  it("unpacks literals, references that repeat themselves, stored chunks", () => {
    // "abc", then 9 bytes from 3 back.
    expect(unpack("05 b0 08 61 62 63 06 20 00 00", 14)).to.equal("abcabcabcabc\0\0");
    expect(unpack("02 30 78 79 7a 00 00", 5)).to.equal("xyz\0\0");
    expect(unpack("00 00", 3)).to.equal("\0\0\0");
  });

  it("goes on in the next chunk at the next 4096 bytes", () => {
    const found = unpack("01 b0 00 61 01 b0 00 62", 4100);
    expect(found.charAt(0) + found.charAt(4096)).to.equal("ab");
    expect(found.replaceAll("\0", "")).to.equal("ab");
  });

  it("refuses what it cannot have written", () => {
    expectFault(() => unpack("05 b0 61", 10), "cut short");
    expectFault(() => unpack("02 b0 01 00 20", 10), "refers to what is before it");
    expectFault(() => unpack("01 b0 01 00", 10), "ends in a reference");
    expectFault(() => unpack("03 b0 02 61 ff 0f", 10), "more than it can");
    expectFault(() => unpack("03 b0 00 61 62 63", 2), "more than it can");
  });
});

describe("boot sectors of NTFS", () => {
  function parse(change: (bytes: Buffer) => void) {
    const bytes = Buffer.alloc(512);
    bytes.write("NTFS    ", 3, "latin1");
    bytes.writeUInt16LE(512, 11);
    bytes.writeUInt8(8, 13);
    bytes.writeBigUInt64LE(2048n, 40);
    bytes.writeBigUInt64LE(4n, 48);
    bytes.writeBigUInt64LE(8n, 56);
    bytes.writeInt8(-10, 64);
    bytes.writeInt8(1, 68);
    change(bytes);
    const parsed = parseBootSector(bytes);
    return "geometry" in parsed ? parsed.geometry : parsed.fault;
  }

  it("give sizes as numbers or powers of two", () => {
    expect(parse(() => undefined)).to.include({
      clusterBytes: 4096,
      clusterCount: 256,
      recordBytes: 1024,
      indexBytes: 4096,
    });
    const large = parse((bytes) => {
      bytes.writeUInt8(0xf4, 13);
      bytes.writeBigUInt64LE(2n ** 30n, 40);
      bytes.writeInt8(-12, 68);
    });
    expect(large).to.include({ clusterBytes: 2 * 1024 * 1024, clusterCount: 2 ** 18 });
  });

  it("are refused when they make no sense", () => {
    expect(parse((bytes) => bytes.write("EXFAT", 3))).to.include("NTFS");
    expect(parse((bytes) => bytes.writeUInt16LE(500, 11))).to.include("500 bytes");
    expect(parse((bytes) => bytes.writeUInt8(3, 13))).to.include("clusters would have 1536");
    expect(parse((bytes) => bytes.writeUInt8(0xf0, 13))).to.include("clusters would have");
    expect(parse((bytes) => bytes.writeBigUInt64LE(0n, 40))).to.include("0 clusters");
    expect(parse((bytes) => bytes.writeBigUInt64LE(2n ** 62n, 40))).to.include("more than any");
    expect(parse((bytes) => bytes.writeBigUInt64LE(300n, 48))).to.include("beyond its 256");
    expect(parse((bytes) => bytes.writeInt8(-40, 64))).to.include("file records would have");
    expect(parse((bytes) => bytes.writeInt8(3, 68))).to.include("index records would have");
  });
});

describe("special files on NTFS", () => {
  it("of Interix are known by their contents", () => {
    const device = Buffer.alloc(24);
    device.write("IntxCHR\0", 0, "latin1");
    device.writeUInt32LE(300, 8);
    device.writeUInt32LE(70_000, 16);
    expect(parseInterix(device)).to.deep.equal({
      kind: "character",
      deviceNumber: deviceNumber(300, 70_000),
    });
    const link = Buffer.concat([Buffer.from("IntxLNK\x01"), Buffer.from("../x", "utf16le")]);
    expect(parseInterix(link)).to.deep.equal({ kind: "symlink", target: "../x" });
    expect(parseInterix(Buffer.from("[.ShellClassInfo]"))).to.equal(undefined);
    device.writeUInt32LE(1, 20);
    expect(parseInterix(device)).to.equal(undefined);
    expect(interixBySize(0, false)?.kind).to.equal("fifo");
    expect(interixBySize(1, false)?.kind).to.equal("socket");
    expect(interixBySize(0, true)).to.equal(undefined);
  });

  it("have device numbers as Linux counts them", () => {
    expect(deviceNumber(8, 1)).to.equal(0x801);
    expect(deviceNumber(0xfff, 0xfffff)).to.equal(0xffffffff);
  });

  it("refuse links and attributes that are cut short", () => {
    expectFault(() => linkTarget({ tag: TAG.symlink, data: Buffer.alloc(4) }), "cut short");
    const long = Buffer.from("0000ff000000000000000000", "hex");
    expectFault(() => linkTarget({ tag: TAG.mountPoint, data: long }), "cut short");
    expectFault(() => parseExtendedAttributes(Buffer.from("0000000000ff00ff41", "hex")), "$EA");
    expectFault(() => parseExtendedAttributes(Buffer.from("0100000000010000410000", "hex")), "$EA");
  });

  it("name what they refuse", () => {
    expect(refusalOf(0x80000013)).to.include("deduplicated").and.include("0x80000013");
    expect(refusalOf(0x9000701a)).to.include("cloud");
    expect(refusalOf(0x1234)).to.include("0x00001234, which is not known");
  });
});
