/** Disks in files, made with sfdisk and sgdisk and filled with volumes of their own tools. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { open, readFile, truncate, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { patternBytes } from "./pattern.ts";

const PATH = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
const ENVIRONMENT = { ...process.env, PATH, LC_ALL: "C.UTF-8", MTOOLS_SKIP_CHECK: "1" };
const MIB = 1024 * 1024;
const SECTOR_BYTES = 512;
const BOOT_CODE_BYTES = 440;

/** Packages: fdisk, gdisk, dosfstools, mtools, e2fsprogs, util-linux, cryptsetup-bin. */
const TOOLS = ["sfdisk", "sgdisk", "mkfs.fat", "mcopy", "mke2fs", "mkswap", "cryptsetup"];
export const NO_DISK_TOOLS = `one of ${TOOLS.join(", ")} is not installed`;

export function hasDiskTools(tools: readonly string[] = TOOLS): boolean {
  const folders = PATH.split(":");
  return tools.every((tool) => folders.some((folder) => existsSync(join(folder, tool))));
}

export function runDiskTool(tool: string, args: readonly string[], input = ""): string {
  return execFileSync(tool, args, {
    env: ENVIRONMENT,
    encoding: "utf8",
    input,
    stdio: ["pipe", "pipe", "pipe"],
  });
}

/**
 * Has sfdisk write a partition table. Without telling the kernel, which also spares the machine the
 * sync of all its disks that sfdisk does otherwise.
 */
export function writeTable(path: string, script: string): void {
  runDiskTool("sfdisk", ["-q", "--no-tell-kernel", path], script);
}

/** A new file of zeros with a table that sfdisk makes of `script`. */
export async function makeTable(path: string, sizeBytes: number, script: string): Promise<void> {
  await writeFile(path, "");
  await truncate(path, sizeBytes);
  writeTable(path, script);
}

export interface ListedPartition {
  readonly number: number;
  readonly startBytes: number;
  readonly sizeBytes: number;
  readonly type: string;
  readonly name: string;
}

/** The partitions of a disk as sfdisk lists them, containers left out. */
export function listPartitions(path: string): ListedPartition[] {
  const { partitiontable: table } = JSON.parse(runDiskTool("sfdisk", ["-J", path])) as {
    partitiontable: {
      partitions: { node: string; start: number; size: number; type: string; name?: string }[];
    };
  };
  return table.partitions
    .filter(({ type }) => !["5", "f", "85"].includes(type))
    .map(({ node, start, size, type, name = "" }) => ({
      number: Number(node.slice(path.length)),
      startBytes: start * SECTOR_BYTES,
      sizeBytes: size * SECTOR_BYTES,
      type: type.length === 1 ? `0${type}` : type,
      name,
    }));
}

/** A table that puts partitions of these kinds in this order: fat, ext4, swap, luks, ext4. */
export const SAMPLE_TABLES = {
  gpt: "label: gpt\nsize=20M, type=U, name=EFI\nsize=24M, name=root\nsize=12M, type=S\nsize=12M\nsize=24M\n",
  mbr: "label: dos\nlabel-id: 0x12345678\nsize=20M, type=c, bootable\nsize=24M\ntype=5\nsize=12M, type=82\nsize=12M\nsize=24M\n",
} as const;

/** Numbers of those partitions. */
export const SAMPLE_NUMBERS = {
  gpt: { fat: 1, ext: 2, swap: 3, luks: 4, last: 5 },
  mbr: { fat: 1, ext: 2, swap: 5, luks: 6, last: 7 },
} as const;

const SAMPLE_BYTES = 112 * MIB;

export interface SampleDisk {
  readonly path: string;
  readonly kind: keyof typeof SAMPLE_TABLES;
  readonly partitions: readonly ListedPartition[];
  /** On the FAT and on the first ext4 partition. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/** A disk with boot code, a loader in the gap behind the table, and a volume on each partition. */
export async function makeSampleDisk(
  folder: string,
  kind: keyof typeof SAMPLE_TABLES,
): Promise<SampleDisk> {
  const path = join(folder, `${kind}.img`);
  await makeTable(path, SAMPLE_BYTES, SAMPLE_TABLES[kind]);
  const partitions = listPartitions(path);
  const files = new Map<string, Uint8Array>([
    ["letter.txt", Buffer.from("dear reader\n")],
    ["big.bin", Buffer.from(patternBytes(700_001))],
  ]);
  const source = join(folder, `${kind}-files`);
  execFileSync("mkdir", ["-p", source]);
  for (const [name, bytes] of files) await writeFile(join(source, name), bytes);
  const numbers = SAMPLE_NUMBERS[kind];
  const disk = await open(path, "r+");
  try {
    await disk.write(patternBytes(BOOT_CODE_BYTES), 0, BOOT_CODE_BYTES, 0);
    // Behind the MBR, the GPT and its entries.
    await disk.write(patternBytes(50_000), 0, 50_000, 40 * SECTOR_BYTES);
    const fill = async (number: number, make: (file: string) => void): Promise<void> => {
      const entry = partitions.find((each) => each.number === number);
      if (entry === undefined) throw new Error(`sfdisk made no partition ${number}`);
      const file = join(folder, `${kind}-${number}.part`);
      await writeFile(file, "");
      await truncate(file, entry.sizeBytes);
      make(file);
      const bytes = await readFile(file);
      await disk.write(bytes, 0, bytes.length, entry.startBytes);
    };
    await fill(numbers.fat, (file) => {
      runDiskTool("mkfs.fat", ["-F", "16", "-n", "EFI", file]);
      for (const name of files.keys()) runDiskTool("mcopy", ["-i", file, join(source, name), "::"]);
    });
    await fill(numbers.ext, (file) => {
      runDiskTool("mke2fs", ["-q", "-t", "ext4", "-L", "root", "-d", source, file]);
    });
    await fill(numbers.swap, (file) => {
      runDiskTool("mkswap", ["-q", file]);
    });
    await fill(numbers.luks, (file) => {
      const cheap = ["--type", "luks1", "--pbkdf-force-iterations", "1000"];
      runDiskTool("cryptsetup", ["luksFormat", "-q", ...cheap, file, "-"], "secret");
    });
    await fill(numbers.last, (file) => {
      runDiskTool("mke2fs", ["-q", "-t", "ext4", "-L", "last", file]);
    });
  } finally {
    await disk.close();
  }
  return { path, kind, partitions, files };
}

/** Copies one partition to a file beside the disk, for tools that take no offset. */
export async function extractPartition(
  path: string,
  { number, startBytes, sizeBytes }: ListedPartition,
  folder: string,
): Promise<string> {
  const file = join(folder, `${basename(path)}-${number}.extracted`);
  const disk = await open(path, "r");
  try {
    const bytes = Buffer.alloc(sizeBytes);
    await disk.read(bytes, 0, sizeBytes, startBytes);
    await writeFile(file, bytes);
  } finally {
    await disk.close();
  }
  return file;
}
