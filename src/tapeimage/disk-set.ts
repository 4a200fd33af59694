/**
 * The images that one backup of a whole disk made: that of the partition table, and those of the
 * partitions, which name it. They are found by that name; one whose header is lost, by the number
 * that the image of the table says it has.
 */
import { openTapeForReading } from "../tape/set/set-files.ts";
import type { TapeDrive } from "../tape/tape-drive.ts";
import type { DiskFacts, DiskPartition } from "./disk-header.ts";
import { findImage, findImages, findLastImage, type FoundImage } from "./find-image.ts";
import type { ImageHeader } from "./header.ts";
import { parseImageSpec, type TapeLookup } from "./open-image.ts";

export interface DiskSet {
  readonly tapePath: string;
  /** Number and name ("disk.tap#1") of the image of the partition table. */
  readonly number: number;
  readonly image: string;
  readonly header: ImageHeader;
  readonly facts: DiskFacts;
  /** As the table lists them. */
  readonly partitions: readonly SavedPartition[];
  /** How the tapes are found that its images lie on. */
  readonly lookup: TapeLookup;
}

export interface SavedPartition {
  readonly facts: DiskPartition;
  /** "disk.tap#3"; undefined when there is no image of it. */
  readonly image: string | undefined;
  /** Why there is none. */
  readonly problem?: string | undefined;
}

/**
 * The disk that `spec` names: "disk.tap" when its last image is of a disk, or of a partition that
 * belongs to one; "disk.tap#1" when image 1 is a disk's. Undefined for an image of a single volume,
 * and for a partition's that is named by its number. Throws as opening the image does.
 */
export async function findDiskSet(
  spec: string,
  { places: more = [], askForTape }: TapeLookup = {},
): Promise<DiskSet | undefined> {
  const { path, number, places: named } = await parseImageSpec(spec);
  const lookup = { places: [...named, ...more], askForTape };
  const drive = await openTapeForReading(path, lookup.places, askForTape);
  try {
    const found =
      number === undefined ? await findLastImage(drive) : await findImage(drive, number);
    const belongsTo = number === undefined ? found.header?.partition?.disk : undefined;
    const uuid = found.header?.disk?.uuid ?? belongsTo;
    return uuid === undefined ? undefined : await collect(drive, path, uuid, lookup);
  } finally {
    await drive.close();
  }
}

async function collect(
  drive: TapeDrive,
  path: string,
  uuid: string,
  lookup: TapeLookup,
): Promise<DiskSet | undefined> {
  let disk: FoundImage | undefined;
  const numbers = new Map<number, number>();
  const nameless = new Set<number>();
  for await (const image of findImages(drive)) {
    const { header, number } = image;
    if (header?.disk?.uuid === uuid) disk = image;
    else if (header?.partition?.disk === uuid) numbers.set(header.partition.number, number);
    else if (header === undefined) nameless.add(number);
  }
  const header = disk?.header;
  const facts = header?.disk;
  if (disk === undefined || header === undefined || facts === undefined) return undefined;
  return {
    tapePath: path,
    number: disk.number,
    image: `${path}#${disk.number}`,
    header,
    facts,
    lookup,
    partitions: facts.partitions.map((partition): SavedPartition => {
      if (partition.image === undefined) {
        return { facts: partition, image: undefined, problem: "it was left out of the backup" };
      }
      const number =
        numbers.get(partition.number) ??
        (nameless.has(partition.image) ? partition.image : undefined);
      if (number !== undefined) return { facts: partition, image: `${path}#${number}` };
      const problem = "its image is not on the tape: the backup was interrupted";
      return { facts: partition, image: undefined, problem };
    }),
  };
}
