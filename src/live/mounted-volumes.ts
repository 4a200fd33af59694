/** Which filesystems of a source are mounted, and what lies on them. */
import { realpath } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { type MountLine, mountOf, readMounts } from "../fuse/mountinfo.ts";
import { blockDeviceNumber, devicesOn, filesBelow } from "../device/stacked-devices.ts";

/** Filesystems on files on filesystems. */
const DEPTH_MAX = 16;

/** A filesystem of the source that the kernel has mounted. */
export interface MountedVolume {
  /** As mountinfo names it; a number of its own for btrfs: "0:45". */
  readonly device: string;
  /** "/dev/loop0p1". */
  readonly source: string;
  readonly type: string;
  /** Where all of it is mounted, or a part. */
  readonly mountpoint: string;
  /** Is the filesystem itself writable? A mount of it may be read-only all the same. */
  readonly writable: boolean;
  /** Where on the source it begins. */
  readonly offsetBytes: number;
}

/** Throws "io" when the table of mounts cannot be read. */
export async function mountedOn(sources: readonly string[]): Promise<readonly MountedVolume[]> {
  const offsets = new Map<string, number>();
  for (const source of sources) {
    for (const { number, offsetBytes } of await devicesOn(source)) offsets.set(number, offsetBytes);
  }
  const volumes = new Map<string, MountedVolume>();
  if (offsets.size === 0) return [];
  for (const line of await readMounts()) {
    const offsetBytes = offsets.get((await deviceOf(line)) ?? "");
    if (offsetBytes === undefined) continue;
    const { device, source, type, mountpoint, root } = line;
    if (volumes.has(device) && root !== "/") continue;
    const writable = line.superOptions.split(",").includes("rw");
    volumes.set(device, { device, source, type, mountpoint, writable, offsetBytes });
  }
  return [...volumes.values()];
}

/** The block device of a mount. Filesystems over several devices have a number of their own. */
export async function deviceOf({ device, source }: MountLine): Promise<string | undefined> {
  if (!device.startsWith("0:")) return device;
  return source.startsWith("/dev/") ? blockDeviceNumber(source) : undefined;
}

/**
 * The volume that `path` lies on, directly or in a file on it that is mounted in turn; undefined for
 * none of them. A path that is not there counts as the folder it would be in.
 */
export async function volumeUnder(
  path: string,
  volumes: readonly MountedVolume[],
): Promise<MountedVolume | undefined> {
  const mounts = await readMounts();
  const waiting = [path];
  for (let depth = 0; depth < DEPTH_MAX; depth++) {
    const next = waiting.pop();
    if (next === undefined) return undefined;
    const line = mountOf(await existing(next), mounts);
    const volume = volumes.find(({ device }) => device === line?.device);
    if (volume !== undefined) return volume;
    const number = line === undefined ? undefined : await deviceOf(line);
    if (number !== undefined) waiting.push(...(await filesBelow(number)));
  }
  return undefined;
}

async function existing(path: string): Promise<string> {
  for (let at = resolve(path); ; at = dirname(at)) {
    const real = await realpath(at).catch(() => undefined);
    if (real !== undefined || at === "/") return real ?? at;
  }
}
