/**
 * The exFAT boot region: where everything on the volume lies, under a checksum, twice.
 *
 * An exFAT volume is: the main boot region (12 sectors: boot sector, 8 extended boot sectors, OEM
 * parameters, a reserved sector, a sector full of the checksum of the 11 before it), the backup
 * boot region (the same again), one FAT or two, then the clusters, numbered from 2.
 *
 * A region counts only when its checksum is right: every other number on the volume is found
 * through it, and one wrong bit would show wrong bytes as a file's contents.
 *
 * Source of the layout: Microsoft, "exFAT file system specification", 1.00, section 3.
 */
import { FIRST_CLUSTER, isCluster } from "../cluster-table.ts";

/** Offsets in the boot sector. */
export const BOOT = {
  jump: 0, // EB 76 90
  fileSystemName: 3, // "EXFAT   "
  mustBeZero: 11, // 53 bytes, where FAT keeps its parameters
  partitionOffset: 64, // u64, sectors; of no use here
  volumeLength: 72, // u64, sectors
  fatOffset: 80, // u32, sector of the first FAT
  fatLength: 84, // u32, sectors of each FAT
  clusterHeapOffset: 88, // u32, sector of cluster 2
  clusterCount: 92, // u32
  rootCluster: 96, // u32
  serial: 100, // u32
  revision: 104, // u16, high byte major
  volumeFlags: 106, // u16
  bytesPerSectorShift: 108, // u8, 9 to 12
  sectorsPerClusterShift: 109, // u8
  fatCount: 110, // u8, 2: TexFAT
  percentInUse: 112, // u8, 255: not known
  signature: 510, // 55 AA
} as const;

const FLAG = { activeFat: 1, dirty: 2, mediaFailure: 4 } as const;

export const JUMP = [0xeb, 0x76, 0x90] as const;
export const FILE_SYSTEM_NAME = "EXFAT   ";
const MUST_BE_ZERO_BYTES = 53;
const SIGNATURE = 0xaa55;
const BOOT_SECTOR_BYTES = 512;
export const REGION_SECTORS = 12;
const CHECKSUM_SECTOR = 11;
/** Bytes of the boot sector that change while a volume is in use: no part of the checksum. */
const UNSUMMED: readonly number[] = [
  BOOT.volumeFlags,
  BOOT.volumeFlags + 1,
  BOOT.percentInUse,
] as const;
const SECTOR_SHIFT_MIN = 9;
const SECTOR_SHIFT_MAX = 12;
/** Clusters have up to 32 MiB. */
const CLUSTER_SHIFT_MAX = 25;
const REVISION_MAJOR = 1;
const FATS_MAX = 2;
const FAT_ENTRY_BYTES = 4;
/** Cluster numbers stay below the values that have a meaning of their own (FFFFFFF7 and up). */
const CLUSTERS_MAX = 0xfffffff5;
/** A node's id is an offset on the volume, and ids stay below 2^50: a pebibyte. */
const VOLUME_BYTES_MAX = 2 ** 50;
const PERCENT_UNKNOWN = 0xff;

/** Where everything lies, in bytes from the start of the volume. Clusters count from 2. */
export interface ExfatGeometry {
  readonly bytesPerSector: number;
  readonly clusterBytes: number;
  readonly volumeBytes: number;
  /** Of the first FAT; the second, where there is one, follows it. */
  readonly fatOffsetBytes: number;
  readonly fatBytes: number;
  readonly fatCount: number;
  /** Index of the FAT, and of the allocation bitmap, that is in use. */
  readonly activeFat: number;
  readonly heapOffsetBytes: number;
  /** Clusters are numbered 2 to clusterCount + 1. */
  readonly clusterCount: number;
  readonly rootCluster: number;
  readonly serial: number;
  /** "1.00" */
  readonly revision: string;
  readonly isDirty: boolean;
  readonly hadMediaFailure: boolean;
  /** As the volume says; undefined: it does not know. */
  readonly percentInUse: number | undefined;
}

/** Why this is no boot region; `isUnsupported`: it is one, of a kind that is not read. */
export interface BootRegionFault {
  readonly fault: string;
  readonly isUnsupported: boolean;
}

export type ParsedBootRegion = { readonly geometry: ExfatGeometry } | BootRegionFault;

const faulty = (fault: string): BootRegionFault => ({ fault, isUnsupported: false });
const unsupported = (fault: string): BootRegionFault => ({ fault, isUnsupported: true });

/** Sector size in bytes that a boot sector gives; undefined when it is not one of exFAT's. */
export function sectorBytesOf(bootSector: Uint8Array): number | undefined {
  const shift = bootSector[BOOT.bytesPerSectorShift] ?? 0;
  return shift >= SECTOR_SHIFT_MIN && shift <= SECTOR_SHIFT_MAX ? 1 << shift : undefined;
}

export function hasFileSystemName(bootSector: Uint8Array): boolean {
  const end = BOOT.fileSystemName + FILE_SYSTEM_NAME.length;
  return Buffer.from(bootSector.subarray(BOOT.fileSystemName, end)).equals(
    Buffer.from(FILE_SYSTEM_NAME),
  );
}

/**
 * Reads a boot region: 12 sectors of `bytesPerSector`, which its boot sector must agree with.
 * Never throws.
 */
export function parseBootRegion(region: Uint8Array, bytesPerSector: number): ParsedBootRegion {
  const view = new DataView(region.buffer, region.byteOffset, region.byteLength);
  const fault = faultOfSignature(region, view) ?? faultOfChecksum(region, view, bytesPerSector);
  if (fault !== undefined) return faulty(fault);
  if (sectorBytesOf(region) !== bytesPerSector) return faulty("it has another sector size");
  const major = view.getUint16(BOOT.revision, true) >>> 8;
  if (major !== REVISION_MAJOR) {
    return unsupported(`it is revision ${revisionOf(view)} of exFAT; revision 1 is read`);
  }
  return geometryOf(view, bytesPerSector);
}

function faultOfSignature(region: Uint8Array, view: DataView): string | undefined {
  if (region.length < BOOT_SECTOR_BYTES) return "it is shorter than a boot sector";
  if (!hasFileSystemName(region)) return 'it is not named "EXFAT"';
  if (view.getUint16(BOOT.signature, true) !== SIGNATURE) return "it does not end with 55 AA";
  const zeros = region.subarray(BOOT.mustBeZero, BOOT.mustBeZero + MUST_BE_ZERO_BYTES);
  const at = zeros.findIndex((byte) => byte !== 0);
  if (at >= 0) return `byte ${BOOT.mustBeZero + at} is not 0, as it must be`;
  return undefined;
}

/** The checksum is repeated to fill its sector; all of it must be right. */
function faultOfChecksum(
  region: Uint8Array,
  view: DataView,
  bytesPerSector: number,
): string | undefined {
  const summedBytes = CHECKSUM_SECTOR * bytesPerSector;
  if (view.byteLength < summedBytes + bytesPerSector) return "it is cut short";
  const computed = bootChecksum(region.subarray(0, summedBytes));
  for (let at = summedBytes; at < summedBytes + bytesPerSector; at += 4) {
    const stored = view.getUint32(at, true);
    if (stored !== computed) {
      return `its checksum is ${hex(stored)} at byte ${at}, but its contents have ${hex(computed)}`;
    }
  }
  return undefined;
}

/** Rotates right and adds, over all bytes but those that change while the volume is in use. */
function bootChecksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at++) {
    if (at <= BOOT.percentInUse && UNSUMMED.includes(at)) continue;
    sum = (((sum << 31) | (sum >>> 1)) + (bytes[at] ?? 0)) >>> 0;
  }
  return sum;
}

function geometryOf(view: DataView, bytesPerSector: number): ParsedBootRegion {
  const sectors = (at: number) => view.getUint32(at, true) * bytesPerSector;
  const clusterShift =
    view.getUint8(BOOT.bytesPerSectorShift) + view.getUint8(BOOT.sectorsPerClusterShift);
  if (clusterShift > CLUSTER_SHIFT_MAX) {
    return faulty(`its clusters of 2^${clusterShift} bytes are larger than 32 MiB`);
  }
  const volumeLength = view.getBigUint64(BOOT.volumeLength, true);
  if (volumeLength > BigInt(VOLUME_BYTES_MAX / bytesPerSector)) {
    return unsupported(
      `it has ${volumeLength} sectors of ${bytesPerSector} bytes; up to 2^50 bytes are read`,
    );
  }
  const flags = view.getUint16(BOOT.volumeFlags, true);
  const fatCount = view.getUint8(BOOT.fatCount);
  const percent = view.getUint8(BOOT.percentInUse);
  const geometry: ExfatGeometry = {
    bytesPerSector,
    clusterBytes: 2 ** clusterShift,
    volumeBytes: Number(volumeLength) * bytesPerSector,
    fatOffsetBytes: sectors(BOOT.fatOffset),
    fatBytes: sectors(BOOT.fatLength),
    fatCount,
    activeFat: fatCount === FATS_MAX ? flags & FLAG.activeFat : 0,
    heapOffsetBytes: sectors(BOOT.clusterHeapOffset),
    clusterCount: view.getUint32(BOOT.clusterCount, true),
    rootCluster: view.getUint32(BOOT.rootCluster, true),
    serial: view.getUint32(BOOT.serial, true),
    revision: revisionOf(view),
    isDirty: (flags & FLAG.dirty) !== 0,
    hadMediaFailure: (flags & FLAG.mediaFailure) !== 0,
    percentInUse: percent === PERCENT_UNKNOWN ? undefined : percent,
  };
  const fault = faultOfGeometry(geometry);
  return fault === undefined ? { geometry } : faulty(fault);
}

function faultOfGeometry(geometry: ExfatGeometry): string | undefined {
  const { bytesPerSector, clusterBytes, volumeBytes, fatCount, clusterCount } = geometry;
  const { fatOffsetBytes, fatBytes, heapOffsetBytes, rootCluster } = geometry;
  if (fatCount < 1 || fatCount > FATS_MAX) return `${fatCount} FATs is not 1 or 2`;
  if (fatOffsetBytes < 2 * REGION_SECTORS * bytesPerSector) {
    return `its FAT, at byte ${fatOffsetBytes}, lies in the boot regions`;
  }
  if (fatOffsetBytes + fatCount * fatBytes > heapOffsetBytes) {
    return `its FATs, from byte ${fatOffsetBytes} on, reach into the clusters at byte ${heapOffsetBytes}`;
  }
  const fits = Math.floor((volumeBytes - heapOffsetBytes) / clusterBytes);
  if (clusterCount < 1 || clusterCount > Math.min(fits, CLUSTERS_MAX)) {
    return `it has ${clusterCount} clusters, but room for ${Math.max(0, fits)}`;
  }
  if (fatBytes < (clusterCount + FIRST_CLUSTER) * FAT_ENTRY_BYTES) {
    return `its FAT of ${fatBytes} bytes is too small for ${clusterCount} clusters`;
  }
  if (!isCluster(geometry, rootCluster)) {
    return `its root directory starts at cluster ${rootCluster}, which does not exist`;
  }
  return undefined;
}

function revisionOf(view: DataView): string {
  const revision = view.getUint16(BOOT.revision, true);
  return `${revision >>> 8}.${String(revision & 0xff).padStart(2, "0")}`;
}

/** "0x0123abcd" */
export function hex(value: number, digits = 8): string {
  return `0x${value.toString(16).padStart(digits, "0")}`;
}

/** Bytes from the start of the volume to the start of a cluster. */
export function clusterOffset(geometry: ExfatGeometry, cluster: number): number {
  return geometry.heapOffsetBytes + (cluster - FIRST_CLUSTER) * geometry.clusterBytes;
}

/** The cluster that holds a byte of the volume; undefined outside the clusters. */
export function clusterAt(geometry: ExfatGeometry, offsetBytes: number): number | undefined {
  const fromHeap = offsetBytes - geometry.heapOffsetBytes;
  const cluster = Math.floor(fromHeap / geometry.clusterBytes) + FIRST_CLUSTER;
  return isCluster(geometry, cluster) ? cluster : undefined;
}

/** Clusters that so many bytes need. */
export function clustersFor(geometry: ExfatGeometry, sizeBytes: number): number {
  return Math.ceil(sizeBytes / geometry.clusterBytes);
}
