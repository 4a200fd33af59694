/**
 * The entry set of a file or directory: a File entry, then a Stream Extension entry (size, first
 * cluster), then File Name entries with 15 UTF-16 units each, then what vendors may add. A checksum
 * in the first entry covers them all.
 *
 * Where the checksum is wrong, name and times are still shown, but a file's contents are refused:
 * its first cluster and size cannot be trusted, and nothing would tell right bytes from wrong
 * ones. A directory is read in spite of it, since the sets inside have checksums of their own.
 *
 * Source of the layout: Microsoft, "exFAT file system specification", 1.00, sections 6 and 7.
 */
import { fatTimeMs } from "../dos-time.ts";
import { hex } from "./boot-region.ts";

export const ENTRY_BYTES = 32;

/** First byte of an entry: bit 7 in use, bit 6 secondary, bit 5 benign. */
export const ENTRY_TYPE = {
  end: 0x00,
  bitmap: 0x81,
  upCase: 0x82,
  label: 0x83,
  file: 0x85,
  volumeGuid: 0xa0,
  stream: 0xc0,
  name: 0xc1,
} as const;
export const IN_USE = 0x80;
export const SECONDARY = 0x40;
export const BENIGN = 0x20;

/** Offsets in a File entry. */
export const FILE = {
  secondaryCount: 1, // u8, entries of the set that follow this one
  setChecksum: 2, // u16
  attributes: 4, // u16
  createdTime: 8, // u32: date above time
  modifiedTime: 12, // u32
  accessedTime: 16, // u32
  createdTenMs: 20, // u8, 0 to 199
  modifiedTenMs: 21, // u8
  createdUtcOffset: 22, // u8, bit 7: known; below: quarter hours, signed
  modifiedUtcOffset: 23, // u8
  accessedUtcOffset: 24, // u8
} as const;

/** Offsets in a Stream Extension entry. */
export const STREAM = {
  flags: 1, // u8, as in every secondary entry
  nameLength: 3, // u8, UTF-16 units
  nameHash: 4, // u16, of the name in upper case
  validBytes: 8, // u64
  firstCluster: 20, // u32, as in every entry that has clusters
  sizeBytes: 24, // u64, likewise
} as const;

/** Offsets in a File Name entry. */
const NAME = { units: 2, unitCount: 15 } as const;

export const FLAG = { allocationPossible: 1, noFatChain: 2 } as const;

export const ATTRIBUTE = {
  readOnly: 0x01,
  hidden: 0x02,
  system: 0x04,
  directory: 0x10,
  archive: 0x20,
} as const;

const ATTRIBUTES_MASK = 0x37;
const UTC_OFFSET_KNOWN = 0x80;
const UTC_OFFSET_UNIT_MINUTES = 15;

/** Clusters that an entry has. */
export interface Allocation {
  /** As it stands in the entry: 0 where there are none. */
  readonly firstCluster: number;
  readonly sizeBytes: number;
  /** The clusters follow one another, and the FAT does not have them. */
  readonly isContiguous: boolean;
}

export interface FileEntry extends Allocation {
  readonly name: string;
  readonly attributes: number;
  readonly isDirectory: boolean;
  /** Bytes from here on were never written and read as zeros; at most `sizeBytes`. */
  readonly validBytes: number;
  /** The File entry, for the times in it. */
  readonly primary: Uint8Array;
  /** Why its contents cannot be trusted. */
  readonly fault: string | undefined;
  /** What is wrong besides. */
  readonly remark: string | undefined;
  /** Clusters of vendors' entries in the set. */
  readonly attached: readonly Allocation[];
}

/**
 * Reads a whole set, in use or with the bit that says so put back. A string says why it is none:
 * then not even a name is known. `firstCluster` may be any number.
 */
export function parseFileSet(set: Uint8Array): FileEntry | string {
  const view = new DataView(set.buffer, set.byteOffset, set.byteLength);
  const entries = set.length / ENTRY_BYTES;
  if (entries < 2 || set[ENTRY_BYTES] !== ENTRY_TYPE.stream) {
    return "its second entry is no stream extension";
  }
  let nameEnd = 2;
  while (nameEnd < entries && set[nameEnd * ENTRY_BYTES] === ENTRY_TYPE.name) nameEnd++;
  if (nameEnd === 2) return "it has no name entry";
  const { name, remark } = nameOf(set, nameEnd - 2, set[ENTRY_BYTES + STREAM.nameLength] ?? 0);
  const attributes = view.getUint16(FILE.attributes, true) & ATTRIBUTES_MASK;
  const stream = allocationOf(view, ENTRY_BYTES);
  const validBytes = sizeOf(view, ENTRY_BYTES + STREAM.validBytes);
  const { attached, fault } = attachedTo(view, nameEnd, entries);
  return {
    firstCluster: stream?.firstCluster ?? 0,
    sizeBytes: stream?.sizeBytes ?? 0,
    isContiguous: stream?.isContiguous ?? false,
    name,
    attributes,
    isDirectory: (attributes & ATTRIBUTE.directory) !== 0,
    validBytes: Math.min(validBytes ?? 0, stream?.sizeBytes ?? 0),
    primary: set.subarray(0, ENTRY_BYTES),
    fault:
      checksumFault(set, view) ??
      (stream === undefined ? "it claims more than 2^53 bytes" : undefined) ??
      fault,
    remark: remark ?? validRemark(validBytes, stream?.sizeBytes ?? 0),
    attached,
  };
}

function nameOf(
  set: Uint8Array,
  nameEntries: number,
  nameLength: number,
): { name: string; remark: string | undefined } {
  const needed = Math.ceil(nameLength / NAME.unitCount);
  const text = Buffer.alloc(Math.min(needed, nameEntries) * NAME.unitCount * 2);
  for (let i = 0; i * NAME.unitCount * 2 < text.length; i++) {
    const from = (i + 2) * ENTRY_BYTES + NAME.units;
    text.set(set.subarray(from, from + NAME.unitCount * 2), i * NAME.unitCount * 2);
  }
  const remark =
    needed === nameEntries
      ? undefined
      : `its name has ${nameLength} units, but ${nameEntries} name entries`;
  return { name: text.toString("utf16le", 0, nameLength * 2), remark };
}

function validRemark(validBytes: number | undefined, sizeBytes: number): string | undefined {
  if (validBytes !== undefined && validBytes <= sizeBytes) return undefined;
  return `it claims more valid bytes than the ${sizeBytes} that it has`;
}

/** What follows the name: vendors' entries, which may have clusters of their own. */
function attachedTo(
  view: DataView,
  from: number,
  entries: number,
): { attached: Allocation[]; fault: string | undefined } {
  const attached: Allocation[] = [];
  let fault: string | undefined;
  for (let i = from; i < entries; i++) {
    const at = i * ENTRY_BYTES;
    const type = view.getUint8(at);
    if ((type & BENIGN) === 0) {
      fault ??= `it has a critical entry of unknown type ${hex(type, 2)}`;
    } else if ((view.getUint8(at + STREAM.flags) & FLAG.allocationPossible) !== 0) {
      const allocation = allocationOf(view, at);
      if (allocation !== undefined) attached.push(allocation);
    }
  }
  return { attached, fault };
}

/** The clusters of any secondary entry; undefined when it claims more bytes than can be. */
function allocationOf(view: DataView, at: number): Allocation | undefined {
  const sizeBytes = sizeOf(view, at + STREAM.sizeBytes);
  if (sizeBytes === undefined) return undefined;
  return {
    firstCluster: view.getUint32(at + STREAM.firstCluster, true),
    sizeBytes,
    isContiguous: (view.getUint8(at + STREAM.flags) & FLAG.noFatChain) !== 0,
  };
}

/** A 64-bit size; undefined above 2^53. */
export function sizeOf(view: DataView, at: number): number | undefined {
  const size = view.getBigUint64(at, true);
  return size > BigInt(Number.MAX_SAFE_INTEGER) ? undefined : Number(size);
}

function checksumFault(set: Uint8Array, view: DataView): string | undefined {
  const stored = view.getUint16(FILE.setChecksum, true);
  const computed = setChecksum(set);
  if (stored === computed) return undefined;
  return `its entry set has checksum ${hex(stored, 4)}, but its contents have ${hex(computed, 4)}`;
}

/** Rotates right and adds, over all bytes but the checksum itself. */
export function setChecksum(set: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < set.length; at++) {
    if (at === FILE.setChecksum || at === FILE.setChecksum + 1) continue;
    sum = (((sum << 15) | (sum >>> 1)) + (set[at] ?? 0)) & 0xffff;
  }
  return sum;
}

export interface EntryTimes {
  readonly modifiedMs: number;
  readonly accessedMs: number;
  readonly createdMs: number | undefined;
}

/**
 * Times of a File entry. `timeZoneMinutes` is for those that do not say where they were local. A
 * stamp of 0 means that the time is not known.
 */
export function entryTimes(primary: Uint8Array, timeZoneMinutes: number): EntryTimes {
  const view = new DataView(primary.buffer, primary.byteOffset, primary.byteLength);
  const time = (stampAt: number, utcAt: number, tenMsAt: number | undefined) => {
    const stamp = view.getUint32(stampAt, true);
    const utcOffset = view.getUint8(utcAt);
    const tenMs = tenMsAt === undefined ? 0 : view.getUint8(tenMsAt);
    const zone = utcOffsetMinutes(utcOffset) ?? timeZoneMinutes;
    return { stamp, ms: fatTimeMs(stamp >>> 16, stamp & 0xffff, tenMs, zone) };
  };
  const modified = time(FILE.modifiedTime, FILE.modifiedUtcOffset, FILE.modifiedTenMs);
  const accessed = time(FILE.accessedTime, FILE.accessedUtcOffset, undefined);
  const created = time(FILE.createdTime, FILE.createdUtcOffset, FILE.createdTenMs);
  return {
    modifiedMs: modified.ms,
    accessedMs: accessed.stamp === 0 ? modified.ms : accessed.ms,
    createdMs: created.stamp === 0 ? undefined : created.ms,
  };
}

/** Minutes east of UTC: seven bits, signed, in quarter hours. */
function utcOffsetMinutes(value: number): number | undefined {
  if ((value & UTC_OFFSET_KNOWN) === 0) return undefined;
  const quarters = value & 0x7f;
  return (quarters < 64 ? quarters : quarters - 128) * UTC_OFFSET_UNIT_MINUTES;
}
