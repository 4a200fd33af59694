/**
 * What the kernel's block devices stand on, after sysfs: loop devices on a file, partitions on a
 * disk, what device mapper and md make of several devices (sysfs-block, Documentation/ABI).
 *
 *     disk.img ◄── loop0 ◄── loop0p1 ◄── dm-0
 */
import { readdir, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import {
  backingIdentityOf,
  identityOf,
  isDeviceNumber,
  loopDevices,
  sysfsText,
} from "./loop-devices.ts";

const SYSFS = "/sys";
/** The unit of `start` in sysfs, whatever the sector size of the device. */
const SYSFS_SECTOR_BYTES = 512;
/** Devices on one source; a disk has at most 256 partitions. */
const DEVICES_MAX = 1024;
/** Devices below one another. */
const DEPTH_MAX = 16;

/** A device that shows the source, or a part of it. */
export interface StackedDevice {
  /** "7:0". */
  readonly number: string;
  /** Where on the source it begins; of a mapped device, where the one begins that it lies on. */
  readonly offsetBytes: number;
}

/** The source itself, where it is a block device, and all devices on top of it. Throws nothing. */
export async function devicesOn(path: string): Promise<readonly StackedDevice[]> {
  const loops: { key: string; offsetBytes: number; backing: string | undefined }[] = [];
  for (const loop of await loopDevices()) {
    const { number: key, offsetBytes } = loop;
    loops.push({ key, offsetBytes, backing: await backingIdentityOf(loop) });
  }
  const source = await identityOf(path);
  if (source === undefined) return [];
  const first = { key: source, offsetBytes: 0 };
  const waiting = [first];
  const seen = new Set([source]);
  const found: StackedDevice[] = [];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    const { key, offsetBytes } = at;
    if (isDeviceNumber(key)) found.push({ number: key, offsetBytes });
    const above = loops
      .filter(({ backing }) => backing === key)
      .map((loop) => ({ key: loop.key, offsetBytes: offsetBytes + loop.offsetBytes }));
    if (isDeviceNumber(key)) above.push(...(await partsAndHolders(key, offsetBytes)));
    for (const next of above) {
      if (seen.has(next.key) || seen.size >= DEVICES_MAX) continue;
      seen.add(next.key);
      waiting.push(next);
    }
  }
  return found;
}

/** The files that a block device lies on in the end, through loop devices below it. */
export async function filesBelow(number: string, depth = 0): Promise<readonly string[]> {
  if (depth === DEPTH_MAX) return [];
  const folder = join(SYSFS, "dev/block", number);
  const backing = await sysfsText(join(folder, "loop/backing_file"));
  if (backing !== undefined) return [backing];
  const below = await Promise.all(
    (await namesIn(join(folder, "slaves"))).map(async (name) =>
      sysfsText(join(folder, "slaves", name, "dev")),
    ),
  );
  if ((await sysfsText(join(folder, "partition"))) !== undefined) {
    const place = await realpath(folder).catch(() => folder);
    below.push(await sysfsText(join(dirname(place), "dev")));
  }
  const files: string[] = [];
  for (const each of below) {
    if (each !== undefined) files.push(...(await filesBelow(each, depth + 1)));
  }
  return files;
}

/** Where the system has the block device of a number: "/dev/loop0". */
export async function deviceNode(number: string): Promise<string> {
  const place = await realpath(join(SYSFS, "dev/block", number)).catch(() => number);
  return `/dev/${basename(place).replaceAll("!", "/")}`;
}

/** "7:0" of the block device at `path`; undefined for everything else. */
export async function blockDeviceNumber(path: string): Promise<string | undefined> {
  const key = await identityOf(path);
  return key !== undefined && isDeviceNumber(key) ? key : undefined;
}

async function partsAndHolders(
  number: string,
  offsetBytes: number,
): Promise<{ key: string; offsetBytes: number }[]> {
  const folder = join(SYSFS, "dev/block", number);
  const found: { key: string; offsetBytes: number }[] = [];
  const place = basename(await realpath(folder).catch(() => folder));
  for (const name of await namesIn(folder)) {
    // The partitions of sda are folders in it that begin with its name.
    if (!name.startsWith(place)) continue;
    const key = await sysfsText(join(folder, name, "dev"));
    const start = await sysfsText(join(folder, name, "start"));
    if (key === undefined || start === undefined) continue;
    found.push({ key, offsetBytes: offsetBytes + Number(start) * SYSFS_SECTOR_BYTES });
  }
  for (const name of await namesIn(join(folder, "holders"))) {
    const key = await sysfsText(join(folder, "holders", name, "dev"));
    if (key !== undefined) found.push({ key, offsetBytes });
  }
  return found;
}

async function namesIn(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch(() => []);
}
