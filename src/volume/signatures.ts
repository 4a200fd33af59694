/**
 * What a device looks like, in a person's words: for the message that says why it cannot be opened,
 * and for volumes that are copied without being understood. Offsets and magic numbers are those that
 * file(1) and blkid(8) look for.
 */
import type { BlockDevice } from "../device/block-device.ts";

/** Everything that is looked at from the start of a device. */
export const HEAD_BYTES = 68 * 1024;

/**
 * What it means for a backup that something was recognised.
 * - volume: a filesystem, or whatever else fills a partition
 * - member: a part of something larger (encryption, LVM, RAID): a filesystem that seems to begin in
 *   it must not be read as one, because more than its used blocks has to be kept
 * - swap: nothing but its header is worth keeping
 * - file: a packed file, no image of a device
 */
type Role = "volume" | "member" | "swap" | "file";

export interface Recognised {
  /** "a LUKS encrypted volume". */
  readonly what: string;
  readonly role: Role;
  /** Swap: the bytes of its header, which is its first page. */
  readonly headerBytes?: number | undefined;
}

interface Signature {
  readonly offset: number;
  /** Latin-1 bytes. */
  readonly magic: string;
  readonly what: string;
  readonly role?: Role;
}

/** Superblock of Linux RAID, all versions. */
const MD_MAGIC = "\xfc\x4e\x2b\xa9";
/** Swap ends its first page, of whatever size the machine had, with one of these. */
const SWAP_PAGE_SIZES = [4096, 8192, 16384, 65536] as const;
const SWAP_MAGIC_BYTES = 10;
const MD_ALIGN_BYTES = 64 * 1024;

/** The first that fits is named, so the more certain come first. */
const SIGNATURES: readonly Signature[] = [
  { offset: 3, magic: "NTFS    ", what: "an NTFS volume" },
  { offset: 3, magic: "EXFAT   ", what: "an exFAT volume" },
  { offset: 3, magic: "-FVE-FS-", what: "a BitLocker volume", role: "member" },
  { offset: 3, magic: "ReFS\0\0\0\0", what: "a ReFS volume" },
  { offset: 0, magic: "LUKS\xba\xbe", what: "a LUKS encrypted volume", role: "member" },
  ...[0, 512, 1024, 1536].map((offset): Signature => ({
    ...{ offset, magic: "LABELONE" },
    ...{ what: "an LVM physical volume", role: "member" },
  })),
  ...[0, 4096].map((offset): Signature => ({
    ...{ offset, magic: MD_MAGIC },
    ...{ what: "a member of a Linux RAID", role: "member" },
  })),
  {
    offset: 4096 + 24,
    magic: "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
    what: "a bcache device",
    role: "member",
  },
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
  { offset: 0, magic: "KDMV", what: "a VMware disk image", role: "file" },
  { offset: 0, magic: "QFI\xfb", what: "a QEMU qcow2 disk image", role: "file" },
  { offset: 0, magic: "conectix", what: "a VHD disk image", role: "file" },
  { offset: 0, magic: "vhdxfile", what: "a VHDX disk image", role: "file" },
  { offset: 0, magic: "\x1f\x8b", what: "gzip-compressed data", role: "file" },
  { offset: 0, magic: "\x28\xb5\x2f\xfd", what: "Zstandard-compressed data", role: "file" },
  { offset: 0, magic: "\xfd7zXZ\0", what: "xz-compressed data", role: "file" },
  { offset: 0, magic: "PK\x03\x04", what: "a ZIP archive", role: "file" },
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
  const head = await readHead(device);
  const recognised = (await recogniseEnd(device)) ?? recogniseHead(head);
  if (recognised !== undefined) return recognised.what;
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

/** What a device certainly holds; undefined for what has no signature. */
export async function recognise(device: BlockDevice): Promise<Recognised | undefined> {
  return (await recogniseEnd(device)) ?? recogniseHead(await readHead(device));
}

async function readHead(device: BlockDevice): Promise<Buffer> {
  const head = Buffer.alloc(Math.min(HEAD_BYTES, device.sizeBytes));
  await device.read(0, head);
  return head;
}

function recogniseHead(head: Buffer): Recognised | undefined {
  const found = SIGNATURES.find((signature) => hasMagic(head, signature));
  if (found !== undefined) return { what: found.what, role: found.role ?? "volume" };
  for (const headerBytes of SWAP_PAGE_SIZES) {
    const offset = headerBytes - SWAP_MAGIC_BYTES;
    if (["SWAPSPACE2", "SWAP-SPACE"].some((magic) => hasMagic(head, { offset, magic }))) {
      return { what: "Linux swap space", role: "swap", headerBytes };
    }
    // The machine went to sleep to it: all of it will be read again.
    if (hasMagic(head, { offset, magic: "S1SUSPEND" })) {
      return { what: "Linux swap space that holds a sleeping system", role: "member" };
    }
  }
  return undefined;
}

/**
 * Where Linux RAID has its superblock when it is not at the start (md(4)): 0.90 in the last whole
 * 64 KiB but one, 1.0 at least 8 KiB from the end, aligned to 4 KiB.
 */
export function tailSuperblockOffsets(sizeBytes: number): readonly number[] {
  const oldest = Math.floor(sizeBytes / MD_ALIGN_BYTES) * MD_ALIGN_BYTES - MD_ALIGN_BYTES;
  const newer = Math.floor((sizeBytes - 8192) / 4096) * 4096;
  return [oldest, newer].filter((offset) => offset > HEAD_BYTES);
}

async function recogniseEnd(device: BlockDevice): Promise<Recognised | undefined> {
  const bytes = Buffer.alloc(MD_MAGIC.length);
  for (const offset of tailSuperblockOffsets(device.sizeBytes)) {
    await device.read(offset, bytes);
    if (bytes.toString("latin1") === MD_MAGIC) {
      return { what: "a member of a Linux RAID", role: "member" };
    }
  }
  return undefined;
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
