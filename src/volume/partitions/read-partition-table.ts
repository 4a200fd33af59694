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
import type { PartitionTable } from "./partition-table.ts";

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
