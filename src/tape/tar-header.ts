/**
 * Tar headers: V7, ustar, and GNU's. Layout after POSIX.1-2017 (pax, "ustar Interchange Format") and
 * the GNU tar manual ("Basic Tar Format").
 */

export const TAR_BLOCK_BYTES = 512;

/** Offset and length of each field, in bytes. */
const FIELD = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  link: [157, 100],
  magic: [257, 8],
  /** Of a device; not in V7. */
  deviceMajor: [329, 8],
  deviceMinor: [337, 8],
  /** ustar only: what goes before the name. */
  prefix: [345, 155],
  /** GNU's sparse files only: the size of the file with its holes. */
  realSize: [483, 12],
} as const;
type Field = readonly [offset: number, length: number];

const TYPE_AT = 156;
/**
 * The map of a sparse file (GNU): parts in the header and in blocks behind it, each a start and a
 * length; and a byte that is not zero where another block follows.
 */
const GNU_SPARSE = {
  header: { partsAt: 386, parts: 4, moreAt: 482 },
  block: { partsAt: 0, parts: 21, moreAt: 504 },
} as const;
const GNU_NUMBER_BYTES = 12;
const USTAR_MAGIC = "ustar\0";
/** Of ustar and of GNU: without it, what lies behind the link's name means nothing. */
const ANY_USTAR = "ustar";
const SPACE = 0x20;
const DIGIT_0 = 0x30;
const NOTHING = new Uint8Array(0);

export interface TarHeader {
  /** "0" for a file (also what V7 wrote as NUL), "5" a directory, "L" a long name … */
  readonly type: string;
  readonly name: Uint8Array;
  readonly link: Uint8Array;
  /** Bytes of data behind the header; undefined where the field is no size. */
  readonly sizeBytes: number | undefined;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSeconds: number;
  /** Of a device; 0 for others. */
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** Of a sparse file of the old GNU format: its size with its holes. */
  readonly realSizeBytes: number | undefined;
}

/** A part of a sparse file; undefined where a field is no number. */
export interface GnuSparsePart {
  readonly startBytes: number | undefined;
  readonly lengthBytes: number | undefined;
}

/** True where the block's checksum is right: nothing else makes a header. */
export function isTarHeader(block: Uint8Array): boolean {
  if (block.length < TAR_BLOCK_BYTES) return false;
  const expected = numberOf(block, FIELD.checksum);
  if (expected === undefined || expected === 0) return false;
  const [from, length] = FIELD.checksum;
  let unsigned = length * SPACE;
  let negative = 0;
  for (let at = 0; at < TAR_BLOCK_BYTES; at++) {
    const byte = block[at] ?? 0;
    unsigned += byte;
    negative += byte >>> 7;
  }
  // The sum is made as if its own field were blank.
  for (let at = from; at < from + length; at++) {
    const byte = block[at] ?? 0;
    unsigned -= byte;
    negative -= byte >>> 7;
  }
  // Some old tars summed signed characters.
  const signed = unsigned - 0x100 * negative;
  return expected === unsigned || expected === signed;
}

export function isZeroBlock(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}

/** Decodes a block that `isTarHeader`. The names are copies. */
export function decodeTarHeader(block: Uint8Array): TarHeader {
  const typeByte = block[TYPE_AT] ?? 0;
  const type = typeByte === 0 ? "0" : String.fromCharCode(typeByte);
  const magic = latin1(block, FIELD.magic);
  const isUstar = magic.startsWith(USTAR_MAGIC);
  const hasDevice = (type === "3" || type === "4") && magic.startsWith(ANY_USTAR);
  const name = cString(block, FIELD.name);
  const prefix = isUstar ? cString(block, FIELD.prefix) : NOTHING;
  return {
    type,
    name: prefix.length > 0 ? Buffer.concat([prefix, Buffer.from("/"), name]) : name,
    link: cString(block, FIELD.link),
    sizeBytes: sizeOf(block, FIELD.size),
    mode: numberOf(block, FIELD.mode) ?? 0,
    uid: numberOf(block, FIELD.uid) ?? 0,
    gid: numberOf(block, FIELD.gid) ?? 0,
    mtimeSeconds: numberOf(block, FIELD.mtime) ?? 0,
    deviceMajor: (hasDevice ? sizeOf(block, FIELD.deviceMajor) : undefined) ?? 0,
    deviceMinor: (hasDevice ? sizeOf(block, FIELD.deviceMinor) : undefined) ?? 0,
    realSizeBytes: type === "S" ? sizeOf(block, FIELD.realSize) : undefined,
  };
}

/** Of a header, or a block that continues the map of a sparse file: does another follow? */
export function hasMoreSparseMap(block: Uint8Array, isHeader: boolean): boolean {
  const { moreAt } = isHeader ? GNU_SPARSE.header : GNU_SPARSE.block;
  return (block[moreAt] ?? 0) !== 0;
}

/** The parts that a header, or a block that continues its map, tells of. */
export function gnuSparseParts(block: Uint8Array, isHeader: boolean): GnuSparsePart[] {
  const { partsAt, parts } = isHeader ? GNU_SPARSE.header : GNU_SPARSE.block;
  const found: GnuSparsePart[] = [];
  for (let part = 0; part < parts; part++) {
    const startAt = partsAt + 2 * part * GNU_NUMBER_BYTES;
    const lengthAt = startAt + GNU_NUMBER_BYTES;
    // The map ends before a length that is not there.
    if ((block[lengthAt] ?? 0) === 0) break;
    found.push({
      startBytes: sizeOf(block, [startAt, GNU_NUMBER_BYTES]),
      lengthBytes: sizeOf(block, [lengthAt, GNU_NUMBER_BYTES]),
    });
  }
  return found;
}

function latin1(block: Uint8Array, [offset, length]: Field): string {
  return Buffer.from(block.buffer, block.byteOffset + offset, length).toString("latin1");
}

function cString(block: Uint8Array, [offset, length]: Field): Uint8Array {
  let end = offset;
  while (end < offset + length && block[end] !== 0) end++;
  return end === offset ? NOTHING : block.slice(offset, end);
}

function sizeOf(block: Uint8Array, field: Field): number | undefined {
  const size = numberOf(block, field);
  return size !== undefined && size >= 0 ? size : undefined;
}

/** Octal digits, or (GNU, star) a number of base 256 in two's complement, marked by its first bit; blank: 0. */
function numberOf(block: Uint8Array, field: Field): number | undefined {
  const [offset, length] = field;
  if ((block[offset] ?? 0) >= 0x80) return base256(block.subarray(offset, offset + length));
  let at = offset;
  let end = offset + length;
  while (end > at && isBlank(block[end - 1])) end--;
  while (at < end && block[at] === SPACE) at++;
  let value = 0;
  for (; at < end; at++) {
    const digit = (block[at] ?? 0) - DIGIT_0;
    if (digit < 0 || digit > 7) return undefined;
    value = value * 8 + digit;
  }
  return value;
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0 || byte === SPACE;
}

function base256(bytes: Uint8Array): number | undefined {
  let value = BigInt.asIntN(7, BigInt((bytes[0] ?? 0) & 0x7f));
  for (const byte of bytes.subarray(1)) value = (value << 8n) | BigInt(byte);
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : undefined;
}
