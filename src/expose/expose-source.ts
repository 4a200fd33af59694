/**
 * What can be exposed: an image on a tape, the images of a whole disk, one partition of either, or a
 * volume or disk that lies raw in a file or device.
 */
import { basename, resolve } from "node:path";
import type { BlockDevice } from "../device/block-device.ts";
import { SliceDevice } from "../device/slice-device.ts";
import { ReelError } from "../errors.ts";
import type { DiskSet } from "../tapeimage/disk-set.ts";
import { findSource, type RawSource } from "../tapeimage/find-source.ts";
import { openTapeImage, type TapeLookup } from "../tapeimage/open-image.ts";
import type { PartitionEntry } from "../volume/partitions/partition-table.ts";
import { openDiskSetDevice } from "./disk-device.ts";
import { OverlayDevice } from "./overlay-device.ts";

/** Names of the file that a volume, or a whole disk, is exposed as. */
export const VOLUME_FILE = "volume.img";
const DISK_FILE = "disk.img";

export interface ExposedSource {
  /** The bytes, read-only; closing it closes all it stands on. */
  readonly device: BlockDevice;
  /** Absolute: "/tapes/photos.tap#1", "/dev/sdb1". */
  readonly spec: string;
  /** As the user named it. */
  readonly name: string;
  /** Of the image; "" for what is no image. */
  readonly uuid: string;
  readonly fileName: string;
  /** Numbers of its partitions, when it is a whole disk. */
  readonly partitions?: readonly number[] | undefined;
  /** When it was backed up, or changed last. */
  readonly modifiedMs: number;
  readonly notices: readonly string[];
  /** For the control socket. */
  readonly statistics: () => Readonly<Record<string, unknown>>;
}

export interface ExposeSourceOptions extends TapeLookup {
  /** Memory for records of the tape. */
  readonly cacheBytes?: number | undefined;
  /** Of a disk, only the partition of this number. */
  readonly partition?: number | undefined;
}

type OpeningOptions = Omit<ExposeSourceOptions, "partition">;

/**
 * Opens what `spec` names: "photos.tap" (its last image, or the disk that it belongs to),
 * "photos.tap#2", "disk.img", "/dev/sdb1": see find-source.ts.
 *
 * @throws ReelError "not-found" for a partition that is not there, "invalid" for a partition of what
 *   is no disk; as openTapeImage and openFileDevice
 */
export async function openExposedSource(
  spec: string,
  options: ExposeSourceOptions = {},
): Promise<ExposedSource> {
  const { partition, ...opening } = options;
  const found = await findSource(spec, opening);
  if (found.kind === "raw") return openRaw(spec, found, partition);
  if (found.kind === "disk-set") {
    return partition === undefined
      ? openDisk(found.set, opening)
      : openPartitionOf(found.set, partition, opening);
  }
  if (partition !== undefined) throw noDisk(spec);
  return openImage(spec, opening);
}

async function openImage(spec: string, options: OpeningOptions): Promise<ExposedSource> {
  const image = await openTapeImage(spec, options);
  const path = resolve(image.tapePath);
  return {
    device: image,
    // Number 0: all that is known of the tape is that there is an image on it.
    spec: image.number > 0 ? `${path}#${image.number}` : path,
    name: image.name,
    uuid: image.header.uuid,
    fileName: VOLUME_FILE,
    modifiedMs: timeOf(image.header.created),
    notices: image.state.notices,
    statistics: () => ({ image: image.statistics() }),
  };
}

async function openDisk(set: DiskSet, options: OpeningOptions): Promise<ExposedSource> {
  const { device, images, notices } = await openDiskSetDevice(set, options);
  return {
    device,
    spec: `${resolve(set.tapePath)}#${set.number}`,
    name: set.image,
    uuid: set.header.uuid,
    fileName: DISK_FILE,
    partitions: set.partitions.map(({ facts }) => facts.number),
    modifiedMs: timeOf(set.header.created),
    notices,
    statistics: () => ({
      images: images.map((image) => ({ name: image.name, ...image.statistics() })),
    }),
  };
}

async function openPartitionOf(
  set: DiskSet,
  number: number,
  options: OpeningOptions,
): Promise<ExposedSource> {
  const { image, problem } = chosen(
    set.partitions.map((each) => ({ ...each, number: each.facts.number })),
    number,
    set.image,
  );
  if (image !== undefined) return openImage(image, { ...options, ...set.lookup });
  throw new ReelError(
    "not-found",
    `cannot expose partition ${number} of ${set.image}: ${problem ?? "it has no image"}`,
  );
}

/** Of a header that was lost nothing is known. */
function timeOf(created: string): number {
  const milliseconds = Date.parse(created);
  return Number.isFinite(milliseconds) ? milliseconds : 0;
}

async function openRaw(
  spec: string,
  { device, path, modifiedMs, table, fault }: RawSource,
  partition: number | undefined,
): Promise<ExposedSource> {
  try {
    // A damaged table is a reason to look at the disk, unless a partition must be found by it.
    if (fault !== undefined && partition !== undefined) throw fault;
    const notices = table?.notices ?? (fault === undefined ? [] : [fault.message]);
    const about = { uuid: "", modifiedMs, notices, statistics: () => ({}) };
    const name = basename(spec);
    if (partition === undefined) {
      const partitions = table?.entries.map(({ number }) => number);
      const fileName = partitions === undefined ? VOLUME_FILE : DISK_FILE;
      return { ...about, device, name, spec: path, fileName, partitions };
    }
    if (table === undefined) throw noDisk(spec);
    const slice = partitionOf(device, chosen(table.entries, partition, spec));
    const where = (whole: string): string => `partition ${partition} of ${whole}`;
    return {
      ...{ ...about, device: slice, fileName: VOLUME_FILE },
      ...{ name: where(name), spec: where(path) },
    };
  } catch (error) {
    await device.close();
    throw error;
  }
}

function partitionOf(device: BlockDevice, entry: PartitionEntry): BlockDevice {
  return new SliceDevice(device, {
    offsetBytes: entry.startBytes,
    lengthBytes: entry.sizeBytes,
    name: `partition ${entry.number} of ${device.name}`,
    ownsBase: true,
  });
}

function chosen<T extends { readonly number: number }>(
  entries: readonly T[],
  number: number,
  of: string,
): T {
  const found = entries.find((entry) => entry.number === number);
  if (found !== undefined) return found;
  const there = entries.map((entry) => entry.number).join(", ");
  throw new ReelError(
    "not-found",
    `${of} has no partition ${number}; it has ${there === "" ? "none" : there}`,
  );
}

function noDisk(spec: string): ReelError {
  return new ReelError("invalid", `${spec} has no partitions: it is a volume, not a disk`);
}

/** An overlay over a source, which is closed with it, also when laying it fails. */
export async function overlayOn(device: BlockDevice, budgetBytes: number): Promise<OverlayDevice> {
  try {
    return await OverlayDevice.open(device, { budgetBytes, ownsBase: true });
  } catch (error) {
    await device.close();
    throw error;
  }
}
