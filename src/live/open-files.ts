/**
 * Which files of mounted volumes are open for writing, after the system's own tables (proc(5)):
 *
 *     /proc/PID/fd/N       the path of an open file, as a link
 *     /proc/PID/fdinfo/N   how it was opened, and through which mount
 *     /proc/PID/maps       files that are mapped; a mapping outlives the descriptor it was made with
 *     /sys/block/loop*     files that a loop device writes to: no process has those open
 *
 * Only links and texts of /proc are read, and the file itself is looked at only when it lies on one
 * of the volumes: another, dead filesystem cannot hold this up. A process may live in a namespace of
 * mounts of its own (a container): its paths are read by its own table of mounts.
 */
import { readdir, readFile, readlink, stat } from "node:fs/promises";
import { join } from "node:path";
import { loopDevices } from "../device/loop-devices.ts";
import { isWithin, type MountLine, mountOf, parseMountinfo } from "../fuse/mountinfo.ts";
import type { MountedVolume } from "./mounted-volumes.ts";

const PROC = "/proc";
/** Open files, over all processes, that one look takes in. */
const DESCRIPTORS_MAX = 1_000_000;
/** Of the flags in fdinfo: O_WRONLY and O_RDWR. */
const ACCESS_MODE = 3;
const DELETED = " (deleted)";
/** Address, permissions, offset, device, inode, path (proc_pid_maps(5)): shared, and written to. */
const SHARED_WRITABLE = /^\S+ .w.s \S+ \S+ \d+ +(\/.*)$/;

export interface OpenFileLook {
  /** Called with the path from the root of the volume; the same file may come several times. */
  note(volume: MountedVolume, path: string): void;
}

export interface LookResult {
  /** Processes that this user may not look into. */
  readonly hiddenProcesses: number;
  /** Not all was looked at. */
  readonly cut: boolean;
}

/** Looks once at everything that is open. What ends meanwhile is passed over. Throws nothing. */
export async function lookAtOpenFiles(
  volumes: readonly MountedVolume[],
  look: OpenFileLook,
): Promise<LookResult> {
  const tables = new MountTables(volumes);
  let hiddenProcesses = 0;
  let left = DESCRIPTORS_MAX;
  for (const pid of await readdir(PROC).catch(() => [])) {
    if (!/^\d+$/.test(pid)) continue;
    const table = await tables.of(pid);
    if (table === "hidden") hiddenProcesses++;
    if (table === "hidden" || table === "gone" || table.ours.size === 0) continue;
    left -= await lookAtDescriptors(join(PROC, pid), table, look);
    await lookAtMaps(join(PROC, pid), table, look);
    if (left < 0) return { hiddenProcesses, cut: true };
  }
  const own = await tables.of("self");
  if (typeof own !== "string") await lookAtLoops(own, look);
  return { hiddenProcesses, cut: false };
}

/** The mounts that a process sees, and those of them that are mounts of the volumes. */
interface MountTable {
  readonly all: readonly MountLine[];
  readonly ours: ReadonlyMap<MountLine, MountedVolume>;
}

/** Processes that share a namespace share the table. */
class MountTables {
  readonly #volumes: readonly MountedVolume[];
  readonly #byNamespace = new Map<string, MountTable>();

  constructor(volumes: readonly MountedVolume[]) {
    this.#volumes = volumes;
  }

  async of(pid: string): Promise<MountTable | "hidden" | "gone"> {
    const process = join(PROC, pid);
    try {
      const namespace = await readlink(join(process, "ns/mnt"));
      const known = this.#byNamespace.get(namespace);
      if (known !== undefined) return known;
      const all = parseMountinfo(await readFile(join(process, "mountinfo"), "utf8"));
      const ours = new Map<MountLine, MountedVolume>();
      for (const line of all) {
        const volume = this.#volumes.find(({ device }) => device === line.device);
        if (volume !== undefined) ours.set(line, volume);
      }
      const table = { all, ours };
      this.#byNamespace.set(namespace, table);
      return table;
    } catch (error) {
      const errno = error instanceof Error && "code" in error ? error.code : undefined;
      return errno === "EACCES" || errno === "EPERM" ? "hidden" : "gone";
    }
  }
}

/** Returns how many descriptors there were. */
async function lookAtDescriptors(
  process: string,
  table: MountTable,
  look: OpenFileLook,
): Promise<number> {
  const lines = [...table.ours.keys()];
  const descriptors = await readdir(join(process, "fd")).catch(() => []);
  for (const descriptor of descriptors) {
    const link = join(process, "fd", descriptor);
    const target = await readlink(link).catch(() => "");
    if (!lines.some(({ mountpoint }) => isWithin(target, mountpoint))) continue;
    const info = await readFile(join(process, "fdinfo", descriptor), "latin1").catch(() => "");
    const flags = parseInt(/^flags:\s*([0-7]+)$/m.exec(info)?.[1] ?? "0", 8);
    if ((flags & ACCESS_MODE) === 0) continue;
    const id = Number(/^mnt_id:\s*(\d+)$/m.exec(info)?.[1]);
    const line = lines.find((each) => each.id === id);
    if (line !== undefined) await noteFile(line, target, { table, look, open: link });
  }
  return descriptors.length;
}

async function lookAtMaps(process: string, table: MountTable, look: OpenFileLook): Promise<void> {
  const lines = [...table.ours.keys()];
  const maps = await readFile(join(process, "maps"), "utf8").catch(() => "");
  if (!lines.some(({ mountpoint }) => maps.includes(mountpoint))) return;
  for (const text of maps.split("\n")) {
    const path = SHARED_WRITABLE.exec(text)?.[1]?.replaceAll("\\012", "\n");
    if (path === undefined) continue;
    const line = mountOf(path, table.all);
    if (line === undefined || !table.ours.has(line)) continue;
    const range = (text.split(" ", 1)[0] ?? "").replace(/\b0+(?=[0-9a-f])/g, "");
    await noteFile(line, path, { table, look, open: join(process, "map_files", range) });
  }
}

async function lookAtLoops(table: MountTable, look: OpenFileLook): Promise<void> {
  for (const { backingFile, isWritable } of await loopDevices()) {
    const line = mountOf(backingFile, table.all);
    if (!isWritable || line === undefined || !table.ours.has(line)) continue;
    await noteFile(line, backingFile, { table, look, open: backingFile });
  }
}

/** Devices, pipes and sockets keep nothing on the volume, and a file without a name is in no image. */
async function noteFile(
  line: MountLine,
  path: string,
  { table, look, open }: { table: MountTable; look: OpenFileLook; open: string },
): Promise<void> {
  const volume = table.ours.get(line);
  if (volume === undefined || !isWithin(path, line.mountpoint)) return;
  // Only root may look through map_files.
  const found = await stat(open).catch(async () => stat(path).catch(() => undefined));
  if (found?.isFile() !== true || found.nlink === 0) return;
  if (path.endsWith(DELETED)) {
    // Its name may be gone while another is there, or it may really be called so.
    const named = await stat(path).catch(() => undefined);
    if (named?.ino !== found.ino) return;
  }
  const inside = line.mountpoint === "/" ? path : path.slice(line.mountpoint.length);
  look.note(volume, line.root === "/" ? inside : `${line.root}${inside}`);
}
