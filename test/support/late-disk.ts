/**
 * A disk that takes what is written to it, and fails to store it: ext4 on a loop device on a file in
 * a memory file system that has no room for it. write(2) succeeds, since the page cache has room;
 * whoever syncs hears of it, once.
 */
import { mkdir, rm, statfs, truncate, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { hasTool, runTool } from "./mountpoint.ts";

const DISK_BYTES = 256 << 20;
/** Room below for all of the disk, and the tables of the file system below. */
const ROOM_BYTES = 2 * DISK_BYTES;
const PAGE_BYTES = 4096;
const INODES = 4096;
/** For folders, whose blocks are taken before those of files are: first where blocks are free. */
const FOLDER_BLOCKS = 32;
/** No commit of the journal that nobody asked for. */
const COMMIT_SECONDS = 600;

/** Why there can be none here; undefined where it can. */
export function lateDiskTrouble(): string | undefined {
  if (process.getuid?.() !== 0) return "only root can mount a disk";
  if (!existsSync("/dev/loop-control")) return "there are no loop devices";
  const missing = ["mkfs.ext4", "debugfs", "losetup", "mount", "umount", "sync", "fallocate"].find(
    (name) => !hasTool(name),
  );
  return missing === undefined ? undefined : `${missing} is missing: install e2fsprogs and mount`;
}

export interface LateDisk {
  /** Where it is mounted. */
  readonly folder: string;
  /** Stores what is there; from now on only so many bytes more can be stored. */
  leave(bytes: number): Promise<void>;
  /** It can be stored again; what was lost stays so, though the page cache may have it. */
  mend(): Promise<void>;
  /** The power fails: what was not stored is gone. The disk has room then. */
  restart(): Promise<void>;
}

export interface LateDiskOptions {
  /** Whether its journal cannot be stored either: it is read-only from then on. */
  readonly journalFails?: boolean;
}

/** In `at`, a folder, as long as `use` runs. */
export async function withLateDisk<T>(
  at: string,
  { journalFails = false }: LateDiskOptions,
  use: (disk: LateDisk) => Promise<T>,
): Promise<T> {
  const [below, folder, spare] = [join(at, "below"), join(at, "disk"), join(at, "spare.img")];
  const file = join(below, "disk.img");
  for (const each of [below, folder]) await mkdir(each);
  const room = async (bytes: number): Promise<void> => {
    const pages = Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
    await mustRun("mount", "-o", `remount,size=${pages}`, below);
  };
  let loop = "";
  const attach = async (): Promise<void> => {
    loop = await mustRun("losetup", "--find", "--show", file);
    // The kernel takes a request of which the first page was stored for one that was stored.
    await writeFile(`/sys/block/${basename(loop)}/queue/max_sectors_kb`, String(PAGE_BYTES / 1024));
    await mustRun("mount", "-o", `commit=${COMMIT_SECONDS}`, loop, folder);
  };
  const detach = async (): Promise<void> => {
    if ((await runTool("umount", [folder])).status !== 0) await runTool("umount", ["-l", folder]);
    await runTool("losetup", ["--detach", loop]);
  };
  await mustRun("mount", "-t", "tmpfs", "-o", `size=${ROOM_BYTES}`, "reelfs-late", below);
  try {
    await writeFile(file, "");
    await truncate(file, DISK_BYTES);
    const now = "lazy_itable_init=0,lazy_journal_init=0";
    const shape = ["-b", String(PAGE_BYTES), "-N", String(INODES)];
    await mustRun("mkfs.ext4", "-q", "-F", "-E", now, ...shape, file);
    if (!journalFails) await storeTables(file);
    await attach();
    return await use({
      folder,
      leave: async (bytes) => {
        await mustRun("sync", "-f", folder);
        const { blocks, bfree, bsize } = await statfs(below);
        await room((blocks - bfree) * bsize + bytes);
      },
      mend: async () => room(ROOM_BYTES),
      restart: async () => {
        await copySparse(file, spare);
        await detach();
        await room(ROOM_BYTES);
        await rm(file);
        await copySparse(spare, file);
        await rm(spare);
        await attach();
      },
    });
  } finally {
    await detach();
    await runTool("umount", [below]);
  }
}

/** Has the file below take the room of all that ext4 keeps for itself: tables, then the journal. */
async function storeTables(file: string): Promise<void> {
  const room = async (first: number, end: number): Promise<unknown> => {
    const range = ["-o", String(first * PAGE_BYTES), "-l", String((end - first) * PAGE_BYTES)];
    return mustRun("fallocate", "--keep-size", ...range, file);
  };
  const numbers = async (request: string): Promise<number[]> => {
    const printed = await mustRun("debugfs", "-R", request, file);
    return (printed.match(/\d+/g) ?? []).map(Number);
  };
  // Superblock, bitmaps and inodes lie together at the beginning, the journal begins the last group.
  await room(0, Math.min(...(await numbers("ffb 1"))) + FOLDER_BLOCKS);
  const journal = await numbers("blocks <8>");
  await room(Math.min(...journal), Math.max(...journal) + 1 + FOLDER_BLOCKS);
}

async function copySparse(from: string, to: string): Promise<void> {
  await mustRun("cp", "--sparse=always", from, to);
}

async function mustRun(tool: string, ...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await runTool(tool, args);
  if (status !== 0) throw new Error(`${tool} ${args.join(" ")}: ${stderr}`);
  return stdout.trim();
}
