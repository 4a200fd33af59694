/**
 * What it is that a command was given to show:
 *
 *     TAPE, TAPE#N                   an image of a volume, or the images of a whole disk
 *     disk.img, /dev/sda             a disk: its partitions
 *     volume.img, /dev/sdb1          a volume
 *
 * Contents decide, not names: a file is a tape when records are found in it. What is nothing of all
 * this is taken for a tape, and refused by whoever opens it, with what it seems to hold instead.
 */
import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { BlockDevice } from "../device/block-device.ts";
import { openFileDevice } from "../device/file-device.ts";
import { isReelError, type ReelError } from "../errors.ts";
import { recogniseContainer } from "../tape/open-tape.ts";
import type { PartitionTable } from "../volume/partitions/partition-table.ts";
import { readPartitionTable } from "../volume/partitions/read-partition-table.ts";
import { type DiskSet, findDiskSet } from "./disk-set.ts";
import { parseImageSpec, type TapeLookup } from "./open-image.ts";

/** A disk or volume that is no backup. */
export interface RawSource {
  readonly kind: "raw";
  /** The caller's, to be closed. */
  readonly device: BlockDevice;
  /** Absolute. */
  readonly path: string;
  /** Milliseconds since 1970. */
  readonly modifiedMs: number;
  /** Undefined for a volume, and for a disk whose table is damaged. */
  readonly table: PartitionTable | undefined;
  /** What is wrong with the table. */
  readonly fault?: ReelError | undefined;
}

export type FoundSource =
  { readonly kind: "image" } | { readonly kind: "disk-set"; readonly set: DiskSet } | RawSource;

/** Looks at what `spec` names. Throws what opening the tape, or the device, throws. */
export async function findSource(spec: string, lookup: TapeLookup = {}): Promise<FoundSource> {
  const raw = await openRawSource(spec);
  if (raw !== undefined) return raw;
  const set = await findDiskSet(spec, lookup);
  return set === undefined ? { kind: "image" } : { kind: "disk-set", set };
}

/** A disk or volume that is no backup; undefined when `spec` names a tape, or something else. */
export async function openRawSource(spec: string): Promise<RawSource | undefined> {
  const { path, number } = await parseImageSpec(spec);
  if (number !== undefined) return undefined;
  const found = await stat(path).catch(() => undefined);
  if (found === undefined || !(found.isFile() || found.isBlockDevice())) return undefined;
  if (found.isFile() && (found.size === 0 || (await isTape(path)))) return undefined;
  const device = await openFileDevice(path);
  const about = { kind: "raw", device, path: resolve(path), modifiedMs: found.mtimeMs } as const;
  try {
    return { ...about, table: await readPartitionTable(device) };
  } catch (error) {
    if (isReelError(error, "damaged")) return { ...about, table: undefined, fault: error };
    await device.close();
    throw error;
  }
}

async function isTape(path: string): Promise<boolean> {
  return (await recogniseContainer(path)) !== "plain";
}
