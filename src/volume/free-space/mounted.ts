/** Is a device mounted for writing, or in the hands of anybody who may write to it? */
import { constants } from "node:fs";
import { open, readFile, stat } from "node:fs/promises";
import { deviceNumber } from "../../device/block-device-size.ts";
import { backingIdentityOf, identityOf, loopDevices } from "../../device/loop-devices.ts";
import { blockDeviceNumber, deviceNode, devicesOn } from "../../device/stacked-devices.ts";
import { fromSystem } from "../../errors.ts";
import { readToolLines } from "./tool-lines.ts";

/** One mount of /proc/self/mountinfo, as proc_pid_mountinfo(5) has it. */
interface Mount {
  /** "major:minor"; of Btrfs not that of its device. */
  readonly device: string;
  readonly source: string;
  readonly isWritable: boolean;
}

interface Candidate {
  readonly path: string;
  /** "major:minor". */
  readonly device: string;
}

/**
 * Why what is on `path` may change while it is read: it is a block device, or a file behind a loop
 * device, that is mounted for writing or claimed by something that is no mount here. Undefined when
 * it is at rest. Throws what the system says.
 */
export async function doubtOfMounts(path: string): Promise<string | undefined> {
  try {
    for (const each of await devicesOf(path)) {
      if (!(await isClaimed(each.path))) continue;
      const mounts = await mountsOf(each);
      if (mounts.some(({ isWritable }) => isWritable)) return `${each.path} is mounted for writing`;
      if (mounts.length === 0) return `${each.path} is in use`;
    }
    const hidden = await hiddenUser(path);
    if (hidden === undefined) return undefined;
    return `${hidden} is in use and may stand on it: its file is not to be seen from here`;
  } catch (error) {
    throw fromSystem(error, `cannot tell whether ${path} is mounted`);
  }
}

/**
 * The block device itself, and the devices that stand on it or on the file; of a loop device, those
 * also that stand on the same file.
 */
async function devicesOf(path: string): Promise<Candidate[]> {
  const devices = [...(await devicesOn(path))];
  const own = await blockDeviceNumber(path);
  const below = (await loopDevices()).find(({ number }) => number === own);
  if (below !== undefined) devices.push(...(await devicesOn(below.backingFile)));
  const numbers = new Set(devices.map(({ number }) => number));
  return Promise.all(
    [...numbers].map(async (device) => ({
      path: device === own ? path : await deviceNode(device),
      device,
    })),
  );
}

/**
 * A loop device that someone has in use and that may stand on this file, but does so where it cannot
 * be seen from here: the name of its backing file is deleted, or is one of another namespace, where
 * it may well be the name of some other file here.
 */
async function hiddenUser(path: string): Promise<string | undefined> {
  const { size, ino } = await stat(path);
  const isDevice = (await blockDeviceNumber(path)) !== undefined;
  const identity = await identityOf(path);
  for (const loop of await loopDevices()) {
    if (!loop.isWritable || loop.offsetBytes + loop.sizeBytes > size) continue;
    const backing = await backingIdentityOf(loop);
    if (backing === identity) continue;
    const { number: device } = loop;
    const mounts = await mountsOf({ path: loop.path, device });
    const isHarmless =
      backing === undefined
        ? mounts.length > 0 && !mounts.some(({ isWritable }) => isWritable)
        : mounts.length > 0 || (await devicesOn(loop.path)).length > 1;
    if (isHarmless || !(await isClaimed(loop.path))) continue;
    const isOther = backing === undefined && !isDevice && (await standsOnOther(loop.path, ino));
    if (!isOther) return loop.path;
  }
  return undefined;
}

/**
 * Does a loop device stand on a file with another inode number, whatever its name? All names of one
 * file share the number; the same number on another filesystem counts as the same file.
 */
async function standsOnOther(loop: string, inode: number): Promise<boolean> {
  let found: number | undefined;
  try {
    await readToolLines({
      command: "losetup",
      args: ["--list", "--noheadings", "--raw", "--output", "BACK-INO", loop],
      onLine: (line) => {
        if (/^\d+$/.test(line.trim())) found = Number(line);
        return false;
      },
    });
  } catch {
    // Not installed, or it cannot tell: then nobody can.
    return false;
  }
  return found !== undefined && found > 0 && found !== inode;
}

/** Whoever mounts a block device claims it for himself, in any namespace. */
async function isClaimed(path: string): Promise<boolean> {
  try {
    const handle = await open(path, constants.O_RDONLY | constants.O_EXCL | constants.O_NONBLOCK);
    await handle.close();
    return false;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EBUSY") return true;
    throw error;
  }
}

async function mountsOf({ device }: Candidate): Promise<Mount[]> {
  const mounts: Mount[] = [];
  for (const line of (await readFile("/proc/self/mountinfo", "utf8")).split("\n")) {
    const mount = parseMount(line);
    if (mount === undefined) continue;
    if (mount.device === device || (await deviceOf(mount.source)) === device) mounts.push(mount);
  }
  return mounts;
}

function parseMount(line: string): Mount | undefined {
  const [before = "", after] = line.split(" - ");
  if (after === undefined) return undefined;
  const [, source = "", options = ""] = after.split(" ");
  const [, , device = ""] = before.split(" ");
  return { device, source, isWritable: !options.split(",").includes("ro") };
}

async function deviceOf(source: string): Promise<string | undefined> {
  if (!source.startsWith("/dev/")) return undefined;
  const found = await stat(source, { bigint: true }).catch(() => undefined);
  return found?.isBlockDevice() === true ? deviceNumber(found.rdev) : undefined;
}
