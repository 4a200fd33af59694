/** Reading /proc/self/mountinfo (proc(5)): which filesystems are mounted where. */
import { lstat, readFile, realpath } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fromSystem } from "../errors.ts";

/** Type of our mounts, as the kernel lists it: "fuse." and the subtype. */
export const MOUNT_SUBTYPE = "reelfs";
export const MOUNT_TYPE = `fuse.${MOUNT_SUBTYPE}`;

const MOUNTINFO = "/proc/self/mountinfo";
/** Fields before the separator " - ": id, parent, device, root, mount point, options, tags... */
const ID_FIELD = 0;
const DEVICE_FIELD = 2;
const ROOT_FIELD = 3;
const MOUNTPOINT_FIELD = 4;

export interface MountLine {
  /** As `mnt_id` of /proc/PID/fdinfo. */
  readonly id: number;
  readonly mountpoint: string;
  /** Which folder of the filesystem is mounted: "/" but for bind mounts and subvolumes. */
  readonly root: string;
  /** "0:53". */
  readonly device: string;
  /** "fuse.reelfs", "ext4". */
  readonly type: string;
  /** What df shows as the filesystem. */
  readonly source: string;
  /** Options of the filesystem itself, whatever those of this mount are: "rw,errors=continue". */
  readonly superOptions: string;
}

/** All mounts this process can see, in the order in which they were made. */
export async function readMounts(): Promise<MountLine[]> {
  try {
    return parseMountinfo(await readFile(MOUNTINFO, "utf8"));
  } catch (error) {
    throw fromSystem(error, `cannot read ${MOUNTINFO}`);
  }
}

export function parseMountinfo(text: string): MountLine[] {
  const lines: MountLine[] = [];
  for (const line of text.split("\n")) {
    const separator = line.indexOf(" - ");
    if (separator < 0) continue;
    const before = line.slice(0, separator).split(" ");
    const [type, source, superOptions] = line.slice(separator + 3).split(" ");
    lines.push({
      id: Number(before[ID_FIELD]),
      root: unescapeOctal(before[ROOT_FIELD] ?? ""),
      superOptions: superOptions ?? "",
      mountpoint: unescapeOctal(before[MOUNTPOINT_FIELD] ?? ""),
      device: before[DEVICE_FIELD] ?? "",
      type: unescapeOctal(type ?? ""),
      source: unescapeOctal(source ?? ""),
    });
  }
  return lines;
}

/** The kernel writes blanks, newlines and backslashes as a backslash and three octal digits. */
export function unescapeOctal(text: string): string {
  if (!text.includes("\\")) return text;
  // Names are bytes: put them together before they are read as UTF-8.
  const bytes = Buffer.from(text).toString("latin1");
  const plain = bytes.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(parseInt(digits, 8) & 0xff),
  );
  return Buffer.from(plain, "latin1").toString();
}

/** True when `path` is `folder` or lies below it. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder === "/" ? "/" : `${folder}/`);
}

/**
 * Errors by which the kernel says that the server of a mount is gone: of a request made since, of one
 * that was under way.
 */
const GONE_ERRORS: readonly string[] = ["ENOTCONN", "ECONNABORTED"];

/** Is there a mount at `path` whose server is gone? One that is there, but hangs, is waited for. */
export async function isDeadMount(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return false;
  } catch (error) {
    return error instanceof Error && "code" in error && GONE_ERRORS.includes(String(error.code));
  }
}

/** The mount that `path` lies on: the innermost, and of several in one place the last. */
export function mountOf(path: string, mounts: readonly MountLine[]): MountLine | undefined {
  let best: MountLine | undefined;
  for (const mount of mounts) {
    if (!isWithin(path, mount.mountpoint)) continue;
    if (best === undefined || mount.mountpoint.length >= best.mountpoint.length) best = mount;
  }
  return best;
}

/** The topmost mount at exactly this place. */
export function mountAt(place: string, mounts: readonly MountLine[]): MountLine | undefined {
  return mounts.findLast(({ mountpoint }) => mountpoint === place);
}

/**
 * The absolute path without links of a path that a user gave, found without touching what is there:
 * a mount whose daemon is gone answers nothing. Throws what is wrong with the folder it lies in.
 */
export async function placeOf(path: string): Promise<string> {
  const absolute = resolve(path);
  if (absolute === "/") return absolute;
  try {
    return join(await realpath(dirname(absolute)), basename(absolute));
  } catch (error) {
    throw fromSystem(error, `cannot find ${path}`);
  }
}

/** As `placeOf`, but where nothing is mounted at the place itself, links are followed. */
export async function mountpointOf(path: string): Promise<string> {
  const place = await placeOf(path);
  if (mountAt(place, await readMounts()) !== undefined) return place;
  return realpath(place).catch(() => place);
}
