import { expect } from "chai";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { openForBackup, openPartition } from "../../../src/volume/formats.ts";
import { recognise } from "../../../src/volume/signatures.ts";
import { unknownFormat } from "../../../src/volume/unknown/unknown-format.ts";
import type { Volume } from "../../../src/volume/volume.ts";
import { expectReelError } from "../../support/expect-error.ts";
import { FatBuilder } from "../../support/fat-builder.ts";
import { patternBytes } from "../../support/pattern.ts";
import { volumeSuite } from "../../support/volume-suite.ts";

const KIB = 1024;
const SIZE_BYTES = 256 * KIB;
const MD_MAGIC = Uint8Array.of(0xfc, 0x4e, 0x2b, 0xa9);

function sample(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(SIZE_BYTES);
  bytes.set(Buffer.from("LUKS\xba\xbe", "latin1"), 0);
  bytes.set(patternBytes(9000), 100 * KIB);
  bytes.set([1], SIZE_BYTES - 1);
  return bytes;
}

volumeSuite("a volume that nobody knows", () => {
  // Without a block of zeros: those are part of the file, and not in use.
  const bytes = Uint8Array.from(patternBytes(SIZE_BYTES));
  return {
    format: unknownFormat,
    bytes,
    expected: new Map([["/volume.img", bytes]]),
    structure: [[0, bytes.length]],
  };
});

/** A device of 256 KiB with these bytes at these offsets. */
function deviceWith(parts: readonly (readonly [number, string | Uint8Array])[]): MemoryDevice {
  const bytes = new Uint8Array(SIZE_BYTES);
  for (const [offset, part] of parts) {
    bytes.set(typeof part === "string" ? Buffer.from(part, "latin1") : part, offset);
  }
  return new MemoryDevice(bytes, { name: "disk.img" });
}

async function usedBlocks(volume: Volume): Promise<number[][]> {
  return [...(await volume.survey()).used].map(([start, count]) => [start, count]);
}

describe("a volume that nobody knows", () => {
  it("keeps the blocks that are not zeros, and no others", async () => {
    const volume = await unknownFormat.open(new MemoryDevice(sample()));
    expect(volume.info.kind).to.equal("unknown");
    expect(await usedBlocks(volume)).to.deep.equal([
      [0, 1],
      [25, 3],
      [63, 1],
    ]);
  });

  it("is copied in blocks that end where the device does", async () => {
    const bytes = new Uint8Array(5 * 1024 * KIB + 3 * 512);
    bytes.set([1], bytes.length - 1);
    bytes.set([1], 1024 * KIB);
    const volume = await unknownFormat.open(new MemoryDevice(bytes));
    expect(volume.info.blockSizeBytes).to.equal(512);
    expect(await usedBlocks(volume)).to.deep.equal([
      [2048, 1],
      [10242, 1],
    ]);
    const odd = new MemoryDevice(bytes.slice(0, 1000), { name: "letter.txt" });
    const error = await expectReelError(unknownFormat.open(odd), "unsupported");
    expect(error.message).to.match(/1000 bytes are no whole number of sectors/);
  });

  it("keeps of swap space its header alone, unless a system sleeps in it", async () => {
    const contents = [20 * KIB, patternBytes(8192)] as const;
    for (const pageBytes of [4096, 65536]) {
      const swap = deviceWith([[1024, "\x01"], [pageBytes - 10, "SWAPSPACE2"], contents]);
      const volume = await openForBackup(swap);
      const blocks = await usedBlocks(volume);
      expect(Math.max(...blocks.map(([start = 0, count = 0]) => start + count))).to.equal(
        pageBytes / 4096,
      );
      expect(volume.info.notices?.join()).to.match(/swap space: only its header is kept/);
    }
    const sleeping = deviceWith([[4086, "S1SUSPEND"], contents]);
    const blocks = await usedBlocks(await openForBackup(sleeping));
    expect(blocks).to.deep.equal([
      [0, 1],
      [5, 2],
    ]);
  });

  it("is what a part of something larger is, whatever seems to begin in it", async () => {
    const fat = new FatBuilder({ bits: 16, clusters: 5000 }).build();
    const size = Math.ceil(fat.length / 65536) * 65536 + 65536;
    for (const at of [size - 65536, size - 8192]) {
      const bytes = new Uint8Array(size);
      bytes.set(fat);
      expect((await openForBackup(new MemoryDevice(bytes))).info.kind).to.equal("fat16");
      bytes.set(MD_MAGIC, at);
      const volume = await openForBackup(new MemoryDevice(bytes));
      expect(volume.info.kind).to.equal("unknown");
      expect(volume.info.notices?.join()).to.match(/a member of a Linux RAID/);
    }
  });

  it("is named for what was recognised", async () => {
    for (const [parts, what] of [
      [[[0, "LUKS\xba\xbe"]], /LUKS/],
      [[[512, "LABELONE"]], /LVM physical volume/],
      [[[1536, "LABELONE"]], /LVM physical volume/],
      [[[0, MD_MAGIC]], /Linux RAID/],
      [[[4096, MD_MAGIC]], /Linux RAID/],
      [[[0, "XFSB"]], /XFS/],
      [[[0x10040, "_BHRfS_M"]], /Btrfs/],
      [[[3, "-FVE-FS-"]], /BitLocker/],
    ] as const) {
      const device = deviceWith(parts);
      expect((await recognise(device))?.what).to.match(what);
      expect((await openForBackup(device)).info.details["holds"]).to.match(what);
    }
    expect(await recognise(deviceWith([[0, "whatever"]]))).to.equal(undefined);
  });

  it("is not what a packed file or an empty device is", async () => {
    for (const magic of ["QFI\xfb", "PK\x03\x04", "KDMV", "\x1f\x8b", ""]) {
      await expectReelError(openForBackup(deviceWith([[0, magic]])), "unsupported");
    }
  });

  it("stands in for a partition that cannot be read, with the reason", async () => {
    for (const magic of ["QFI\xfb", ""]) {
      const volume = await openPartition(deviceWith([[0, magic]]));
      expect(volume.info.kind).to.equal("unknown");
      expect(volume.info.notices?.join()).to.match(/QEMU|nothing but zeros/);
    }
  });
});
