/**
 * GUID partition tables: a header and entries at the start of the disk, and the same again at its
 * end, each with checksums. The first is used when it is sound, else the second, with a notice.
 */
import { crc32 } from "@node-rs/crc32";
import type { BlockDevice } from "../../device/block-device.ts";
import { formatGuid, parseGptHeader, type GptHeader } from "./gpt-header.ts";
import { cutShort } from "./mbr.ts";
import type { MbrSector } from "./mbr-sector.ts";
import { MBR_TYPE } from "./mbr-sector.ts";
import type { ByteRange, PartitionEntry, PartitionTable } from "./partition-table.ts";
import { gptTypeName } from "./partition-types.ts";

/** Offsets in an entry (UEFI specification, section 5.3.3). */
export const GPT_ENTRY = {
  type: 0,
  guid: 16,
  first: 32,
  last: 40,
  attributes: 48,
  name: 56,
  nameBytes: 72,
} as const;

const UNUSED = "00000000-0000-0000-0000-000000000000";
const LEGACY_BOOT = 0x04;
const PRIMARY_SECTOR = 1;

/** A header with its entries, both with right checksums. */
export interface GptCopy {
  readonly header: GptHeader;
  readonly entries: Buffer;
}

/**
 * The GPT of a disk, or why there is none. `mbr` is what stands in the first sector; without one, a
 * copy at the end of the disk is not believed: it may be what is left of a table long gone.
 */
export async function readGpt(
  device: BlockDevice,
  sectorSizeBytes: number,
  mbr: MbrSector | undefined,
): Promise<PartitionTable | string> {
  const diskSectors = Math.floor(device.sizeBytes / sectorSizeBytes);
  if (diskSectors < 3) return "the disk is too small for one";
  const read = async (sector: number): Promise<GptCopy | string> =>
    readGptCopy(device, sector, sectorSizeBytes);
  const primary = await read(PRIMARY_SECTOR);
  const lastSector = diskSectors - 1;
  const notices: string[] = [];
  if (mbr === undefined) {
    if (typeof primary === "string") return primary;
    notices.push("the protective MBR is missing");
  } else if (mbr.entries.some(({ type }) => type !== MBR_TYPE.gptShield)) {
    notices.push(
      "the MBR has partitions of its own beside the GPT (a hybrid MBR); the GPT is used",
    );
  }
  const otherSector = typeof primary === "string" ? lastSector : primary.header.otherSector;
  const backup = otherSector === PRIMARY_SECTOR ? "it is the first copy" : await read(otherSector);
  if (typeof primary === "string" && typeof backup === "string") {
    return `neither copy of it is sound: sector 1: ${primary}; sector ${otherSector}: ${backup}`;
  }
  if (typeof primary === "string") {
    notices.push(
      `the first copy of the GPT, sector 1, is damaged (${primary}); the second is used`,
    );
  } else if (typeof backup === "string") {
    notices.push(`the second copy of the GPT, sector ${otherSector}, is damaged: ${backup}`);
  }
  const sound = [primary, backup].filter((each) => typeof each !== "string");
  return describeTable(device, sectorSizeBytes, sound, notices);
}

/** The copy whose header is in `sector`, or what is wrong with it. */
export async function readGptCopy(
  device: BlockDevice,
  sector: number,
  sectorSizeBytes: number,
): Promise<GptCopy | string> {
  const diskSectors = Math.floor(device.sizeBytes / sectorSizeBytes);
  if (sector >= diskSectors) return "it lies beyond the end of the disk";
  const bytes = Buffer.alloc(sectorSizeBytes);
  await device.read(sector * sectorSizeBytes, bytes);
  const header = parseGptHeader(bytes, sector, diskSectors);
  if (typeof header === "string") return header;
  const entries = Buffer.alloc(header.entryCount * header.entryBytes);
  await device.read(header.entriesSector * sectorSizeBytes, entries);
  if (crc32(entries) !== header.entriesCrc) return "the checksum of its entries is wrong";
  return { header, entries };
}

function describeTable(
  device: BlockDevice,
  sectorSizeBytes: number,
  sound: readonly GptCopy[],
  notices: string[],
): PartitionTable | string {
  const [first] = sound;
  if (first === undefined) return "no copy of it is sound";
  const { header, entries } = first;
  const structure: ByteRange[] = [{ startBytes: 0, sizeBytes: sectorSizeBytes }];
  for (const each of sound) {
    const bytes = each.header.entryCount * each.header.entryBytes;
    structure.push(
      { startBytes: each.header.ownSector * sectorSizeBytes, sizeBytes: sectorSizeBytes },
      {
        startBytes: each.header.entriesSector * sectorSizeBytes,
        sizeBytes: Math.ceil(bytes / sectorSizeBytes) * sectorSizeBytes,
      },
    );
  }
  const { entryCount, entryBytes } = header;
  const found: PartitionEntry[] = [];
  for (let index = 0; index < entryCount; index++) {
    const raw = entries.subarray(index * entryBytes, (index + 1) * entryBytes);
    const entry = parseEntry(raw, index + 1, sectorSizeBytes, device.sizeBytes);
    if (typeof entry === "string") notices.push(entry);
    else if (entry !== undefined) {
      const claimed = entrySizeBytes(raw, sectorSizeBytes);
      if (entry.sizeBytes < claimed) notices.push(cutShort(index + 1, claimed, entry.sizeBytes));
      found.push(entry);
    }
  }
  return {
    kind: "gpt",
    sectorSizeBytes,
    uuid: header.diskGuid,
    entries: found,
    structure: structure.sort((a, b) => a.startBytes - b.startBytes),
    notices,
    gpt: { headerSectors: sound.map((each) => each.header.ownSector), entryCount, entryBytes },
  };
}

/** Undefined for an entry that is not used; a sentence for one that makes no sense. */
function parseEntry(
  raw: Buffer,
  number: number,
  sectorSizeBytes: number,
  deviceBytes: number,
): PartitionEntry | string | undefined {
  const type = formatGuid(raw, GPT_ENTRY.type);
  if (type === UNUSED) return undefined;
  const startBytes = Number(raw.readBigUInt64LE(GPT_ENTRY.first)) * sectorSizeBytes;
  const claimedBytes = entrySizeBytes(raw, sectorSizeBytes);
  const isSane = Number.isSafeInteger(startBytes) && Number.isSafeInteger(claimedBytes);
  if (!isSane || claimedBytes <= 0)
    return `partition ${number} ends before it begins; it is left out`;
  if (startBytes >= deviceBytes) {
    return `partition ${number} begins beyond the end of the disk and is left out`;
  }
  const name = raw.toString("utf16le", GPT_ENTRY.name, GPT_ENTRY.name + GPT_ENTRY.nameBytes);
  return {
    number,
    startBytes,
    sizeBytes: Math.min(claimedBytes, deviceBytes - startBytes),
    type,
    typeName: gptTypeName(type),
    name: name.replace(/\0.*$/s, ""),
    uuid: formatGuid(raw, GPT_ENTRY.guid),
    active: (raw.readUInt8(GPT_ENTRY.attributes) & LEGACY_BOOT) !== 0,
    logical: false,
  };
}

function entrySizeBytes(raw: Buffer, sectorSizeBytes: number): number {
  const first = raw.readBigUInt64LE(GPT_ENTRY.first);
  const last = raw.readBigUInt64LE(GPT_ENTRY.last);
  return Number(last - first + 1n) * sectorSizeBytes;
}
