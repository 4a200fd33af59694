import { expect } from "chai";
import { open, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openFileDevice } from "../../../src/device/file-device.ts";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { isReelError } from "../../../src/errors.ts";
import type { PartitionTable } from "../../../src/volume/partitions/partition-table.ts";
import { readPartitionTable } from "../../../src/volume/partitions/read-partition-table.ts";
import {
  hasDiskTools,
  listPartitions,
  makeTable,
  runDiskTool,
  SAMPLE_TABLES,
  writeTable,
} from "../../support/disk-sample.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { FatBuilder } from "../../support/fat-builder.ts";
import { withRandom } from "../../support/random.ts";
import { skipUnless } from "../../support/skip.ts";
import { withTempFolder } from "../../support/temp.ts";

const MIB = 1024 * 1024;
const DISK_BYTES = 112 * MIB;
const MANY_LOGICAL = `label: dos\n${"size=1M\n".repeat(2)}type=5\n${"size=1M\n".repeat(40)}`;

/** A second entry of the MBR: 8 MiB of type 83 from 1 MiB on. What makes a hybrid (gdisk(8)). */
const SECOND_MBR_ENTRY = 446 + 16;
const LINUX_PARTITION = Buffer.from("00000200" + "83ffffff" + "00080000" + "00400000", "hex");

async function tableOf(path: string): Promise<PartitionTable | undefined> {
  await using device = await openFileDevice(path);
  return await readPartitionTable(device);
}

/** What sfdisk lists, in our words. */
function seen(table: PartitionTable | undefined): unknown {
  return table?.entries.map(({ number, startBytes, sizeBytes, type, name }) => ({
    ...{ number, startBytes, sizeBytes, type, name },
  }));
}

async function changed(path: string, offsetBytes: number, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "r+");
  await file.write(bytes, 0, bytes.length, offsetBytes);
  await file.close();
}

describe("partition tables that sfdisk made", function () {
  this.timeout(20_000);
  before(function () {
    const why = "sfdisk is not installed (package fdisk)";
    skipUnless(this, hasDiskTools(["sfdisk"]), why);
  });

  for (const [name, script] of [
    ["GPT", SAMPLE_TABLES.gpt],
    ["MBR with logical partitions", SAMPLE_TABLES.mbr],
    ["MBR with forty logical partitions", MANY_LOGICAL],
    ["MBR with a hole in its numbers", "label: dos\n2: size=3M, type=7\n4: size=5M, bootable\n"],
  ] as const) {
    it(`${name}: the same partitions as sfdisk lists`, async () => {
      await withTempFolder(async (folder) => {
        const path = join(folder, "disk.img");
        await makeTable(path, DISK_BYTES, script);
        const table = await tableOf(path);
        expect(seen(table)).to.deep.equal(listPartitions(path));
        expect(table?.notices).to.deep.equal([]);
      });
    });
  }

  for (const label of ["gpt", "dos"]) {
    it(`reads a table (${label}) of a disk with 4096-byte sectors`, async function () {
      skipUnless(this, process.getuid?.() === 0, "loop devices need root");
      await withTempFolder(async (folder) => {
        const path = join(folder, "disk.img");
        await writeFile(path, "");
        await truncate(path, DISK_BYTES);
        const loop = runDiskTool("losetup", ["--sector-size", "4096", "--show", "-f", path]).trim();
        try {
          writeTable(loop, `label: ${label}\nsize=20M\ntype=L, size=8M\n`);
          const dumped = runDiskTool("sfdisk", ["-d", loop]);
          const listed = [...dumped.matchAll(/start= *(\d+), size= *(\d+)/g)];
          const expected = listed.map((match) => [
            Number(match[1]) * 4096,
            Number(match[2]) * 4096,
          ]);
          const places = async (from: string): Promise<unknown> =>
            (await tableOf(from))?.entries.map((entry) => [entry.startBytes, entry.sizeBytes]);
          expect(expected).to.have.length(2);
          expect(await places(loop)).to.deep.equal(expected);
          // A file does not know its sectors: a GPT tells, an MBR cannot.
          if (label === "gpt") expect(await places(path)).to.deep.equal(expected);
        } finally {
          runDiskTool("losetup", ["-d", loop]);
        }
      });
    });
  }

  it("uses the second copy of a GPT when the first is damaged, and says so", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "disk.img");
      await makeTable(path, DISK_BYTES, SAMPLE_TABLES.gpt);
      const sound = seen(await tableOf(path));
      await changed(path, 512 + 40, Uint8Array.of(1));
      const table = await tableOf(path);
      expect(seen(table)).to.deep.equal(sound);
      expect(table?.notices.join()).to.match(/first copy .* sector 1, is damaged .*checksum/);
      await changed(path, DISK_BYTES - 512 + 40, Uint8Array.of(1));
      const error = await expectReelError(tableOf(path), "damaged");
      expect(error.message).to.match(/sector 1: its checksum.*sector 229375: its checksum/);
    });
  });

  it("says when the entries or the second copy are damaged, and when the shield is hybrid", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "disk.img");
      await makeTable(path, DISK_BYTES, SAMPLE_TABLES.gpt);
      await changed(path, DISK_BYTES - 512, Buffer.alloc(512));
      expect((await tableOf(path))?.notices.join()).to.match(/second copy .* is no GPT header/);
      await makeTable(path, DISK_BYTES, SAMPLE_TABLES.gpt);
      await changed(path, 1024 + 33, Uint8Array.of(0x77));
      expect((await tableOf(path))?.notices.join()).to.match(/checksum of its entries/);
      await makeTable(path, DISK_BYTES, SAMPLE_TABLES.gpt);
      await changed(path, SECOND_MBR_ENTRY, LINUX_PARTITION);
      expect((await tableOf(path))?.notices.join()).to.match(/hybrid/);
      expect(seen(await tableOf(path))).to.have.length(5);
    });
  });

  it("takes a GPT without its shield, but never a copy left at the end of a disk", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "disk.img");
      await makeTable(path, DISK_BYTES, SAMPLE_TABLES.gpt);
      await changed(path, 0, Buffer.alloc(512));
      expect((await tableOf(path))?.notices.join()).to.match(/protective MBR is missing/);
      await changed(path, 512, Buffer.alloc(512));
      expect(await tableOf(path)).to.equal(undefined);
    });
  });

  it("says which partitions a disk that was cut short has lost", async () => {
    await withTempFolder(async (folder) => {
      const path = join(folder, "disk.img");
      await makeTable(path, DISK_BYTES, "label: dos\nsize=20M\nsize=20M\nsize=20M\n");
      await truncate(path, 30 * MIB);
      const table = await tableOf(path);
      expect(table?.entries.map((entry) => entry.number)).to.deep.equal([1, 2]);
      expect(table?.notices.join()).to.match(/partition 2 should have .*partition 3 begins beyond/);
    });
  });

  it("survives any damage to a table within its limits", async () => {
    await withTempFolder(async (folder) => {
      for (const script of [SAMPLE_TABLES.gpt, SAMPLE_TABLES.mbr]) {
        const path = join(folder, "disk.img");
        await makeTable(path, 4 * MIB, script.replaceAll(/size=\d+M/g, "size=512K"));
        const bytes = await readFile(path);
        const structure = (await tableOf(path))?.structure ?? [];
        await withRandom(async (random) => {
          for (let round = 0; round < 300; round++) {
            const copy = Buffer.from(bytes);
            for (let flips = random.below(8); flips >= 0; flips--) {
              const { startBytes, sizeBytes } = structure[random.below(structure.length)] ?? {
                startBytes: 0,
                sizeBytes: 512,
              };
              // The fields that matter are at the ends of their sectors.
              const at = startBytes + (sizeBytes - 1 - random.below(Math.min(sizeBytes, 96)));
              copy[at] = random.below(256);
            }
            const device = new MemoryDevice(copy);
            try {
              const table = await readPartitionTable(device);
              for (const { startBytes, sizeBytes } of table?.entries ?? []) {
                expect(startBytes + sizeBytes).to.be.at.most(copy.length);
              }
            } catch (error) {
              if (!isReelError(error, "damaged")) throw error;
            }
          }
        });
      }
    });
  });
});

/** A disk of 2 MiB with an MBR of these entries, and further links of chains by sector. */
function mbrDisk(links: Readonly<Record<number, readonly (readonly number[])[]>>): MemoryDevice {
  const bytes = Buffer.alloc(2 * MIB);
  for (const [sector, entries] of Object.entries(links)) {
    const at = Number(sector) * 512;
    for (const [slot, [type = 0, start = 0, count = 0]] of entries.entries()) {
      bytes.writeUInt8(type, at + 446 + slot * 16 + 4);
      bytes.writeUInt32LE(start, at + 446 + slot * 16 + 8);
      bytes.writeUInt32LE(count, at + 446 + slot * 16 + 12);
    }
    bytes.writeUInt16LE(0xaa55, at + 510);
  }
  return new MemoryDevice(bytes, { name: "disk.img" });
}

describe("partition tables made by hand", () => {
  it("a chain that comes back to itself ends there, with a notice", async () => {
    const disk = mbrDisk({
      0: [[0x05, 100, 2000]],
      100: [
        [0x83, 1, 50],
        [0x05, 100, 100],
      ],
      200: [
        [0x83, 1, 50],
        [0x05, 0, 100],
      ],
    });
    const table = await readPartitionTable(disk);
    expect(table?.entries.map((entry) => entry.number)).to.deep.equal([5, 6]);
    expect(table?.notices.join()).to.match(/sector 100: the chain comes back to it/);
  });

  it("a chain into nowhere, or into no link, ends there, with a notice", async () => {
    for (const [next, why] of [
      [1000, /sector 1100: it does not end in 55 AA/],
      [1_000_000, /sector 1000100: it lies beyond the end/],
    ] as const) {
      const disk = mbrDisk({
        0: [[0x0f, 100, 3900]],
        100: [
          [0x83, 1, 50],
          [0x05, next, 100],
        ],
      });
      const table = await readPartitionTable(disk);
      expect(table?.entries.map((entry) => entry.number)).to.deep.equal([5]);
      expect(table?.notices.join()).to.match(why);
    }
  });

  it("a chain longer than any real one is followed only so far", async () => {
    const links: Record<number, number[][]> = { 0: [[0x05, 100, 3900]] };
    for (let n = 0; n < 200; n++) {
      links[100 + n * 10] = [
        [0x83, 1, 5],
        [0x05, (n + 1) * 10, 10],
      ];
    }
    const table = await readPartitionTable(mbrDisk(links));
    expect(table?.entries).to.have.length(128);
    expect(table?.notices.join()).to.match(/longer than 128 links/);
  });

  it("garbage in the third and fourth entry of a link is no partition", async () => {
    const disk = mbrDisk({
      0: [[0x05, 100, 2000]],
      100: [
        [0x83, 1, 50],
        [0, 0, 0],
        [0x83, 3000, 50],
        [0x83, 60, 10],
      ],
    });
    const table = await readPartitionTable(disk);
    expect(
      table?.entries.map(({ number, startBytes }) => [number, startBytes / 512]),
    ).to.deep.equal([
      [5, 101],
      [6, 160],
    ]);
  });

  it("a boot sector of a volume that takes the whole disk is no table", async () => {
    const fat = new FatBuilder({ bits: 12, clusters: 100 }).build();
    // What would be partition entries, in boot code.
    fat.set(Uint8Array.of(0x80, 1, 1, 0, 0x0c, 1, 1, 0, 1, 0, 0, 0, 50, 0, 0, 0), 446);
    fat.set([0x55, 0xaa], 510);
    expect(await readPartitionTable(new MemoryDevice(fat))).to.equal(undefined);
    for (const oem of ["NTFS    ", "EXFAT   "]) {
      const disk = Buffer.alloc(MIB);
      disk.write(oem, 3, "latin1");
      disk.set([0x80, 1, 1, 0, 0x0c, 1, 1, 0, 1, 0, 0, 0, 50, 0, 0, 0], 446);
      disk.set([0x55, 0xaa], 510);
      expect(await readPartitionTable(new MemoryDevice(disk)), oem).to.equal(undefined);
    }
  });

  it("what has no 55 AA, odd flags, no entry, or hardly any bytes is no table", async () => {
    for (const disk of [Buffer.alloc(MIB), Buffer.alloc(100), Buffer.alloc(0)]) {
      expect(await readPartitionTable(new MemoryDevice(disk))).to.equal(undefined);
    }
    const empty = mbrDisk({ 0: [] });
    expect(await readPartitionTable(empty)).to.equal(undefined);
    const odd = Buffer.alloc(MIB);
    odd.set([0x13, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0], 446);
    odd.set([0x55, 0xaa], 510);
    expect(await readPartitionTable(new MemoryDevice(odd))).to.equal(undefined);
  });

  it("a shield without a GPT behind it is a damaged table", async () => {
    const error = await expectReelError(
      readPartitionTable(mbrDisk({ 0: [[0xee, 1, 4095]] })),
      "damaged",
    );
    expect(error.message).to.match(/cannot read the partition table of disk\.img: its MBR says/);
  });
});
