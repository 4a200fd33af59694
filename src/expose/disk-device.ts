/**
 * A whole disk put together from the images of its backup: the partition table and what lies
 * between partitions from one image, each partition from its own. What was not backed up reads as
 * zeros. It is joined as segments: a gap, a partition, a gap, and so on.
 */
import type { BlockDevice } from "../device/block-device.ts";
import { SegmentsDevice } from "../device/segments-device.ts";
import { SliceDevice } from "../device/slice-device.ts";
import { closeAll, isReelError, ReelError } from "../errors.ts";
import type { DiskSet, SavedPartition } from "../tapeimage/disk-set.ts";
import {
  CACHE_BYTES_DEFAULT,
  HEADER_MEMORY_BYTES_DEFAULT,
  openTapeImage,
  type OpenImageOptions,
} from "../tapeimage/open-image.ts";
import type { TapeImage } from "../tapeimage/tape-image.ts";

/** Least memory with which an image of a disk of many partitions can work. */
const SHARE_MIN_BYTES = 1 << 20;

export interface OpenedDisk {
  /** Of the disk's size; closing it closes every image. */
  readonly device: BlockDevice;
  /** The images it reads, that of the table first. */
  readonly images: readonly TapeImage[];
  readonly notices: readonly string[];
}

interface PlacedImage {
  readonly startBytes: number;
  readonly image: TapeImage;
}

/**
 * Opens all images of a disk as one device.
 *
 * @param options memory is for all images together
 * @throws ReelError what opening the image of the table throws; a partition that cannot be had is
 *   told in the notices, and reads as zeros
 */
export async function openDiskSetDevice(
  set: DiskSet,
  options: Pick<OpenImageOptions, "cacheBytes"> = {},
): Promise<OpenedDisk> {
  const share = (bytes: number): number =>
    Math.max(SHARE_MIN_BYTES, Math.floor(bytes / (set.partitions.length + 1)));
  const each: OpenImageOptions = {
    ...set.lookup,
    cacheBytes: share(options.cacheBytes ?? CACHE_BYTES_DEFAULT),
    headerMemoryBytes: share(HEADER_MEMORY_BYTES_DEFAULT),
  };
  const disk = await openTapeImage(set.image, each);
  const notices = [...disk.state.notices];
  const placed: PlacedImage[] = [];
  try {
    for (const partition of inOrder(set)) {
      const name = `partition ${partition.facts.number}`;
      try {
        placed.push(await place(partition, disk, placed.at(-1), each));
        const { image } = placed.at(-1) ?? {};
        notices.push(...(image?.state.notices ?? []).map((notice) => `${name}: ${notice}`));
      } catch (error) {
        if (!isReelError(error)) throw error;
        notices.push(`${name} reads as zeros: ${error.message}`);
      }
    }
    const images = [disk, ...placed.map(({ image }) => image)];
    return { device: join(disk, placed), images, notices };
  } catch (error) {
    await closeAll(disk, ...placed.map(({ image }) => image));
    throw error;
  }
}

function inOrder(set: DiskSet): SavedPartition[] {
  return [...set.partitions].sort((a, b) => a.facts.startBytes - b.facts.startBytes);
}

async function place(
  { facts, image: spec, problem }: SavedPartition,
  disk: TapeImage,
  before: PlacedImage | undefined,
  options: OpenImageOptions,
): Promise<PlacedImage> {
  if (spec === undefined) throw new ReelError("not-found", problem ?? "it has no image");
  const { startBytes, sizeBytes } = facts;
  const freeFrom = before === undefined ? 0 : before.startBytes + before.image.sizeBytes;
  if (startBytes < freeFrom || startBytes > disk.sizeBytes) {
    throw new ReelError(
      "damaged",
      `the table says that it begins at byte ${startBytes}, which is another partition's or behind the end of the disk`,
    );
  }
  const image = await openTapeImage(spec, options);
  if (image.sizeBytes <= Math.min(sizeBytes, disk.sizeBytes - startBytes)) {
    return { startBytes, image };
  }
  await image.close();
  throw new ReelError(
    "damaged",
    `its image has ${image.sizeBytes} bytes, and the table has room for ${sizeBytes} at ${startBytes} of ${disk.sizeBytes}`,
  );
}

/** Every image is closed with its segment; that of the table with the gap at the end, or empty. */
function join(disk: TapeImage, placed: readonly PlacedImage[]): BlockDevice {
  const segments: BlockDevice[] = [];
  let at = 0;
  for (const { startBytes, image } of placed) {
    const gap = { offsetBytes: at, lengthBytes: startBytes - at };
    segments.push(new SliceDevice(disk, gap), image);
    at = startBytes + image.sizeBytes;
  }
  const rest = { offsetBytes: at, lengthBytes: disk.sizeBytes - at, ownsBase: true };
  segments.push(new SliceDevice(disk, rest));
  return new SegmentsDevice(segments, { name: disk.name, ownsSegments: true });
}
