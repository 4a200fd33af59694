/**
 * What the headers of a disk's images say beyond those of a single volume: the image of the
 * partition table lists the partitions, and the image of each partition names the disk it is of.
 */
import { ReelError } from "../errors.ts";
import type { TableKind } from "../volume/partitions/partition-table.ts";
import { asArray, asNumber, asObject, asString, type JsonObject } from "./json.ts";

/** Partitions of one disk; the kernel has room for fewer. */
export const PARTITIONS_MAX = 256;

export interface DiskPartition {
  /** As the kernel numbers it. */
  readonly number: number;
  readonly startBytes: number;
  readonly sizeBytes: number;
  readonly type: string;
  readonly typeName: string;
  readonly name: string;
  /** Kind and label of the volume on it: "ext4", or "unknown". */
  readonly kind: string;
  readonly label: string;
  /** Number on the tape of the image of the partition; absent: it was not backed up. */
  readonly image?: number | undefined;
}

export interface DiskFacts {
  /** Of this backup of the disk: the images that belong together name it. */
  readonly uuid: string;
  readonly table: TableKind;
  /** GUID of the disk, or signature of its MBR. */
  readonly tableUuid: string;
  readonly sectorSizeBytes: number;
  readonly partitions: readonly DiskPartition[];
}

/** In the header of a partition's image. */
export interface PartitionOfDisk {
  /** `DiskFacts.uuid`. */
  readonly disk: string;
  readonly number: number;
}

/** @throws ReelError "damaged" for what makes no sense. */
export function decodeDisk(json: JsonObject, where: string): DiskFacts {
  const table = asString(json, "table", where);
  if (table !== "mbr" && table !== "gpt") {
    throw new ReelError("unsupported", `${where}: partition table "${table}" is not known`);
  }
  const partitions = asArray(json, "partitions", where);
  if (partitions.length > PARTITIONS_MAX) {
    throw new ReelError("damaged", `${where}: ${partitions.length} partitions are too many`);
  }
  const sectorSizeBytes = asNumber(json, "sectorSizeBytes", where);
  if (sectorSizeBytes === 0) throw new ReelError("damaged", `${where}: a sector has no bytes`);
  return {
    uuid: asString(json, "uuid", where),
    table,
    tableUuid: asString(json, "tableUuid", where),
    sectorSizeBytes,
    partitions: partitions.map((each) => decodePartition(asObject(each, where), where)),
  };
}

function decodePartition(json: JsonObject, where: string): DiskPartition {
  const image = json["image"];
  return {
    number: asNumber(json, "number", where),
    startBytes: asNumber(json, "startBytes", where),
    sizeBytes: asNumber(json, "sizeBytes", where),
    type: asString(json, "type", where),
    typeName: asString(json, "typeName", where),
    name: asString(json, "name", where),
    kind: asString(json, "kind", where),
    label: asString(json, "label", where),
    ...(image === undefined ? {} : { image: asNumber(json, "image", where) }),
  };
}

/** @throws ReelError "damaged" */
export function decodePartitionOfDisk(json: JsonObject, where: string): PartitionOfDisk {
  return { disk: asString(json, "disk", where), number: asNumber(json, "number", where) };
}
