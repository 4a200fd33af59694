/**
 * FAT directories: a sequence of 32-byte slots. A file has one short entry (8.3 name, attributes,
 * times, first cluster, size) and before it, when its name does not fit, up to twenty slots with
 * pieces of its long name, the last piece first. A slot whose first byte is 0 ends the directory.
 *
 * A long name counts only when all its pieces are there, in order, directly before the short
 * entry, and each carries the checksum of the short name: old programs that knew nothing of long
 * names moved and deleted short entries alone and left orphans behind.
 *
 * Source of the layout: Microsoft FAT32 File System Specification 1.03, "FAT Directory Structure"
 * and "FAT Long Directory Entries"; the case bits are Windows NT's.
 */
import { ENTRY_BYTES } from "./geometry.ts";
import { FIRST_CLUSTER } from "../cluster-table.ts";
import type { CodePage } from "../code-pages.ts";
import { fatTimeMs } from "../dos-time.ts";

/** Offsets in a short entry. */
export const SHORT = {
  name: 0, // 8 bytes and 3 bytes, padded with spaces
  attributes: 11, // u8
  ntCase: 12, // u8, bit 3: base in lower case, bit 4: extension in lower case
  createdTenMs: 13, // u8, 0 to 199
  createdTime: 14, // u16
  createdDate: 16, // u16
  accessedDate: 18, // u16
  clusterHigh: 20, // u16, FAT32 only: OS/2 keeps extended attributes here on FAT16
  modifiedTime: 22, // u16
  modifiedDate: 24, // u16
  clusterLow: 26, // u16
  sizeBytes: 28, // u32
} as const;

/** Offsets in a long-name slot, and how many UTF-16 units lie at each. */
export const LONG = {
  order: 0, // u8, 1 is the first piece; bit 6: the last piece
  attributes: 11, // u8, 0x0F
  checksum: 13, // u8, of the short name
  pieces: [
    [1, 5],
    [14, 6],
    [28, 2],
  ],
} as const;

export const ATTRIBUTE = {
  readOnly: 0x01,
  hidden: 0x02,
  system: 0x04,
  label: 0x08,
  directory: 0x10,
  archive: 0x20,
} as const;

const ATTRIBUTES_MASK = 0x3f;
const ATTRIBUTES_OF_LONG_NAME = 0x0f;
const NAME_BYTES = 11;
const BASE_BYTES = 8;
const CASE_BASE_LOWER = 0x08;
const CASE_EXTENSION_LOWER = 0x10;
/** First byte of a slot. */
const MARK_END = 0x00;
const MARK_DELETED = 0xe5;
/** Stands for a name that begins with the byte 0xE5. */
const MARK_E5 = 0x05;
const LAST_PIECE = 0x40;
const UNITS_PER_PIECE = 13;
const PIECES_MAX = 20;
const LONG_NAME_UNITS_MAX = 255;
const DOT = 0x2e;
const SPACE = 0x20;

export type SlotKind = "entry" | "label" | "deleted";

export interface Slot {
  readonly kind: SlotKind;
  /** Offset of the short entry in the directory. */
  readonly offset: number;
  /** The long name, where a whole one stands before the entry and long names were asked for. */
  readonly longName: string | undefined;
}

/** What a short entry says of its file. */
export interface EntryFields {
  readonly attributes: number;
  readonly isDirectory: boolean;
  /** As it stands in the entry: 0 where the file has no clusters. */
  readonly firstCluster: number;
  readonly sizeBytes: number;
}

/**
 * The files, directories, labels and deleted files of a directory, in order; "." and ".." are
 * left out. `bytes` is all of the directory; what follows its end mark is not looked at.
 */
export function* scanDirectory(bytes: Uint8Array, longNames: boolean): Generator<Slot> {
  const pending = longNames ? new LongNameCollector() : undefined;
  for (let offset = 0; offset + ENTRY_BYTES <= bytes.length; offset += ENTRY_BYTES) {
    const first = bytes[offset] ?? MARK_END;
    if (first === MARK_END) return;
    const attributes = bytes[offset + SHORT.attributes] ?? 0;
    const isLongName = (attributes & ATTRIBUTES_MASK) === ATTRIBUTES_OF_LONG_NAME;
    if (first === MARK_DELETED) {
      pending?.clear();
      if (!isLongName) yield { kind: "deleted", offset, longName: undefined };
    } else if (isLongName) {
      pending?.add(bytes, offset);
    } else if (isDotEntry(bytes, offset)) {
      pending?.clear();
    } else {
      const longName = pending?.take(shortNameChecksum(bytes, offset));
      const kind = (attributes & ATTRIBUTE.label) === 0 ? "entry" : "label";
      yield { kind, offset, longName };
    }
  }
}

/** Does an end mark stand in these bytes? Then nothing that would follow them matters. */
export function hasEndMark(bytes: Uint8Array): boolean {
  for (let offset = 0; offset < bytes.length; offset += ENTRY_BYTES) {
    if (bytes[offset] === MARK_END) return true;
  }
  return false;
}

/** Can this slot be the short entry of a file or directory that exists? */
export function isLiveEntry(bytes: Uint8Array, offset: number): boolean {
  const first = bytes[offset] ?? MARK_END;
  const attributes = bytes[offset + SHORT.attributes] ?? 0;
  return first !== MARK_END && first !== MARK_DELETED && (attributes & ATTRIBUTE.label) === 0;
}

/** "." or ".." padded with spaces. */
export function isDotEntry(bytes: Uint8Array, offset: number): boolean {
  if (bytes[offset] !== DOT) return false;
  const second = bytes[offset + 1];
  if (second !== SPACE && second !== DOT) return false;
  return bytes.subarray(offset + 2, offset + NAME_BYTES).every((byte) => byte === SPACE);
}

/** The first cluster that the ".." entry of a directory names; undefined: it has none. */
export function parentClusterOf(bytes: Uint8Array, isFat32: boolean): number | undefined {
  if (bytes.length < 2 * ENTRY_BYTES) return undefined;
  if (!isDotEntry(bytes, ENTRY_BYTES) || bytes[ENTRY_BYTES + 1] !== DOT) return undefined;
  return entryFields(bytes, ENTRY_BYTES, isFat32).firstCluster;
}

export function entryFields(bytes: Uint8Array, offset: number, isFat32: boolean): EntryFields {
  const attributes = bytes[offset + SHORT.attributes] ?? 0;
  const low = u16(bytes, offset + SHORT.clusterLow);
  const high = isFat32 ? u16(bytes, offset + SHORT.clusterHigh) : 0;
  const sizeLow = u16(bytes, offset + SHORT.sizeBytes);
  const sizeHigh = u16(bytes, offset + SHORT.sizeBytes + 2);
  return {
    attributes: attributes & ATTRIBUTES_MASK,
    isDirectory: (attributes & ATTRIBUTE.directory) !== 0,
    firstCluster: high * 0x10000 + low,
    sizeBytes: sizeHigh * 0x10000 + sizeLow,
  };
}

export interface EntryTimes {
  readonly modifiedMs: number;
  readonly accessedMs: number;
  readonly createdMs: number | undefined;
}

/** Times of a short entry; a date of 0 means that the time is not known. */
export function entryTimes(bytes: Uint8Array, offset: number, timeZoneMinutes: number): EntryTimes {
  const field = (at: number) => u16(bytes, offset + at);
  const modifiedMs = fatTimeMs(
    field(SHORT.modifiedDate),
    field(SHORT.modifiedTime),
    0,
    timeZoneMinutes,
  );
  const accessed = field(SHORT.accessedDate);
  const created = field(SHORT.createdDate);
  const tenMs = bytes[offset + SHORT.createdTenMs] ?? 0;
  return {
    modifiedMs,
    accessedMs: accessed === 0 ? modifiedMs : fatTimeMs(accessed, 0, 0, timeZoneMinutes),
    createdMs:
      created === 0
        ? undefined
        : fatTimeMs(created, field(SHORT.createdTime), tenMs, timeZoneMinutes),
  };
}

/** The 8.3 name as people see it, with Windows NT's lower-case bits. */
export function shortNameOf(bytes: Uint8Array, offset: number, codePage: CodePage): string {
  const ntCase = bytes[offset + SHORT.ntCase] ?? 0;
  const base = decodePadded(bytes, offset, BASE_BYTES, codePage);
  const extension = decodePadded(bytes, offset + BASE_BYTES, NAME_BYTES - BASE_BYTES, codePage);
  const shownBase = (ntCase & CASE_BASE_LOWER) === 0 ? base : base.toLowerCase();
  if (extension === "") return shownBase;
  const isLower = (ntCase & CASE_EXTENSION_LOWER) !== 0;
  return `${shownBase}.${isLower ? extension.toLowerCase() : extension}`;
}

/** A label: 11 bytes padded with spaces. */
export function labelOf(bytes: Uint8Array, offset: number, codePage: CodePage): string {
  return decodePadded(bytes, offset, NAME_BYTES, codePage);
}

function decodePadded(
  bytes: Uint8Array,
  offset: number,
  length: number,
  codePage: CodePage,
): string {
  let end = length;
  while (end > 0 && bytes[offset + end - 1] === SPACE) end--;
  let text = "";
  for (let i = 0; i < end; i++) {
    const byte = bytes[offset + i] ?? SPACE;
    text += codePage[i === 0 && byte === MARK_E5 ? MARK_DELETED : byte] ?? "";
  }
  return text;
}

/** The checksum of the 11 bytes of a short name that its long-name slots carry. */
export function shortNameChecksum(bytes: Uint8Array, offset: number): number {
  let sum = 0;
  for (let i = 0; i < NAME_BYTES; i++) {
    sum = (((sum & 1) << 7) + (sum >>> 1) + (bytes[offset + i] ?? 0)) & 0xff;
  }
  return sum;
}

/** Puts the pieces of a long name together as they come, the last piece first. */
class LongNameCollector {
  /** UTF-16LE, as on disk. */
  readonly #text = Buffer.alloc(PIECES_MAX * UNITS_PER_PIECE * 2);
  /** Number of the piece that must come next; 0: all there; -1: none, or out of order. */
  #expected = -1;
  #pieces = 0;
  #checksum = 0;

  clear(): void {
    this.#expected = -1;
  }

  add(bytes: Uint8Array, offset: number): void {
    const order = bytes[offset + LONG.order] ?? 0;
    const checksum = bytes[offset + LONG.checksum] ?? 0;
    const piece = order & ~LAST_PIECE;
    if ((order & LAST_PIECE) !== 0) {
      this.#pieces = piece;
      this.#checksum = checksum;
      this.#expected = piece >= 1 && piece <= PIECES_MAX ? piece : -1;
    }
    if (piece !== this.#expected || checksum !== this.#checksum) {
      this.clear();
      return;
    }
    let at = (piece - 1) * UNITS_PER_PIECE * 2;
    for (const [start, units] of LONG.pieces) {
      for (let i = 0; i < units * 2; i++) this.#text[at++] = bytes[offset + start + i] ?? 0;
    }
    this.#expected = piece - 1;
  }

  /** The name, if it is whole and belongs to a short name with this checksum; then it is gone. */
  take(checksum: number): string | undefined {
    const isWhole = this.#expected === 0 && checksum === this.#checksum;
    this.clear();
    if (!isWhole) return undefined;
    const unitsMax = this.#pieces * UNITS_PER_PIECE;
    let units = 0;
    while (units < unitsMax && u16(this.#text, units * 2) !== 0) units++;
    if (units === 0 || units > LONG_NAME_UNITS_MAX) return undefined;
    return this.#text.toString("utf16le", 0, units * 2);
  }
}

function u16(bytes: Uint8Array, offset: number): number {
  return (bytes[offset] ?? 0) | ((bytes[offset + 1] ?? 0) << 8);
}

/** Slots at the start of a directory's first cluster tell a directory from anything else. */
export function looksLikeDirectory(bytes: Uint8Array, cluster: number, isFat32: boolean): boolean {
  if (!isDotEntry(bytes, 0) || bytes[1] !== SPACE) return false;
  return cluster >= FIRST_CLUSTER && entryFields(bytes, 0, isFat32).firstCluster === cluster;
}
