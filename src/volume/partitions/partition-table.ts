/**
 * The partition table of a disk: GPT, MBR with its chains of logical partitions, or none.
 *
 * Which one counts is decided as Linux does it (block/partitions): an MBR with an entry of type EE
 * is the shield of a GPT, and the GPT holds; any other sound MBR is the table. A GPT whose shield was
 * wiped is taken, too, since only it can say what the disk was.
 *
 * The boot sector of FAT, exFAT and NTFS ends in 55 AA as an MBR does, and the bytes where an MBR has
 * its entries are code. Such a sector is recognised first, as blkid does: a disk without a table
 * ("superfloppy") has no partitions, and must not grow some out of boot code.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { ReelError } from "../../errors.ts";
import { holdsVolumeBootSector } from "./boot-sector.ts";
import { readGpt } from "./gpt.ts";
import { isProtective, readMbr } from "./mbr.ts";
import { MBR_BYTES, parseMbr } from "./mbr-sector.ts";

export type TableKind = "mbr" | "gpt";

export interface PartitionEntry {
  /** As the kernel numbers it: sda1 is 1; logical partitions of an MBR are 5 and up. */
  readonly number: number;
  readonly startBytes: number;
  readonly sizeBytes: number;
  /** "83", as fdisk shows it, or a GUID in capitals. */
  readonly type: string;
  /** "Linux filesystem"; empty where the type is not a well-known one. */
  readonly typeName: string;
  /** The name in a GPT; empty in an MBR. */
  readonly name: string;
  /** GPT: the partition's GUID. MBR: what Linux makes of signature and number, "1a2b3c4d-01". */
  readonly uuid: string;
  /** Marked for booting: the flag of an MBR, the legacy attribute of a GPT. */
  readonly active: boolean;
  /** It lies in the extended partition of an MBR. */
  readonly logical: boolean;
}

/** Bytes [start, start + size) of a disk. */
export interface ByteRange {
  readonly startBytes: number;
  readonly sizeBytes: number;
}

/** What a program that rewrites the table must know of a GPT; block numbers are in sectors. */
export interface GptPlace {
  /** Sectors of the headers that were found sound; the first is the one that was read. */
  readonly headerSectors: readonly number[];
  readonly entryCount: number;
  readonly entryBytes: number;
}

export interface PartitionTable {
  readonly kind: TableKind;
  /** The unit of the table's own numbers. */
  readonly sectorSizeBytes: number;
  /** GUID of the disk, or the signature of an MBR in eight digits; empty where there is none. */
  readonly uuid: string;
  /** In the order of their numbers; the containers of logical partitions are not among them. */
  readonly entries: readonly PartitionEntry[];
  /** Sectors of the table itself, in rising order: MBR, links of chains, headers and entries. */
  readonly structure: readonly ByteRange[];
  /** What was found wrong and is survived. */
  readonly notices: readonly string[];
  readonly gpt?: GptPlace | undefined;
}

/** Sector sizes of disks, the likelier first where nothing but the contents can tell. */
const SECTOR_SIZES = [512, 4096] as const;

/**
 * Reads the partition table of a disk; undefined when there is none, which is also the answer for a
 * volume that takes the whole disk.
 *
 * @throws ReelError "damaged" when there is a GPT and neither of its copies can be used; what the
 *   device throws.
 */
export async function readPartitionTable(device: BlockDevice): Promise<PartitionTable | undefined> {
  if (device.sizeBytes < 2 * MBR_BYTES) return undefined;
  const sector = new Uint8Array(MBR_BYTES);
  await device.read(0, sector);
  if (holdsVolumeBootSector(sector)) return undefined;
  const mbr = parseMbr(sector);
  if (mbr === undefined || isProtective(mbr)) {
    const faults: string[] = [];
    for (const sectorSizeBytes of sectorSizesOf(device)) {
      const found = await readGpt(device, sectorSizeBytes, mbr);
      if (typeof found === "object") return found;
      faults.push(found);
    }
    if (mbr === undefined) return undefined;
    throw new ReelError(
      "damaged",
      `cannot read the partition table of ${device.name}: its MBR says that there is a GPT, and ${faults[0] ?? "there is none"}`,
    );
  }
  return readMbr(device, mbr, device.sectorSizeBytes);
}

/** A device knows its own; a file that holds a disk may come from either kind. */
function sectorSizesOf(device: BlockDevice): readonly number[] {
  const own = device.sectorSizeBytes;
  return own === SECTOR_SIZES[0] ? SECTOR_SIZES : [own, ...SECTOR_SIZES];
}
