/**
 * A NetWare partition: the HOTFIX and MIRROR sectors at its start, four copies of each, and the
 * redirection tables.
 *
 *     sector 0     4.x writes a signature here, 3.x nothing
 *     0x20 0x40 0x60 0x80   HOTFIX, each followed by its MIRROR sector
 *     0 .. dataSector       redirection area, in 4 KiB blocks; the tables lie in it too
 *     dataSector ..         data area, in logical blocks of 4 KiB
 *
 * A block of the data area that went bad lives in the redirection area instead: the table of the
 * redirection area has, for each of its blocks, the sector of the data area whose block it holds.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { ReelError } from "../../errors.ts";
import type { VolumeProblem } from "../volume.ts";
import { hasText, isFaultOfCopy, SECTOR_BYTES, u32, viewOf } from "./fields.ts";

/** Sectors of the copies of HOTFIX, from the start of the partition; of the volume table, from the data area. */
export const COPY_SECTORS = [0x20, 0x40, 0x60, 0x80] as const;
/** Sectors at the start of a partition, and of its data area, that hold such copies and nothing else. */
export const HEAD_SECTORS = 0xa0;

/** Unit of redirection. */
export const LOGICAL_BLOCK_BYTES = 4096;
const SECTORS_PER_LOGICAL_BLOCK = LOGICAL_BLOCK_BYTES / SECTOR_BYTES;

const HOTFIX = {
  stamp: "HOTFIX00",
  partitionId: 8,
  dataSectors: 20,
  redirectionSectors: 24,
  /** Groups of four sectors: table, bad blocks, and a copy of each. */
  tables: 28,
} as const;
const TABLE_GROUP_BYTES = 16;
const TABLE_GROUPS_MAX = 30;
const ENTRIES_PER_TABLE = LOGICAL_BLOCK_BYTES / 4;
const ENTRY_FREE = 0;
const ENTRY_RESERVED = 0xffffffff;

const MIRROR = { stamp: "MIRROR00", flags: 12, status: 20, groupId: 28, members: 32 } as const;
const MIRROR_MEMBERS_MAX = 8;
/** Upper half of the mirror flags of a member that is out of sync; 0x0186 is in sync. */
const OUT_OF_SYNC = 0x0185;

export interface Mirror {
  readonly groupId: number;
  /** Partition ids; one alone is no mirror. */
  readonly members: readonly number[];
  readonly isInSync: boolean;
}

/** Blocks of the data area that live elsewhere, rising; `targets` are blocks of the partition. */
export interface Redirections {
  readonly logicalBlocks: Uint32Array;
  readonly targets: Uint32Array;
}

export interface Partition {
  /** For messages: the device, or "segment 2 of ..." where it has several. */
  readonly name: string;
  readonly startBytes: number;
  /** As much as is on the device. */
  readonly sizeBytes: number;
  readonly id: number;
  /** First sector of the data area: the size of the redirection area. */
  readonly dataSector: number;
  readonly dataSectors: number;
  readonly mirror: Mirror | undefined;
  readonly redirections: Redirections;
  /** Blocks of the redirection area that hold tables. */
  readonly tableBlocks: readonly number[];
  /** Those that hold anything: reserved ones, tables, redirected blocks. */
  readonly redirectionBlocksUsed: readonly number[];
  readonly problems: readonly VolumeProblem[];
  /** Redirection tables that cannot be read: what they would redirect is read from the old place. */
  readonly tablesMissing: number;
}

export interface PartitionPlace {
  readonly name: string;
  readonly startBytes: number;
  readonly sizeBytes: number;
}

/** Reads HOTFIX, MIRROR and tables. Throws "damaged" when no copy of HOTFIX makes sense, and what the device throws. */
export async function readPartition(
  device: BlockDevice,
  place: PartitionPlace,
): Promise<Partition> {
  const problems: VolumeProblem[] = [];
  const head = await readHead(device, place);
  const sector = findHotfix(head, problems, place);
  const view = viewOf(head.subarray(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES));
  const dataSector = u32(view, HOTFIX.redirectionSectors);
  const dataSectors = u32(view, HOTFIX.dataSectors);
  const id = u32(view, HOTFIX.partitionId);
  if ((dataSector + dataSectors) * SECTOR_BYTES > place.sizeBytes) {
    const sizeBytes = (dataSector + dataSectors) * SECTOR_BYTES;
    const message = `says that the partition has ${sizeBytes} bytes, but ${place.sizeBytes} are here: what lies beyond cannot be read`;
    problems.push({ where: "HOTFIX sector", message });
  }
  const tables = await readTables(device, { ...place, dataSector, hotfix: view }, problems);
  return {
    ...place,
    id,
    dataSector,
    dataSectors,
    mirror: findMirror(head, id, problems),
    ...tables,
    problems,
  };
}

/** Does a copy of HOTFIX stand where one belongs? Throws what the device throws. */
export async function hasHotfix(device: BlockDevice): Promise<boolean> {
  const place = { name: device.name, startBytes: 0, sizeBytes: device.sizeBytes };
  const head = await readHead(device, place);
  return COPY_SECTORS.some((sector) => isHotfix(head, sector));
}

/** The first sectors, as far as they are there; those that cannot be read are zeros. */
async function readHead(
  device: BlockDevice,
  { startBytes, sizeBytes }: PartitionPlace,
): Promise<Uint8Array> {
  const head = new Uint8Array(HEAD_SECTORS * SECTOR_BYTES);
  const there = head.subarray(0, Math.max(0, Math.min(head.length, sizeBytes)));
  if (there.length === 0) return head;
  try {
    await device.read(startBytes, there);
  } catch (error) {
    if (!isFaultOfCopy(error)) throw error;
    for (const sector of COPY_SECTORS) {
      const pair = there.subarray(sector * SECTOR_BYTES, (sector + 2) * SECTOR_BYTES);
      await readOrZero(device, startBytes + sector * SECTOR_BYTES, pair);
    }
  }
  return head;
}

async function readOrZero(
  device: BlockDevice,
  offsetBytes: number,
  target: Uint8Array,
): Promise<void> {
  try {
    await device.read(offsetBytes, target);
  } catch (error) {
    if (!isFaultOfCopy(error)) throw error;
    target.fill(0);
  }
}

function isHotfix(head: Uint8Array, sector: number): boolean {
  const at = sector * SECTOR_BYTES;
  if (!hasText(head, at, HOTFIX.stamp)) return false;
  const view = viewOf(head.subarray(at, at + SECTOR_BYTES));
  const dataSector = u32(view, HOTFIX.redirectionSectors);
  return (
    dataSector >= HEAD_SECTORS &&
    dataSector % SECTORS_PER_LOGICAL_BLOCK === 0 &&
    u32(view, HOTFIX.dataSectors) > HEAD_SECTORS
  );
}

/** The first sound copy; the others are compared with it. */
function findHotfix(head: Uint8Array, problems: VolumeProblem[], place: PartitionPlace): number {
  const found = COPY_SECTORS.find((sector) => isHotfix(head, sector));
  if (found === undefined) {
    throw new ReelError(
      "damaged",
      `cannot read ${place.name} as a NetWare partition: none of its HOTFIX sectors ` +
        `(${COPY_SECTORS.join(", ")}) makes sense`,
    );
  }
  compareCopies(head, found, 0, "HOTFIX sector", problems);
  return found;
}

function findMirror(head: Uint8Array, id: number, problems: VolumeProblem[]): Mirror | undefined {
  const hasMirror = (sector: number) => hasText(head, (sector + 1) * SECTOR_BYTES, MIRROR.stamp);
  const found = COPY_SECTORS.find(hasMirror);
  if (found === undefined) {
    problems.push({ where: "MIRROR sector", message: "has no copy that makes sense" });
    return undefined;
  }
  compareCopies(head, found, 1, "MIRROR sector", problems);
  const at = (found + 1) * SECTOR_BYTES;
  const view = viewOf(head.subarray(at, at + SECTOR_BYTES));
  const members: number[] = [];
  for (let i = 0; i < MIRROR_MEMBERS_MAX; i++) {
    const member = u32(view, MIRROR.members + i * 4);
    if (member !== 0) members.push(member);
  }
  const status = u32(view, MIRROR.status);
  const self = members.indexOf(id);
  const isMarked = self >= 0 && (status & (1 << self)) !== 0;
  const isInSync = u32(view, MIRROR.flags) >>> 16 !== OUT_OF_SYNC && !isMarked;
  return { groupId: u32(view, MIRROR.groupId), members, isInSync };
}

function compareCopies(
  head: Uint8Array,
  good: number,
  offsetSectors: number,
  where: string,
  problems: VolumeProblem[],
): void {
  const sectorAt = (sector: number) =>
    head.subarray((sector + offsetSectors) * SECTOR_BYTES).subarray(0, SECTOR_BYTES);
  for (const sector of COPY_SECTORS) {
    if (Buffer.compare(sectorAt(sector), sectorAt(good)) === 0) continue;
    const message = `differs from the copy in sector ${good + offsetSectors}, which is used`;
    problems.push({ where: `${where} ${sector + offsetSectors}`, message });
  }
}

interface TableSource extends PartitionPlace {
  readonly dataSector: number;
  readonly hotfix: DataView;
}

type TablesFound = Pick<
  Partition,
  "redirections" | "tableBlocks" | "redirectionBlocksUsed" | "tablesMissing"
>;

/** The redirections, and which blocks of the redirection area are in use. */
async function readTables(
  device: BlockDevice,
  source: TableSource,
  problems: VolumeProblem[],
): Promise<TablesFound> {
  const redirectionBlocks = source.dataSector / SECTORS_PER_LOGICAL_BLOCK;
  const groups = Math.min(TABLE_GROUPS_MAX, Math.ceil(redirectionBlocks / ENTRIES_PER_TABLE));
  const found = new Map<number, number>();
  const tableBlocks = new Set<number>();
  const used = new Set<number>();
  let tablesMissing = 0;
  for (let group = 0; group < groups; group++) {
    const sectors = tableSectors(source, group);
    for (const sector of sectors.all) tableBlocks.add(sector / SECTORS_PER_LOGICAL_BLOCK);
    const table = await readTable(device, source, sectors.tables, problems);
    if (table === undefined) tablesMissing++;
    const first = group * ENTRIES_PER_TABLE;
    const count = Math.min(ENTRIES_PER_TABLE, redirectionBlocks - first);
    for (let i = 0; i < count; i++) {
      // Without the table nothing is known of these blocks: they are kept.
      const value = table === undefined ? ENTRY_RESERVED : u32(table, i * 4);
      if (value === ENTRY_FREE) continue;
      used.add(first + i);
      if (value === ENTRY_RESERVED) continue;
      if (value % SECTORS_PER_LOGICAL_BLOCK === 0) {
        found.set(value / SECTORS_PER_LOGICAL_BLOCK, first + i);
      } else {
        const message = `redirects sector ${value}, which is not the start of a block, to block ${first + i}`;
        problems.push({ where: "redirection table", message });
      }
    }
  }
  const sorted = [...found].sort((a, b) => a[0] - b[0]);
  return {
    redirections: {
      logicalBlocks: Uint32Array.from(sorted, ([logical]) => logical),
      targets: Uint32Array.from(sorted, ([, target]) => target),
    },
    tableBlocks: [...tableBlocks],
    redirectionBlocksUsed: [...used, ...tableBlocks],
    tablesMissing,
  };
}

/** Sectors of a group's tables that can be such. */
function tableSectors(
  { hotfix, dataSector }: TableSource,
  group: number,
): { tables: number[]; all: number[] } {
  const at = HOTFIX.tables + group * TABLE_GROUP_BYTES;
  const sectors = [0, 4, 8, 12].map((offset) => u32(hotfix, at + offset));
  const isSound = (sector: number) =>
    sector > 0 && sector < dataSector && sector % SECTORS_PER_LOGICAL_BLOCK === 0;
  const [first = 0, , second = 0] = sectors;
  return { tables: [first, second].filter(isSound), all: sectors.filter(isSound) };
}

/** A redirection table or its copy; undefined, and a problem, when there is none. */
async function readTable(
  device: BlockDevice,
  { startBytes, sizeBytes }: PartitionPlace,
  sectors: readonly number[],
  problems: VolumeProblem[],
): Promise<DataView | undefined> {
  let fault = "lies nowhere in the redirection area";
  for (const sector of sectors) {
    const offset = sector * SECTOR_BYTES;
    if (offset + LOGICAL_BLOCK_BYTES > sizeBytes) continue;
    const bytes = new Uint8Array(LOGICAL_BLOCK_BYTES);
    try {
      await device.read(startBytes + offset, bytes);
      return viewOf(bytes);
    } catch (error) {
      if (!isFaultOfCopy(error)) throw error;
      fault = error.message;
    }
  }
  const message = `${fault}: blocks that were redirected are read from where they were`;
  problems.push({ where: "redirection table", message });
  return undefined;
}
