/** The chip in the cartridge. */
import { expect } from "chai";
import { bench } from "./host.ts";

const readAttribute = (action: number, first = 0, allocation = 4096): number[] => {
  const cdb = [0x8c, action, 0, 0, 0, 0, 0, 0, first >>> 8, first & 0xff];
  return [...cdb, 0, 0, allocation >>> 8, allocation & 0xff, 0, 0];
};
const writeAttribute = (length: number): number[] => {
  return [0x8d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, length >>> 8, length & 0xff, 0, 0];
};
const attribute = (id: number, format: number, value: Uint8Array): Buffer => {
  const head = Buffer.from([id >>> 8, id & 0xff, format, value.length >>> 8, value.length & 0xff]);
  return Buffer.concat([head, value]);
};
const attributeList = (...attributes: Buffer[]): Buffer => {
  const body = Buffer.concat(attributes);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
};

function decode(data: Buffer): Map<number, { flags: number; value: Buffer }> {
  expect(data.readUInt32BE(0)).to.equal(data.length - 4);
  const found = new Map<number, { flags: number; value: Buffer }>();
  for (let at = 4; at < data.length;) {
    const length = data.readUInt16BE(at + 3);
    const value = data.subarray(at + 5, at + 5 + length);
    found.set(data.readUInt16BE(at), { flags: data[at + 2] ?? 0, value });
    at += 5 + length;
  }
  return found;
}

describe("SCSI cartridge memory", () => {
  it("tells what the device knows, and not to be written", async () => {
    const tape = { barcode: "REEL0001", capacityBytes: 10 * 2 ** 20 };
    const { drive } = await bench({ tapes: [tape] });
    const values = decode(await drive.good(readAttribute(0)));
    expect(values.get(0x0001)?.value.readBigUInt64BE()).to.equal(10n);
    expect(values.get(0x0001)?.flags).to.equal(0x80);
    expect(values.get(0x0008)?.value.toString().trimEnd()).to.equal("REEL0001");
    expect(values.get(0x0806)?.value.toString().trimEnd()).to.equal("REEL0001");
    expect(values.has(0x0801)).to.equal(false);
    const later = decode(await drive.good(readAttribute(0, 0x0400)));
    expect(Math.min(...later.keys())).to.equal(0x0400);
  });

  it("keeps what hosts write with the cartridge, and forgets what they remove", async () => {
    const { drive, changer } = await bench({
      tapes: [{ barcode: "REEL0001" }, { barcode: "REEL0002" }],
    });
    const name = Buffer.from("LTFS".padEnd(32));
    const coherency = Buffer.alloc(70, 7);
    const list = attributeList(attribute(0x0801, 1, name), attribute(0x080c, 0, coherency));
    await drive.good(writeAttribute(list.length), list);
    const values = decode(await drive.good(readAttribute(0, 0x0800)));
    expect(values.get(0x0801)?.value).to.deep.equal(name);
    expect(values.get(0x080c)?.value).to.deep.equal(coherency);
    await changer.good([0xa6, 0, 0, 0, 0x10, 1, 1, 0, 0x10, 1, 0, 0]);
    await drive.settle();
    expect(decode(await drive.good(readAttribute(0))).has(0x0801)).to.equal(false);
    await changer.good([0xa6, 0, 0, 0, 0x10, 1, 1, 0, 0x10, 1, 0, 0]);
    await drive.settle();
    const ids = await drive.good(readAttribute(1, 0x0801));
    expect([ids.readUInt32BE(0), ids.readUInt16BE(4)]).to.deep.equal([6, 0x0801]);
    const removal = attributeList(attribute(0x0801, 1, Buffer.alloc(0)));
    await drive.good(writeAttribute(removal.length), removal);
    expect(decode(await drive.good(readAttribute(0))).has(0x0801)).to.equal(false);
  });

  it("lists what it supports, its one volume and its one partition", async () => {
    const { drive } = await bench();
    const supported = await drive.good(readAttribute(5));
    expect(supported.readUInt32BE(0)).to.equal(supported.length - 4);
    expect([...(await drive.good(readAttribute(2)))]).to.deep.equal([0, 2, 0, 1]);
    expect([...(await drive.good(readAttribute(3)))]).to.deep.equal([0, 2, 0, 1]);
    expect((await drive.good(readAttribute(0, 0, 7))).length).to.equal(7);
    for (const at of [5, 7]) {
      for (const cdb of [readAttribute(0), writeAttribute(0)]) {
        cdb[at] = 1;
        expect(await drive.fails(cdb, "05/24/00")).to.include({ pointer: `cdb ${at}` });
      }
    }
  });

  it("refuses a list with anything wrong in it, all of it", async () => {
    const { drive } = await bench();
    const good = attribute(0x0801, 1, Buffer.from("name"));
    const wrong = [
      [attribute(0x0001, 0, Buffer.alloc(8)), "05/26/00"],
      [attribute(0x7777, 0, Buffer.alloc(8)), "05/26/00"],
      [attribute(0x0802, 0, Buffer.alloc(8)), "05/26/00"],
      [attribute(0x0802, 1, Buffer.alloc(9)), "05/26/00"],
      [attribute(0x0820, 0, Buffer.alloc(35)), "05/26/00"],
      [Buffer.from([8, 1, 1]), "05/1a/00"],
      [Buffer.from([8, 1, 1, 0, 9, 1]), "05/1a/00"],
    ] as const;
    for (const [bytes, code] of wrong) {
      const list = attributeList(good, bytes);
      await drive.fails(writeAttribute(list.length), code, list);
    }
    await drive.fails(writeAttribute(2), "05/1a/00", [0, 0]);
    await drive.fails(writeAttribute(4), "05/1a/00", [0, 0, 0, 9]);
    await drive.fails(writeAttribute(60_000), "0b/4b/00", [0, 0, 0, 9]);
    await drive.good(writeAttribute(0));
    expect(decode(await drive.good(readAttribute(0))).has(0x0801)).to.equal(false);
  });

  it("needs a cartridge, and one that may be written", async () => {
    const empty = await bench({}, { load: false });
    await empty.drive.fails(readAttribute(0), "02/3a/00");
    const { drive } = await bench({ tapes: [{ barcode: "REEL0001", writeProtected: true }] });
    const list = attributeList(attribute(0x0801, 1, Buffer.from("name")));
    await drive.fails(writeAttribute(list.length), "07/27/00", list);
  });
});
