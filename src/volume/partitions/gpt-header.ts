/** The header of a GPT, as bytes and as numbers. After the UEFI specification, section 5.3.2. */
import { crc32 } from "@node-rs/crc32";

const SIGNATURE = "EFI PART";
const HEADER_BYTES_MIN = 92;
const REVISION_MAJOR = 1;

/** Offsets in the header. */
export const GPT_HEADER = {
  signature: 0,
  revision: 8,
  headerBytes: 12,
  crc: 16,
  ownSector: 24,
  otherSector: 32,
  firstUsable: 40,
  lastUsable: 48,
  diskGuid: 56,
  entriesSector: 72,
  entryCount: 80,
  entryBytes: 84,
  entriesCrc: 88,
} as const;

/** Sizes of an entry: 128 × 2ⁿ bytes. */
const ENTRY_BYTES_MIN = 128;
const ENTRY_BYTES_MAX = 4096;
/** All entries together; the usual table has 16 KiB. */
export const GPT_ENTRIES_BYTES_MAX = 1024 * 1024;

export interface GptHeader {
  readonly ownSector: number;
  readonly otherSector: number;
  readonly firstUsable: number;
  readonly lastUsable: number;
  readonly diskGuid: string;
  readonly entriesSector: number;
  readonly entryCount: number;
  readonly entryBytes: number;
  readonly entriesCrc: number;
}

/** Reads a header from the sector it should be in, or says what is wrong with it. */
export function parseGptHeader(
  bytes: Buffer,
  sector: number,
  diskSectors: number,
): GptHeader | string {
  if (bytes.toString("latin1", 0, SIGNATURE.length) !== SIGNATURE) return "it is no GPT header";
  const headerBytes = bytes.readUInt32LE(GPT_HEADER.headerBytes);
  if (headerBytes < HEADER_BYTES_MIN || headerBytes > bytes.length) {
    return `it says that it is ${headerBytes} bytes long`;
  }
  if (bytes.readUInt32LE(GPT_HEADER.crc) !== gptHeaderCrc(bytes)) return "its checksum is wrong";
  if (bytes.readUInt16LE(GPT_HEADER.revision + 2) !== REVISION_MAJOR) {
    return `it is of revision ${bytes.readUInt16LE(GPT_HEADER.revision + 2)}`;
  }
  const numbers = readNumbers(bytes);
  if (typeof numbers === "string") return numbers;
  const { ownSector, firstUsable, lastUsable, entriesSector, entryCount, entryBytes } = numbers;
  if (ownSector !== sector) return `it says that it is in sector ${ownSector}`;
  const entriesBytes = entryCount * entryBytes;
  const isPowerOfTwo = Number.isInteger(Math.log2(entryBytes / ENTRY_BYTES_MIN));
  if (entryBytes < ENTRY_BYTES_MIN || entryBytes > ENTRY_BYTES_MAX || !isPowerOfTwo) {
    return `it says that an entry has ${entryBytes} bytes`;
  }
  if (entriesBytes > GPT_ENTRIES_BYTES_MAX) return `it says that it has ${entryCount} entries`;
  const entriesEnd = entriesSector + Math.ceil(entriesBytes / bytes.length);
  if (entriesSector < 1 || entriesEnd > diskSectors) {
    return `it says that its entries begin in sector ${entriesSector}`;
  }
  if (firstUsable > lastUsable) return "it leaves no room for partitions";
  return { ...numbers, diskGuid: formatGuid(bytes, GPT_HEADER.diskGuid) };
}

function readNumbers(bytes: Buffer): Omit<GptHeader, "diskGuid"> | string {
  const wide = (offset: number): number => {
    const value = bytes.readBigUInt64LE(offset);
    return value > BigInt(Number.MAX_SAFE_INTEGER) ? NaN : Number(value);
  };
  const numbers = {
    ownSector: wide(GPT_HEADER.ownSector),
    otherSector: wide(GPT_HEADER.otherSector),
    firstUsable: wide(GPT_HEADER.firstUsable),
    lastUsable: wide(GPT_HEADER.lastUsable),
    entriesSector: wide(GPT_HEADER.entriesSector),
    entryCount: bytes.readUInt32LE(GPT_HEADER.entryCount),
    entryBytes: bytes.readUInt32LE(GPT_HEADER.entryBytes),
    entriesCrc: bytes.readUInt32LE(GPT_HEADER.entriesCrc),
  };
  const areSafe = Object.values(numbers).every(Number.isSafeInteger);
  return areSafe ? numbers : "it has a sector number that no disk has";
}

/** The checksum that a header should have: over itself, with the checksum's own field zero. */
export function gptHeaderCrc(bytes: Buffer): number {
  const copy = Buffer.from(bytes.subarray(0, bytes.readUInt32LE(GPT_HEADER.headerBytes)));
  copy.writeUInt32LE(0, GPT_HEADER.crc);
  return crc32(copy);
}

/** A GUID as text: its first three parts are little-endian numbers. */
export function formatGuid(bytes: Buffer, at: number): string {
  const hex = (value: number, digits: number): string =>
    value.toString(16).toUpperCase().padStart(digits, "0");
  const tail = bytes.toString("hex", at + 8, at + 16).toUpperCase();
  return [
    hex(bytes.readUInt32LE(at), 8),
    hex(bytes.readUInt16LE(at + 4), 4),
    hex(bytes.readUInt16LE(at + 6), 4),
    tail.slice(0, 4),
    tail.slice(4),
  ].join("-");
}
