/**
 * How large a block device is. Node has no lseek and no ioctl, so the kernel is asked through
 * sysfs; where sysfs is not mounted, the end is searched for by reading single bytes, which takes
 * about a hundred reads.
 */
import { readFile } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { ReelError, fromSystem } from "../errors.ts";

/** The unit of `size` in sysfs, whatever the sector size of the device. */
const SYSFS_SECTOR_BYTES = 512;
const SECTOR_SIZE_DEFAULT_BYTES = 512;
const SECTOR_SIZE_MAX_BYTES = 1 << 20;

const SYSFS_DEFAULT = "/sys";

/**
 * Size and logical sector size of the open block device with device number `rdev`.
 * `sysfs` is where sysfs is mounted.
 */
export async function measureBlockDevice(
  handle: FileHandle,
  name: string,
  rdev: bigint,
  sysfs = SYSFS_DEFAULT,
): Promise<{ sizeBytes: number; sectorSizeBytes: number }> {
  const folder = `${sysfs}/dev/block/${deviceNumber(rdev)}`;
  const sectors = await readNumber(`${folder}/size`);
  // A partition has no queue of its own; its folder lies inside that of the whole disk.
  const sectorSizeBytes =
    (await readNumber(`${folder}/queue/logical_block_size`)) ??
    (await readNumber(`${folder}/../queue/logical_block_size`)) ??
    SECTOR_SIZE_DEFAULT_BYTES;
  const sizeBytes =
    sectors === undefined
      ? await findEnd((offsetBytes) => hasByteAt(handle, name, offsetBytes))
      : sectors * SYSFS_SECTOR_BYTES;
  if (!Number.isSafeInteger(sizeBytes)) {
    throw new ReelError("unsupported", `cannot use ${name}: it is larger than 8 PiB`);
  }
  const plausible = sectorSizeBytes > 0 && sectorSizeBytes <= SECTOR_SIZE_MAX_BYTES;
  return {
    sizeBytes,
    sectorSizeBytes: plausible ? sectorSizeBytes : SECTOR_SIZE_DEFAULT_BYTES,
  };
}

/** "major:minor", as Linux packs the two into a dev_t (sysmacros.h). */
export function deviceNumber(rdev: bigint): string {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & ~0xffn);
  return `${major.toString()}:${(minor & 0xffff_ffffn).toString()}`;
}

/**
 * The number of bytes for which `hasByte` is true, given that it is true below some offset and
 * false from there on; Number.MAX_SAFE_INTEGER + 1 when it is true for every offset.
 */
export async function findEnd(hasByte: (offsetBytes: number) => Promise<boolean>): Promise<number> {
  let low = 0;
  let high = 1 << 20;
  while (await hasByte(high - 1)) {
    if (high === Number.MAX_SAFE_INTEGER) return high + 1;
    low = high;
    high = Math.min(high * 2, Number.MAX_SAFE_INTEGER);
  }
  // Bytes below `low` are there, the byte at `high - 1` is not.
  high -= 1;
  while (low < high) {
    const middle = low + Math.floor((high - low) / 2);
    if (await hasByte(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}

async function hasByteAt(handle: FileHandle, name: string, offsetBytes: number): Promise<boolean> {
  try {
    const { bytesRead } = await handle.read(new Uint8Array(1), 0, 1, offsetBytes);
    return bytesRead === 1;
  } catch (error) {
    const errno = error instanceof Error && "code" in error ? error.code : undefined;
    // Past what the driver can address; a sector that cannot be read is there all the same.
    if (errno === "EINVAL" || errno === "ENXIO" || errno === "ENOSPC") return false;
    if (errno === "EIO") return true;
    throw fromSystem(error, `cannot find the size of ${name}`);
  }
}

/** The whole number that a file of sysfs holds; undefined when it is not there or holds none. */
async function readNumber(path: string): Promise<number | undefined> {
  try {
    const text = await readFile(path, "latin1");
    return /^\d+\n?$/.test(text) ? Number(text) : undefined;
  } catch {
    return undefined;
  }
}
