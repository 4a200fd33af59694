/** Volumes that the kernel can mount, made with their own tools and filled through a loop device. */
import { randomBytes } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { mkdir, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { hasTool, runTool, shell } from "../support/mountpoint.ts";
import { skipUnless } from "../support/skip.ts";

export type KernelFilesystem = "xfs" | "btrfs" | "ext4";

interface Recipe {
  readonly sizeMiB: number;
  readonly mkfs: readonly string[];
  readonly package: string;
}

export const RECIPES: Readonly<Record<KernelFilesystem, Recipe>> = {
  xfs: { sizeMiB: 320, mkfs: ["mkfs.xfs", "-q", "-f"], package: "xfsprogs" },
  btrfs: { sizeMiB: 160, mkfs: ["mkfs.btrfs", "-q", "-f"], package: "btrfs-progs" },
  ext4: { sizeMiB: 40, mkfs: ["mkfs.ext4", "-q", "-F"], package: "e2fsprogs" },
};

/** Skips what follows where loop devices cannot be used. */
export function requireLoop(context: Mocha.Context): void {
  skipUnless(context, process.getuid?.() === 0, "only root can attach loop devices");
  skipUnless(context, existsSync("/dev/loop-control"), "there are no loop devices");
  skipUnless(context, hasTool("losetup"), "losetup is missing: install mount");
}

/** Skips what follows where a volume of this kind cannot be made and mounted. */
export async function requireFilesystem(
  context: Mocha.Context,
  kind: KernelFilesystem,
): Promise<void> {
  const { mkfs, package: name } = RECIPES[kind];
  skipUnless(context, hasTool(mkfs[0] ?? ""), `${mkfs[0] ?? ""} is missing: install ${name}`);
  const known = await shell("cat /proc/filesystems", "/");
  skipUnless(context, new RegExp(`\\t${kind}$`, "m").test(known), `the kernel has no ${kind}`);
}

/** A folder of files, links and attributes: what a volume is filled with, and compared with. */
export async function makeFiles(folder: string, directories = 20): Promise<void> {
  for (let d = 0; d < directories; d++) {
    const directory = join(folder, `directory ${d}`);
    await mkdir(directory, { recursive: true });
    for (let f = 0; f < 10; f++) {
      writeFileSync(join(directory, `file ${f}`), randomBytes(3000 + (d * 10 + f) * 300));
    }
    await symlink(`../directory 0/${"long/".repeat(d * 3)}`, join(directory, "link"));
  }
  await writeFile(join(folder, "directory 1", "attributed"), "with attributes\n");
  await runTool("setfattr", [
    "-n",
    "user.note",
    "-v",
    "x".repeat(1500),
    join(folder, "directory 1", "attributed"),
  ]);
}

/** Makes a volume in a file and copies a folder into it. */
export async function makeVolume(
  path: string,
  kind: KernelFilesystem,
  files: string,
  mountpoint: string,
): Promise<void> {
  const { sizeMiB, mkfs } = RECIPES[kind];
  await writeFile(path, "");
  await truncate(path, sizeMiB << 20);
  const [command = "", ...args] = mkfs;
  const made = await runTool(command, [...args, path]);
  if (made.status !== 0) throw new Error(made.stderr);
  await shell(`mount -o loop "${path}" "$M"; cp -a "${files}/." "$M"; umount "$M"`, mountpoint);
}
