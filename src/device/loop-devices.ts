/**
 * Loop devices: which files they show, after sysfs (sysfs-block-loop, Documentation/ABI).
 *
 * Sysfs names a backing file as the kernel knows it. That is not always a name that can be used
 * here: the file may have been deleted since, or lie in a folder or a namespace of mounts that this
 * process does not see; and one file may have several names. So files are compared by what the
 * system says they are (`identityOf`), never by name.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { deviceNumber } from "./block-device-size.ts";

const SYSFS_BLOCK = "/sys/block";
/** The unit of `size` in sysfs, whatever the sector size of the device. */
const SYSFS_SECTOR_BYTES = 512;
/** What the kernel puts behind the name of a file that has none any more. */
const DELETED = " (deleted)";

export interface LoopDevice {
  /** "/dev/loop0". */
  readonly path: string;
  /** "7:0". */
  readonly number: string;
  /** Where in the backing file it begins. */
  readonly offsetBytes: number;
  readonly sizeBytes: number;
  /** As the kernel names it. */
  readonly backingFile: string;
  readonly isWritable: boolean;
}

/** The loop devices that stand on something. Backing files are not looked at. Throws nothing. */
export async function loopDevices(): Promise<readonly LoopDevice[]> {
  const names = await readdir(SYSFS_BLOCK).catch(() => []);
  const loops = names.filter((name) => name.startsWith("loop"));
  const found = await Promise.all(loops.map(async (name) => loopDevice(name)));
  return found.filter((loop) => loop !== undefined);
}

async function loopDevice(name: string): Promise<LoopDevice | undefined> {
  const folder = join(SYSFS_BLOCK, name);
  const backingFile = await sysfsText(join(folder, "loop/backing_file"));
  const number = await sysfsText(join(folder, "dev"));
  if (backingFile === undefined || number === undefined) return undefined;
  return {
    path: `/dev/${name}`,
    number,
    offsetBytes: Number((await sysfsText(join(folder, "loop/offset"))) ?? 0),
    sizeBytes: Number((await sysfsText(join(folder, "size"))) ?? 0) * SYSFS_SECTOR_BYTES,
    backingFile,
    isWritable: (await sysfsText(join(folder, "ro"))) !== "1",
  };
}

/**
 * The loop devices that stand on a file or block device, under whatever name they were given it.
 * One whose backing file is not to be seen from here is none of them. Throws nothing.
 */
export async function loopDevicesOn(path: string): Promise<readonly LoopDevice[]> {
  const identity = await identityOf(path);
  if (identity === undefined) return [];
  const found: LoopDevice[] = [];
  for (const loop of await loopDevices()) {
    if ((await backingIdentityOf(loop)) === identity) found.push(loop);
  }
  return found;
}

/** What tells the backing file from all others; undefined when it is not to be seen from here. */
export async function backingIdentityOf({ backingFile }: LoopDevice): Promise<string | undefined> {
  return backingFile.endsWith(DELETED) ? undefined : identityOf(backingFile);
}

/**
 * What tells the thing at `path` from all others: "7:0", the number of a block device, or for
 * anything else "file " and more. Undefined when there is nothing, or nothing to be seen.
 */
export async function identityOf(path: string): Promise<string | undefined> {
  try {
    const found = await stat(path, { bigint: true });
    return found.isBlockDevice() ? deviceNumber(found.rdev) : `file ${found.dev}/${found.ino}`;
  } catch {
    return undefined;
  }
}

/** Is an identity that of a block device, and thus its number? */
export function isDeviceNumber(identity: string): boolean {
  return !identity.startsWith("file ");
}

/** A file of sysfs without the end of its line; undefined when it cannot be read. */
export async function sysfsText(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").then(
    (text) => text.replace(/\n$/, ""),
    () => undefined,
  );
}
