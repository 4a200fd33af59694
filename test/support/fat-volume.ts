/** Real FAT volumes in files, made by mkfs.fat and mtools. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { patternBytes } from "./pattern.ts";
import { skipUnless } from "./skip.ts";

const run = promisify(execFile);

export interface MadeVolume {
  readonly path: string;
  /** Contents by path: "/DIR/NAME". */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

export function needsFatTools(context: Mocha.Context): void {
  const there = existsSync("/usr/bin/mcopy") && existsSync("/usr/sbin/mkfs.fat");
  skipUnless(context, there, "mtools and dosfstools are not installed");
}

/** A volume of `sizeBytes` with `files` files in folders of 20, of 0 to 60,000 bytes. */
export async function makeFatVolume(
  folder: string,
  options: { sizeBytes: number; files: number; bits?: 12 | 16 | 32; salt?: number; name?: string },
): Promise<MadeVolume> {
  const path = join(folder, options.name ?? "volume.img");
  const tree = join(folder, `tree-${options.name ?? "volume"}`);
  const files = new Map<string, Uint8Array>();
  for (let i = 0; i < options.files; i++) {
    const name = `/Folder ${Math.floor(i / 20)}/file number ${i}.dat`;
    const bytes = patternBytes((i * 7919) % 60_000, i + (options.salt ?? 0));
    files.set(name, bytes);
    await mkdir(dirname(join(tree, name)), { recursive: true });
    await writeFile(join(tree, name), bytes);
  }
  await writeFile(path, "");
  await truncate(path, options.sizeBytes);
  await run("mkfs.fat", ["-F", String(options.bits ?? 16), "-n", "REELTEST", path]);
  const folders = new Set([...files.keys()].map((name) => join(tree, name.split("/")[1] ?? "")));
  if (folders.size > 0) await run("mcopy", ["-s", "-m", "-i", path, ...folders, "::/"]);
  return { path, files };
}
