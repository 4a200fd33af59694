/**
 * $FILE_NAME and $STANDARD_INFORMATION: names, times, flags. A name stands twice on the volume, as
 * an attribute of the file and as a key in its directory's index; the copy in the index also has
 * times and sizes, which are not always up to date. Layouts: "$FILE_NAME" and
 * "$STANDARD_INFORMATION" of the Linux-NTFS documentation.
 */
import { fault, unsigned64 } from "./damage.ts";
import { reference } from "./record.ts";
import type { Reference } from "./record.ts";

const FILE_NAME = {
  parent: 0,
  created: 8,
  modified: 16,
  changed: 24,
  accessed: 32,
  allocatedBytes: 40,
  sizeBytes: 48,
  flags: 56,
  nameLength: 64,
  nameSpace: 65,
  name: 66,
} as const;
const STANDARD = { created: 0, modified: 8, changed: 16, accessed: 24, flags: 32 } as const;
const STANDARD_MIN_BYTES = 36;

/** Who can use a name. A file with a long Win32 name often has a DOS name beside it. */
export const NAME_SPACE = { posix: 0, win32: 1, dos: 2, win32AndDos: 3 } as const;

/** Windows' FILE_ATTRIBUTE_ bits that matter here. */
export const FILE_FLAG = {
  readOnly: 0x0001,
  hidden: 0x0002,
  system: 0x0004,
  archive: 0x0020,
  sparse: 0x0200,
  reparsePoint: 0x0400,
  offline: 0x1000,
  encrypted: 0x4000,
  recallOnOpen: 0x0004_0000,
  recallOnDataAccess: 0x0040_0000,
  /** Only in $FILE_NAME: the file is a directory. */
  directory: 0x1000_0000,
} as const;

export interface FileTimes {
  readonly createdMs: number;
  readonly modifiedMs: number;
  readonly changedMs: number;
  readonly accessedMs: number;
}

export interface FileName {
  readonly parent: Reference;
  readonly name: string;
  readonly nameSpace: number;
}

/** Decodes who and where; throws a fault. */
export function parseFileName(bytes: Buffer): FileName {
  const nameLength = bytes.length < FILE_NAME.name ? 0 : bytes.readUInt8(FILE_NAME.nameLength);
  const nameEnd = FILE_NAME.name + 2 * nameLength;
  if (nameLength === 0 || nameEnd > bytes.length) throw fault("a $FILE_NAME of it is cut short");
  return {
    parent: reference(bytes, FILE_NAME.parent),
    name: bytes.toString("utf16le", FILE_NAME.name, nameEnd),
    nameSpace: bytes.readUInt8(FILE_NAME.nameSpace),
  };
}

/** What a $FILE_NAME says besides, for files whose own record cannot be read. */
export interface FileNameDetails extends FileTimes {
  readonly flags: number;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
}

/** Of a key that `parseFileName` has accepted. Throws a fault. */
export function fileNameDetails(bytes: Buffer): FileNameDetails {
  return {
    createdMs: timeMs(bytes, FILE_NAME.created),
    modifiedMs: timeMs(bytes, FILE_NAME.modified),
    changedMs: timeMs(bytes, FILE_NAME.changed),
    accessedMs: timeMs(bytes, FILE_NAME.accessed),
    flags: bytes.readUInt32LE(FILE_NAME.flags),
    sizeBytes: unsigned64(bytes, FILE_NAME.sizeBytes, "size"),
    allocatedBytes: unsigned64(bytes, FILE_NAME.allocatedBytes, "allocated size"),
  };
}

/** Times and flags of a file; throws a fault. */
export function parseStandardInformation(
  bytes: Buffer | undefined,
): FileTimes & { readonly flags: number } {
  if (bytes === undefined || bytes.length < STANDARD_MIN_BYTES) {
    throw fault("it has no $STANDARD_INFORMATION");
  }
  return {
    createdMs: timeMs(bytes, STANDARD.created),
    modifiedMs: timeMs(bytes, STANDARD.modified),
    changedMs: timeMs(bytes, STANDARD.changed),
    accessedMs: timeMs(bytes, STANDARD.accessed),
    flags: bytes.readUInt32LE(STANDARD.flags),
  };
}

/** 1970 in units of 100 ns since 1601. */
const EPOCH_UNITS = 116_444_736_000_000_000n;
const UNITS_PER_MS = 10_000;

/** Milliseconds since 1970 UTC. As a double it is exact to a quarter of a microsecond. */
function timeMs(bytes: Buffer, offset: number): number {
  return Number(bytes.readBigInt64LE(offset) - EPOCH_UNITS) / UNITS_PER_MS;
}
