/**
 * The boot sector of an NTFS volume: sizes, and where the MFT begins. Layout: "BOOT_SECTOR" of the
 * Linux-NTFS documentation; the encodings of sizes as powers of two are those that Windows writes.
 */
import { ReelError } from "../../errors.ts";
import { fault, unsigned64 } from "./damage.ts";

export const BOOT_SECTOR_BYTES = 512;
const OEM_NAME = "NTFS    ";
const BOOT = {
  oemName: 3,
  bytesPerSector: 11,
  sectorsPerCluster: 13,
  totalSectors: 40,
  mftCluster: 48,
  mirrorCluster: 56,
  recordSize: 64,
  indexSize: 68,
  serial: 72,
} as const;

const SECTOR_MIN_BYTES = 256;
const SECTOR_MAX_BYTES = 4096;
const CLUSTER_MIN_BYTES = 512;
/** Windows 10 and later; 64 KiB before. */
const CLUSTER_MAX_BYTES = 2 * 1024 * 1024;
/** A larger number of sectors per cluster is a negative power of two: 0xF4 is 2^12. */
const SECTORS_PER_CLUSTER_MAX = 0x80;
/** Update sequences are counted in units of 512 bytes, so nothing protected can be smaller. */
const PROTECTED_MIN_BYTES = 512;
const PROTECTED_MAX_BYTES = 64 * 1024;
/** Cluster numbers in the runs of real volumes have 32 bits. */
const CLUSTERS_MAX = 2 ** 32;

export interface NtfsGeometry {
  readonly bytesPerSector: number;
  /** Without the sector of the backup boot sector, which follows the last of these. */
  readonly totalSectors: number;
  readonly clusterBytes: number;
  readonly clusterCount: number;
  readonly mftCluster: number;
  readonly mirrorCluster: number;
  /** Size of a file record in the MFT. */
  readonly recordBytes: number;
  /** Size of an index record, unless the index itself says otherwise. */
  readonly indexBytes: number;
  /** 16 hexadecimal digits. */
  readonly serial: string;
}

/** Bytes of the volume, the backup boot sector included. */
export function volumeBytes({ totalSectors, bytesPerSector }: NtfsGeometry): number {
  return (totalSectors + 1) * bytesPerSector;
}

/** Parses 512 bytes. The fault says what is no sensible NTFS boot sector about them. */
export function parseBootSector(
  bytes: Buffer,
): { readonly geometry: NtfsGeometry } | { readonly fault: string } {
  if (bytes.toString("latin1", BOOT.oemName, BOOT.oemName + OEM_NAME.length) !== OEM_NAME) {
    return { fault: 'it does not have "NTFS" at byte 3' };
  }
  try {
    return { geometry: readGeometry(bytes) };
  } catch (error) {
    if (error instanceof ReelError) return { fault: error.message };
    throw error;
  }
}

function readGeometry(bytes: Buffer): NtfsGeometry {
  const bytesPerSector = bytes.readUInt16LE(BOOT.bytesPerSector);
  if (!isPowerOfTwo(bytesPerSector, SECTOR_MIN_BYTES, SECTOR_MAX_BYTES)) {
    throw fault(`its sectors would have ${bytesPerSector} bytes`);
  }
  const clusterBytes = bytesPerSector * sectorsPerCluster(bytes.readUInt8(BOOT.sectorsPerCluster));
  if (!isPowerOfTwo(clusterBytes, CLUSTER_MIN_BYTES, CLUSTER_MAX_BYTES)) {
    throw fault(`its clusters would have ${clusterBytes} bytes`);
  }
  const totalSectors = unsigned64(bytes, BOOT.totalSectors, "number of sectors");
  const clusterCount = Math.floor(totalSectors / (clusterBytes / bytesPerSector));
  if (clusterCount === 0 || clusterCount > CLUSTERS_MAX) {
    throw fault(`it would have ${clusterCount} clusters`);
  }
  const clusterField = (offset: number, what: string) => {
    const cluster = unsigned64(bytes, offset, what);
    if (cluster >= clusterCount) {
      throw fault(`its ${what} is ${cluster}, beyond its ${clusterCount} clusters`);
    }
    return cluster;
  };
  return {
    bytesPerSector,
    totalSectors,
    clusterBytes,
    clusterCount,
    mftCluster: clusterField(BOOT.mftCluster, "first cluster of $MFT"),
    mirrorCluster: unsigned64(bytes, BOOT.mirrorCluster, "first cluster of $MFTMirr"),
    recordBytes: protectedBytes(bytes.readInt8(BOOT.recordSize), clusterBytes, "file records"),
    indexBytes: protectedBytes(bytes.readInt8(BOOT.indexSize), clusterBytes, "index records"),
    serial: bytes.readBigUInt64LE(BOOT.serial).toString(16).toUpperCase().padStart(16, "0"),
  };
}

function sectorsPerCluster(field: number): number {
  return field <= SECTORS_PER_CLUSTER_MAX ? field : 2 ** (256 - field);
}

/** Positive: clusters; negative: the power of two of a number of bytes. */
function protectedBytes(field: number, clusterBytes: number, what: string): number {
  const bytes = field > 0 ? field * clusterBytes : 2 ** -field;
  if (!isProtectedSize(bytes)) throw fault(`its ${what} would have ${bytes} bytes`);
  return bytes;
}

/** Can a file record or index record have this size? */
export function isProtectedSize(bytes: number): boolean {
  return isPowerOfTwo(bytes, PROTECTED_MIN_BYTES, PROTECTED_MAX_BYTES);
}

function isPowerOfTwo(value: number, min: number, max: number): boolean {
  return value >= min && value <= max && Number.isInteger(Math.log2(value));
}
