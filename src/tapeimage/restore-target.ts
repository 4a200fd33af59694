/**
 * What an image may be restored onto. Everything that could be a mistake is refused before the first
 * byte: too small, in use, holding a filesystem, or the very tape that is being read.
 */
import { readdir, readFile, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { BlockDevice, WritableBlockDevice } from "../device/block-device.ts";
import { openFileDevice, openWritableFileDevice } from "../device/file-device.ts";
import { loopDevicesOn } from "../device/loop-devices.ts";
import { syncDirectory } from "../device/sync-directory.ts";
import { fromSystem, isReelError, ReelError } from "../errors.ts";
import { VOLUME_FORMATS } from "../volume/formats.ts";
import { describeContents } from "../volume/signatures.ts";
import type { VolumeFormat } from "../volume/volume.ts";

/** Kinds of volumes that are not written in capitals, but for ext. */
const TITLES: Readonly<Record<string, string>> = { exfat: "exFAT", netware: "NetWare" };

export interface RestoreTargetOptions {
  /** Overwrite what the target holds: a filesystem, or anything else that is not zeros. */
  readonly force?: boolean | undefined;
}

/** What is to be restored: for messages, and for what it needs. */
export interface RestoreSubject {
  readonly name: string;
  readonly tapePath: string;
  readonly sizeBytes: number;
}

export interface RestoreTarget {
  readonly device: WritableBlockDevice;
  /** Reads as zeros wherever nothing is written. */
  readonly fresh: boolean;
  /** Gives a new file its final name. */
  commit(): Promise<void>;
  /** Closes the device; a new file that was not committed is removed. */
  close(): Promise<void>;
}

/** Opens `path` for restoring `image`, or throws why not; nothing has been written then. */
export async function openRestoreTarget(
  path: string,
  image: RestoreSubject,
  options: RestoreTargetOptions,
): Promise<RestoreTarget> {
  const doing = `cannot restore ${image.name} to ${path}`;
  const found = await stat(path).catch((error: unknown) => {
    const failure = fromSystem(error, doing);
    if (failure.code === "not-found") return undefined;
    throw failure;
  });
  if (found === undefined || (found.isFile() && found.size === 0)) {
    return newFile(path, image, doing);
  }
  if (found.isFile()) await refuseLoopBacked(path, doing);
  if (found.isBlockDevice()) await refuseUsed(found.rdev, path, doing);
  const tape = await stat(image.tapePath).catch(() => undefined);
  if (tape?.dev === found.dev && tape.ino === found.ino) {
    throw new ReelError("invalid", `${doing}: that is the tape the image is on`);
  }
  await refuseContents(path, image, options, doing);
  const device = await openWritableFileDevice(path, { exclusive: found.isBlockDevice() });
  return {
    device,
    fresh: false,
    commit: async () => undefined,
    close: async () => device.close(),
  };
}

/** A new file is written beside its name and takes the name when it is whole. */
async function newFile(path: string, image: RestoreSubject, doing: string): Promise<RestoreTarget> {
  const part = join(dirname(path), `.${basename(path)}.reelfs-part`);
  await rm(part, { force: true });
  let device: WritableBlockDevice;
  try {
    device = await openWritableFileDevice(part, {
      create: true,
      exclusive: true,
      sizeBytes: image.sizeBytes,
      name: path,
    });
  } catch (error) {
    throw fromSystem(error, doing);
  }
  let committed = false;
  return {
    device,
    fresh: true,
    commit: async () => {
      try {
        await rename(part, path);
        committed = true;
        await syncDirectory(dirname(path));
      } catch (error) {
        throw fromSystem(error, doing);
      }
    },
    close: async () => {
      await device.close();
      // It failed before: a disk that lets nobody remove anything now is not what is to be told.
      if (!committed) await rm(part, { force: true }).catch(() => undefined);
    },
  };
}

async function refuseContents(
  path: string,
  image: RestoreSubject,
  options: RestoreTargetOptions,
  doing: string,
): Promise<void> {
  const device = await openFileDevice(path);
  try {
    if (device.sizeBytes < image.sizeBytes) {
      throw new ReelError(
        "too-small",
        `${doing}: it has ${device.sizeBytes} bytes, and ${image.sizeBytes} are needed`,
      );
    }
    if (options.force === true) return;
    const contents = await contentsOf(device);
    if (contents !== undefined) {
      throw new ReelError(
        "exists",
        `${doing}: it holds ${contents}; use --force if that may be overwritten`,
      );
    }
  } finally {
    await device.close();
  }
}

/** Anything but zeros at its start counts: who means to lose it can say so. */
async function contentsOf(device: BlockDevice): Promise<string | undefined> {
  for (const format of VOLUME_FORMATS) {
    if (await format.probe(device)) return describeVolume(await kindOf(device, format));
  }
  return describeContents(device);
}

/** "ext4", or "ext" of a volume too damaged to tell. */
async function kindOf(device: BlockDevice, format: VolumeFormat): Promise<string> {
  try {
    const volume = await format.open(device);
    await volume.close();
    return volume.info.kind;
  } catch (error) {
    if (isReelError(error)) return format.name;
    throw error;
  }
}

/** "an ext4 volume", "a FAT16 volume". */
function describeVolume(kind: string): string {
  const title = TITLES[kind] ?? (kind.startsWith("ext") ? kind : kind.toUpperCase());
  return `${/^(e|NT)/.test(title) ? "an" : "a"} ${title} volume`;
}

/** A file that a loop device shows is a disk in use. */
async function refuseLoopBacked(path: string, doing: string): Promise<void> {
  for (const loop of await loopDevicesOn(path)) {
    throw new ReelError("busy", `${doing}: it is in use as ${loop.path}; detach it first`);
  }
}

/** A device that is mounted, swapped to or part of another one, itself or any partition of it. */
async function refuseUsed(rdev: number, path: string, doing: string): Promise<void> {
  const own = `${(rdev >>> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`;
  const numbers = new Set([own, ...(await partitionsOf(own))]);
  for (const line of (await textOf("/proc/self/mountinfo")).split("\n")) {
    const fields = line.split(" ");
    if (fields[2] !== undefined && numbers.has(fields[2])) {
      throw new ReelError(
        "busy",
        `${doing}: it is mounted on ${fields[4] ?? "?"}; unmount it first`,
      );
    }
  }
  for (const number of numbers) {
    const holders = await readdir(`/sys/dev/block/${number}/holders`).catch(() => []);
    if (holders.length > 0) {
      throw new ReelError("busy", `${doing}: it is in use by ${holders.join(", ")}`);
    }
  }
  const real = await realpath(path);
  if ((await textOf("/proc/swaps")).split("\n").some((line) => line.startsWith(`${real} `))) {
    throw new ReelError("busy", `${doing}: it is in use as swap`);
  }
}

async function partitionsOf(number: string): Promise<string[]> {
  const folder = `/sys/dev/block/${number}`;
  const names = await readdir(folder).catch(() => []);
  const found: string[] = [];
  for (const name of names) {
    const text = await textOf(`${folder}/${name}/dev`);
    if (/^\d+:\d+$/.test(text)) found.push(text);
  }
  return found;
}

async function textOf(path: string): Promise<string> {
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    if (isReelError(error)) throw error;
    return "";
  }
}
