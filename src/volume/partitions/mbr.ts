/**
 * MBR partition tables. Primary partitions are in the MBR; one of its entries may be a container
 * (an extended partition) that begins with the first link of a chain:
 *
 *     link (EBR)   entry 0: a logical partition, its start relative to this link
 *                  entry 1: the next link, its start relative to the container
 *
 * The walk is Linux's own (block/partitions/msdos.c), so that partitions get the numbers that the
 * kernel gives them, also in chains that other systems have written. A chain has at most 128 links,
 * and ends where it would come to a link that it has been at.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { MBR_BYTES, MBR_TYPE, parseMbr, type MbrEntry, type MbrSector } from "./mbr-sector.ts";
import type { ByteRange, PartitionEntry, PartitionTable } from "./partition-table.ts";
import { mbrTypeName } from "./partition-types.ts";

const FIRST_LOGICAL_NUMBER = 5;
/** Links of one chain that are followed; Linux stops at 100. */
const LINKS_MAX = 128;
/** Entries of a link that are trusted as they are; the others often hold garbage. */
const TRUSTED_ENTRIES = 2;

/** Does it say that a GPT is behind it? */
export function isProtective(mbr: MbrSector): boolean {
  return mbr.entries.some(({ type }) => type === MBR_TYPE.gptShield);
}

/** Where a link of a chain of logical partitions is, in sectors, and what it says. */
export interface ChainLink {
  readonly sector: number;
  readonly entries: readonly MbrEntry[];
  /** Number of the partition that it describes, where it does. */
  readonly number: number | undefined;
}

export interface Chain {
  /** The container's entry in the MBR. */
  readonly container: MbrEntry;
  readonly links: readonly ChainLink[];
}

/** The table of a disk whose first sector is `mbr`. Undefined when it names no partition. */
export async function readMbr(
  device: BlockDevice,
  mbr: MbrSector,
  sectorSizeBytes: number,
): Promise<PartitionTable | undefined> {
  const found = new FoundPartitions(device, mbr.signature, sectorSizeBytes);
  for (const entry of mbr.entries) {
    if (!entry.extended) found.add(entry.slot + 1, entry.start, entry);
  }
  const structure: ByteRange[] = [{ startBytes: 0, sizeBytes: sectorSizeBytes }];
  for (const { links } of await readChains(device, mbr, sectorSizeBytes, found)) {
    for (const { sector } of links) {
      structure.push({ startBytes: sector * sectorSizeBytes, sizeBytes: sectorSizeBytes });
    }
  }
  if (mbr.entries.length === 0) return undefined;
  return {
    kind: "mbr",
    sectorSizeBytes,
    uuid: mbr.signature,
    entries: found.entries.sort((a, b) => a.number - b.number),
    structure: structure.sort((a, b) => a.startBytes - b.startBytes),
    notices: found.notices,
  };
}

/** Gets what a walk over chains finds. */
export interface ChainVisitor {
  add(number: number, start: number, entry: MbrEntry, logical: true): void;
  notice(sentence: string): void;
}

/** Every chain of logical partitions, with the links that could be read. */
export async function readChains(
  device: BlockDevice,
  mbr: MbrSector,
  sectorSizeBytes: number,
  visitor: ChainVisitor,
): Promise<Chain[]> {
  const chains: Chain[] = [];
  const seen = new Set<number>();
  let next = FIRST_LOGICAL_NUMBER;
  for (const container of mbr.entries.filter(({ extended }) => extended)) {
    const links: ChainLink[] = [];
    let sector = container.start;
    let sizeSectors = container.count;
    for (;;) {
      const where = `the chain of logical partitions, sector ${sector}`;
      const fault = linkFault(device, sector, sectorSizeBytes, { links: links.length, seen });
      if (fault !== undefined) {
        visitor.notice(`${where}: ${fault}; partitions behind it are not known`);
        break;
      }
      seen.add(sector);
      const link = await readLink(device, sector, sectorSizeBytes);
      if (link === undefined) {
        visitor.notice(`${where}: it does not end in 55 AA; partitions behind it are not known`);
        break;
      }
      const first = next;
      for (const entry of link.entries) {
        if (entry.extended || !isPlausible(entry, sector, sizeSectors, container)) continue;
        visitor.add(next++, sector + entry.start, entry, true);
      }
      const number = next > first ? first : undefined;
      links.push({ sector, entries: link.entries, number });
      const onward = link.entries.find(({ extended }) => extended);
      if (onward === undefined) break;
      sector = container.start + onward.start;
      sizeSectors = onward.count;
    }
    chains.push({ container, links });
  }
  return chains;
}

function linkFault(
  device: BlockDevice,
  sector: number,
  sectorSizeBytes: number,
  so: { links: number; seen: ReadonlySet<number> },
): string | undefined {
  if (so.seen.has(sector)) return "the chain comes back to it";
  if (so.links >= LINKS_MAX) return `the chain is longer than ${LINKS_MAX} links`;
  const endBytes = (sector + 1) * sectorSizeBytes;
  return endBytes > device.sizeBytes ? "it lies beyond the end of the disk" : undefined;
}

async function readLink(
  device: BlockDevice,
  sector: number,
  sectorSizeBytes: number,
): Promise<MbrSector | undefined> {
  const bytes = new Uint8Array(MBR_BYTES);
  await device.read(sector * sectorSizeBytes, bytes);
  return parseMbr(bytes);
}

/** The third and the fourth entry of a link count only where they fit in. */
function isPlausible(
  entry: MbrEntry,
  linkSector: number,
  linkSectors: number,
  container: MbrEntry,
): boolean {
  if (entry.slot < TRUSTED_ENTRIES) return true;
  const start = linkSector + entry.start;
  return (
    entry.start + entry.count <= linkSectors &&
    start >= container.start &&
    start + entry.count <= container.start + container.count
  );
}

/** Partitions in bytes, cut off where the disk ends. */
class FoundPartitions implements ChainVisitor {
  readonly entries: PartitionEntry[] = [];
  readonly notices: string[] = [];
  readonly #device: BlockDevice;
  readonly #signature: string;
  readonly #sectorSizeBytes: number;

  constructor(device: BlockDevice, signature: string, sectorSizeBytes: number) {
    this.#device = device;
    this.#signature = signature;
    this.#sectorSizeBytes = sectorSizeBytes;
  }

  notice(sentence: string): void {
    this.notices.push(sentence);
  }

  add(number: number, start: number, entry: MbrEntry, logical = false): void {
    const startBytes = start * this.#sectorSizeBytes;
    const claimedBytes = entry.count * this.#sectorSizeBytes;
    const sizeBytes = Math.min(claimedBytes, this.#device.sizeBytes - startBytes);
    if (sizeBytes <= 0) {
      this.notice(`partition ${number} begins beyond the end of the disk and is left out`);
      return;
    }
    if (sizeBytes < claimedBytes) this.notice(cutShort(number, claimedBytes, sizeBytes));
    const hex = number.toString(16).padStart(2, "0");
    this.entries.push({
      number,
      startBytes,
      sizeBytes,
      type: entry.type.toString(16).padStart(2, "0"),
      typeName: mbrTypeName(entry.type),
      name: "",
      uuid: this.#signature === "" ? "" : `${this.#signature}-${hex}`,
      active: entry.active,
      logical,
    });
  }
}

export function cutShort(number: number, claimedBytes: number, sizeBytes: number): string {
  return `partition ${number} should have ${claimedBytes} bytes, and the disk ends after ${sizeBytes} of them`;
}
