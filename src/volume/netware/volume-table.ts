/**
 * The volume table of a partition, four copies, and how segments from several partitions make
 * volumes: each entry says which segment of which volume it is, so partitions may come in any
 * order.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import type { VolumeProblem } from "../volume.ts";
import { BlockMap } from "./block-map.ts";
import type { Segment } from "./block-map.ts";
import { hasText, isFaultOfCopy, SECTOR_BYTES, u32, viewOf } from "./fields.ts";
import { COPY_SECTORS } from "./partition.ts";
import type { Partition } from "./partition.ts";

const TABLE = { stamp: "NetWare Volumes\0", count: 16, entries: 32 } as const;
const ENTRIES_MAX = 8;
const ENTRY_BYTES = 60;
const ENTRY = {
  nameLength: 0,
  name: 1,
  /** Bits 0-7 block size code, 8-15 segments of the volume, 16-23 which of them this is. */
  signature: 20,
  firstSector: 24,
  sectors: 28,
  totalBlocks: 32,
  firstBlock: 36,
  firstFat: 40,
  secondFat: 44,
  firstDirectory: 48,
  secondDirectory: 52,
} as const;
const NAME_LENGTH_MAX = 15;
/** Code 3 is 4 KiB, 7 is 64 KiB. */
const BLOCK_CODE_MIN = 3;
const BLOCK_CODE_MAX = 7;
const BLOCK_CODE_UNIT_BYTES = 512;
const SEGMENTS_MAX = 32;

/** What an entry says of the volume; the same in the entries of all its segments. */
export interface VolumeParameters {
  readonly name: string;
  readonly blockBytes: number;
  readonly segmentCount: number;
  readonly totalBlocks: number;
  readonly firstFat: number;
  readonly secondFat: number;
  readonly firstDirectory: number;
  readonly secondDirectory: number;
}

interface SegmentEntry {
  readonly partition: Partition;
  readonly volume: VolumeParameters;
  readonly segmentIndex: number;
  readonly firstSector: number;
  readonly sectors: number;
  readonly firstBlock: number;
}

/** A volume and where its segments lie, or why it cannot be opened. */
export interface VolumeShape {
  readonly parameters: VolumeParameters;
  /** Of the members of a mirrored pair, the one that is read. */
  readonly map: BlockMap;
  /** The other members, for what is in use on them. */
  readonly mirrors: readonly Segment[];
  /** The volume by way of the other members that are in sync, where segments have any. */
  readonly otherMaps: readonly BlockMap[];
  /** Segments that are missing or do not fit together. */
  readonly fault: string | undefined;
}

/** Reads the volume tables of all partitions. Throws what the device throws. */
export async function readVolumeTables(
  device: BlockDevice,
  partitions: readonly Partition[],
  problems: VolumeProblem[],
): Promise<VolumeShape[]> {
  const entries: SegmentEntry[] = [];
  for (const partition of partitions) {
    entries.push(...(await readVolumeTable(device, partition, problems)));
  }
  const volumes = new Map<string, SegmentEntry[]>();
  for (const entry of entries) {
    const key = JSON.stringify(entry.volume);
    const group = volumes.get(key);
    if (group === undefined) volumes.set(key, [entry]);
    else group.push(entry);
  }
  return [...volumes.values()].map(assemble);
}

async function readVolumeTable(
  device: BlockDevice,
  partition: Partition,
  problems: VolumeProblem[],
): Promise<SegmentEntry[]> {
  const where = (sector: number) => `volume table, sector ${partition.dataSector + sector}`;
  let good: Uint8Array | undefined;
  for (const sector of COPY_SECTORS) {
    const bytes = await readCopy(device, partition, sector);
    if (typeof bytes === "string") {
      problems.push({ where: where(sector), message: `${bytes} (${partition.name})` });
    } else if (good === undefined) {
      good = bytes;
    } else if (Buffer.compare(bytes, good) !== 0) {
      const message = `differs from the copy that is used (${partition.name})`;
      problems.push({ where: where(sector), message });
    }
  }
  return good === undefined ? [] : parseTable(viewOf(good), partition);
}

/** A copy of the table, or what is wrong with it. */
async function readCopy(
  device: BlockDevice,
  partition: Partition,
  sector: number,
): Promise<Uint8Array | string> {
  const offset = (partition.dataSector + sector) * SECTOR_BYTES;
  if (offset + SECTOR_BYTES > partition.sizeBytes) return "lies beyond the end of the partition";
  const bytes = new Uint8Array(SECTOR_BYTES);
  try {
    await device.read(partition.startBytes + offset, bytes);
  } catch (error) {
    if (!isFaultOfCopy(error)) throw error;
    return error.message;
  }
  if (!hasText(bytes, 0, TABLE.stamp)) return "is no volume table";
  const view = viewOf(bytes);
  const count = u32(view, TABLE.count);
  if (count === 0 || count > ENTRIES_MAX) return `says that it has ${count} entries`;
  const isSound = parseTable(view, partition).length === count;
  return isSound ? bytes : "has an entry that makes no sense";
}

function parseTable(view: DataView, partition: Partition): SegmentEntry[] {
  const entries: SegmentEntry[] = [];
  for (let i = 0; i < Math.min(u32(view, TABLE.count), ENTRIES_MAX); i++) {
    const entry = parseEntry(view, TABLE.entries + i * ENTRY_BYTES, partition);
    if (entry !== undefined) entries.push(entry);
  }
  return entries;
}

function parseEntry(view: DataView, at: number, partition: Partition): SegmentEntry | undefined {
  const field = (offset: number) => u32(view, at + offset);
  const nameLength = view.getUint8(at + ENTRY.nameLength);
  const signature = field(ENTRY.signature);
  const code = signature & 0xff;
  const segmentCount = (signature >>> 8) & 0xff;
  const segmentIndex = (signature >>> 16) & 0xff;
  const isSound =
    nameLength > 0 &&
    nameLength <= NAME_LENGTH_MAX &&
    code >= BLOCK_CODE_MIN &&
    code <= BLOCK_CODE_MAX &&
    segmentCount <= SEGMENTS_MAX &&
    segmentIndex < segmentCount &&
    field(ENTRY.sectors) > 0 &&
    field(ENTRY.firstSector) + field(ENTRY.sectors) <= partition.dataSectors;
  if (!isSound) return undefined;
  const name = new Uint8Array(view.buffer, view.byteOffset + at + ENTRY.name, nameLength);
  return {
    partition,
    segmentIndex,
    firstSector: field(ENTRY.firstSector),
    sectors: field(ENTRY.sectors),
    firstBlock: field(ENTRY.firstBlock),
    volume: {
      name: Buffer.from(name).toString("latin1"),
      blockBytes: BLOCK_CODE_UNIT_BYTES << code,
      segmentCount,
      totalBlocks: field(ENTRY.totalBlocks),
      firstFat: field(ENTRY.firstFat),
      secondFat: field(ENTRY.secondFat),
      firstDirectory: field(ENTRY.firstDirectory),
      secondDirectory: field(ENTRY.secondDirectory),
    },
  };
}

/** Puts the segments of one volume in order. */
function assemble(entries: readonly SegmentEntry[]): VolumeShape {
  const parameters = entries[0]?.volume;
  if (parameters === undefined) throw new RangeError("a volume without entries");
  const { blockBytes, segmentCount, totalBlocks, name } = parameters;
  const segments: Segment[] = [];
  const mirrors: Segment[] = [];
  const inSync: Segment[][] = [];
  const missing: number[] = [];
  let fault: string | undefined;
  let nextBlock = 0;
  for (let index = 0; index < segmentCount; index++) {
    const members = entries
      .filter((entry) => entry.segmentIndex === index)
      .sort((a, b) => Number(isInSync(b)) - Number(isInSync(a)));
    const [first, ...others] = members.map((entry) => toSegment(entry, totalBlocks, blockBytes));
    if (first === undefined) {
      missing.push(index + 1);
      continue;
    }
    if (missing.length === 0 && first.firstBlock !== nextBlock) {
      fault ??=
        `segment ${index + 1} of volume ${name} (${first.partition.name}) starts at block ` +
        `${first.firstBlock}, where the one before ends at ${nextBlock}`;
    }
    nextBlock = first.firstBlock + first.blockCount;
    segments.push(first);
    mirrors.push(...others);
    inSync.push(others.filter(({ partition }) => partition.mirror?.isInSync === true));
  }
  if (missing.length > 0) fault = describeMissing(parameters, missing);
  else if (nextBlock < totalBlocks) {
    fault ??= `volume ${name} has ${totalBlocks} blocks, but its segments end at ${nextBlock}`;
  }
  const map = new BlockMap(blockBytes, segments);
  return { parameters, map, mirrors, otherMaps: otherMapsOf(map, inSync), fault };
}

/** As many as the segment with the most members in sync has others; those that have less stay as they are. */
function otherMapsOf(map: BlockMap, others: readonly (readonly Segment[])[]): BlockMap[] {
  const count = Math.max(0, ...others.map(({ length }) => length));
  return Array.from(
    { length: count },
    (_, member) =>
      new BlockMap(
        map.blockBytes,
        map.segments.map((segment, index) => others[index]?.[member] ?? segment),
      ),
  );
}

function isInSync({ partition }: SegmentEntry): boolean {
  return partition.mirror?.isInSync ?? true;
}

function toSegment(entry: SegmentEntry, totalBlocks: number, blockBytes: number): Segment {
  const { partition, firstBlock, firstSector, sectors } = entry;
  const fitting = Math.floor((sectors * SECTOR_BYTES) / blockBytes);
  const blockCount = Math.max(0, Math.min(fitting, totalBlocks - firstBlock));
  return { partition, firstBlock, blockCount, firstSector };
}

function describeMissing(
  { name, segmentCount }: VolumeParameters,
  missing: readonly number[],
): string {
  const which =
    missing.length === 1
      ? `segment ${missing.join("")} of the ${segmentCount} of volume ${name} is missing`
      : `segments ${missing.join(", ")} of the ${segmentCount} of volume ${name} are missing`;
  return `${which}; name all partitions that hold it`;
}
