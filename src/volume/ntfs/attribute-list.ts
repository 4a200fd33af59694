/**
 * Attribute lists: which record holds which attribute of a file that needs several records. Layout:
 * "$ATTRIBUTE_LIST" of the Linux-NTFS documentation.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { readClusters } from "./cluster-reader.ts";
import { fault, unsigned64 } from "./damage.ts";
import type { NtfsGeometry } from "./geometry.ts";
import { reference } from "./record.ts";
import type { Attribute, Reference } from "./record.ts";
import { RunListBuilder } from "./runs.ts";

/** Windows writes no longer one. */
export const LIST_MAX_BYTES = 256 * 1024;
const ENTRY = {
  type: 0,
  length: 4,
  nameLength: 6,
  nameOffset: 7,
  firstCluster: 8,
  reference: 16,
  id: 24,
} as const;
const ENTRY_MIN_BYTES = 26;

export interface ListEntry {
  readonly type: number;
  readonly name: string;
  /** Of the part of the attribute that the record describes. */
  readonly firstCluster: number;
  readonly reference: Reference;
  readonly id: number;
}

/** Reads the list that an attribute of type 0x20 holds. Throws a fault; what the device throws. */
export async function readAttributeList(
  device: BlockDevice,
  geometry: NtfsGeometry,
  attribute: Attribute,
): Promise<ListEntry[]> {
  const { value, extent } = attribute;
  if (value !== undefined) return parseList(value);
  if (extent === undefined || extent.sizeBytes > LIST_MAX_BYTES) {
    throw fault(`its attribute list has ${extent?.sizeBytes ?? 0} bytes`);
  }
  const runs = new RunListBuilder(geometry.clusterCount);
  runs.add(extent.pairs, extent.firstCluster, extent.lastCluster);
  const bytes = Buffer.allocUnsafe(extent.sizeBytes);
  await readClusters(device, geometry, runs.build(), 0, bytes);
  return parseList(bytes);
}

function parseList(bytes: Buffer): ListEntry[] {
  const entries: ListEntry[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = at + ENTRY_MIN_BYTES > bytes.length ? 0 : bytes.readUInt16LE(at + ENTRY.length);
    const nameOffset = length === 0 ? 0 : bytes.readUInt8(at + ENTRY.nameOffset);
    const nameEnd = length === 0 ? 0 : nameOffset + 2 * bytes.readUInt8(at + ENTRY.nameLength);
    if (length < ENTRY_MIN_BYTES || at + length > bytes.length || nameEnd > length) {
      throw fault(`its attribute list is wrong at byte ${at}`);
    }
    entries.push({
      type: bytes.readUInt32LE(at + ENTRY.type),
      name: bytes.toString("utf16le", at + nameOffset, at + nameEnd),
      firstCluster: unsigned64(bytes, at + ENTRY.firstCluster, "first cluster number"),
      reference: reference(bytes, at + ENTRY.reference),
      id: bytes.readUInt16LE(at + ENTRY.id),
    });
    at += length;
  }
  return entries;
}
