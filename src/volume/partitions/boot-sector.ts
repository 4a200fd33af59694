/** Is the first sector of a disk the boot sector of a volume, and no MBR? As careful as blkid. */
import { parseBootSector } from "../fat/geometry.ts";

const OEM_OFFSET = 3;
const OEM_NAMES: readonly string[] = ["NTFS    ", "EXFAT   ", "-FVE-FS-", "ReFS\0\0\0\0"];

export function holdsVolumeBootSector(sector: Uint8Array): boolean {
  const oem = Buffer.from(sector.buffer, sector.byteOffset + OEM_OFFSET, 8).toString("latin1");
  return OEM_NAMES.includes(oem) || "geometry" in parseBootSector(sector);
}
