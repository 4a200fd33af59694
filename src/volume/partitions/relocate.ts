/**
 * A partition table that comes to a larger disk. What must change:
 *
 *     GPT   the second copy belongs at the end of the disk; both headers say where the other is and
 *           how far partitions may go, and have checksums over that; the protective MBR covers all
 *     MBR   nothing, unless the last partition is to grow
 *
 * Growing the last partition changes its entry alone, not what is in it. A logical partition takes
 * its container along, and the link before it in the chain, which says how long this one is.
 *
 * Nothing is written here: the result says which bytes go where.
 */
import { crc32 } from "@node-rs/crc32";
import type { BlockDevice } from "../../device/block-device.ts";
import { ReelError } from "../../errors.ts";
import { GPT_ENTRY, readGptCopy } from "./gpt.ts";
import { GPT_HEADER, gptHeaderCrc } from "./gpt-header.ts";
import { readChains, type Chain } from "./mbr.ts";
import {
  MBR_BYTES,
  MBR_ENTRY,
  MBR_TYPE,
  mbrEntryOffset,
  parseMbr,
  type MbrSector,
} from "./mbr-sector.ts";
import type { ByteRange, PartitionEntry, PartitionTable } from "./partition-table.ts";

const ALIGNMENT_BYTES = 1024 * 1024;
/** Sectors that an MBR can count. */
const MBR_COUNT_MAX = 0xffff_ffff;
/** The geometry in which addresses by cylinder, head and sector are given today. */
const CHS = { heads: 255, sectors: 63, cylinders: 1024 } as const;
const GPT_PRIMARY_SECTOR = 1;
const GPT_ENTRIES_SECTOR = 2;

export interface TableWrite {
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

export interface Relocation {
  /** To be cleared before anything is written: the second copy of a GPT in its old place. */
  readonly clear: readonly ByteRange[];
  readonly writes: readonly TableWrite[];
  /** The partition that grew, with its new size. */
  readonly grown?: { readonly number: number; readonly sizeBytes: number } | undefined;
}

export interface RelocateOptions {
  readonly growLast?: boolean | undefined;
}

/**
 * What makes `table`, which stands on `disk`, right for a disk of `newSizeBytes`. Nothing when the
 * disk has its old size and nothing is to grow. Throws "too-small" for a smaller disk.
 */
export async function relocateTable(
  disk: BlockDevice,
  table: PartitionTable,
  newSizeBytes: number,
  options: RelocateOptions = {},
): Promise<Relocation> {
  const oldSectors = Math.floor(disk.sizeBytes / table.sectorSizeBytes);
  const newSectors = Math.floor(newSizeBytes / table.sectorSizeBytes);
  if (newSectors < oldSectors) {
    throw new ReelError(
      "too-small",
      `a disk of ${newSizeBytes} bytes cannot hold the partitions of one of ${disk.sizeBytes}`,
    );
  }
  const growLast = options.growLast === true;
  if (newSectors === oldSectors && !growLast) return { clear: [], writes: [] };
  const resize: Resize = { disk, table, oldSectors, newSectors, growLast };
  return table.kind === "gpt" ? relocateGpt(resize) : relocateMbr(resize);
}

interface Resize {
  readonly disk: BlockDevice;
  readonly table: PartitionTable;
  readonly oldSectors: number;
  readonly newSectors: number;
  readonly growLast: boolean;
}

/** The partition that ends last. */
function lastOf(table: PartitionTable): PartitionEntry | undefined {
  let last: PartitionEntry | undefined;
  const endOf = (entry: PartitionEntry | undefined): number =>
    entry === undefined ? 0 : entry.startBytes + entry.sizeBytes;
  for (const entry of table.entries) if (endOf(entry) > endOf(last)) last = entry;
  return last;
}

/** Where a partition that may go up to `limit` (a sector) should end; undefined: no further. */
function grownEnd(entry: PartitionEntry, limit: number, sectorSizeBytes: number) {
  const end = (entry.startBytes + entry.sizeBytes) / sectorSizeBytes;
  const grain = ALIGNMENT_BYTES / sectorSizeBytes;
  const aligned = Math.floor(limit / grain) * grain;
  if (aligned > end) return aligned;
  return limit > end ? limit : undefined;
}

function grownPartition(
  entry: PartitionEntry,
  end: number | undefined,
  sectorSizeBytes: number,
): Relocation["grown"] {
  if (end === undefined) return undefined;
  return { number: entry.number, sizeBytes: end * sectorSizeBytes - entry.startBytes };
}

// GPT -------------------------------------------------------------------------------------------

async function relocateGpt(resize: Resize): Promise<Relocation> {
  const { disk, table, newSectors } = resize;
  const { sectorSizeBytes } = table;
  const source = table.gpt?.headerSectors[0] ?? GPT_PRIMARY_SECTOR;
  const copy = await readGptCopy(disk, source, sectorSizeBytes);
  if (typeof copy === "string") {
    throw new ReelError("damaged", `cannot move the GPT of ${disk.name}: ${copy}`);
  }
  const { header } = copy;
  const isPrimary = source === GPT_PRIMARY_SECTOR;
  const entries = Buffer.from(copy.entries);
  const entriesSectors = Math.ceil(entries.length / sectorSizeBytes);
  const lastSector = newSectors - 1;
  const endEntries = lastSector - entriesSectors;
  const last = resize.growLast ? lastOf(table) : undefined;
  const end = last && grownEnd(last, endEntries, sectorSizeBytes);
  if (last !== undefined && end !== undefined) {
    const at = (last.number - 1) * header.entryBytes + GPT_ENTRY.last;
    entries.writeBigUInt64LE(BigInt(end - 1), at);
  }
  const bytes = Buffer.alloc(sectorSizeBytes);
  await disk.read(source * sectorSizeBytes, bytes);
  bytes.writeBigUInt64LE(BigInt(endEntries - 1), GPT_HEADER.lastUsable);
  bytes.writeUInt32LE(crc32(entries), GPT_HEADER.entriesCrc);
  const startEntries = isPrimary ? header.entriesSector : GPT_ENTRIES_SECTOR;
  const headerAt = (own: number, other: number, entriesSector: number): TableWrite => {
    const made = Buffer.from(bytes);
    made.writeBigUInt64LE(BigInt(own), GPT_HEADER.ownSector);
    made.writeBigUInt64LE(BigInt(other), GPT_HEADER.otherSector);
    made.writeBigUInt64LE(BigInt(entriesSector), GPT_HEADER.entriesSector);
    made.writeUInt32LE(gptHeaderCrc(made), GPT_HEADER.crc);
    return { offsetBytes: own * sectorSizeBytes, bytes: made };
  };
  const oldEnd = isPrimary ? header.otherSector : source;
  const isMoved = oldEnd !== lastSector && oldEnd < resize.oldSectors;
  return {
    clear: isMoved ? [oldCopy(table, oldEnd, entriesSectors)] : [],
    writes: [
      ...(await shieldWrite(resize)),
      { offsetBytes: startEntries * sectorSizeBytes, bytes: entries },
      { offsetBytes: endEntries * sectorSizeBytes, bytes: entries },
      headerAt(lastSector, GPT_PRIMARY_SECTOR, endEntries),
      headerAt(GPT_PRIMARY_SECTOR, lastSector, startEntries),
    ],
    grown: last && grownPartition(last, end, sectorSizeBytes),
  };
}

/** The copy of a GPT that has its header in `sector`, with its entries before it, as is usual. */
function oldCopy(table: PartitionTable, sector: number, entriesSectors: number): ByteRange {
  const { sectorSizeBytes } = table;
  const usual = (sector - entriesSectors) * sectorSizeBytes;
  const headerBytes = sector * sectorSizeBytes;
  const hasEntriesThere = table.structure.some(({ startBytes }) => startBytes === usual);
  const startBytes = hasEntriesThere ? usual : headerBytes;
  return { startBytes, sizeBytes: headerBytes + sectorSizeBytes - startBytes };
}

/** The protective MBR, where it covered all of the old disk. */
async function shieldWrite({ disk, oldSectors, newSectors }: Resize): Promise<TableWrite[]> {
  const { bytes, mbr } = await readSector(disk, 0);
  const shield = mbr?.entries.find(({ type }) => type === MBR_TYPE.gptShield);
  if (shield === undefined) return [];
  const { start, count, slot } = shield;
  if (start + count < oldSectors && count !== MBR_COUNT_MAX) return [];
  setEntry(bytes, slot, start, Math.min(newSectors, start + MBR_COUNT_MAX));
  return [{ offsetBytes: 0, bytes }];
}

// MBR -------------------------------------------------------------------------------------------

async function relocateMbr({ disk, table, newSectors, growLast }: Resize): Promise<Relocation> {
  const nothing = { clear: [], writes: [] };
  const { sectorSizeBytes } = table;
  const last = growLast ? lastOf(table) : undefined;
  if (last === undefined) return nothing;
  const start = last.startBytes / sectorSizeBytes;
  const end = grownEnd(last, Math.min(newSectors, start + MBR_COUNT_MAX), sectorSizeBytes);
  if (end === undefined) return nothing;
  const { bytes, mbr } = await readSector(disk, 0);
  if (mbr === undefined) throw new ReelError("damaged", `the MBR of ${disk.name} is gone`);
  const grown = grownPartition(last, end, sectorSizeBytes);
  const first: TableWrite = { offsetBytes: 0, bytes };
  if (!last.logical) {
    setEntry(bytes, last.number - 1, start, end);
    return { ...nothing, writes: [first], grown };
  }
  const silent = { add: () => undefined, notice: () => undefined };
  const chains = await readChains(disk, mbr, sectorSizeBytes, silent);
  const place = findLink(chains, last.number);
  if (place === undefined) {
    throw new ReelError("damaged", `partition ${last.number} of ${disk.name} is in no chain`);
  }
  const { chain, index } = place;
  const { container, links } = chain;
  setEntry(
    bytes,
    container.slot,
    container.start,
    Math.max(end, container.start + container.count),
  );
  const writes: TableWrite[] = [first];
  const link = links[index];
  const before = links[index - 1];
  if (link !== undefined) {
    writes.push(
      await linkWrite(disk, link.sector, sectorSizeBytes, {
        ...{ extended: false, start: start - link.sector, count: end - start, absoluteEnd: end },
      }),
    );
  }
  if (link !== undefined && before !== undefined) {
    writes.push(
      await linkWrite(disk, before.sector, sectorSizeBytes, {
        ...{ extended: true, start: link.sector - container.start },
        ...{ count: end - link.sector, absoluteEnd: end },
      }),
    );
  }
  return { ...nothing, writes, grown };
}

function findLink(
  chains: readonly Chain[],
  number: number,
): { readonly chain: Chain; readonly index: number } | undefined {
  for (const chain of chains) {
    const index = chain.links.findIndex((link) => link.number === number);
    if (index >= 0) return { chain, index };
  }
  return undefined;
}

/** A link of a chain in which the entry that begins at `start` gets a new length. */
async function linkWrite(
  disk: BlockDevice,
  sector: number,
  sectorSizeBytes: number,
  change: { extended: boolean; start: number; count: number; absoluteEnd: number },
): Promise<TableWrite> {
  const { bytes, mbr } = await readSector(disk, sector * sectorSizeBytes);
  const entry = mbr?.entries.find(
    ({ extended, start }) => extended === change.extended && start === change.start,
  );
  if (entry !== undefined) {
    const at = mbrEntryOffset(entry.slot);
    bytes.writeUInt32LE(change.count, at + MBR_ENTRY.count);
    writeChs(bytes, at + MBR_ENTRY.lastChs, change.absoluteEnd - 1);
  }
  return { offsetBytes: sector * sectorSizeBytes, bytes };
}

async function readSector(
  disk: BlockDevice,
  offsetBytes: number,
): Promise<{ bytes: Buffer; mbr: MbrSector | undefined }> {
  const bytes = Buffer.alloc(MBR_BYTES);
  await disk.read(offsetBytes, bytes);
  return { bytes, mbr: parseMbr(bytes) };
}

/** Makes entry `slot` of the MBR end before sector `end`. */
function setEntry(bytes: Buffer, slot: number, start: number, end: number): void {
  const at = mbrEntryOffset(slot);
  bytes.writeUInt32LE(end - start, at + MBR_ENTRY.count);
  writeChs(bytes, at + MBR_ENTRY.lastChs, end - 1);
}

/** Three bytes: head, sector with the high bits of the cylinder, cylinder; all ones where too far. */
function writeChs(bytes: Buffer, at: number, sector: number): void {
  const perCylinder = CHS.heads * CHS.sectors;
  const cylinder = Math.floor(sector / perCylinder);
  if (cylinder >= CHS.cylinders) {
    bytes.set([CHS.heads - 1, 0xff, 0xff], at);
    return;
  }
  const head = Math.floor((sector % perCylinder) / CHS.sectors);
  bytes.set([head, ((cylinder >> 8) << 6) | ((sector % CHS.sectors) + 1), cylinder & 0xff], at);
}
