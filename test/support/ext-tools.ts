/** Volumes made by mke2fs, and what e2fsprogs and the kernel make of a volume. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import {
  copyFile,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rm,
  truncate,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import type { BigIntStats } from "node:fs";
import type { NodeKind } from "../../src/volume/volume.ts";
import { withTempFolder } from "./temp.ts";
import { endKernelMount } from "./end-kernel-mount.ts";

const SBIN = "/usr/sbin:/sbin";
const ENVIRONMENT = {
  ...process.env,
  PATH: `${process.env["PATH"] ?? ""}:${SBIN}`,
  LC_ALL: "C.UTF-8",
};
const OUTPUT_MAX_BYTES = 64 * 1024 * 1024;
const SECTOR_BYTES = 512;

export const NO_EXT_TOOLS = "e2fsprogs is not installed";
export const NO_KERNEL = "mounting through a loop device needs root, getfattr and loop devices";

export function hasTool(tool: string): boolean {
  return ENVIRONMENT.PATH.split(":").some((folder) => existsSync(join(folder, tool)));
}

export function hasExtTools(): boolean {
  return ["mke2fs", "debugfs", "dumpe2fs", "tune2fs"].every(hasTool);
}

export function canMountExt(): boolean {
  const isRoot = process.getuid?.() === 0;
  return (
    isRoot && existsSync("/dev/loop-control") && ["mount", "losetup", "getfattr"].every(hasTool)
  );
}

/** Runs a tool and returns what it prints; throws when it fails. */
export function runTool(tool: string, ...args: readonly string[]): string {
  return execFileSync(tool, args, {
    env: ENVIRONMENT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    maxBuffer: OUTPUT_MAX_BYTES,
  });
}

/** What debugfs prints for commands that change nothing. */
export function debugfs(image: string, ...commands: readonly string[]): string {
  const { stdout } = spawnSync("debugfs", ["-f", "-", image], {
    env: ENVIRONMENT,
    encoding: "latin1",
    input: `${commands.join("\n")}\n`,
    maxBuffer: OUTPUT_MAX_BYTES,
  });
  return stdout;
}

/** A volume of `sizeBytes` with the contents of a folder; `options` as for mke2fs. */
export async function makeExtImage(
  image: string,
  sizeBytes: number,
  options: readonly string[],
  folder?: string,
): Promise<void> {
  await writeFile(image, "");
  await truncate(image, sizeBytes);
  const from = folder === undefined ? [] : ["-d", folder];
  runTool("mke2fs", "-q", "-F", "-E", "lazy_itable_init=1,nodiscard", ...options, ...from, image);
}

/** Block count and free blocks as dumpe2fs has them. */
export function countBlocks(image: string): { blocks: number; free: number } {
  const header = runTool("dumpe2fs", "-h", image);
  const number = (name: string) => Number(new RegExp(`^${name}: +(\\d+)$`, "m").exec(header)?.[1]);
  return { blocks: number("Block count"), free: number("Free blocks") };
}

/** Blocks of a file's contents by debugfs: [block in the file, block on the volume, count]. */
export function mappedBlocks(image: string, inode: number): [number, number, number][] {
  const stat = debugfs(image, `stat <${inode}>`);
  const listed = /(?:EXTENTS|BLOCKS):\n([^]*)/.exec(stat)?.[1] ?? "";
  const found: [number, number, number][] = [];
  for (const match of listed.matchAll(/\((\d+)(?:-(\d+))?\):(\d+)(?:-(\d+))?/g)) {
    const [, first = "0", last = first, physical = "0"] = match;
    // A block number of 0 stands for a hole.
    if (physical !== "0") {
      found.push([Number(first), Number(physical), Number(last) - Number(first) + 1]);
    }
  }
  return found;
}

/** What is in a mounted folder, as the system calls tell it. */
export interface MountedNode {
  readonly kind: NodeKind;
  readonly stat: BigIntStats;
  readonly contents?: Uint8Array;
  readonly linkTo?: string;
  readonly xattrs: ReadonlyMap<string, string>;
}

/** Mounts a copy of an image read-only through the kernel, and unmounts it in any case. */
export async function withKernelMount<T>(
  image: string,
  use: (mountpoint: string) => Promise<T>,
): Promise<T> {
  return withTempFolder(async (folder) => {
    const copy = join(folder, "copy.img");
    const mountpoint = join(folder, "mounted");
    await copyFile(image, copy);
    await mkdir(mountpoint);
    // A loop device that can be written: a journal is replayed even for a read-only mount.
    const loop = runTool("losetup", "--find", "--show", copy).trim();
    try {
      runTool("mount", "-o", "ro,nodiscard", loop, mountpoint);
      try {
        return await use(mountpoint);
      } finally {
        endKernelMount(mountpoint);
      }
    } finally {
      runTool("losetup", "--detach", loop);
      await rm(copy);
    }
  });
}

/** Everything below a mounted folder by path, and the folder itself as "". */
export async function readMounted(mountpoint: string): Promise<Map<string, MountedNode>> {
  const xattrs = readXattrs(mountpoint);
  const tree = new Map<string, MountedNode>();
  const paths = await readdir(mountpoint, { recursive: true });
  for (const path of ["", ...paths.map((each) => `/${each}`)]) {
    const full = mountpoint + path;
    const stat = await lstat(full, { bigint: true });
    const kind = kindOf(stat);
    tree.set(path, {
      kind,
      stat,
      xattrs: xattrs.get(full) ?? new Map<string, string>(),
      ...(kind === "file" ? { contents: await readFile(full) } : {}),
      ...(kind === "symlink" ? { linkTo: await readlink(full) } : {}),
    });
  }
  return tree;
}

function kindOf(stat: BigIntStats): NodeKind {
  if (stat.isDirectory()) return "directory";
  if (stat.isSymbolicLink()) return "symlink";
  if (stat.isFIFO()) return "fifo";
  if (stat.isSocket()) return "socket";
  if (stat.isBlockDevice()) return "block";
  return stat.isCharacterDevice() ? "character" : "file";
}

/** All attributes below a folder, in hexadecimal, by full path. */
function readXattrs(folder: string): Map<string, Map<string, string>> {
  const listing = runTool("getfattr", "-RPhd", "-m", "-", "-e", "hex", "--absolute-names", folder);
  const found = new Map<string, Map<string, string>>();
  let current = new Map<string, string>();
  for (const line of listing.split("\n")) {
    const file = /^# file: (.*)$/.exec(line)?.[1];
    if (file !== undefined) {
      current = new Map();
      found.set(unescapeOctal(file), current);
      continue;
    }
    const [name = "", value = ""] = line.split(/=(?:0x)?/);
    if (name !== "") current.set(name, value);
  }
  return found;
}

function unescapeOctal(name: string): string {
  const bytes = name.replace(/\\(\d{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
  return name === bytes ? name : Buffer.from(bytes, "latin1").toString("utf8");
}

export const allocatedBytesOf = (stat: BigIntStats): number => Number(stat.blocks) * SECTOR_BYTES;
