/** Where the system has a partition of a disk. */
import { readdir, readFile, stat } from "node:fs/promises";
import { deviceNumber } from "../../device/block-device-size.ts";
import type { SurveyOptions } from "../volume.ts";
import type { ByteRange } from "./partition-table.ts";

/** sysfs counts in these, whatever the disk's sectors are. */
const SYSFS_SECTOR_BYTES = 512;

/**
 * Where the tools of the system can look at the partition that takes up this range of the disk: as a
 * block device, or as a part of the file that the disk is. Nothing where they cannot. Never throws.
 */
export async function systemPlaceOf(
  diskPath: string,
  range: ByteRange,
): Promise<Pick<SurveyOptions, "systemPath" | "systemOffsetBytes">> {
  const found = await stat(diskPath).catch(() => undefined);
  return found?.isFile() === true
    ? { systemPath: diskPath, systemOffsetBytes: range.startBytes }
    : { systemPath: await partitionPath(diskPath, range) };
}

/**
 * The block device of the partition that takes up this range of the disk, as /sys/dev/block has it.
 * Undefined for a disk that is a file, and for a partition that the system does not know. Never throws.
 */
async function partitionPath(
  diskPath: string,
  { startBytes, sizeBytes }: ByteRange,
): Promise<string | undefined> {
  try {
    const disk = await stat(diskPath, { bigint: true });
    if (!disk.isBlockDevice()) return undefined;
    const folder = `/sys/dev/block/${deviceNumber(disk.rdev)}`;
    for (const name of await readdir(folder)) {
      const start = await numberIn(`${folder}/${name}/start`);
      const size = await numberIn(`${folder}/${name}/size`);
      const isIt =
        start * SYSFS_SECTOR_BYTES === startBytes && size * SYSFS_SECTOR_BYTES === sizeBytes;
      if (!isIt) continue;
      const numbers = (await readFile(`${folder}/${name}/dev`, "utf8")).trim();
      const { rdev } = await stat(`/dev/${name}`, { bigint: true });
      return numbers === deviceNumber(rdev) ? `/dev/${name}` : undefined;
    }
    return undefined;
  } catch {
    return undefined;
  }
}

async function numberIn(path: string): Promise<number> {
  return Number(await readFile(path, "utf8").catch(() => NaN));
}
