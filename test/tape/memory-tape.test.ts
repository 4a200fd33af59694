import { expect } from "chai";
import { CountingDrive } from "../../src/tape/counting-drive.ts";
import { MemoryTape, type MemoryObject } from "../../src/tape/memory-tape.ts";
import { expectReelError } from "../support/expect-error.ts";
import { FaultyDrive } from "../support/faulty-drive.ts";
import { tapeDriveSuite } from "../support/tape-drive-suite.ts";

function openMemory(
  objects: MemoryObject[],
  mode: "read" | "write",
  limits?: { readonly capacityBytes: number; readonly earlyWarningBytes: number },
): MemoryTape {
  return new MemoryTape({ objects, readOnly: mode === "read", ...limits });
}

tapeDriveSuite("a tape in memory", async () => {
  const objects: MemoryObject[] = [];
  return {
    open: async (mode, limits) => openMemory(objects, mode, limits),
    remove: async () => undefined,
  };
});

tapeDriveSuite("a counting drive", async () => {
  const objects: MemoryObject[] = [];
  return {
    open: async (mode, limits) => new CountingDrive(openMemory(objects, mode, limits)),
    remove: async () => undefined,
  };
});

tapeDriveSuite("a faulty drive without faults", async () => {
  const objects: MemoryObject[] = [];
  return {
    open: async (mode, limits) => new FaultyDrive(openMemory(objects, mode, limits)),
    remove: async () => undefined,
  };
});

describe("a tape in memory", () => {
  it("refuses a capacity that is no size", () => {
    expect(() => new MemoryTape({ capacityBytes: -1 })).to.throw("cannot be -1 bytes");
    expect(() => new MemoryTape({ capacityBytes: 10, earlyWarningBytes: 0.5 })).to.throw("0.5");
  });
});

describe("a faulty drive", () => {
  const tape = (): MemoryTape =>
    new MemoryTape({ objects: [1, 2, 3, 4].map((byte) => new Uint8Array(10).fill(byte)) });

  it("fails where it was told to, and nowhere else", async () => {
    const drive = new FaultyDrive(tape(), [
      { object: 1, kind: "read-error", times: 1 },
      { object: 2, kind: "wrong-byte", byte: 3 },
      { object: 3, kind: "damaged" },
    ]);
    const target = new Uint8Array(10);
    await drive.read(target);
    await expectReelError(drive.read(target), "io");
    await drive.read(target);
    expect(target[3]).to.equal(2);
    await drive.read(target);
    expect([...target]).to.deep.equal([3, 3, 3, 2, 3, 3, 3, 3, 3, 3]);
    await expectReelError(drive.read(target), "damaged");
    drive.heal();
    expect(await drive.read(target)).to.include({ kind: "record" });
    expect(drive.struck).to.equal(3);
  });

  it("cuts the tape", async () => {
    const drive = new FaultyDrive(tape(), [{ object: 2, kind: "cut" }]);
    await expectReelError(drive.spaceToEndOfData(), "damaged");
    expect((await drive.position()).object).to.equal(2);
    await expectReelError(drive.read(new Uint8Array(10)), "damaged");
    await expectReelError(drive.locate(3), "damaged");
    const shorter = new FaultyDrive(tape(), [{ object: 2, kind: "end-of-data" }]);
    expect((await shorter.spaceToEndOfData()).object).to.equal(2);
    expect((await shorter.read(new Uint8Array(10))).kind).to.equal("end-of-data");
    await expectReelError(shorter.locate(3), "out-of-range");
    await shorter.rewind();
    expect(await shorter.space("records", 3)).to.deep.equal({
      passed: 2,
      stoppedBy: "end-of-data",
    });
  });

  it("refuses a write", async () => {
    const drive = new FaultyDrive(new MemoryTape(), [
      { object: 0, kind: "no-space", times: 1 },
      { object: 1, kind: "write-error", times: 1 },
    ]);
    await expectReelError(drive.write([new Uint8Array(1)]), "no-space");
    await drive.write([new Uint8Array(1)]);
    await expectReelError(drive.writeFilemarks(1), "io");
    await drive.writeFilemarks(1);
    expect((await drive.position()).object).to.equal(2);
  });
});
