/** What a drive counts, and the log pages made of it (SSC-4, 8.3). */
import type { LoaderDrive } from "../../tape-loader.ts";
import { encodeField, number, paddedText } from "../fields.ts";
import type { LogPage, LogParameter } from "../logical-unit.ts";

export interface Counters {
  bytesWritten: number;
  bytesRead: number;
  readErrors: number;
  writeErrors: number;
  /** Tapes put in. */
  loads: number;
}

export function noCounters(): Counters {
  return { bytesWritten: 0, bytesRead: 0, readErrors: 0, writeErrors: 0, loads: 0 };
}

export const BYTES_PER_MB = 1_000_000;
const BYTES_PER_MIB = 2 ** 20;
/** Said of a tape that may grow as long as the disk has room: 2 PiB. */
const CAPACITY_UNLIMITED_MIB = 0x7fff_ffff;
const COUNT_BYTES = 8;
const CAPACITY_BYTES = 4;
const BARCODE_BYTES = 32;

export function countBytes(value: number, sizeBytes = COUNT_BYTES): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  encodeField(number(0, sizeBytes), bytes, Math.max(0, Math.floor(value)));
  return bytes;
}

/** Capacity and room left, in MiB; 0 without a tape. */
export function capacityMib(drive: LoaderDrive): { maximum: number; remaining: number } {
  const medium = drive.medium();
  if (medium === undefined) return { maximum: 0, remaining: 0 };
  const { capacityBytes, usedBytes } = medium;
  if (capacityBytes === undefined) {
    return { maximum: CAPACITY_UNLIMITED_MIB, remaining: CAPACITY_UNLIMITED_MIB };
  }
  const mib = (bytes: number): number =>
    Math.min(Math.floor(Math.max(0, bytes) / BYTES_PER_MIB), CAPACITY_UNLIMITED_MIB);
  return { maximum: mib(capacityBytes), remaining: mib(capacityBytes - usedBytes) };
}

/** Parameters 0 to 6 of the error counter pages: corrected errors (none ever), bytes, errors. */
function errorCounters(bytes: number, errors: number): LogParameter[] {
  const corrected = [0, 1, 2, 3, 4].map((code) => ({ code, value: countBytes(0) }));
  return [
    ...corrected,
    { code: 5, value: countBytes(bytes) },
    { code: 6, value: countBytes(errors) },
  ];
}

/** Page 0C. Nothing is compressed: bytes on the tape are the bytes that the host sent. */
function sequentialAccess(counters: Counters): LogParameter[] {
  return [
    { code: 0, value: countBytes(counters.bytesWritten) },
    { code: 1, value: countBytes(counters.bytesWritten) },
    { code: 2, value: countBytes(counters.bytesRead) },
    { code: 3, value: countBytes(counters.bytesRead) },
  ];
}

/** Page 17: of what the standard lists, that which a virtual tape has. */
function volumeStatistics(drive: LoaderDrive, counters: Counters): LogParameter[] {
  const medium = drive.medium();
  const flagByte = (value: boolean): Uint8Array => Uint8Array.of(value ? 1 : 0);
  const pageValid = { code: 0x0000, value: flagByte(medium !== undefined) };
  if (medium === undefined) return [pageValid];
  const capacity = medium.capacityBytes ?? CAPACITY_UNLIMITED_MIB * BYTES_PER_MIB;
  return [
    pageValid,
    { code: 0x0001, value: countBytes(counters.loads) },
    { code: 0x0004, value: countBytes(counters.writeErrors, CAPACITY_BYTES) },
    { code: 0x0009, value: countBytes(counters.readErrors, CAPACITY_BYTES) },
    { code: 0x000e, value: countBytes(counters.bytesWritten / BYTES_PER_MB) },
    { code: 0x000f, value: countBytes(counters.bytesRead / BYTES_PER_MB) },
    { code: 0x0016, value: countBytes(capacity / BYTES_PER_MB) },
    { code: 0x0017, value: countBytes(medium.usedBytes / BYTES_PER_MB) },
    { code: 0x0042, value: paddedText(medium.barcode, BARCODE_BYTES), isText: true },
    { code: 0x0080, value: flagByte(medium.writeProtected) },
    { code: 0x0081, value: flagByte(false) },
  ];
}

/** Page 31: partition 0 remaining and maximum, then those of a second partition, which is none. */
function tapeCapacity(drive: LoaderDrive): LogParameter[] {
  const { maximum, remaining } = capacityMib(drive);
  return [remaining, 0, maximum, 0].map((value, index) => ({
    code: index + 1,
    value: countBytes(value, CAPACITY_BYTES),
  }));
}

export function tapeLogPages(drive: LoaderDrive, counters: () => Counters): LogPage[] {
  return [
    {
      code: 0x02,
      name: "Write Error Counters",
      parameters: () => errorCounters(counters().bytesWritten, counters().writeErrors),
    },
    {
      code: 0x03,
      name: "Read Error Counters",
      parameters: () => errorCounters(counters().bytesRead, counters().readErrors),
    },
    {
      code: 0x0c,
      name: "Sequential-Access Device",
      parameters: () => sequentialAccess(counters()),
    },
    {
      code: 0x17,
      name: "Volume Statistics",
      parameters: () => volumeStatistics(drive, counters()),
    },
    { code: 0x31, name: "Tape Capacity", parameters: () => tapeCapacity(drive) },
  ];
}
