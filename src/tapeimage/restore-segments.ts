/**
 * Restoring a volume onto several devices, joined in the order given. For most filesystems any
 * arrangement will do, as long as there is room in all; NetWare keeps in each segment what it is, so
 * that each must come back as it was, at the start of a device of its own.
 */
import { stat } from "node:fs/promises";
import type { WritableBlockDevice } from "../device/block-device.ts";
import { openFileDevice } from "../device/file-device.ts";
import { WritableSegmentsDevice } from "../device/segments-device.ts";
import { WritableSliceDevice } from "../device/slice-device.ts";
import { closeAll, ReelError } from "../errors.ts";
import {
  openRestoreTarget,
  type RestoreTarget,
  type RestoreTargetOptions,
} from "./restore-target.ts";
import type { TapeImage } from "./tape-image.ts";

const NETWARE_KIND = "netware";

/** Opens one target, or several as one. Throws as openRestoreTarget; nothing has been written then. */
export async function openRestoreTargets(
  paths: string | readonly string[],
  image: TapeImage,
  options: RestoreTargetOptions,
): Promise<RestoreTarget> {
  const all = typeof paths === "string" ? [paths] : paths;
  const [first] = all;
  if (first === undefined) throw new ReelError("invalid", "no target is named");
  const isFixed =
    image.header.volume.kind.startsWith(NETWARE_KIND) &&
    (image.header.options.segmentBytes?.length ?? 1) > 1;
  if (all.length === 1 && !isFixed) return openRestoreTarget(first, image, options);
  const names = all.join(" + ");
  const sizes = isFixed ? fixedSizes(all, image) : await freeSizes(all, image);
  const targets: RestoreTarget[] = [];
  try {
    for (const [index, path] of all.entries()) {
      const sizeBytes = sizes[index] ?? 0;
      targets.push(await openRestoreTarget(path, { ...subjectOf(image), sizeBytes }, options));
    }
  } catch (error) {
    await closeAll(...targets);
    throw error;
  }
  return join(names, targets, sizes);
}

function subjectOf({ name, tapePath }: TapeImage): { name: string; tapePath: string } {
  return { name, tapePath };
}

/** As they were. */
function fixedSizes(paths: readonly string[], image: TapeImage): readonly number[] {
  const sizes = image.header.options.segmentBytes ?? [];
  if (paths.length === sizes.length) return sizes;
  throw new ReelError(
    "invalid",
    `cannot restore ${image.name} to ${paths.join(" + ")}: a NetWare volume of ${sizes.length} ` +
      `segments needs as many targets, of at least ${sizes.join(", ")} bytes: give each with --segment`,
  );
}

/** As much on each as it has room for; the last may be a new file, and takes what is left. */
async function freeSizes(paths: readonly string[], image: TapeImage): Promise<number[]> {
  const sizes: number[] = [];
  let left = image.sizeBytes;
  for (const [index, path] of paths.entries()) {
    const found = await stat(path).catch(() => undefined);
    const isNew = found === undefined || (found.isFile() && found.size === 0);
    const isLast = index === paths.length - 1;
    if (isNew && !isLast) {
      throw new ReelError(
        "not-found",
        `cannot restore ${image.name} to ${path}: it is not there, and only the last of several ` +
          `targets can be a new file: its size would not be known`,
      );
    }
    const roomBytes = isNew ? left : await sizeOf(path);
    const wholeBlocks = Math.floor(roomBytes / image.header.blockSizeBytes);
    const sizeBytes = Math.min(left, wholeBlocks * image.header.blockSizeBytes);
    sizes.push(sizeBytes);
    left -= sizeBytes;
  }
  if (left === 0) return sizes;
  throw new ReelError(
    "too-small",
    `cannot restore ${image.name} to ${paths.join(" + ")}: together they have room for ` +
      `${image.sizeBytes - left} bytes, the volume needs ${image.sizeBytes}`,
  );
}

async function sizeOf(path: string): Promise<number> {
  await using device = await openFileDevice(path);
  return device.sizeBytes;
}

function join(
  name: string,
  targets: readonly RestoreTarget[],
  sizes: readonly number[],
): RestoreTarget {
  const parts = targets.map(({ device }, index): WritableBlockDevice => {
    const lengthBytes = sizes[index] ?? 0;
    if (lengthBytes === device.sizeBytes) return device;
    return new WritableSliceDevice(device, { offsetBytes: 0, lengthBytes, name: device.name });
  });
  return {
    device: new WritableSegmentsDevice(parts, { name }),
    fresh: targets.every(({ fresh }) => fresh),
    commit: async () => {
      for (const target of targets) await target.commit();
    },
    close: async () => closeAll(...targets),
  };
}
