/**
 * The FAT boot sector: where everything on the volume lies.
 *
 * A FAT volume is: reserved sectors (the boot sector first), the FATs one after the other, on
 * FAT12 and FAT16 a root directory of fixed size, then the clusters, numbered from 2.
 *
 * Source of the layouts: "Microsoft Extensible Firmware Initiative FAT32 File System
 * Specification" 1.03, and the boot sectors that DOS, Atari TOS, Linux and mtools leave behind.
 * The jump at offset 0 and the 55 AA at offset 510 are not looked at: Atari, MSX and many cameras
 * write something else there. What makes a boot sector is a parameter block that makes sense.
 */
import { FIRST_CLUSTER, isCluster } from "../cluster-table.ts";

/** Offsets in the boot sector that FAT12, FAT16 and FAT32 share. */
export const BPB = {
  oemName: 3, // 8 bytes
  bytesPerSector: 11, // u16
  sectorsPerCluster: 13, // u8
  reservedSectors: 14, // u16
  fatCount: 16, // u8
  rootEntries: 17, // u16, 0 on FAT32
  totalSectors16: 19, // u16, 0: see totalSectors32
  media: 21, // u8
  sectorsPerFat16: 22, // u16, 0 on FAT32
  totalSectors32: 32, // u32
} as const;

/** What follows the shared part on FAT12 and FAT16. */
export const BPB_FAT16 = {
  state: 37, // u8, bit 0: not cleanly unmounted
  extendedSignature: 38, // 0x28: serial follows; 0x29: serial and label follow
  serial: 39, // u32
  label: 43, // 11 bytes
} as const;

/** What follows the shared part on FAT32. */
export const BPB_FAT32 = {
  sectorsPerFat32: 36, // u32
  flags: 40, // u16, bit 7: only the FAT numbered in bits 0-3 is kept up to date
  rootCluster: 44, // u32
  fsInfoSector: 48, // u16
  backupBootSector: 50, // u16
  state: 65,
  extendedSignature: 66,
  serial: 67,
  label: 71,
} as const;

export const BOOT_SECTOR_BYTES = 512;
export const LABEL_BYTES = 11;
export const ENTRY_BYTES = 32;
const FATS_MAX = 4;
const SECTOR_BYTES_MIN = 512;
const SECTOR_BYTES_MAX = 4096;
/** Fewer clusters than this is FAT12 (specification, "FAT type determination"). */
const FAT16_CLUSTERS_MIN = 4085;
const MIRRORING_OFF = 0x80;
const ACTIVE_FAT_MASK = 0x0f;
const SERIAL_ONLY = 0x28;
const SERIAL_AND_LABEL = 0x29;

export type FatBits = 12 | 16 | 32;

/** Highest cluster count whose numbers stay below the values with a meaning of their own. */
const CLUSTERS_MAX: Readonly<Record<FatBits, number>> = {
  12: 0xff5,
  16: 0xfff5,
  32: 0x0ffffff5,
};

/** Where everything lies. Sectors and clusters are counted from the start of the volume. */
export interface FatGeometry {
  readonly bits: FatBits;
  readonly bytesPerSector: number;
  readonly sectorsPerCluster: number;
  readonly clusterBytes: number;
  readonly reservedSectors: number;
  readonly fatCount: number;
  readonly sectorsPerFat: number;
  /** The FAT that is read; the others are copies of it when `mirrored`. */
  readonly activeFat: number;
  readonly mirrored: boolean;
  /** First sector and size of the root directory of FAT12 and FAT16; 0 sectors on FAT32. */
  readonly rootSector: number;
  readonly rootSectors: number;
  readonly rootEntries: number;
  /** FAT32 only; 0 otherwise. */
  readonly rootCluster: number;
  /** First sector of cluster 2. */
  readonly dataSector: number;
  readonly totalSectors: number;
  /** Clusters are numbered 2 to clusterCount + 1. */
  readonly clusterCount: number;
  /** FAT32 only; 0: none. */
  readonly fsInfoSector: number;
  readonly backupBootSector: number;
  readonly media: number;
  readonly oemName: string;
  readonly serial: number | undefined;
  /** The 11 bytes of the label in the boot sector, in the OEM code page. */
  readonly label: Uint8Array | undefined;
  /** Bit 0 of the state byte: not cleanly unmounted. */
  readonly dirty: boolean;
  /** Oddities that were lived with. */
  readonly remarks: readonly string[];
}

export type ParsedBootSector =
  | { readonly geometry: FatGeometry }
  /** Why this is not a FAT boot sector. */
  | { readonly fault: string };

/** Reads a boot sector (its first 512 bytes). Never throws. */
export function parseBootSector(bytes: Uint8Array): ParsedBootSector {
  if (bytes.length < BOOT_SECTOR_BYTES) return { fault: "it is shorter than a boot sector" };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const fault = faultOfParameters(view);
  if (fault !== undefined) return { fault };
  const areas = areasOf(view);
  const dataSectors = areas.totalSectors - areas.dataSector;
  if (dataSectors < areas.sectorsPerCluster) {
    return {
      fault: `its FATs and root directory leave no room for clusters in ${areas.totalSectors} sectors`,
    };
  }
  const { bits, clusterCount, remarks } = typeOf(areas, dataSectors);
  if (clusterCount <= 0) return { fault: "its FAT has no room for a cluster" };
  const extension = bits === 32 ? BPB_FAT32 : BPB_FAT16;
  const signature = view.getUint8(extension.extendedSignature);
  const hasSerial = signature === SERIAL_AND_LABEL || signature === SERIAL_ONLY;
  const { label } = extension;
  return {
    geometry: {
      ...areas,
      ...fat32Fields(view, areas.isFat32, areas.fatCount),
      bits,
      clusterCount,
      remarks,
      clusterBytes: areas.sectorsPerCluster * areas.bytesPerSector,
      media: view.getUint8(BPB.media),
      oemName: latin1(bytes.subarray(BPB.oemName, BPB.oemName + 8)),
      serial: hasSerial ? view.getUint32(extension.serial, true) : undefined,
      label: signature === SERIAL_AND_LABEL ? bytes.slice(label, label + LABEL_BYTES) : undefined,
      dirty: hasSerial && (view.getUint8(extension.state) & 1) !== 0,
    },
  };
}

function faultOfParameters(view: DataView): string | undefined {
  const bytesPerSector = view.getUint16(BPB.bytesPerSector, true);
  if (
    !isPowerOfTwo(bytesPerSector) ||
    bytesPerSector < SECTOR_BYTES_MIN ||
    bytesPerSector > SECTOR_BYTES_MAX
  ) {
    return `${bytesPerSector} is no sector size`;
  }
  const sectorsPerCluster = view.getUint8(BPB.sectorsPerCluster);
  if (!isPowerOfTwo(sectorsPerCluster)) return `${sectorsPerCluster} is no cluster size`;
  if (view.getUint16(BPB.reservedSectors, true) === 0) return "it reserves no boot sector";
  const fatCount = view.getUint8(BPB.fatCount);
  if (fatCount === 0 || fatCount > FATS_MAX) return `${fatCount} FATs is not 1 to ${FATS_MAX}`;
  if (view.getUint16(BPB.sectorsPerFat16, true) === 0) {
    if (view.getUint32(BPB_FAT32.sectorsPerFat32, true) === 0) return "its FATs have no sectors";
  } else if (view.getUint16(BPB.rootEntries, true) === 0) {
    return "its root directory has no entries";
  }
  return undefined;
}

interface Areas {
  readonly isFat32: boolean;
  readonly bytesPerSector: number;
  readonly sectorsPerCluster: number;
  readonly reservedSectors: number;
  readonly fatCount: number;
  readonly sectorsPerFat: number;
  readonly rootEntries: number;
  readonly rootSector: number;
  readonly rootSectors: number;
  readonly dataSector: number;
  readonly totalSectors: number;
}

function areasOf(view: DataView): Areas {
  const bytesPerSector = view.getUint16(BPB.bytesPerSector, true);
  const reservedSectors = view.getUint16(BPB.reservedSectors, true);
  const fatCount = view.getUint8(BPB.fatCount);
  const sectorsPerFat16 = view.getUint16(BPB.sectorsPerFat16, true);
  // FAT32 is what has no 16-bit FAT size, however few its clusters: the fields that follow differ.
  const isFat32 = sectorsPerFat16 === 0;
  const sectorsPerFat = isFat32 ? view.getUint32(BPB_FAT32.sectorsPerFat32, true) : sectorsPerFat16;
  const rootEntries = isFat32 ? 0 : view.getUint16(BPB.rootEntries, true);
  const rootSectors = Math.ceil((rootEntries * ENTRY_BYTES) / bytesPerSector);
  const rootSector = reservedSectors + fatCount * sectorsPerFat;
  const totalSectors16 = view.getUint16(BPB.totalSectors16, true);
  return {
    isFat32,
    bytesPerSector,
    sectorsPerCluster: view.getUint8(BPB.sectorsPerCluster),
    reservedSectors,
    fatCount,
    sectorsPerFat,
    rootEntries,
    rootSector,
    rootSectors,
    dataSector: rootSector + rootSectors,
    totalSectors: totalSectors16 === 0 ? view.getUint32(BPB.totalSectors32, true) : totalSectors16,
  };
}

/** FAT12, FAT16 or FAT32, and how many clusters the FAT really has entries for. */
function typeOf(
  areas: Areas,
  dataSectors: number,
): { bits: FatBits; clusterCount: number; remarks: string[] } {
  const remarks: string[] = [];
  const declared = Math.floor(dataSectors / areas.sectorsPerCluster);
  const bits: FatBits = areas.isFat32 ? 32 : declared < FAT16_CLUSTERS_MIN ? 12 : 16;
  const fatBytes = areas.sectorsPerFat * areas.bytesPerSector;
  const entries = Math.floor((fatBytes * 8) / bits) - FIRST_CLUSTER;
  const clusterCount = Math.min(declared, entries, CLUSTERS_MAX[bits]);
  if (clusterCount < declared) {
    remarks.push(`room for ${declared} clusters, but only ${clusterCount} have a FAT entry`);
  }
  return { bits, clusterCount, remarks };
}

function fat32Fields(
  view: DataView,
  isFat32: boolean,
  fatCount: number,
): Pick<
  FatGeometry,
  "activeFat" | "mirrored" | "rootCluster" | "fsInfoSector" | "backupBootSector"
> {
  if (!isFat32) {
    return { activeFat: 0, mirrored: true, rootCluster: 0, fsInfoSector: 0, backupBootSector: 0 };
  }
  const flags = view.getUint16(BPB_FAT32.flags, true);
  const active = flags & ACTIVE_FAT_MASK;
  const mirrored = (flags & MIRRORING_OFF) === 0 || active >= fatCount;
  return {
    activeFat: mirrored ? 0 : active,
    mirrored,
    rootCluster: view.getUint32(BPB_FAT32.rootCluster, true),
    fsInfoSector: sectorOrNone(view.getUint16(BPB_FAT32.fsInfoSector, true)),
    backupBootSector: sectorOrNone(view.getUint16(BPB_FAT32.backupBootSector, true)),
  };
}

/** 0 and FFFF both mean "none". */
function sectorOrNone(sector: number): number {
  return sector === 0xffff ? 0 : sector;
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString("latin1")
    .replace(/[\0 ]+$/, "");
}

/** Bytes from the start of the volume to the start of a cluster. */
export function clusterOffset(geometry: FatGeometry, cluster: number): number {
  const { dataSector, sectorsPerCluster, bytesPerSector } = geometry;
  return (dataSector + (cluster - FIRST_CLUSTER) * sectorsPerCluster) * bytesPerSector;
}

/** The cluster that holds a byte of the volume; undefined outside the clusters. */
export function clusterAt(geometry: FatGeometry, offsetBytes: number): number | undefined {
  const fromData = offsetBytes - geometry.dataSector * geometry.bytesPerSector;
  const cluster = Math.floor(fromData / geometry.clusterBytes) + FIRST_CLUSTER;
  return isCluster(geometry, cluster) ? cluster : undefined;
}
