/** NTFS volumes in files, made by mkntfs and filled through a mount of ntfs-3g. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import {
  link,
  mkdir,
  mkdtemp,
  readFile,
  rmdir,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type { ExpectedNode } from "./volume-suite.ts";
import { withTempFolder } from "./temp.ts";
import { endKernelMount } from "./end-kernel-mount.ts";

const run = promisify(execFile);

export const NO_NTFS_TOOLS = "needs mkntfs, ntfs-3g, setfattr, /dev/fuse and root";

export function hasNtfsTools(): boolean {
  const tools = ["/usr/sbin/mkntfs", "/usr/bin/ntfs-3g", "/usr/bin/setfattr", "/dev/fuse"];
  return tools.every((path) => existsSync(path)) && process.getuid?.() === 0;
}

export interface NtfsShape {
  readonly sizeBytes: number;
  readonly clusterBytes: number;
  /** 4096 gives file records of 4 KiB. */
  readonly sectorBytes?: number;
  readonly mountOptions?: string;
}

/** A mounted volume that is being filled, and what is in it by now. */
export class NtfsFiller {
  readonly root: string;
  readonly expected = new Map<string, ExpectedNode>();
  hardLinks = 0;

  constructor(root: string) {
    this.root = root;
  }

  /** Where a path of the volume is on the host. */
  at(path: string): string {
    return join(this.root, path);
  }

  async file(path: string, contents: Uint8Array): Promise<void> {
    await this.directory(dirname(path));
    await writeFile(this.at(path), contents);
    this.expected.set(path, new Uint8Array(contents));
  }

  async directory(path: string): Promise<void> {
    if (path === "/" || this.expected.has(path)) return;
    await this.directory(dirname(path));
    await mkdir(this.at(path));
    this.expected.set(path, "directory");
  }

  /** A directory whose files will be compressed. */
  async compressedDirectory(path: string): Promise<void> {
    await this.directory(path);
    await this.#tool("setfattr", [
      "-n",
      "system.ntfs_attrib_be",
      "-v",
      "0x00000810",
      this.at(path),
    ]);
  }

  async link(path: string, existing: string): Promise<void> {
    await link(this.at(existing), this.at(path));
    this.expected.set(path, this.expected.get(existing) ?? "directory");
    this.hardLinks++;
  }

  async symlink(path: string, target: string): Promise<void> {
    await symlink(target, this.at(path));
    this.expected.set(path, { linkTo: target });
  }

  async special(path: string, kind: "fifo" | "block" | "character"): Promise<void> {
    const device = kind === "fifo" ? ["p"] : [kind === "block" ? "b" : "c", "8", "3"];
    await this.#tool("mknod", [this.at(path), ...device]);
    this.expected.set(path, { kind });
  }

  async xattr(path: string, name: string, value: Uint8Array): Promise<void> {
    const hex = `0x${Buffer.from(value).toString("hex")}`;
    await this.#tool("setfattr", ["-h", "-n", name, "-v", hex, this.at(path)]);
  }

  async #tool(command: string, args: readonly string[]): Promise<void> {
    await run(command, args);
  }
}

/** Makes a volume in a file and fills it. The label is "REEL". */
export async function makeNtfsImage(
  path: string,
  shape: NtfsShape,
  fill: (filler: NtfsFiller) => Promise<void>,
): Promise<NtfsFiller> {
  await writeFile(path, "");
  await truncate(path, shape.sizeBytes);
  const sector = shape.sectorBytes === undefined ? [] : ["-s", String(shape.sectorBytes)];
  const args = ["-F", "-q", "-L", "REEL", "-c", String(shape.clusterBytes), ...sector, path];
  await run("mkntfs", args);
  const options = `streams_interface=xattr,compression,${shape.mountOptions ?? "atime"}`;
  return withNtfsMount(path, options, async (mount) => {
    const filler = new NtfsFiller(mount);
    await fill(filler);
    return filler;
  });
}

/** As above, in memory. */
export async function makeNtfsVolume(
  shape: NtfsShape,
  fill: (filler: NtfsFiller) => Promise<void>,
): Promise<{ bytes: Uint8Array<ArrayBuffer>; filler: NtfsFiller }> {
  return withTempFolder(async (folder) => {
    const path = join(folder, "volume.img");
    const filler = await makeNtfsImage(path, shape, fill);
    return { bytes: new Uint8Array(await readFile(path)), filler };
  });
}

/** Mounts an image for as long as `use` runs. */
export async function withNtfsMount<T>(
  image: string,
  options: string,
  use: (mount: string) => Promise<T>,
): Promise<T> {
  const mount = await mkdtemp(join(tmpdir(), "reelfs-ntfs-"));
  try {
    await run("ntfs-3g", ["-o", options, image, mount]);
    try {
      return await use(mount);
    } finally {
      endKernelMount(mount);
    }
  } finally {
    await rmdir(mount);
  }
}
