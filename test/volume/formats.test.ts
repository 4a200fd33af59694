import { expect } from "chai";
import { MemoryDevice } from "../../src/device/memory-device.ts";
import { openVolume, VOLUME_FORMATS } from "../../src/volume/formats.ts";
import { expectReelError } from "../support/expect-error.ts";
import { FatBuilder } from "../support/fat-builder.ts";
import { FaultyDevice } from "../support/faulty-device.ts";

/** A device of 128 KiB with these bytes at these offsets. */
function deviceWith(parts: Readonly<Record<number, string>>): MemoryDevice {
  const bytes = Buffer.alloc(128 * 1024);
  for (const [offset, magic] of Object.entries(parts)) bytes.write(magic, Number(offset), "latin1");
  return new MemoryDevice(bytes, { name: "disk.img" });
}

describe("opening a volume", () => {
  it("finds FAT", async () => {
    const bytes = new FatBuilder({ bits: 12, clusters: 100 }).build();
    const volume = await openVolume(new MemoryDevice(bytes));
    expect(volume.info.kind).to.equal("fat12");
    expect(VOLUME_FORMATS.map(({ name }) => name)).to.include("fat");
  });

  it("finds a format though a sector that only others look at cannot be read", async () => {
    const bytes = new FatBuilder({ bits: 16, clusters: 5000 }).build();
    const device = new FaultyDevice(new MemoryDevice(bytes));
    device.failReads(66 * 1024, 512);
    expect((await openVolume(device)).info.kind).to.equal("fat16");
  });

  it("says what it saw when it knows no format for it", async () => {
    const partition = "\0\0\0\0\x07\0\0\0\x01\0\0\0\x00\x10\0\0";
    const cases: [Record<number, string>, RegExp][] = [
      [{ 3: "NTFS    ", 510: "\x55\xaa" }, /an NTFS volume/],
      [{ 3: "EXFAT   ", 510: "\x55\xaa" }, /an exFAT volume/],
      [{ 0x438: "\x53\xef" }, /an ext2, ext3 or ext4 volume/],
      [
        { 510: "\x55\xaa", 446: partition },
        /a disk with an MBR partition table; name one of its partitions$/,
      ],
      [{ 510: "\x55\xaa", 512: "EFI PART" }, /a disk with a GPT partition table/],
      [{ 510: "\x55\xaa" }, /a boot sector .* of no known volume/],
      [{ 510: "\x55\xaa", 446: "\x13" }, /a boot sector .* of no known volume/],
      [{}, /nothing but zeros/],
      [{ 0: "some text" }, /the bytes 73 6f 6d 65 20 74 65 78 74 00/],
    ];
    for (const [parts, what] of cases) {
      const error = await expectReelError(openVolume(deviceWith(parts)), "unsupported");
      expect(error.message)
        .to.match(what)
        .and.match(/^cannot read a volume on disk\.img: /);
    }
  });

  it("says so when there is nothing, or almost nothing", async () => {
    for (const [size, what] of [
      [0, /nothing: it is empty/],
      [1, /nothing but zeros in its first 1 bytes/],
      [511, /nothing but zeros/],
    ] as const) {
      const error = await expectReelError(openVolume(new MemoryDevice(size)), "unsupported");
      expect(error.message).to.match(what);
    }
  });
});
