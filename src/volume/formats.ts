/** Every format that is known, and opening a device whatever is on it. */
import type { BlockDevice } from "../device/block-device.ts";
import { isReelError, ReelError } from "../errors.ts";
import { exfatFormat } from "./exfat/exfat-format.ts";
import { extFormat } from "./ext/ext-format.ts";
import { fatFormat } from "./fat/fat-format.ts";
import { netwareFormat } from "./netware/netware-format.ts";
import { ntfsFormat } from "./ntfs/ntfs-format.ts";
import { describeContents, describeStart, recognise } from "./signatures.ts";
import { unknownFormat } from "./unknown/unknown-format.ts";
import type { Volume, VolumeFormat, VolumeOptions } from "./volume.ts";

/** In the order in which they are asked: the stricter tests first. */
export const VOLUME_FORMATS: readonly VolumeFormat[] = [
  extFormat,
  exfatFormat,
  netwareFormat,
  fatFormat,
  ntfsFormat,
];

/**
 * Opens the volume on a device, read-only. The device stays the caller's.
 *
 * Throws "unsupported", with what was seen at the start of the device, when no format knows it;
 * "damaged" when one does and cannot read it; what the device throws.
 */
export async function openVolume(device: BlockDevice, options?: VolumeOptions): Promise<Volume> {
  const format = await formatOf(device);
  if (format !== undefined) return format.open(device, options);
  const known = VOLUME_FORMATS.map((format) => format.name.toUpperCase()).join(", ");
  const found = await describeStart(device);
  const advice = found.includes("partition table")
    ? "name one of its partitions"
    : `volumes that can be read: ${known}`;
  throw new ReelError(
    "unsupported",
    `cannot read a volume on ${device.name}: it holds ${found}; ${advice}`,
  );
}

/**
 * Opens whatever is on a device for a backup of it: a volume, or where no format knows it the device
 * as one file (unknown-format.ts). A part of something larger, such as a member of a RAID, is never
 * read as the volume that may seem to begin in it.
 *
 * Throws "unsupported" for a packed file and for what is blank; "damaged" when a format knows the volume and cannot read it.
 */
export async function openForBackup(device: BlockDevice, options?: VolumeOptions): Promise<Volume> {
  const recognised = await recognise(device);
  if (recognised?.role === "member" || recognised?.role === "swap") {
    return unknownFormat.open(device, options);
  }
  const format = await formatOf(device);
  if (format !== undefined) return format.open(device, options);
  const isBlank = (await describeContents(device)) === undefined;
  if (isBlank || recognised?.role === "file") return openVolume(device, options);
  return unknownFormat.open(device, options);
}

/** The first format that takes the device for its own. */
async function formatOf(device: BlockDevice): Promise<VolumeFormat | undefined> {
  for (const format of VOLUME_FORMATS) {
    try {
      if (await format.probe(device)) return format;
    } catch (error) {
      // A sector that cannot be read may be of no importance to another format.
      if (!isReelError(error, "io")) throw error;
    }
  }
  return undefined;
}

/** As above, for a part of a disk, which must be shown and kept whatever is wrong with it. */
export async function openPartition(device: BlockDevice, options?: VolumeOptions): Promise<Volume> {
  try {
    return await openForBackup(device, options);
  } catch (error) {
    if (!isReelError(error, "damaged") && !isReelError(error, "unsupported")) throw error;
    const isBlank = (await describeContents(device)) === undefined;
    return unknownFormat.open(device, { ...options, fault: isBlank ? undefined : error.message });
  }
}
