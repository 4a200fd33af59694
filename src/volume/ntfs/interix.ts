/**
 * Special files as Interix (Microsoft's "Services for Unix") and ntfs-3g write them: files with the
 * system flag whose contents begin with a magic word. Layout: the structure INTX_FILE of ntfs-3g.
 */
import { deviceNumber } from "../../device/device-number.ts";
import type { NodeKind } from "../volume.ts";

const MAGIC_BYTES = 8;
const SYMLINK_MAGIC = "IntxLNK\x01";
const CHARACTER_MAGIC = "IntxCHR\0";
const BLOCK_MAGIC = "IntxBLK\0";
const DEVICE = { major: 8, minor: 16, end: 24 } as const;
const PATH_MAX_UNITS = 4096;
const NUMBER_MAX = 0xffffffffn;

/** Files that are longer are never special. */
export const INTERIX_MAX_BYTES = MAGIC_BYTES + 2 * PATH_MAX_UNITS;

export interface InterixFile {
  readonly kind: NodeKind;
  readonly target?: string;
  readonly deviceNumber?: number;
}

/** Does a system file of this size have to be looked into? */
export function mayBeInterix(sizeBytes: number): boolean {
  return sizeBytes > MAGIC_BYTES && sizeBytes <= INTERIX_MAX_BYTES;
}

/** What an empty or one-byte system file is, when it is not hidden. */
export function interixBySize(sizeBytes: number, isHidden: boolean): InterixFile | undefined {
  if (isHidden) return undefined;
  if (sizeBytes === 0) return { kind: "fifo" };
  return sizeBytes === 1 ? { kind: "socket" } : undefined;
}

/** What its contents make of a system file; undefined: a file. */
export function parseInterix(contents: Buffer): InterixFile | undefined {
  const magic = contents.toString("latin1", 0, MAGIC_BYTES);
  if (magic === SYMLINK_MAGIC) {
    return { kind: "symlink", target: contents.toString("utf16le", MAGIC_BYTES) };
  }
  if (contents.length !== DEVICE.end) return undefined;
  const kind =
    magic === BLOCK_MAGIC ? "block" : magic === CHARACTER_MAGIC ? "character" : undefined;
  const major = contents.readBigUInt64LE(DEVICE.major);
  const minor = contents.readBigUInt64LE(DEVICE.minor);
  if (kind === undefined || major > NUMBER_MAX || minor > NUMBER_MAX) return undefined;
  return { kind, deviceNumber: deviceNumber(Number(major), Number(minor)) };
}
