/** The volume in an image, read as it was when it was backed up. */
import { isReelError } from "../errors.ts";
import { openVolume, VOLUME_FORMATS } from "../volume/formats.ts";
import { UNKNOWN_KIND, unknownFormat } from "../volume/unknown/unknown-format.ts";
import type { Volume, VolumeOptions } from "../volume/volume.ts";
import { DISK_KIND } from "./header.ts";
import type { TapeImage } from "./tape-image.ts";

/** What the image of a partition table shows of itself: a disk without its partitions. */
const TABLE_FILE = "partition-table.img";

/**
 * Opens the volume of an image. Names are read with the code page and time zone that the backup was
 * made with, unless the options say otherwise. What was copied without being understood is shown as
 * one file. Throws what opening the volume throws; the image stays the caller's.
 */
export async function openImageVolume(
  image: TapeImage,
  options: VolumeOptions = {},
): Promise<Volume> {
  const { header } = image;
  const made = header.options;
  const all: VolumeOptions = {
    codePage: options.codePage ?? made.codePage,
    timeZoneMinutes: options.timeZoneMinutes ?? made.timeZoneMinutes,
    segmentBytes: options.segmentBytes ?? made.segmentBytes,
  };
  if (header.volume.kind === DISK_KIND) {
    return unknownFormat.open(image, { ...all, fileName: TABLE_FILE });
  }
  if (header.volume.kind !== UNKNOWN_KIND) {
    // Asking every format in turn would read what only the others look at, off the tape.
    const format = VOLUME_FORMATS.find(({ name }) => header.volume.kind.startsWith(name));
    return format === undefined ? openVolume(image, all) : format.open(image, all);
  }
  // A header that was lost and pieced together knows no kind: the volume itself may.
  if (header.created !== "") return unknownFormat.open(image, all);
  try {
    return await openVolume(image, all);
  } catch (error) {
    if (!isReelError(error, "unsupported")) throw error;
    return unknownFormat.open(image, all);
  }
}
