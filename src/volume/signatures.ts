/**
 * What the start of a device looks like, in a person's words, for the message that says why it
 * cannot be opened. Offsets and magic numbers are those that file(1) and blkid(8) look for.
 */
import type { BlockDevice } from "../device/block-device.ts";

const HEAD_BYTES = 68 * 1024;

interface Signature {
  readonly offset: number;
  /** Latin-1 bytes. */
  readonly magic: string;
  readonly what: string;
}

/** The first that fits is named, so the more certain come first. */
const SIGNATURES: readonly Signature[] = [
  { offset: 3, magic: "NTFS    ", what: "an NTFS volume" },
  { offset: 3, magic: "EXFAT   ", what: "an exFAT volume" },
  { offset: 3, magic: "-FVE-FS-", what: "a BitLocker volume" },
  { offset: 3, magic: "ReFS\0\0\0\0", what: "a ReFS volume" },
  { offset: 0, magic: "LUKS\xba\xbe", what: "a LUKS encrypted volume" },
  { offset: 512, magic: "LABELONE", what: "an LVM physical volume" },
  { offset: 512, magic: "EFI PART", what: "a disk with a GPT partition table" },
  {
    offset: 4096,
    magic: "EFI PART",
    what: "a disk with a GPT partition table (4096-byte sectors)",
  },
  { offset: 0x438, magic: "\x53\xef", what: "an ext2, ext3 or ext4 volume" },
  { offset: 0, magic: "XFSB", what: "an XFS volume" },
  { offset: 0x10040, magic: "_BHRfS_M", what: "a Btrfs volume" },
  { offset: 0x400, magic: "\x10\x20\xf5\xf2", what: "an F2FS volume" },
  { offset: 0x400, magic: "H+", what: "an HFS+ volume" },
  { offset: 0x400, magic: "HX", what: "an HFSX volume" },
  { offset: 0x400, magic: "BD", what: "an HFS volume" },
  { offset: 32, magic: "NXSB", what: "an APFS container" },
  { offset: 0x8001, magic: "CD001", what: "an ISO 9660 disc image" },
  { offset: 0, magic: "hsqs", what: "a SquashFS image" },
  { offset: 4086, magic: "SWAPSPACE2", what: "Linux swap space" },
  { offset: 0, magic: "KDMV", what: "a VMware disk image" },
  { offset: 0, magic: "QFI\xfb", what: "a QEMU qcow2 disk image" },
  { offset: 0, magic: "conectix", what: "a VHD disk image" },
  { offset: 0, magic: "vhdxfile", what: "a VHDX disk image" },
  { offset: 0, magic: "\x1f\x8b", what: "gzip-compressed data" },
  { offset: 0, magic: "\x28\xb5\x2f\xfd", what: "Zstandard-compressed data" },
  { offset: 0, magic: "\xfd7zXZ\0", what: "xz-compressed data" },
  { offset: 0, magic: "PK\x03\x04", what: "a ZIP archive" },
];

const BOOT_SIGNATURE = { offset: 510, magic: "\x55\xaa" } as const;
const MBR_PARTITIONS = { offset: 446, entryBytes: 16, count: 4 } as const;

/** "an NTFS volume", "nothing but zeros in its first 69632 bytes", ... Throws what reading throws. */
export async function describeStart(device: BlockDevice): Promise<string> {
  if (device.sizeBytes === 0) return "nothing: it is empty";
  const zeros = `nothing but zeros in its first ${Math.min(HEAD_BYTES, device.sizeBytes)} bytes`;
  return (await describeContents(device)) ?? zeros;
}

/** What a device seems to hold; undefined where its start is empty or all zeros. */
export async function describeContents(device: BlockDevice): Promise<string | undefined> {
  const head = Buffer.alloc(Math.min(HEAD_BYTES, device.sizeBytes));
  await device.read(0, head);
  for (const signature of SIGNATURES) {
    if (hasMagic(head, signature)) return signature.what;
  }
  if (head.every((byte) => byte === 0)) return undefined;
  if (hasMagic(head, BOOT_SIGNATURE)) {
    if (hasPartitions(head)) return "a disk with an MBR partition table";
    return "a boot sector (55 AA at offset 510) of no known volume";
  }
  return `the bytes ${head
    .subarray(0, 16)
    .toString("hex")
    .replace(/..(?!$)/g, "$& ")}`;
}

function hasMagic(head: Buffer, { offset, magic }: Pick<Signature, "offset" | "magic">): boolean {
  return head.toString("latin1", offset, offset + magic.length) === magic;
}

/** Every entry's status is 00 or 80, and one of them has a type and a size. */
function hasPartitions(head: Buffer): boolean {
  let found = false;
  for (let i = 0; i < MBR_PARTITIONS.count; i++) {
    const at = MBR_PARTITIONS.offset + i * MBR_PARTITIONS.entryBytes;
    const status = head.readUInt8(at);
    if (status !== 0 && status !== 0x80) return false;
    if (head.readUInt8(at + 4) !== 0 && head.readUInt32LE(at + 12) !== 0) found = true;
  }
  return found;
}
