/** Several hosts at one device: what each is told, and who keeps whom out. */
import { expect } from "chai";
import {
  CHANGER,
  DRIVE,
  Host,
  bench,
  blockLengthList,
  inquiry,
  loadUnload,
  locate10,
  logSense,
  modeSelect6,
  modeSense6,
  moveMedium,
  prevent,
  read,
  readBlockLimits,
  readElementStatus,
  readPosition,
  requestSense,
  rewind,
  testUnitReady,
  write,
  type Bench,
} from "./host.ts";

const reserve6 = [0x16, 0, 0, 0, 0, 0];
const release6 = [0x17, 0, 0, 0, 0, 0];
const reserve10 = [0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const release10 = [0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0];

async function twoHosts(): Promise<Bench & { other: Host }> {
  const made = await bench();
  const other = await new Host(made.target, DRIVE, "host-b").settle();
  return { ...made, other };
}

describe("SCSI unit attentions", () => {
  it("greets every nexus with power on, once, on each device", async () => {
    const { target } = await bench();
    for (const lun of [CHANGER, DRIVE]) {
      for (const nexus of ["x", "y"]) {
        const host = new Host(target, lun, nexus);
        await host.good(inquiry(36));
        await host.fails(testUnitReady, "06/29/00");
        await host.good(testUnitReady);
      }
    }
  });

  it("answers INQUIRY and REPORT LUNS first, and gives the attention to REQUEST SENSE", async () => {
    const { target } = await bench();
    const host = new Host(target, DRIVE, "x");
    await host.good([0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    const sense = await host.good(requestSense);
    expect([sense[2], sense[12], sense[13]]).to.deep.equal([6, 0x29, 0]);
    await host.good(testUnitReady);
  });

  it("tells the others, not the one who did it, of changed mode parameters", async () => {
    const { drive, other } = await twoHosts();
    await drive.good(modeSelect6(12), blockLengthList(512));
    await drive.good(testUnitReady);
    await other.fails(testUnitReady, "06/2a/01");
    await other.good(testUnitReady);
    await drive.good(modeSelect6(12), blockLengthList(512));
    await other.good(testUnitReady);
  });

  it("tells everybody of a tape the robot brought, and the others of one that was loaded", async () => {
    const { drive, other, changer } = await twoHosts();
    await changer.good(moveMedium(0x0100, 0x1001));
    await changer.good(moveMedium(0x1001, 0x0100));
    await drive.fails(testUnitReady, "06/28/00");
    await other.fails(read(1), "06/28/00");
    await drive.good(loadUnload(0));
    await drive.good(loadUnload(1));
    await drive.good(testUnitReady);
    await other.fails(testUnitReady, "06/28/00");
  });

  it("greets anew after a reset, with everything as it was at the start", async () => {
    const { drive, other, target, loader } = await twoHosts();
    await drive.good(modeSelect6(12), blockLengthList(512));
    await other.settle();
    await drive.good(prevent(1));
    await drive.good(reserve6);
    await target.reset(DRIVE);
    await drive.fails(testUnitReady, "06/29/00");
    await other.fails(testUnitReady, "06/29/00");
    await other.good(testUnitReady);
    expect((await other.good(modeSense6(0))).readUIntBE(9, 3)).to.equal(0);
    expect(loader.drive(0).preventRemoval).to.equal(false);
    await target.reset();
    await new Host(target, CHANGER).fails(testUnitReady, "06/29/00");
    await target.reset(99);
  });

  it("frees what a lost nexus held, and greets it when it comes back", async () => {
    const { drive, other, target, loader } = await twoHosts();
    await drive.good(reserve6);
    await drive.good(prevent(1));
    await other.conflicts(testUnitReady);
    await target.nexusLost(drive.nexus);
    await other.good(testUnitReady);
    expect(loader.drive(0).preventRemoval).to.equal(false);
    await drive.fails(testUnitReady, "06/29/00");
  });

  it("holds the tape until every host that prevents removal has let go", async () => {
    const { drive, other, loader } = await twoHosts();
    await drive.good(prevent(1));
    await other.good(prevent(1));
    await drive.good(prevent(0));
    expect(loader.drive(0).preventRemoval).to.equal(true);
    await other.good(prevent(0));
    expect(loader.drive(0).preventRemoval).to.equal(false);
  });

  it("keeps more hosts apart than anybody has, and forgets the oldest beyond", async () => {
    const { target } = await bench();
    for (let i = 0; i < 1100; i++) {
      await new Host(target, DRIVE, `n${i}`).fails(testUnitReady, "06/29/00");
    }
    await new Host(target, DRIVE, "n1099").good(testUnitReady);
    await new Host(target, DRIVE, "n0").fails(testUnitReady, "06/29/00");
  });
});

describe("SCSI RESERVE and RELEASE", () => {
  it("keep others out of all but what harms nobody", async () => {
    for (const [reserve, release] of [
      [reserve6, release6],
      [reserve10, release10],
    ] as const) {
      const { drive, other } = await twoHosts();
      await drive.good(reserve);
      await drive.good(reserve);
      for (const cdb of [testUnitReady, rewind, read(1), write(1), modeSense6(0), locate10(0)]) {
        await other.conflicts(cdb);
      }
      await other.conflicts(reserve);
      await other.conflicts(prevent(1));
      for (const cdb of [inquiry(36), requestSense, readBlockLimits, logSense(0), prevent(0)]) {
        await other.good(cdb);
      }
      await other.good(release);
      await other.conflicts(testUnitReady);
      await drive.good(release);
      await other.good(testUnitReady);
    }
  });

  it("refuse third parties and extents", async () => {
    const { drive } = await twoHosts();
    await drive.fails([0x16, 0x10, 0, 0, 0, 0], "05/24/00");
    await drive.fails([0x17, 0x01, 0, 0, 0, 0], "05/24/00");
  });

  it("let others look at the elements of a reserved changer with CURDATA", async () => {
    const { target, changer } = await bench();
    const other = await new Host(target, CHANGER, "host-b").settle();
    await changer.good(reserve6);
    await other.conflicts(readElementStatus(0));
    const cdb = readElementStatus(0);
    cdb[6] = 0x02;
    await other.good(cdb);
  });
});

const KEY_A = 0xa1;
const KEY_B = 0xb2;

const reserveIn = (action: number): number[] => [0x5e, action, 0, 0, 0, 0, 0, 2, 0, 0];
const reserveOut = (action: number, type = 0): number[] => {
  return [0x5f, action, type, 0, 0, 0, 0, 0, 24, 0];
};
const list = (key: number, actionKey = 0, flags = 0): Buffer => {
  const bytes = Buffer.alloc(24);
  bytes.writeBigUInt64BE(BigInt(key), 0);
  bytes.writeBigUInt64BE(BigInt(actionKey), 8);
  bytes[20] = flags;
  return bytes;
};
const REGISTER = 0;
const RESERVE = 1;
const RELEASE = 2;
const CLEAR = 3;
const PREEMPT = 4;
const PREEMPT_AND_ABORT = 5;
const REGISTER_AND_IGNORE = 6;

describe("SCSI persistent reservations", () => {
  async function registered(): Promise<Bench & { other: Host; third: Host }> {
    const made = await twoHosts();
    const third = await new Host(made.target, DRIVE, "host-c").settle();
    await made.drive.good(reserveOut(REGISTER), list(0, KEY_A));
    await made.other.good(reserveOut(REGISTER), list(0, KEY_B));
    return { ...made, third };
  }

  it("registers keys, and shows them", async () => {
    const { drive, third } = await registered();
    const keys = await third.good(reserveIn(0));
    expect([keys.readUInt32BE(0), keys.readUInt32BE(4)]).to.deep.equal([2, 16]);
    expect([keys.readBigUInt64BE(8), keys.readBigUInt64BE(16)]).to.deep.equal([0xa1n, 0xb2n]);
    await drive.conflicts(reserveOut(REGISTER), list(99, 1));
    await drive.good(reserveOut(REGISTER_AND_IGNORE), list(99, 0xc3));
    expect((await third.good(reserveIn(0))).readBigUInt64BE(8)).to.equal(0xc3n);
    await drive.good(reserveOut(REGISTER), list(0xc3, 0));
    expect((await third.good(reserveIn(0))).readUInt32BE(4)).to.equal(8);
    expect((await third.good(reserveIn(1))).readUInt32BE(4)).to.equal(0);
  });

  it("keeps others out as its type says", async () => {
    // Type; what another registrant may do; what a stranger may do.
    const rules = [
      [1, { look: true, write: false }, { look: true, write: false }],
      [3, { look: false, write: false }, { look: false, write: false }],
      [5, { look: true, write: true }, { look: true, write: false }],
      [6, { look: true, write: true }, { look: false, write: false }],
      [7, { look: true, write: true }, { look: true, write: false }],
      [8, { look: true, write: true }, { look: false, write: false }],
    ] as const;
    for (const [type, registrant, stranger] of rules) {
      const { drive, other, third } = await registered();
      await drive.good(reserveOut(RESERVE, type), list(KEY_A));
      for (const [host, may] of [
        [drive, { look: true, write: true }],
        [other, registrant],
        [third, stranger],
      ] as const) {
        const look = await host.send(readPosition(0));
        expect(look.status === 0, `type ${type}: ${host.nexus} looks`).to.equal(may.look);
        const wrote = await host.send(write(1), [1]);
        expect(wrote.status === 0, `type ${type}: ${host.nexus} writes`).to.equal(may.write);
        await host.good(testUnitReady);
        await host.good(reserveIn(1));
      }
    }
  });

  it("shows who holds it, releases it to its holder alone, and tells the registrants", async () => {
    const { drive, other, third } = await registered();
    await drive.good(reserveOut(RESERVE, 5), list(KEY_A));
    await drive.good(reserveOut(RESERVE, 5), list(KEY_A));
    await drive.conflicts(reserveOut(RESERVE, 6), list(KEY_A));
    await other.conflicts(reserveOut(RESERVE, 5), list(KEY_B));
    await third.conflicts(reserveOut(RESERVE, 5), list(0));
    const held = await third.good(reserveIn(1));
    expect([held.readUInt32BE(4), held.readBigUInt64BE(8), held[21]]).to.deep.equal([16, 0xa1n, 5]);
    await other.good(reserveOut(RELEASE, 5), list(KEY_B));
    await drive.fails(reserveOut(RELEASE, 6), "05/26/04", list(KEY_A));
    await drive.good(reserveOut(RELEASE, 5), list(KEY_A));
    await drive.good(testUnitReady);
    await other.fails(testUnitReady, "06/2a/04");
  });

  it("ends when its holder takes the registration back", async () => {
    const { drive, other, third } = await registered();
    await drive.good(reserveOut(RESERVE, 3), list(KEY_A));
    await drive.good(reserveOut(REGISTER), list(KEY_A, 0));
    await other.good(write(1), [1]);
    await third.good(write(1), [1]);
  });

  it("is taken over by preempting, and the one preempted hears of it", async () => {
    for (const action of [PREEMPT, PREEMPT_AND_ABORT]) {
      const { drive, other } = await registered();
      await drive.good(reserveOut(RESERVE, 3), list(KEY_A));
      await other.conflicts(reserveOut(action, 3), list(KEY_B, 77));
      await other.good(reserveOut(action, 1), list(KEY_B, KEY_A));
      await drive.fails(testUnitReady, "06/2a/05");
      await drive.conflicts(write(1), [1]);
      await other.good(write(1), [1]);
      await other.fails(reserveOut(action, 1), "05/26/00", list(KEY_B, 0));
    }
  });

  it("held by all registrants, has no key, and goes to who preempts all", async () => {
    const { drive, other, third } = await registered();
    await drive.good(reserveOut(RESERVE, 8), list(KEY_A));
    expect((await third.good(reserveIn(1))).readBigUInt64BE(8)).to.equal(0n);
    await other.good(reserveOut(PREEMPT, 3), list(KEY_B, 0));
    await drive.fails(testUnitReady, "06/2a/05");
    expect((await third.good(reserveIn(1))).readBigUInt64BE(8)).to.equal(0xb2n);
  });

  it("is cleared with all registrations", async () => {
    const { drive, other, third } = await registered();
    await drive.good(reserveOut(RESERVE, 3), list(KEY_A));
    await other.good(reserveOut(CLEAR), list(KEY_B));
    await drive.fails(testUnitReady, "06/2a/03");
    await third.good(write(1), [1]);
    expect((await third.good(reserveIn(0))).readUInt32BE(4)).to.equal(0);
  });

  it("outlives nexus and reset", async () => {
    const { drive, other, target } = await registered();
    await drive.good(reserveOut(RESERVE, 3), list(KEY_A));
    await target.nexusLost(drive.nexus);
    await target.reset();
    await other.settle();
    await other.conflicts(write(1), [1]);
    await drive.settle();
    await drive.good(write(1), [1]);
  });

  it("excludes RESERVE, and is excluded by it", async () => {
    const { drive, third } = await registered();
    await drive.conflicts(reserve6);
    await third.conflicts(release6);
    const { drive: one, other } = await twoHosts();
    await one.good(reserve6);
    await other.conflicts(reserveIn(0));
    await other.conflicts(reserveOut(REGISTER), list(0, KEY_B));
  });

  it("reports capabilities, and full status with the names of the nexuses", async () => {
    const { drive, third } = await registered();
    await drive.good(reserveOut(RESERVE, 1), list(KEY_A));
    const capabilities = await third.good(reserveIn(2));
    expect([...capabilities]).to.deep.equal([0, 8, 0, 0x80, 0xea, 1, 0, 0]);
    const status = await third.good(reserveIn(3));
    expect(status.length).to.equal(8 + status.readUInt32BE(4));
    expect(status[8 + 12]).to.equal(1);
    expect(status.toString("latin1")).to.include("host-a\0").and.to.include("host-b\0");
  });

  it("refuses what it does not do, and lists of another length", async () => {
    const { drive } = await registered();
    const short = reserveOut(RESERVE, 1);
    short[8] = 20;
    await drive.fails(short, "05/1a/00", list(KEY_A));
    await drive.fails(reserveOut(RESERVE, 1), "0b/4b/00", [1, 2]);
    await drive.fails(reserveOut(RESERVE, 2), "05/24/00", list(KEY_A));
    await drive.fails(reserveOut(RESERVE, 0x13), "05/24/00", list(KEY_A));
    await drive.fails(reserveOut(7), "05/24/00", list(KEY_A));
    expect(await drive.fails(reserveOut(REGISTER), "05/26/00", list(KEY_A, 1, 1))).to.include({
      pointer: "list 20.0",
    });
    await drive.fails(reserveOut(REGISTER), "05/26/00", list(KEY_A, 1, 8));
  });

  it("has room for so many registrations and no more", async () => {
    const { target } = await bench();
    for (let i = 0; i < 256; i++) {
      const host = await new Host(target, DRIVE, `n${i}`).settle();
      await host.good(reserveOut(REGISTER), list(0, i + 1));
    }
    const late = await new Host(target, DRIVE, "late").settle();
    await late.fails(reserveOut(REGISTER), "05/55/04", list(0, 7));
  });
});
