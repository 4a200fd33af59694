/** Every format that is known, and opening a device whatever is on it. */
import type { BlockDevice } from "../device/block-device.ts";
import { ReelError } from "../errors.ts";
import { fatFormat } from "./fat/fat-format.ts";
import { describeStart } from "./signatures.ts";
import type { Volume, VolumeFormat, VolumeOptions } from "./volume.ts";

/** In the order in which they are asked: the stricter tests first. */
export const VOLUME_FORMATS: readonly VolumeFormat[] = [fatFormat];

/**
 * Opens the volume on a device, read-only. The device stays the caller's.
 *
 * Throws "unsupported", with what was seen at the start of the device, when no format knows it;
 * "damaged" when one does and cannot read it; what the device throws.
 */
export async function openVolume(device: BlockDevice, options?: VolumeOptions): Promise<Volume> {
  for (const format of VOLUME_FORMATS) {
    if (await format.probe(device)) return format.open(device, options);
  }
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
