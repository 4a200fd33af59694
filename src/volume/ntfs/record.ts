/**
 * File records: the entries of the MFT. A record is a header and a list of attributes; what does not
 * fit into a file's first record goes to further ones, which name the first as their base. Layouts:
 * "FILE record" and "Attribute Header" of the Linux-NTFS documentation.
 */
import { fault, unsigned64 } from "./damage.ts";

export const RECORD_SIGNATURE = "FILE";
/** Where the fields of a file record are. */
const RECORD = {
  sequence: 16,
  linkCount: 18,
  attributesOffset: 20,
  flags: 22,
  bytesInUse: 24,
  baseReference: 32,
} as const;
const RECORD_HEADER_BYTES = 42;
const RECORD_FLAG = { inUse: 0x0001, directory: 0x0002 } as const;

/** Where the fields of an attribute's header are. */
const ATTRIBUTE = {
  type: 0,
  length: 4,
  nonResident: 8,
  nameLength: 9,
  nameOffset: 10,
  flags: 12,
  id: 14,
  valueLength: 16,
  valueOffset: 20,
  firstCluster: 16,
  lastCluster: 24,
  pairsOffset: 32,
  compressionUnit: 34,
  allocatedBytes: 40,
  sizeBytes: 48,
  initializedBytes: 56,
  storedBytes: 64,
} as const;
const HEADER_BYTES = 16;
const RESIDENT_HEADER_BYTES = 24;
const NON_RESIDENT_HEADER_BYTES = 64;
const COMPRESSED_HEADER_BYTES = 72;
const END_MARK = 0xffffffff;
const ALIGNMENT_BYTES = 8;

export const TYPE = {
  standardInformation: 0x10,
  attributeList: 0x20,
  fileName: 0x30,
  volumeName: 0x60,
  volumeInformation: 0x70,
  data: 0x80,
  indexRoot: 0x90,
  indexAllocation: 0xa0,
  bitmap: 0xb0,
  reparsePoint: 0xc0,
  extendedAttributes: 0xe0,
} as const;

export const ATTRIBUTE_FLAG = { compressed: 0x00ff, encrypted: 0x4000, sparse: 0x8000 } as const;

/** A number of a record with the count of its uses, which tells a stale reference. */
export interface Reference {
  readonly number: number;
  readonly sequence: number;
}

/** One attribute, or, of a non-resident one, the part that this record describes. */
export interface Attribute {
  readonly type: number;
  readonly name: string;
  readonly id: number;
  readonly flags: number;
  /** Contents where they are in the record itself. */
  readonly value: Buffer | undefined;
  /** Where `value` begins in the record. */
  readonly valueOffset: number;
  /** Where they are not. */
  readonly extent: Extent | undefined;
  /** The record that this stands in. */
  readonly record: number;
}

/** The part of a non-resident attribute that one record describes. Sizes count in the first part. */
export interface Extent {
  readonly firstCluster: number;
  /** -1 of an empty attribute. */
  readonly lastCluster: number;
  readonly pairs: Buffer;
  /** Clusters of a compression unit as a power of two; 0: not compressed. */
  readonly compressionUnit: number;
  readonly allocatedBytes: number;
  readonly sizeBytes: number;
  /** From here on the contents are zeros, whatever the clusters hold. */
  readonly initializedBytes: number;
  /** What is really on the volume, where holes or compression save space. */
  readonly storedBytes: number;
}

export interface FileRecord {
  readonly number: number;
  readonly sequence: number;
  readonly linkCount: number;
  readonly isInUse: boolean;
  readonly isDirectory: boolean;
  /** The record that this one continues; undefined for a file's first. */
  readonly base: Reference | undefined;
  readonly attributes: readonly Attribute[];
}

/** Decodes the 8 bytes of a file reference. */
export function reference(bytes: Buffer, offset: number): Reference {
  return { number: bytes.readUIntLE(offset, 6), sequence: bytes.readUInt16LE(offset + 6) };
}

/** Is the record in use? `bytes` is a record whose update sequence was checked. */
export function isInUse(bytes: Buffer): boolean {
  return (bytes.readUInt16LE(RECORD.flags) & RECORD_FLAG.inUse) !== 0;
}

/**
 * Decodes a record whose update sequence was checked. Attributes are views of `bytes`. Throws a
 * fault.
 */
export function parseRecord(bytes: Buffer, number: number): FileRecord {
  const flags = bytes.readUInt16LE(RECORD.flags);
  const base = reference(bytes, RECORD.baseReference);
  return {
    number,
    sequence: bytes.readUInt16LE(RECORD.sequence),
    linkCount: bytes.readUInt16LE(RECORD.linkCount),
    isInUse: (flags & RECORD_FLAG.inUse) !== 0,
    isDirectory: (flags & RECORD_FLAG.directory) !== 0,
    base: base.number === 0 && base.sequence === 0 ? undefined : base,
    attributes: parseAttributes(bytes, number),
  };
}

function parseAttributes(bytes: Buffer, record: number): Attribute[] {
  const bytesInUse = bytes.readUInt32LE(RECORD.bytesInUse);
  let at = bytes.readUInt16LE(RECORD.attributesOffset);
  if (bytesInUse > bytes.length) throw fault(`it claims to use ${bytesInUse} bytes of itself`);
  if (at < RECORD_HEADER_BYTES || at % ALIGNMENT_BYTES !== 0) {
    throw fault(`its attributes would begin at byte ${at}`);
  }
  const attributes: Attribute[] = [];
  for (;;) {
    if (at + 4 > bytesInUse) throw fault("its attributes have no end mark");
    if (bytes.readUInt32LE(at + ATTRIBUTE.type) === END_MARK) return attributes;
    if (at + HEADER_BYTES > bytesInUse) throw fault(`its attribute at byte ${at} is cut short`);
    const length = bytes.readUInt32LE(at + ATTRIBUTE.length);
    const isSane = length >= HEADER_BYTES && length % ALIGNMENT_BYTES === 0;
    if (!isSane || at + length > bytesInUse) {
      throw fault(`its attribute at byte ${at} would have ${length} bytes`);
    }
    attributes.push(parseAttribute(bytes, at, length, record));
    at += length;
  }
}

/** Decodes the attribute of `length` bytes at `start` of its record. */
function parseAttribute(bytes: Buffer, start: number, length: number, record: number): Attribute {
  const isNonResident = bytes.readUInt8(start + ATTRIBUTE.nonResident) !== 0;
  const nameLength = bytes.readUInt8(start + ATTRIBUTE.nameLength);
  const nameOffset = bytes.readUInt16LE(start + ATTRIBUTE.nameOffset);
  if (nameLength > 0 && nameOffset + 2 * nameLength > length) {
    throw fault(`the name of its attribute at byte ${start} is cut short`);
  }
  const nameStart = start + nameOffset;
  const valueOffset = isNonResident ? 0 : start + residentOffset(bytes, start, length);
  return {
    type: bytes.readUInt32LE(start + ATTRIBUTE.type),
    name: nameLength === 0 ? "" : bytes.toString("utf16le", nameStart, nameStart + 2 * nameLength),
    id: bytes.readUInt16LE(start + ATTRIBUTE.id),
    flags: bytes.readUInt16LE(start + ATTRIBUTE.flags),
    value: isNonResident
      ? undefined
      : bytes.subarray(
          valueOffset,
          valueOffset + bytes.readUInt32LE(start + ATTRIBUTE.valueLength),
        ),
    valueOffset,
    extent: isNonResident ? parseExtent(bytes.subarray(start, start + length), start) : undefined,
    record,
  };
}

/** Where the value begins in the attribute. */
function residentOffset(bytes: Buffer, start: number, length: number): number {
  if (length < RESIDENT_HEADER_BYTES) {
    throw fault(`the header of its attribute at byte ${start} is cut short`);
  }
  const offset = bytes.readUInt16LE(start + ATTRIBUTE.valueOffset);
  const valueLength = bytes.readUInt32LE(start + ATTRIBUTE.valueLength);
  if (offset + valueLength > length) {
    throw fault(`its attribute at byte ${start} has ${valueLength} bytes where they do not fit`);
  }
  return offset;
}

function parseExtent(bytes: Buffer, start: number): Extent {
  if (bytes.length < NON_RESIDENT_HEADER_BYTES) {
    throw fault(`the header of its attribute at byte ${start} is cut short`);
  }
  const pairsOffset = bytes.readUInt16LE(ATTRIBUTE.pairsOffset);
  if (pairsOffset > bytes.length) {
    throw fault(`the runs of its attribute at byte ${start} begin behind its end`);
  }
  const firstCluster = unsigned64(bytes, ATTRIBUTE.firstCluster, "first cluster number");
  const isEmpty = bytes.readBigInt64LE(ATTRIBUTE.lastCluster) === -1n;
  const compressionUnit = bytes.readUInt8(ATTRIBUTE.compressionUnit);
  // Only the first part has sizes; in the others the fields hold anything.
  const size = (offset: number, what: string) =>
    firstCluster === 0 ? unsigned64(bytes, offset, what) : 0;
  const allocatedBytes = size(ATTRIBUTE.allocatedBytes, "allocated size");
  const hasStored = compressionUnit !== 0 && pairsOffset >= COMPRESSED_HEADER_BYTES;
  return {
    firstCluster,
    lastCluster: isEmpty ? -1 : unsigned64(bytes, ATTRIBUTE.lastCluster, "last cluster number"),
    pairs: bytes.subarray(pairsOffset),
    compressionUnit,
    allocatedBytes,
    sizeBytes: size(ATTRIBUTE.sizeBytes, "size"),
    initializedBytes: size(ATTRIBUTE.initializedBytes, "initialized size"),
    storedBytes: hasStored ? size(ATTRIBUTE.storedBytes, "stored size") : allocatedBytes,
  };
}
