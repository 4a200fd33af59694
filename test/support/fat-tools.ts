/** What mtools and fsck.fat make of a volume: the standard that the FAT reader is held to. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, open, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const SBIN = "/usr/sbin:/sbin";
const ENVIRONMENT = {
  ...process.env,
  PATH: `${process.env["PATH"] ?? ""}:${SBIN}`,
  LC_ALL: "C.UTF-8",
  // Some volumes of the corpus have geometries that mtools would refuse to look at.
  MTOOLS_SKIP_CHECK: "1",
};
const OUTPUT_MAX_BYTES = 64 * 1024 * 1024;

export const NO_FAT_TOOLS = "mtools and dosfstools are not installed";

export function hasFatTools(): boolean {
  const folders = ENVIRONMENT.PATH.split(":");
  return ["mcopy", "mkfs.fat", "fsck.fat"].every((tool) =>
    folders.some((folder) => existsSync(join(folder, tool))),
  );
}

/** Runs a tool and returns what it prints; throws when it fails. */
export function runTool(tool: string, args: readonly string[]): string {
  return execFileSync(tool, args, {
    env: ENVIRONMENT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

export interface FsckSummary {
  readonly isClean: boolean;
  readonly clustersUsed: number;
  readonly clusters: number;
}

/** The last line of `fsck.fat -n -v`; undefined when it gave up before. */
export function fsck(image: string): FsckSummary | undefined {
  const { status, stdout } = spawnSync("fsck.fat", ["-n", "-v", image], {
    env: ENVIRONMENT,
    encoding: "latin1",
    maxBuffer: OUTPUT_MAX_BYTES,
  });
  const match = / \d+ files, (\d+)\/(\d+) clusters/.exec(stdout);
  if (match === null) return undefined;
  return { isClean: status === 0, clustersUsed: Number(match[1]), clusters: Number(match[2]) };
}

/** Fewer clusters than this is no FAT32 for mtools, whatever the boot sector says. */
const FAT32_CLUSTERS_MIN = 65525;

/**
 * mtools tells the type of a volume by its cluster count alone, and so takes a FAT32 volume with
 * few clusters for FAT12 and finds nothing on it. It gets a copy with longer FATs and more
 * clusters behind the old ones; the numbers and contents of the old ones stay as they are.
 */
async function widened(image: string, folder: string): Promise<string> {
  const boot = await readStart(image);
  const sectorBytes = boot.readUInt16LE(11);
  const sectorsPerCluster = boot.readUInt8(13);
  const reserved = boot.readUInt16LE(14);
  const fats = boot.readUInt8(16);
  const sectorsPerFat = boot.readUInt32LE(36);
  const isFat32 = boot.readUInt16LE(22) === 0;
  const total = boot.readUInt16LE(19) || boot.readUInt32LE(32);
  const dataSector = reserved + fats * sectorsPerFat;
  const clusters = (total - dataSector) / sectorsPerCluster;
  if (!isFat32 || clusters >= FAT32_CLUSTERS_MIN) return image;
  const bytes = await readFile(image);
  const longer = Math.ceil(((FAT32_CLUSTERS_MIN + 2) * 4) / sectorBytes);
  const newData = reserved + fats * longer;
  const newTotal = newData + FAT32_CLUSTERS_MIN * sectorsPerCluster;
  const path = join(folder, "widened.img");
  const file = await open(path, "w");
  try {
    const copy = async (fromSector: number, toSector: number, count: number) => {
      const part = bytes.subarray(fromSector * sectorBytes, (fromSector + count) * sectorBytes);
      await file.write(part, 0, part.length, toSector * sectorBytes);
    };
    await copy(0, 0, reserved);
    for (let fat = 0; fat < fats; fat++) {
      await copy(reserved + fat * sectorsPerFat, reserved + fat * longer, sectorsPerFat);
    }
    await copy(dataSector, newData, total - dataSector);
    boot.writeUInt16LE(0, 19);
    boot.writeUInt32LE(newTotal, 32);
    boot.writeUInt32LE(longer, 36);
    await file.write(boot, 0, boot.length, 0);
    await file.truncate(newTotal * sectorBytes);
  } finally {
    await file.close();
  }
  return path;
}

async function readStart(path: string): Promise<Buffer> {
  const file = await open(path);
  try {
    const start = Buffer.alloc(512);
    await file.read(start, 0, start.length, 0);
    return start;
  } finally {
    await file.close();
  }
}

/** Everything on a volume, as mcopy extracts it; short names in code page 437. */
export async function extractWithMtools(
  image: string,
  folder: string,
): Promise<Map<string, Uint8Array | "directory">> {
  const readable = await widened(image, folder);
  const settings = join(folder, "mtoolsrc");
  await writeFile(settings, "default_codepage=437\n");
  const target = join(folder, "extracted");
  await mkdir(target);
  // An empty root has nothing that matches the pattern: mcopy fails and the tree stays empty.
  spawnSync("mcopy", ["-s", "-n", "-i", readable, "::*", target], {
    env: { ...ENVIRONMENT, MTOOLSRC: settings },
    stdio: "ignore",
  });
  return readFolder(target);
}

async function readFolder(folder: string): Promise<Map<string, Uint8Array | "directory">> {
  const tree = new Map<string, Uint8Array | "directory">();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const full = join(entry.parentPath, entry.name);
    const contents = entry.isDirectory() ? "directory" : await readFile(full);
    tree.set(full.slice(folder.length), contents);
  }
  return tree;
}
