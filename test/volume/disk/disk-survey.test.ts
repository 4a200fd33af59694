import { expect } from "chai";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { GAP_END_BYTES, gapsOf, surveyDisk } from "../../../src/volume/disk/disk-survey.ts";
import type { PartitionTable } from "../../../src/volume/partitions/partition-table.ts";
import { expectReelError } from "../../support/expect-error.ts";

const SECTOR = 512;

/** Partitions given by first sector and sectors, in any order. */
function tableWith(places: readonly (readonly [number, number])[]): PartitionTable {
  const words = { type: "83", typeName: "", name: "", uuid: "", active: false, logical: false };
  return {
    ...{ kind: "mbr", sectorSizeBytes: SECTOR, uuid: "", notices: [] },
    structure: [{ startBytes: 0, sizeBytes: SECTOR }],
    entries: places.map(([start, count], index) => ({
      ...words,
      ...{ number: index + 1, startBytes: start * SECTOR, sizeBytes: count * SECTOR },
    })),
  };
}

describe("a survey of what is no partition's", () => {
  it("finds the gaps, also where partitions overlap or are not in order", () => {
    const table = tableWith([
      [50, 10],
      [10, 20],
      [25, 10],
      [12, 2],
    ]);
    const gaps = gapsOf(table, 100 * SECTOR).map(({ startBytes, sizeBytes }) => [
      startBytes / SECTOR,
      sizeBytes / SECTOR,
    ]);
    expect(gaps).to.deep.equal([
      [0, 10],
      [35, 15],
      [60, 40],
    ]);
  });

  it("keeps the table and what is in the gaps, and nothing of a partition", async () => {
    const bytes = new Uint8Array(100 * SECTOR);
    for (const sector of [5, 15, 70, 99]) bytes[sector * SECTOR + 7] = 1;
    const { used, control, notices } = await surveyDisk(
      new MemoryDevice(bytes),
      tableWith([[10, 50]]),
    );
    expect([...used]).to.deep.equal([
      [0, 1],
      [5, 1],
      [70, 1],
      [99, 1],
    ]);
    expect([...control]).to.deep.equal([[0, 1]]);
    expect(notices).to.deep.equal([]);
  });

  it("looks only at the ends of a long gap, and says so", async () => {
    const bytes = new Uint8Array(2 * GAP_END_BYTES + 8 * 1024 * 1024);
    const middle = GAP_END_BYTES + 4 * 1024 * 1024;
    const last = bytes.length - SECTOR;
    for (const at of [GAP_END_BYTES - 1, middle, last]) bytes[at] = 1;
    const { used, notices } = await surveyDisk(new MemoryDevice(bytes), tableWith([]));
    expect(used.has((GAP_END_BYTES - SECTOR) / SECTOR)).to.be.true;
    expect(used.has(middle / SECTOR)).to.be.false;
    expect(used.has(last / SECTOR)).to.be.true;
    expect(notices.join()).to.match(/only the first and the last 33554432 are copied/);
  });

  it("stops when it is told to", async () => {
    const signal = AbortSignal.abort();
    await expectReelError(
      surveyDisk(new MemoryDevice(new Uint8Array(SECTOR * 4)), tableWith([]), { signal }),
      "aborted",
    );
  });
});
