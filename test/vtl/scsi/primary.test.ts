/** What every SCSI device answers: who it is, what it can do, its pages; on the drive. */
import { expect } from "chai";
import {
  CHANGER,
  DRIVE,
  Host,
  bench,
  blockLengthList,
  inquiry,
  loadUnload,
  logSense,
  modeSelect6,
  modeSense6,
  prevent,
  read,
  readBlockLimits,
  requestSense,
  rewind,
  testUnitReady,
  write,
} from "./host.ts";

const DBD = 0x08;

describe("SCSI identity", () => {
  it("is a removable tape drive in 36 bytes, and in all of them", async () => {
    const { drive } = await bench();
    const short = await drive.good(inquiry(36));
    expect(short.length).to.equal(36);
    expect([short[0], short[1], short[2], (short[3] ?? 0) & 0x0f]).to.deep.equal([1, 0x80, 6, 2]);
    expect(short.toString("latin1", 8, 32)).to.equal("REELFS  VIRTUAL TAPE    ");
    const full = await drive.good(inquiry(0xffff));
    expect(full.length).to.equal((full[4] ?? 0) + 5);
  });

  it("is a changer with a bar code reader, where mtx looks for it", async () => {
    const { changer } = await bench();
    const data = await changer.good(inquiry(56));
    expect([data.length, data[0], data[55]]).to.deep.equal([56, 8, 1]);
  });

  it("answers every vital page that it lists, with the page's own code and length", async () => {
    for (const lun of [CHANGER, DRIVE]) {
      const { target } = await bench();
      const host = new Host(target, lun);
      const listed = (await host.good(inquiry(255, 0))).subarray(4);
      expect([...listed]).to.include.members([0x00, 0x80, 0x83]);
      for (const page of listed) {
        const data = await host.good(inquiry(0xffff, page));
        expect(data[1]).to.equal(page);
        expect(data.readUInt16BE(2)).to.equal(data.length - 4);
      }
      expect(await host.fails(inquiry(255, 0x7f), "05/24/00")).to.include({ pointer: "cdb 2" });
    }
  });

  it("has a serial number and names that no other device of the loader has", async () => {
    const { target } = await bench();
    const seen = new Set<string>();
    for (const lun of target.luns) {
      const host = new Host(target, lun);
      seen.add((await host.good(inquiry(255, 0x80))).toString("latin1"));
      const names = await host.good(inquiry(255, 0x83));
      seen.add(names.toString("hex"));
      expect((names.at(-8) ?? 0) >>> 4, "a local NAA name").to.equal(3);
    }
    expect(seen.size).to.equal(2 * target.luns.length);
  });

  it("refuses a page code without EVPD, and CMDDT", async () => {
    const { drive } = await bench();
    await drive.fails([0x12, 0, 0x80, 0, 36, 0], "05/24/00");
    await drive.fails([0x12, 2, 0, 0, 36, 0], "05/24/00");
  });

  it("takes a LUN in the top bits of byte 1 for what it is", async () => {
    const { drive } = await bench();
    expect((await drive.good([0x12, 0x20, 0, 0, 36, 0])).length).to.equal(36);
    await drive.good([0x00, 0xe0, 0, 0, 0, 0]);
  });

  it("lists its LUNs, the changer first, at every LUN", async () => {
    const { target } = await bench();
    for (const lun of [CHANGER, DRIVE, 77]) {
      const list = await new Host(target, lun).good([0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
      expect(list.readUInt32BE(0)).to.equal(24);
      expect([list[9], list[17], list[25]]).to.deep.equal([0, 1, 2]);
    }
    const host = new Host(target, CHANGER);
    const none = await host.good([0xa0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    expect(none.readUInt32BE(0)).to.equal(0);
    expect((await host.good([0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0])).length).to.equal(12);
    await host.fails([0xa0, 0, 9, 0, 0, 0, 0, 0, 1, 0, 0, 0], "05/24/00");
  });

  it("says at a LUN without a device that there is none", async () => {
    const { target } = await bench();
    const nobody = new Host(target, 9);
    expect((await nobody.good(inquiry(36)))[0]).to.equal(0x7f);
    await nobody.fails(testUnitReady, "05/25/00");
    const sense = await nobody.good(requestSense);
    expect([sense[2], sense[12]]).to.deep.equal([5, 0x25]);
    expect(target.device(9)).to.equal(undefined);
    expect(target.device(DRIVE)).to.not.equal(undefined);
  });
});

describe("SCSI commands that are wrong", () => {
  it("refuses unknown operation codes, and service actions with the field pointer", async () => {
    const { drive, changer } = await bench();
    await drive.fails([0xff, 0, 0, 0, 0, 0], "05/20/00");
    await drive.fails(new Uint8Array(0), "05/20/00");
    await changer.fails(read(1), "05/20/00");
    const sense = await drive.fails([0xa3, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "05/24/00");
    expect(sense.pointer).to.equal("cdb 1.4");
  });

  it("refuses a CDB that ends too soon, and NACA", async () => {
    const { drive } = await bench();
    expect(await drive.fails([0x12, 0, 0], "05/24/00")).to.include({ pointer: "cdb 3" });
    const naca = await drive.fails([0, 0, 0, 0, 0, 0x04], "05/24/00");
    expect(naca.pointer).to.equal("cdb 5.2");
  });

  it("gives the sense once more to who asks for it, and only once", async () => {
    const { drive } = await bench({}, { load: false });
    await drive.fails(testUnitReady, "02/3a/00");
    const first = await drive.good(requestSense);
    expect([first[2], first[12]]).to.deep.equal([2, 0x3a]);
    const second = await drive.good(requestSense);
    expect([second[2], second[12]]).to.deep.equal([0, 0]);
    expect((await drive.good([0x03, 0, 0, 0, 4, 0])).length).to.equal(4);
    await drive.fails([0x03, 1, 0, 0, 18, 0], "05/24/00");
  });
});

describe("SCSI REPORT SUPPORTED OPERATION CODES", () => {
  const report = (option: number, opcode = 0, action = 0): number[] => {
    return [0xa3, 0x0c, option, opcode, action >>> 8, action & 0xff, 0, 0, 0xff, 0xff, 0, 0];
  };

  it("lists commands that it then knows, and no other", async () => {
    for (const lun of [CHANGER, DRIVE]) {
      const { target } = await bench();
      const host = await new Host(target, lun).settle();
      const list = await host.good(report(0));
      expect(list.readUInt32BE(0)).to.equal(list.length - 4);
      const listed = new Set<number>();
      for (let at = 4; at < list.length; at += 8) listed.add(list[at] ?? 0);
      for (let opcode = 0; opcode < 256; opcode++) {
        const cdb = new Uint8Array(16);
        cdb[0] = opcode;
        const { sense } = await host.send(cdb);
        const isUnknown = sense?.[12] === 0x20;
        expect(isUnknown, `operation code ${opcode}`).to.equal(!listed.has(opcode));
      }
    }
  });

  it("tells of one command which bits it looks at", async () => {
    const { drive } = await bench();
    const one = await drive.good(report(1, 0x08));
    expect([...one]).to.deep.equal([0, 3, 0, 6, 0x08, 0x03, 0xff, 0xff, 0xff, 0]);
    const locate = await drive.good(report(1, 0x92));
    expect(locate.readUInt16BE(2)).to.equal(16);
    const position = await drive.good(report(2, 0x34, 6));
    expect([position[1], position[4], position[5]]).to.deep.equal([3, 0x34, 6]);
    expect((await drive.good(report(1, 0xfe)))[1]).to.equal(1);
    expect((await drive.good(report(3, 0x34, 5)))[1]).to.equal(1);
    expect((await drive.good(report(3, 0x34, 8)))[1]).to.equal(3);
    expect((await drive.good(report(3, 0x08, 0)))[1]).to.equal(3);
    expect((await drive.good(report(3, 0x08, 1)))[1]).to.equal(1);
  });

  it("adds timeouts when asked", async () => {
    const { drive } = await bench();
    const one = await drive.good(report(0x81, 0x08));
    expect([one[1], one.length]).to.deep.equal([0x83, 4 + 6 + 12]);
    expect(one.readUInt16BE(10)).to.equal(10);
    const all = await drive.good(report(0x80));
    expect((all.length - 4) % 20).to.equal(0);
    expect((all[9] ?? 0) & 2).to.equal(2);
  });

  it("refuses options that do not fit the operation code", async () => {
    const { drive } = await bench();
    await drive.fails(report(1, 0x34), "05/24/00");
    await drive.fails(report(2, 0x08), "05/24/00");
    await drive.fails(report(7), "05/24/00");
  });
});

describe("SCSI mode parameters of a drive", () => {
  it("opens as the kernel opens it: page 0 is a header and a block descriptor", async () => {
    const { drive } = await bench();
    expect([...(await drive.good(readBlockLimits))]).to.deep.equal([0, 0xff, 0xff, 0xff, 0, 1]);
    const data = await drive.good(modeSense6(0));
    expect([...data]).to.deep.equal([11, 0, 0x10, 8, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    expect((await drive.good(modeSense6(0, { flags: DBD }))).length).to.equal(4);
    const ten = await drive.good([0x5a, 0, 0, 0, 0, 0, 0, 0, 255, 0]);
    expect([ten.length, ten.readUInt16BE(0), ten[3], ten.readUInt16BE(6)]).to.deep.equal([
      16, 14, 0x10, 8,
    ]);
  });

  it("has every page, alone as among all of them, and takes each back unchanged", async () => {
    const { drive } = await bench();
    const all = (await drive.good(modeSense6(0x3f, { flags: DBD }))).subarray(4);
    const pages: number[] = [];
    for (let at = 0; at < all.length; at += (all[at + 1] ?? 0) + 2) {
      const code = all[at] ?? 0;
      pages.push(code);
      const alone = await drive.good(modeSense6(code, { flags: DBD }));
      expect([...alone.subarray(4)]).to.deep.equal([
        ...all.subarray(at, at + (all[at + 1] ?? 0) + 2),
      ]);
      await drive.good(modeSelect6(alone.length), [0, 0, 0x10, 0, ...alone.subarray(4)]);
    }
    expect(pages).to.deep.equal([0x01, 0x02, 0x0a, 0x0f, 0x10, 0x11, 0x1a, 0x1c]);
    const extension = await drive.good(modeSense6(0x10, { flags: DBD, subpage: 1 }));
    expect([extension[4], extension[5], extension.length]).to.deep.equal([0x50, 1, 36]);
    await drive.good(modeSelect6(36), [0, 0, 0x10, 0, ...extension.subarray(4)]);
    const every = await drive.good(modeSense6(0x3f, { flags: DBD, subpage: 0xff }));
    expect(every.length).to.equal(4 + all.length + 32);
  });

  it("tells defaults and what may be changed, and saves nothing", async () => {
    const { drive } = await bench();
    await drive.good(modeSelect6(20), [0, 0, 0x10, 0, 0x0f, 14, 0xc0, 0x80, ...zeros(12)]);
    const current = await drive.good(modeSense6(0x0f, { flags: DBD }));
    expect(current[6]).to.equal(0xc0);
    expect((await drive.good(modeSense6(0x80 | 0x0f, { flags: DBD })))[6]).to.equal(0x40);
    expect((await drive.good(modeSense6(0x40 | 0x0f, { flags: DBD })))[6]).to.equal(0x80);
    await drive.fails(modeSense6(0xc0 | 0x0f), "05/39/00");
  });

  it("switches compression as mt does, with ten bytes as with six, and claims no algorithm", async () => {
    const { drive } = await bench();
    const page = [...(await drive.good(modeSense6(0x0f, { flags: DBD }))).subarray(4)];
    expect((page[2] ?? 0) & 0x40, "DCC").to.equal(0x40);
    page[2] = 0xc0;
    await drive.good([0x55, 0x10, 0, 0, 0, 0, 0, 0, 24, 0], [0, 0, 0, 0x10, 0, 0, 0, 0, ...page]);
    const now = (await drive.good(modeSense6(0x0f, { flags: DBD }))).subarray(4);
    expect([now[2], now.readUInt32BE(4)]).to.deep.equal([0xc0, 0]);
  });

  it("sets and tells the block length, and keeps it on bad lists", async () => {
    const { drive } = await bench();
    await drive.good(modeSelect6(12), blockLengthList(512));
    expect((await drive.good(modeSense6(0))).readUIntBE(9, 3)).to.equal(512);
    const bad = blockLengthList(1024);
    bad[4] = 0x42;
    const density = await drive.fails(modeSelect6(12), "05/26/00", bad);
    expect(density.pointer).to.equal("list 4");
    const withPage = [...blockLengthList(2048), 0x0f, 14, 0, ...zeros(13)];
    const page = await drive.fails(modeSelect6(28), "05/26/00", withPage);
    expect(page.pointer, "DCC may not be changed").to.equal("list 14.6");
    expect((await drive.good(modeSense6(0))).readUIntBE(9, 3)).to.equal(512);
  });

  it("refuses lists that are cut short or wrong", async () => {
    const { drive } = await bench();
    await drive.good(modeSelect6(0));
    await drive.fails(modeSelect6(3), "05/1a/00", [0, 0, 0]);
    await drive.fails(modeSelect6(8), "05/1a/00", [0, 0, 0, 8, 0, 0, 0, 0]);
    await drive.fails(modeSelect6(5), "05/1a/00", [0, 0, 0, 0, 0x0f]);
    await drive.fails(modeSelect6(8), "05/1a/00", [0, 0, 0, 0, 0x0f, 14, 0x40, 0x80]);
    await drive.fails(modeSelect6(7), "05/1a/00", [0, 0, 0, 0, 0x50, 1, 0]);
    await drive.fails(modeSelect6(12), "0b/4b/00", [0, 0]);
    const unknown = await drive.fails(modeSelect6(6), "05/26/00", [0, 0, 0, 0, 0x07, 0]);
    expect(unknown.pointer).to.equal("list 4.5");
    const length = await drive.fails(modeSelect6(6), "05/26/00", [0, 0, 0, 0, 0x0f, 0]);
    expect(length.pointer).to.equal("list 5");
    await drive.fails(modeSelect6(9), "05/26/00", [0, 0, 0, 5, 0, 0, 0, 0, 0]);
    expect(await drive.fails(modeSelect6(4), "05/26/00", [0, 0, 0x70, 0])).to.include({
      pointer: "list 2.6",
    });
    await drive.fails(modeSelect6(4), "05/26/00", [0, 0, 0x01, 0]);
    await drive.fails([0x15, 0x11, 0, 0, 0, 0], "05/24/00");
    await drive.fails([0x55, 0x11, 0, 0, 0, 0, 0, 0, 0, 0], "05/24/00");
    await drive.fails(modeSense6(0x33), "05/24/00");
    await drive.fails(modeSense6(0x0f, { subpage: 3 }), "05/24/00");
    await drive.fails(modeSense6(0x3f, { subpage: 3 }), "05/24/00");
  });

  it("lets a host protect the tape, and says so in the header", async () => {
    const { drive } = await bench();
    const list = [0, 0, 0x10, ...(await drive.good(modeSense6(0x10, { flags: DBD }))).subarray(3)];
    list[4 + 10] = (list[4 + 10] ?? 0) | 0x04;
    await drive.good(modeSelect6(list.length), list);
    await drive.fails(write(1), "07/27/02", [1]);
    expect((await drive.good(modeSense6(0)))[2]).to.equal(0x90);
  });

  it("shows a tape's own protection in the header", async () => {
    const { drive } = await bench({ tapes: [{ barcode: "REEL0001", writeProtected: true }] });
    expect((await drive.good(modeSense6(0)))[2]).to.equal(0x90);
  });
});

describe("SCSI logs of a drive", () => {
  const parameters = (page: Buffer): Map<number, Buffer> => {
    const found = new Map<number, Buffer>();
    for (let at = 4; at < page.length; at += 4 + (page[at + 3] ?? 0)) {
      found.set(page.readUInt16BE(at), page.subarray(at + 4, at + 4 + (page[at + 3] ?? 0)));
    }
    return found;
  };

  it("has the pages that it lists, each of the length that it says", async () => {
    const { drive } = await bench();
    const listed = (await drive.good(logSense(0))).subarray(4);
    expect([...listed]).to.deep.equal([0x00, 0x02, 0x03, 0x0c, 0x17, 0x2e, 0x31]);
    for (const page of listed) {
      const data = await drive.good(logSense(page));
      expect([data[0], data.readUInt16BE(2)]).to.deep.equal([page, data.length - 4]);
    }
    const withSubpages = await drive.good([0x4d, 0, 0x40, 0xff, 0, 0, 0, 1, 0, 0]);
    expect(withSubpages.readUInt16BE(2)).to.equal(2 * listed.length + 2);
    await drive.fails(logSense(0x3e), "05/24/00");
    await drive.fails(logSense(0x31, 5), "05/24/00");
    await drive.fails([0x4d, 1, 0x40, 0, 0, 0, 0, 1, 0, 0], "05/24/00");
    await drive.fails([0x4d, 0, 0x40, 3, 0, 0, 0, 1, 0, 0], "05/24/00");
    await drive.fails([0x4d, 0, 0x71, 3, 0, 0, 0, 1, 0, 0], "05/24/00");
  });

  it("tells capacity and room left in MiB", async () => {
    const tape = { barcode: "REEL0001", capacityBytes: 100 * 2 ** 20 };
    const { drive } = await bench({ tapes: [tape] });
    await drive.good(write(3 * 2 ** 20), new Uint8Array(3 * 2 ** 20));
    const capacity = parameters(await drive.good(logSense(0x31)));
    expect(capacity.get(1)?.readUInt32BE(0)).to.equal(96);
    expect(capacity.get(3)?.readUInt32BE(0)).to.equal(100);
    const [first] = parameters(await drive.good(logSense(0x31, 3))).keys();
    expect(first).to.equal(3);
  });

  it("counts bytes, names the volume, and starts again when told", async () => {
    const { drive } = await bench();
    await drive.good(write(1000), new Uint8Array(1000));
    await drive.good(rewind);
    await drive.good(read(1000));
    const counts = parameters(await drive.good(logSense(0x0c)));
    expect(counts.get(0)?.readBigUInt64BE()).to.equal(1000n);
    expect(counts.get(3)?.readBigUInt64BE()).to.equal(1000n);
    const volume = parameters(await drive.good(logSense(0x17)));
    expect(volume.get(0x42)?.toString().trimEnd()).to.equal("REEL0001");
    await drive.good([0x4c, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    const zero = parameters(await drive.good(logSense(0x0c)));
    expect(zero.get(0)?.readBigUInt64BE()).to.equal(0n);
    await drive.good([0x4c, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    await drive.fails([0x4c, 1, 0, 0, 0, 0, 0, 0, 0, 0], "05/24/00");
    await drive.fails([0x4c, 0, 0, 0, 0, 0, 0, 0, 4, 0], "05/24/00");
  });

  it("raises TapeAlert flags, and clears them when they were read", async () => {
    const { drive } = await bench({ tapes: [{ barcode: "REEL0001", writeProtected: true }] });
    await drive.fails(write(1), "07/27/00", [1]);
    const raised = parameters(await drive.good(logSense(0x2e)));
    expect(raised.size).to.equal(64);
    expect([...raised].filter(([, value]) => value[0] === 1).map(([code]) => code)).to.deep.equal([
      9,
    ]);
    const again = parameters(await drive.good(logSense(0x2e)));
    expect([...again.values()].every((value) => value[0] === 0)).to.equal(true);
  });

  it("says without a tape that the statistics are not valid", async () => {
    const { drive } = await bench({}, { load: false });
    expect([...parameters(await drive.good(logSense(0x17))).keys()]).to.deep.equal([0]);
    expect(
      parameters(await drive.good(logSense(0x31)))
        .get(3)
        ?.readUInt32BE(0),
    ).to.equal(0);
  });
});

describe("SCSI medium of a drive", () => {
  it("unloads and loads again, at the beginning", async () => {
    const { drive, loader } = await bench();
    await drive.good(write(1), [1]);
    await drive.good(loadUnload(0));
    expect(loader.drive(0).ready).to.equal(false);
    await drive.fails(testUnitReady, "02/04/02");
    await drive.good(loadUnload(0));
    await drive.good(loadUnload(1));
    await drive.good(testUnitReady);
    expect((await drive.good(read(1)))[0]).to.equal(1);
    await drive.good(loadUnload(1));
    expect((await drive.good(read(1)))[0], "a load rewinds").to.equal(1);
  });

  it("takes hold, end-of-tape and retension for the hints that they are", async () => {
    const { drive } = await bench();
    await drive.good(loadUnload(0x0e));
    await drive.good(loadUnload(0x0b));
  });

  it("has nothing to load in an empty drive", async () => {
    const { drive } = await bench({}, { load: false });
    await drive.fails(loadUnload(1), "02/3a/00");
    await drive.fails(loadUnload(0), "02/3a/00");
  });

  it("keeps the tape while a host prevents removal", async () => {
    const { drive, loader } = await bench();
    await drive.good(prevent(1));
    expect(loader.drive(0).preventRemoval).to.equal(true);
    await drive.fails(loadUnload(0), "05/53/02");
    await drive.fails(prevent(3), "05/24/00");
    await drive.good(prevent(0));
    await drive.good(loadUnload(0));
  });

  it("reports its density, with the capacity of the tape that is in", async () => {
    const tape = { barcode: "REEL0001", capacityBytes: 5e9 };
    const { drive } = await bench({ tapes: [tape] });
    const report = await drive.good([0x44, 1, 0, 0, 0, 0, 0, 1, 0, 0]);
    expect([report.length, report.readUInt16BE(0), report[4]]).to.deep.equal([56, 54, 0x80]);
    expect(report.readUInt32BE(4 + 12)).to.equal(5000);
    await drive.fails([0x44, 2, 0, 0, 0, 0, 0, 1, 0, 0], "05/24/00");
    const empty = await bench({}, { load: false });
    await empty.drive.fails([0x44, 1, 0, 0, 0, 0, 0, 1, 0, 0], "02/3a/00");
    await empty.drive.good([0x44, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
  });

  it("leaves the capacity as it is", async () => {
    const { drive } = await bench();
    await drive.good([0x0b, 0, 0, 0xff, 0xff, 0]);
    expect(await drive.fails([0x0b, 0, 0, 0x80, 0, 0], "05/24/00")).to.include({
      pointer: "cdb 3",
    });
    await drive.good(write(1), [1]);
    await drive.fails([0x0b, 0, 0, 0xff, 0xff, 0], "05/3b/0c");
  });

  it("passes its self-test, and has one diagnostic page", async () => {
    const { drive } = await bench();
    await drive.good([0x1d, 4, 0, 0, 0, 0]);
    await drive.good([0x1d, 0x10, 0, 0, 4, 0], [0, 0, 0, 0]);
    expect([...(await drive.good([0x1c, 1, 0, 0, 255, 0]))]).to.deep.equal([0, 0, 0, 1, 0]);
    await drive.fails([0x1c, 1, 5, 0, 255, 0], "05/24/00");
    await drive.fails([0x1d, 4, 0, 0, 4, 0], "05/24/00", zeros(4));
    await drive.fails([0x1d, 0x10, 0, 0, 2, 0], "05/1a/00", zeros(2));
    await drive.fails([0x1d, 0x10, 0, 0, 4, 0], "05/26/00", [1, 0, 0, 0]);
    await drive.fails([0x1d, 0x10, 0, 0, 4, 0], "05/26/00", [0, 0, 0, 9]);
  });
});

function zeros(count: number): number[] {
  return new Array<number>(count).fill(0);
}
