/**
 * Volumes that the kernel leaves with fast commits, copied while they are mounted, and the tree as it
 * is in that moment.
 *
 * Such a copy is never given to the kernel to be mounted: it replays fast commits, and of some that
 * it has written itself it fails an assertion (ext4_split_extent_at in Linux 6.18). From then on
 * sync(2) hangs on the whole machine, until it is started again. e2fsck 1.47 cannot replay all either.
 */
import { expect } from "chai";
import { execFileSync } from "node:child_process";
import { closeSync, fsyncSync, openSync } from "node:fs";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BlockDevice } from "../../../src/device/block-device.ts";
import { MemoryDevice } from "../../../src/device/memory-device.ts";
import { openFileDevice } from "../../../src/device/file-device.ts";
import { extFormat } from "../../../src/volume/ext/ext-format.ts";
import type { Volume } from "../../../src/volume/volume.ts";
import { nodesOf } from "../../support/ext-compare.ts";
import { makeExtImage, runTool } from "../../support/ext-tools.ts";
import type { MountedNode } from "../../support/ext-tools.ts";
import { readContents } from "../../support/volume-suite.ts";

/** Calls `use` with a mounted new volume, and with what copies the image while it is mounted. */
export async function withFastVolume(
  folder: string,
  options: { readonly sizeBytes: number; readonly make: readonly string[] },
  use: (mountpoint: string, snapshot: (name: string) => Promise<string>) => Promise<void>,
): Promise<void> {
  const image = join(folder, "volume.img");
  const mountpoint = join(folder, "mounted");
  await makeExtImage(image, options.sizeBytes, options.make);
  await mkdir(mountpoint);
  // Commits come when they are asked for, and at no other time.
  runTool("mount", "-o", "loop,nodiscard,commit=300", image, mountpoint);
  try {
    // The first commit after a mount is always a full one.
    await writeFile(join(mountpoint, "first"), "");
    sync(join(mountpoint, "first"));
    await use(mountpoint, async (name) => {
      const copy = join(folder, name);
      await copyFile(image, copy);
      return copy;
    });
  } finally {
    runTool("umount", mountpoint);
  }
}

/** Waits until a file or folder is safe on the disk. */
export function sync(path: string): void {
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** fallocate(1): without extents there is nothing to allocate, and then nothing happens. */
export function allocate(...options: readonly string[]): void {
  try {
    runTool("fallocate", ...options);
  } catch {
    // As said.
  }
}

/** A full commit; all that comes after it can become fast ones. */
export function commitFully(mountpoint: string): void {
  execFileSync("sync", ["-f", mountpoint]);
}

export async function withImage<T>(
  image: string,
  use: (volume: Volume, device: BlockDevice) => Promise<T>,
): Promise<T> {
  await using device = await openFileDevice(image);
  return await withVolume(device, use);
}

async function withVolume<T>(
  device: BlockDevice,
  use: (volume: Volume, device: BlockDevice) => Promise<T>,
): Promise<T> {
  const volume = await extFormat.open(device);
  try {
    return await use(volume, device);
  } finally {
    await volume.close();
  }
}

export type Mounted = ReadonlyMap<string, MountedNode>;

/**
 * Expects an image to be seen as `mounted`, and nothing to change when all is taken away that a
 * backup would not have.
 */
export async function expectAsMounted(image: string, mounted: Mounted): Promise<void> {
  await withImage(image, async (volume, device) => {
    await expectSame(mounted, volume, device);
    await using kept = await onlyUsed(volume, device);
    await withVolume(kept, async (again) => expectSame(mounted, again, kept));
  });
}

async function expectSame(mounted: Mounted, volume: Volume, device: BlockDevice): Promise<void> {
  const nodes = await nodesOf(volume);
  expect([...nodes.keys()].sort()).to.deep.equal([...mounted.keys()].sort());
  for (const [path, { kind, stat: expected, contents, xattrs }] of mounted) {
    const stat = nodes.get(path);
    if (stat === undefined) throw new Error(`no ${path}`);
    const both = { kind, id: Number(expected.ino), mode: Number(expected.mode) & 0o7777 };
    expect({ kind: stat.kind, id: stat.id, mode: stat.mode }, path).to.deep.equal(both);
    // Of a folder a fast commit has neither times nor links: the kernel makes these up.
    if (kind !== "file") continue;
    const { sizeBytes, linkCount, modifiedMs, uid, gid } = stat;
    expect({ sizeBytes, linkCount, uid, gid }, path).to.deep.equal({
      sizeBytes: Number(expected.size),
      linkCount: Number(expected.nlink),
      uid: Number(expected.uid),
      gid: Number(expected.gid),
    });
    expect(Math.abs(modifiedMs - Number(expected.mtimeNs) / 1e6), path).to.be.below(0.002);
    const found = await readContents(volume, device, stat.id);
    const isSame = Buffer.compare(found, contents ?? Buffer.alloc(0)) === 0;
    expect(isSame, `contents of ${path}`).to.equal(true);
    expect([...((await volume.xattrs?.(stat.id)) ?? []).keys()]).to.have.members([
      ...xattrs.keys(),
    ]);
  }
}

/** What a backup keeps of a volume: the blocks that the survey has as used; others are noise. */
async function onlyUsed(volume: Volume, device: BlockDevice): Promise<MemoryDevice> {
  const { used, control, problems } = await volume.survey();
  expect(problems).to.deep.equal([]);
  expect(control.subtract(used).total).to.equal(0);
  const { blockSizeBytes } = volume.info;
  const bytes = Buffer.alloc(device.sizeBytes, 0xaa);
  for (const [start, count] of used) {
    const from = start * blockSizeBytes;
    await device.read(from, bytes.subarray(from, from + count * blockSizeBytes));
  }
  return new MemoryDevice(bytes, { name: "what a backup has" });
}
