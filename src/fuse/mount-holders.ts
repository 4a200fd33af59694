/** Who keeps a mount busy: processes with a file or folder of it in use, mounts inside it. */
import { readdir, readFile, readlink } from "node:fs/promises";
import { join } from "node:path";
import { isWithin, readMounts } from "./mountinfo.ts";

/** As many as a person will read. */
const HOLDERS_MAX = 8;

export interface MountHolder {
  readonly pid: number;
  /** Its command's name. */
  readonly name: string;
  /** "has /mnt/a.txt open", "runs in /mnt". */
  readonly does: string;
}

/**
 * Processes that hold the mount, as far as this user may look. Only links in /proc are read: the
 * mount itself is not touched, it may not answer.
 */
export async function findHolders(mountpoint: string): Promise<MountHolder[]> {
  const holders: MountHolder[] = [];
  for (const pid of await readdir("/proc").catch(() => [])) {
    if (!/^\d+$/.test(pid)) continue;
    const does = await holdOf(join("/proc", pid), mountpoint);
    if (does === undefined) continue;
    holders.push({ pid: Number(pid), name: await nameOf(pid), does });
    if (holders.length === HOLDERS_MAX) break;
  }
  return holders;
}

const LINKS: readonly (readonly [link: string, what: string])[] = [
  ["cwd", "is in"],
  ["root", "has its root at"],
  ["exe", "is the program"],
];

async function holdOf(process: string, mountpoint: string): Promise<string | undefined> {
  for (const [link, what] of LINKS) {
    const target = await linkTarget(join(process, link));
    if (target !== undefined && isWithin(target, mountpoint)) return `${what} ${target}`;
  }
  const open = join(process, "fd");
  for (const descriptor of await readdir(open).catch(() => [])) {
    const target = await linkTarget(join(open, descriptor));
    if (target !== undefined && isWithin(target, mountpoint)) return `has ${target} open`;
  }
  const maps = await readFile(join(process, "maps"), "utf8").catch(() => "");
  for (const line of maps.split("\n")) {
    const slash = line.indexOf("/");
    if (slash > 0 && isWithin(line.slice(slash), mountpoint)) return `maps ${line.slice(slash)}`;
  }
  return undefined;
}

async function linkTarget(link: string): Promise<string | undefined> {
  return readlink(link).catch(() => undefined);
}

async function nameOf(pid: string): Promise<string> {
  const name = await readFile(join("/proc", pid, "comm"), "utf8").catch(() => "");
  return name.trim() === "" ? "process" : name.trim();
}

/**
 * A sentence's end that says who holds the mount: "bash (pid 412) is in /mnt/photos". Undefined:
 * nobody whom this user can see, or not any more.
 */
export async function describeHolders(mountpoint: string): Promise<string | undefined> {
  const holders = await findHolders(mountpoint);
  const said = holders.map(({ name, pid, does }) => `${name} (pid ${pid}) ${does}`);
  for (const mount of await readMounts()) {
    if (mount.mountpoint !== mountpoint && isWithin(mount.mountpoint, mountpoint)) {
      said.push(`${mount.source} is mounted on ${mount.mountpoint}`);
    }
  }
  return said.length > 0 ? said.join("; ") : undefined;
}
