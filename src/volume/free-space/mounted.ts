/** Is a device mounted for writing, or in the hands of anybody who may write to it? */
import { constants } from "node:fs";
import { open, readdir, readFile, realpath, stat } from "node:fs/promises";
import { deviceNumber } from "../../device/block-device-size.ts";
import { fromSystem } from "../../errors.ts";

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
    return undefined;
  } catch (error) {
    throw fromSystem(error, `cannot tell whether ${path} is mounted`);
  }
}

/** The block device itself, or the loop devices that lead to the file. */
async function devicesOf(path: string): Promise<Candidate[]> {
  const found = await stat(path, { bigint: true });
  if (found.isBlockDevice()) return [{ path, device: deviceNumber(found.rdev) }];
  const file = await realpath(path);
  const names = (await readdir("/sys/block")).filter((name) => name.startsWith("loop"));
  const loops: Candidate[] = [];
  for (const name of names) {
    const backing = await readFile(`/sys/block/${name}/loop/backing_file`, "utf8").catch(() => "");
    if (backing.trimEnd() !== file) continue;
    const device = (await readFile(`/sys/block/${name}/dev`, "utf8")).trim();
    loops.push({ path: `/dev/${name}`, device });
  }
  return loops;
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
