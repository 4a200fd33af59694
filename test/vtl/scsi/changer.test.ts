/** The robot through SCSI, as mtx and the kernel drive it. */
import { expect } from "chai";
import {
  CHANGER,
  DRIVE,
  Host,
  bench,
  exchangeMedium,
  inquiry,
  logSense,
  modeSelect6,
  modeSense6,
  moveMedium,
  prevent,
  readElementStatus,
  testUnitReady,
} from "./host.ts";
import { withRandom } from "../../support/random.ts";

const ARM = 0x0001;
const PORT = 0x0010;
const DRIVE_0 = 0x0100;
const DRIVE_1 = 0x0101;
const SLOT_1 = 0x1000;
const SLOT_2 = 0x1001;
const SLOT_3 = 0x1002;
const SLOT_4 = 0x1003;

const tapes = [{ barcode: "REEL0001" }, { barcode: "REEL0002" }, undefined, { barcode: "A-B 4" }];

interface Descriptor {
  readonly type: number;
  readonly address: number;
  readonly full: boolean;
  readonly flags: number;
  readonly source: number | undefined;
  readonly tag: string;
  readonly rest: Buffer;
}

/** Takes a report apart, and checks that every length in it is right. */
function decodeReport(report: Buffer): { first: number; count: number; elements: Descriptor[] } {
  const elements: Descriptor[] = [];
  for (let at = 8; at < report.length;) {
    const [type = 0, flags = 0] = report.subarray(at);
    const size = report.readUInt16BE(at + 2);
    const length = report.readUIntBE(at + 5, 3);
    expect(length, "a page is never empty").to.be.above(0);
    expect(length % size).to.equal(0);
    const hasTag = (flags & 0x80) !== 0;
    for (let each = at + 8; each < at + 8 + length; each += size) {
      const bytes = report.subarray(each, each + size);
      elements.push({
        type,
        address: bytes.readUInt16BE(0),
        full: ((bytes[2] ?? 0) & 1) !== 0,
        flags: bytes[2] ?? 0,
        source: ((bytes[9] ?? 0) & 0x80) !== 0 ? bytes.readUInt16BE(10) : undefined,
        tag: hasTag ? bytes.toString("latin1", 12, 44) : "",
        rest: bytes.subarray(hasTag ? 48 : 12),
      });
    }
    at += 8 + length;
  }
  return { first: report.readUInt16BE(0), count: report.readUInt16BE(2), elements };
}

async function places(changer: Host): Promise<Record<string, number>> {
  const { elements } = decodeReport(await changer.good(readElementStatus(0)));
  return Object.fromEntries(
    elements.filter(({ full }) => full).map(({ tag, address }) => [tag.trimEnd(), address]),
  );
}

describe("SCSI changer: element status", () => {
  it("shows every element by type, with source and volume tag", async () => {
    const { changer } = await bench({ tapes });
    const { elements, first, count } = decodeReport(await changer.good(readElementStatus(0)));
    expect([first, count]).to.deep.equal([ARM, 8]);
    expect(elements.map(({ type, address }) => [type, address])).to.deep.equal([
      [1, ARM],
      [3, PORT],
      [4, DRIVE_0],
      [4, DRIVE_1],
      [2, SLOT_1],
      [2, SLOT_2],
      [2, SLOT_3],
      [2, SLOT_4],
    ]);
    const inDrive = elements.find(({ address }) => address === DRIVE_0);
    expect(inDrive).to.include({ full: true, source: SLOT_1, tag: "REEL0001".padEnd(32) });
    const empty = elements.find(({ address }) => address === SLOT_3);
    expect(empty).to.include({ full: false, source: undefined });
    const home = elements.find(({ address }) => address === SLOT_4);
    expect(home).to.include({ full: true, source: SLOT_4, tag: "A-B 4".padEnd(32) });
  });

  it("reports one type at a time, as mtx asks, with and without tags", async () => {
    const { changer } = await bench({ tapes });
    for (const [type, count] of [
      [1, 1],
      [2, 4],
      [3, 1],
      [4, 2],
    ] as const) {
      for (const tags of [true, false]) {
        const report = decodeReport(await changer.good(readElementStatus(type, { tags })));
        expect(report.elements.length).to.equal(count);
        expect(report.elements.every((each) => each.type === type)).to.equal(true);
      }
    }
    await changer.fails(readElementStatus(5), "05/24/00");
  });

  it("reports a range, and an empty one without a page", async () => {
    const { changer } = await bench({ tapes });
    const some = decodeReport(
      await changer.good(readElementStatus(2, { first: SLOT_2, count: 2 })),
    );
    expect([some.first, some.count]).to.deep.equal([SLOT_2, 2]);
    expect(some.elements.map(({ address }) => address)).to.deep.equal([SLOT_2, SLOT_3]);
    const across = decodeReport(await changer.good(readElementStatus(0, { first: 2, count: 4 })));
    expect(across.elements.map(({ type }) => type)).to.deep.equal([3, 4, 4, 2]);
    for (const range of [{ first: 0xffff }, { count: 0 }]) {
      expect((await changer.good(readElementStatus(0, range))).length).to.equal(8);
    }
    const { changer: noPorts } = await bench({ importExport: 0 });
    expect((await noPorts.good(readElementStatus(3))).length).to.equal(8);
  });

  it("cuts to the allocation by whole descriptors, and says how much there is", async () => {
    const { changer } = await bench({ tapes });
    const whole = await changer.good(readElementStatus(0));
    const total = whole.readUIntBE(5, 3);
    expect(total).to.equal(whole.length - 8);
    for (let allocation = 0; allocation <= whole.length + 1; allocation++) {
      const report = await changer.good(readElementStatus(0, { allocation }));
      expect(report.length).to.be.at.most(allocation);
      if (report.length < 8) continue;
      expect(report.readUIntBE(5, 3)).to.equal(total);
      decodeReport(report);
    }
  });

  it("names the drives on DVCID as the drives name themselves", async () => {
    const { changer, target } = await bench({ tapes });
    const report = decodeReport(await changer.good(readElementStatus(4, { ids: true })));
    for (const [index, element] of report.elements.entries()) {
      const drive = new Host(target, DRIVE + index);
      const names = await drive.good(inquiry(255, 0x83));
      const length = element.rest[3] ?? 0;
      expect(length).to.be.above(24);
      expect([...element.rest.subarray(0, 4 + length)]).to.deep.equal([
        ...names.subarray(4, 8 + length),
      ]);
    }
  });

  it("says who put a tape into an import/export element", async () => {
    const { changer, loader } = await bench({ tapes });
    loader.insert({ barcode: "NEW001" }, { kind: "import-export", number: 1 });
    await changer.fails(testUnitReady, "06/28/01");
    const [byHand] = decodeReport(await changer.good(readElementStatus(3))).elements;
    expect(byHand).to.include({ full: true, tag: "NEW001".padEnd(32), flags: 0x3b });
    await changer.good(moveMedium(PORT, SLOT_3));
    await changer.good(moveMedium(SLOT_2, PORT));
    const [byRobot] = decodeReport(await changer.good(readElementStatus(3))).elements;
    expect(byRobot).to.include({ source: SLOT_2, flags: 0x39 });
  });

  it("initializes, with a range too, in both operation codes", async () => {
    const { changer } = await bench({ tapes });
    await changer.good([0x07, 0, 0, 0, 0, 0]);
    for (const opcode of [0x37, 0xe7]) {
      await changer.good([opcode, 1, 0x10, 0x01, 0, 0, 0, 2, 0, 0]);
      await changer.good([opcode, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
      await changer.fails([opcode, 1, 0x20, 0, 0, 0, 0, 2, 0, 0], "05/21/01");
    }
    await changer.good([0x01, 0, 0, 0, 0, 0]);
    await changer.good(testUnitReady);
  });
});

describe("SCSI changer: moving", () => {
  it("moves a tape into a drive, which says so, and back", async () => {
    const { changer, drive } = await bench({ tapes }, { load: false });
    await drive.fails(testUnitReady, "02/3a/00");
    await changer.good(moveMedium(SLOT_1, DRIVE_0));
    await drive.fails(testUnitReady, "06/28/00");
    await drive.good(testUnitReady);
    await changer.good(testUnitReady);
    await changer.good(moveMedium(DRIVE_0, SLOT_3, ARM));
    await drive.fails(testUnitReady, "02/3a/00");
    expect((await places(changer))["REEL0001"]).to.equal(SLOT_3);
  });

  it("refuses what cannot be, and says what is wrong", async () => {
    const { changer } = await bench({ tapes });
    await changer.fails(moveMedium(SLOT_2, SLOT_4), "05/3b/0d");
    await changer.fails(moveMedium(SLOT_2, SLOT_2), "05/3b/0d");
    await changer.fails(moveMedium(SLOT_3, SLOT_1), "05/3b/0e");
    await changer.fails(moveMedium(ARM, SLOT_1), "05/3b/0e");
    const wrong = [
      [moveMedium(0x2000, SLOT_3), "cdb 4"],
      [moveMedium(SLOT_2, 0x1004), "cdb 6"],
      [moveMedium(SLOT_2, ARM), "cdb 6"],
      [moveMedium(SLOT_2, SLOT_3, 5), "cdb 2"],
    ] as const;
    for (const [cdb, pointer] of wrong) {
      expect(await changer.fails(cdb, "05/21/01")).to.include({ pointer });
    }
    const inverted = moveMedium(SLOT_2, SLOT_3);
    inverted[10] = 1;
    await changer.fails(inverted, "05/24/00");
    expect(await places(changer)).to.deep.equal({
      REEL0001: DRIVE_0,
      REEL0002: SLOT_2,
      "A-B 4": SLOT_4,
    });
  });

  it("leaves a tape in its drive while a host prevents removal, and raises the flag", async () => {
    const { changer, drive } = await bench({ tapes });
    await drive.good(prevent(1));
    await changer.fails(moveMedium(DRIVE_0, SLOT_3), "05/53/02");
    const alerts = await changer.good(logSense(0x2e));
    expect(alerts[4 + 5 * 9 + 4]).to.equal(1);
    const [, { flags } = { flags: -1 }] = decodeReport(
      await changer.good(readElementStatus(0, { first: PORT })),
    ).elements;
    expect(flags & 0x08, "not accessible").to.equal(0);
    await drive.good(prevent(0));
    await changer.good(moveMedium(DRIVE_0, SLOT_3));
  });

  it("lets no tape out while a host prevents it on the changer", async () => {
    const { changer } = await bench({ tapes });
    await changer.good(prevent(1));
    await changer.fails(moveMedium(SLOT_2, PORT), "05/53/02");
    await changer.good(moveMedium(SLOT_2, SLOT_3));
    await changer.good(prevent(0));
    await changer.good(moveMedium(SLOT_3, PORT));
  });

  it("exchanges tapes", async () => {
    const { changer } = await bench({ tapes });
    await changer.good(exchangeMedium(SLOT_2, DRIVE_0, SLOT_2));
    expect(await places(changer)).to.include({ REEL0001: SLOT_2, REEL0002: DRIVE_0 });
    await changer.good(exchangeMedium(SLOT_4, DRIVE_0, SLOT_3));
    expect(await places(changer)).to.include({ REEL0002: SLOT_3, "A-B 4": DRIVE_0 });
    await changer.fails(exchangeMedium(SLOT_1, DRIVE_0, SLOT_4), "05/3b/0e");
    await changer.fails(exchangeMedium(SLOT_2, DRIVE_1, SLOT_4), "05/3b/0e");
    await changer.fails(exchangeMedium(SLOT_2, DRIVE_0, SLOT_3), "05/3b/0d");
    await changer.fails(exchangeMedium(SLOT_2, DRIVE_0, DRIVE_0), "05/3b/0d");
    await changer.fails(exchangeMedium(SLOT_2, DRIVE_0, 0x3000), "05/21/01");
    for (const bit of [1, 2]) {
      const cdb = exchangeMedium(SLOT_2, DRIVE_0, SLOT_2);
      cdb[10] = bit;
      await changer.fails(cdb, "05/24/00");
    }
  });

  it("goes to elements that exist", async () => {
    const { changer } = await bench({ tapes });
    await changer.good([0x2b, 0, 0, 0, 0x10, 0x03, 0, 0, 0, 0]);
    await changer.good([0x2b, 0, 0, 1, 0, 0x01, 0, 0, 0, 0]);
    await changer.fails([0x2b, 0, 0, 0, 0x10, 0x04, 0, 0, 0, 0], "05/21/01");
    await changer.fails([0x2b, 0, 0, 0, 0x10, 0x03, 0, 0, 1, 0], "05/24/00");
  });

  it("hears of tapes that others moved, but not of its own moves", async () => {
    const { changer, loader, target } = await bench({ tapes });
    const other = await new Host(target, CHANGER, "host-b").settle();
    await changer.good(moveMedium(SLOT_2, SLOT_3));
    await changer.good(testUnitReady);
    await other.good(testUnitReady);
    await loader.move({ kind: "storage", number: 3 }, { kind: "storage", number: 1 });
    await changer.fails(testUnitReady, "06/28/00");
    await other.fails(testUnitReady, "06/28/00");
    loader.insert({ barcode: "X" }, { kind: "import-export", number: 1 });
    await other.fails(testUnitReady, "06/28/01");
    loader.remove({ kind: "import-export", number: 1 });
    await other.fails(testUnitReady, "06/28/01");
  });

  it("moves as a model of it does, whatever is asked", async () => {
    await withRandom(async (random) => {
      const { changer, loader } = await bench({ tapes, slots: 4, drives: 2 }, { load: false });
      const all = [PORT, DRIVE_0, DRIVE_1, SLOT_1, SLOT_2, SLOT_3, SLOT_4];
      const model = new Map<number, string>();
      for (const [tag, address] of Object.entries(await places(changer))) model.set(address, tag);
      for (let step = 0; step < 150; step++) {
        const [from, to] = [random.pick([...all, 0x4000]), random.pick([...all, 0x4000])];
        const { status, sense } = await changer.send(moveMedium(from, to));
        const tag = model.get(from);
        const known = all.includes(from) && all.includes(to);
        const expected = known && tag !== undefined && !model.has(to);
        expect(status === 0, `step ${step}: ${from} to ${to}`).to.equal(expected);
        if (!known) expect([sense?.[12], sense?.[13]]).to.deep.equal([0x21, 0x01]);
        if (expected) {
          model.delete(from);
          model.set(to, tag);
        }
      }
      const now = await places(changer);
      expect(now).to.deep.equal(Object.fromEntries([...model].map(([at, tag]) => [tag, at])));
      await loader.close();
    });
  });
});

describe("SCSI changer: mode pages", () => {
  it("has the pages that mtx, the kernel and loaderinfo read", async () => {
    const { changer } = await bench({ slots: 9, drives: 3, importExport: 2 });
    const addresses = (await changer.good(modeSense6(0x1d))).subarray(4);
    expect([addresses[0], addresses[1]]).to.deep.equal([0x1d, 18]);
    const words = [2, 4, 6, 8, 10, 12, 14, 16].map((at) => addresses.readUInt16BE(at));
    expect(words).to.deep.equal([ARM, 1, SLOT_1, 9, PORT, 2, DRIVE_0, 3]);
    expect([...(await changer.good(modeSense6(0x1e))).subarray(4)]).to.deep.equal([0x1e, 2, 0, 0]);
    const capabilities = (await changer.good(modeSense6(0x1f))).subarray(4);
    expect([...capabilities.subarray(0, 8)]).to.deep.equal([0x1f, 18, 14, 0, 0, 14, 14, 14]);
  });

  it("lets nothing in them be changed", async () => {
    const { changer } = await bench();
    const page = [...(await changer.good(modeSense6(0x1d))).subarray(4)];
    await changer.good(modeSelect6(24), [0, 0, 0, 0, ...page]);
    page[9] = 99;
    await changer.fails(modeSelect6(24), "05/26/00", [0, 0, 0, 0, ...page]);
    await changer.fails(modeSelect6(12), "05/26/00", [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    await changer.fails(modeSelect6(4), "05/26/00", [0, 0, 0x10, 0]);
    await changer.good([0x4c, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
  });
});
