/**
 * Which mounts there are and who serves them: one JSON file per mount in a private folder, beside
 * its control socket and its log, crossed with what the kernel has mounted. Neither alone is
 * believed: a daemon may have been killed, a mount taken down by somebody else.
 *
 *     RUNTIME/reelfs/0123456789abcdef.json    the record; .sock the control socket, .log the log
 */
import { createHash } from "node:crypto";
import { readdir, readFile, rename, rm, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fromSystem } from "../errors.ts";
import {
  isDeadMount,
  isWithin,
  mountAt,
  type MountLine,
  MOUNT_TYPE,
  mountOf,
  readMounts,
} from "./mountinfo.ts";
import { runtimeFolder } from "./runtime-folder.ts";
import { unmountPath } from "./unmount.ts";

export { runtimeFolder } from "./runtime-folder.ts";

const RECORD_MAX_BYTES = 64 * 1024;
const KEY_CHARACTERS = 16;

export interface MountedImage {
  /** "/home/a/photos.tap#2". */
  readonly spec: string;
  readonly uuid: string;
}

export interface MountRecord {
  readonly mountpoint: string;
  readonly pid: number;
  /** When the process began, in clock ticks since boot: a pid alone may be somebody else's by now. */
  readonly processStart: string;
  readonly image: MountedImage;
  readonly readOnly: boolean;
  /** ISO 8601. */
  readonly since: string;
  readonly socket: string;
  /** Where the kernel itself has mounted the volume, from a file that we serve. */
  readonly loop?: LoopRecord | undefined;
}

/** A volume that the kernel has mounted from a file in a FUSE mount of ours. */
export interface LoopRecord {
  /** "/dev/loop3", which the kernel lists as the mount's source. */
  readonly device: string;
  /** The private folder with the FUSE mount that holds the file. */
  readonly folder: string;
}

/** serving: usable; stale: its daemon is gone, `reelfs umount` clears it. */
export type MountState = "serving" | "stale";

export interface MountStatus {
  readonly mountpoint: string;
  readonly state: MountState;
  /** What the kernel calls it, for mounts of other users, of which there is no record here. */
  readonly source: string;
  readonly record: MountRecord | undefined;
}

export interface MountFiles {
  readonly record: string;
  readonly socket: string;
  readonly log: string;
}

/** The files of the mount at a place. */
export async function mountFiles(mountpoint: string): Promise<MountFiles> {
  const key = createHash("sha256").update(mountpoint).digest("hex").slice(0, KEY_CHARACTERS);
  const base = join(await runtimeFolder(), key);
  return { record: `${base}.json`, socket: `${base}.sock`, log: `${base}.log` };
}

/** Writes the record of a mount that this process serves. */
export async function writeRecord(
  mount: Pick<MountRecord, "mountpoint" | "image" | "readOnly" | "loop">,
): Promise<MountRecord> {
  const files = await mountFiles(mount.mountpoint);
  const record: MountRecord = {
    mountpoint: mount.mountpoint,
    pid: process.pid,
    processStart: (await processStart(process.pid)) ?? "",
    image: mount.image,
    readOnly: mount.readOnly,
    since: new Date().toISOString(),
    socket: files.socket,
    ...(mount.loop === undefined ? {} : { loop: mount.loop }),
  };
  const draft = `${files.record}.${process.pid}`;
  try {
    await writeFile(draft, `${JSON.stringify(record, undefined, 1)}\n`, { mode: 0o600 });
    await rename(draft, files.record);
  } catch (error) {
    throw fromSystem(error, `cannot write the record of the mount on ${mount.mountpoint}`);
  }
  return record;
}

/**
 * Removes what belongs to the mount at a place; the log stays when `keepLog`. The record goes last:
 * whoever sees that it is gone finds nothing else.
 */
export async function removeRecord(mountpoint: string, keepLog = false): Promise<void> {
  const { record, socket, log } = await mountFiles(mountpoint);
  for (const file of keepLog ? [socket, record] : [socket, log, record]) {
    await rm(file, { force: true });
  }
}

/** The record of the mount at a place; undefined when there is none that can be read. */
export async function readRecord(mountpoint: string): Promise<MountRecord | undefined> {
  const { record } = await mountFiles(mountpoint);
  return parseRecord(await readFile(record).catch(() => undefined));
}

function parseRecord(bytes: Buffer | undefined): MountRecord | undefined {
  if (bytes === undefined || bytes.length > RECORD_MAX_BYTES) return undefined;
  try {
    const json: unknown = JSON.parse(bytes.toString());
    return isRecord(json) ? json : undefined;
  } catch {
    return undefined;
  }
}

function isRecord(json: unknown): json is MountRecord {
  if (typeof json !== "object" || json === null) return false;
  const fields = new Map<string, unknown>(Object.entries(json));
  const texts = ["mountpoint", "processStart", "since", "socket"];
  const image = fields.get("image");
  return (
    texts.every((name) => typeof fields.get(name) === "string") &&
    Number.isSafeInteger(fields.get("pid")) &&
    typeof fields.get("readOnly") === "boolean" &&
    typeof image === "object" &&
    image !== null &&
    "spec" in image &&
    typeof image.spec === "string" &&
    "uuid" in image &&
    typeof image.uuid === "string" &&
    (fields.get("loop") === undefined || isLoopRecord(fields.get("loop")))
  );
}

function isLoopRecord(json: unknown): json is LoopRecord {
  if (typeof json !== "object" || json === null) return false;
  const { device, folder } = Object.fromEntries(Object.entries(json)) as Record<string, unknown>;
  return typeof device === "string" && typeof folder === "string";
}

/** Field 22 of /proc/PID/stat; undefined when there is no such process. */
export async function processStart(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  // The second field is a name in parentheses, which may hold anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const state = fields[0] ?? "";
  return state === "" || state === "Z" || state === "X" ? undefined : fields[19];
}

/** Does the process that wrote the record still run? */
export async function isServed(record: MountRecord): Promise<boolean> {
  return (await processStart(record.pid)) === record.processStart;
}

/** All ReelFS mounts that this process can see, its user's with their records. */
export async function listMounts(): Promise<MountStatus[]> {
  const hidden = await runtimeFolder();
  const found: MountStatus[] = [];
  for (const mount of await readMounts()) {
    const { mountpoint, type, source } = mount;
    // What lies in our own folder stands under a mount of the kernel's, which is listed.
    if ((type !== MOUNT_TYPE && !isLoop(mount)) || isWithin(mountpoint, hidden)) continue;
    const record = await readRecord(mountpoint);
    if (!isOurs(mount, record)) continue;
    const serving =
      record === undefined ? !(await isDeadMount(mountpoint)) : await isServed(record);
    found.push({ mountpoint, source, record, state: serving ? "serving" : "stale" });
  }
  return found;
}

function isLoop({ source }: MountLine): boolean {
  return source.startsWith("/dev/loop");
}

/** Is it a FUSE mount of ours, or the kernel's on a loop device that our record names? */
function isOurs(mount: MountLine | undefined, record: MountRecord | undefined): boolean {
  if (mount === undefined) return false;
  return mount.type === MOUNT_TYPE || mount.source === record?.loop?.device;
}

/** Takes away the FUSE mount on which a loop device stood, when its daemon is gone. */
export async function clearLoop(record: MountRecord): Promise<void> {
  if (record.loop === undefined) return;
  const { folder } = record.loop;
  // Only what this program made: the record is the user's own file, but it may be damaged.
  if (!isWithin(folder, await runtimeFolder())) return;
  if (mountAt(folder, await readMounts()) !== undefined) await unmountPath(folder, { lazy: true });
  await rmdir(folder).catch(() => undefined);
}

/** The ReelFS mount that a path lies in. The path is not touched. */
export async function findMountOf(path: string): Promise<MountStatus | undefined> {
  const mount = mountOf(path, await readMounts());
  return mount?.type === MOUNT_TYPE ? statusAt(mount.mountpoint) : undefined;
}

/** The ReelFS mount at exactly this place. */
export async function statusAt(mountpoint: string): Promise<MountStatus | undefined> {
  const mount = mountAt(mountpoint, await readMounts());
  if (!isOurs(mount, await readRecord(mountpoint))) return undefined;
  return (await listMounts()).findLast((mount) => mount.mountpoint === mountpoint);
}

/** Removes records of mounts that are gone and whose daemons are gone. */
export async function sweepRecords(): Promise<void> {
  const folder = await runtimeFolder();
  const mounts = await readMounts();
  for (const name of await readdir(folder)) {
    if (!name.endsWith(".json")) continue;
    const record = parseRecord(await readFile(join(folder, name)).catch(() => undefined));
    if (record === undefined || isOurs(mountAt(record.mountpoint, mounts), record)) continue;
    if (await isServed(record)) continue;
    await clearLoop(record);
    await removeRecord(record.mountpoint);
  }
}
