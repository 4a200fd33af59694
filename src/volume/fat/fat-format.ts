/** Recognising and opening FAT12, FAT16 and FAT32 volumes. */
import type { BlockDevice } from "../../device/block-device.ts";
import { isReelError, ReelError } from "../../errors.ts";
import { CODE_PAGE_DEFAULT, codePage } from "../code-pages.ts";
import type { Volume, VolumeFormat, VolumeInfo, VolumeOptions, VolumeProblem } from "../volume.ts";
import { labelOf, scanDirectory } from "./directory.ts";
import { loadDirectory, rootClusterOf } from "./fat-store.ts";
import type { FatStore } from "./fat-store.ts";
import { CACHE_DEFAULT_BYTES, FatTable } from "./fat-table.ts";
import { BOOT_SECTOR_BYTES, parseBootSector } from "./geometry.ts";
import type { FatGeometry } from "./geometry.ts";

/** FAT32 keeps a copy of its boot sector here unless it was told otherwise. */
const BACKUP_BOOT_SECTOR = 6;
const SECTOR_SIZES = [512, 1024, 2048, 4096] as const;
/** Parts of the boot sector in which its backup must be the same: the parameters, no flags. */
const COMPARED_START = 11;
const COMPARED_END = 64;
const FSINFO = { lead: 0x41615252, middleOffset: 484, middle: 0x61417272 } as const;
const FAT16_CLEAN = 0x8000;
const FAT32_CLEAN = 0x08000000;
/** 255 UTF-16 units, three bytes of UTF-8 each at most. */
const NAME_MAX_BYTES = 765;
const NO_LABEL = "NO NAME";
const TIME_ZONE_MAX_MINUTES = 24 * 60;

export const fatFormat: VolumeFormat = {
  name: "fat",

  async probe(device) {
    return (await findBootSector(device)).found !== undefined;
  },

  async open(device, options = {}): Promise<Volume> {
    const { found, fault } = await findBootSector(device);
    if (found === undefined) {
      throw new ReelError("unsupported", `cannot read ${device.name} as a FAT volume: ${fault}`);
    }
    const store = makeStore(device, found.geometry, options);
    const problems: VolumeProblem[] = found.geometry.remarks.map(problem("boot sector"));
    if (found.sector !== 0) {
      const message = `${fault}; its backup in sector ${found.sector} is used instead`;
      problems.push({ where: "boot sector", message });
    }
    problems.push(...(await checkReserved(device, found)));
    const info = await describe(store, found, options, problems);
    const { FatVolume } = await import("./fat-volume.ts");
    return new FatVolume(store, info, problems);
  },
};

const problem =
  (where: string) =>
  (message: string): VolumeProblem => ({ where, message });

interface FoundBootSector {
  readonly geometry: FatGeometry;
  readonly bytes: Uint8Array;
  readonly sector: number;
}

/**
 * The boot sector, or a FAT32 volume's backup of it where the first is no boot sector. Throws what
 * the device throws.
 */
async function findBootSector(
  device: BlockDevice,
): Promise<{ found: FoundBootSector | undefined; fault: string }> {
  const bytes = await readSector(device, 0);
  if (bytes === undefined) return { found: undefined, fault: "it is shorter than a boot sector" };
  const parsed = parseBootSector(bytes);
  if ("geometry" in parsed) {
    return { found: { geometry: parsed.geometry, bytes, sector: 0 }, fault: "" };
  }
  const fault = `its first sector is not a FAT boot sector: ${parsed.fault}`;
  for (const sectorBytes of SECTOR_SIZES) {
    const backup = await readSector(device, BACKUP_BOOT_SECTOR * sectorBytes);
    if (backup === undefined) break;
    const again = parseBootSector(backup);
    if (!("geometry" in again)) continue;
    const { geometry } = again;
    const isBackup =
      geometry.bits === 32 &&
      geometry.bytesPerSector === sectorBytes &&
      geometry.backupBootSector === BACKUP_BOOT_SECTOR;
    if (isBackup) {
      return { found: { geometry, bytes: backup, sector: BACKUP_BOOT_SECTOR }, fault };
    }
  }
  return { found: undefined, fault };
}

async function readSector(
  device: BlockDevice,
  offsetBytes: number,
): Promise<Uint8Array | undefined> {
  if (offsetBytes + BOOT_SECTOR_BYTES > device.sizeBytes) return undefined;
  const bytes = new Uint8Array(BOOT_SECTOR_BYTES);
  await device.read(offsetBytes, bytes);
  return bytes;
}

function makeStore(device: BlockDevice, geometry: FatGeometry, options: VolumeOptions): FatStore {
  const timeZoneMinutes = options.timeZoneMinutes ?? 0;
  if (!(Math.abs(timeZoneMinutes) <= TIME_ZONE_MAX_MINUTES)) {
    throw new ReelError(
      "invalid",
      `cannot use ${timeZoneMinutes} minutes as a time zone: it is more than a day`,
    );
  }
  return {
    device,
    geometry,
    table: new FatTable(device, geometry, CACHE_DEFAULT_BYTES),
    isFat32: geometry.bits === 32,
    codePage: codePage(options.codePage ?? CODE_PAGE_DEFAULT),
    timeZoneMinutes,
  };
}

/** What is wrong with the size of the device, the backup of the boot sector and FSInfo. */
async function checkReserved(
  device: BlockDevice,
  { geometry, bytes, sector }: FoundBootSector,
): Promise<VolumeProblem[]> {
  const problems: VolumeProblem[] = [];
  const { bytesPerSector, totalSectors, backupBootSector, fsInfoSector, reservedSectors } =
    geometry;
  if (totalSectors * bytesPerSector > device.sizeBytes) {
    const message = `says that it has ${totalSectors * bytesPerSector} bytes, ${device.name} has ${device.sizeBytes}: what lies beyond cannot be read`;
    problems.push({ where: "boot sector", message });
  }
  const isReserved = (at: number) => at > 0 && at < reservedSectors;
  if (sector === 0 && isReserved(backupBootSector)) {
    const backup = await readSector(device, backupBootSector * bytesPerSector);
    const part = (from: Uint8Array) => from.subarray(COMPARED_START, COMPARED_END);
    if (backup === undefined || Buffer.compare(part(bytes), part(backup)) !== 0) {
      problems.push({ where: "backup boot sector", message: "differs from the boot sector" });
    }
  }
  if (isReserved(fsInfoSector)) {
    const fsInfo = await readSector(device, fsInfoSector * bytesPerSector);
    if (fsInfo === undefined || !isFsInfo(fsInfo)) {
      problems.push({ where: "FSInfo sector", message: "has no FSInfo signature" });
    }
  }
  return problems;
}

function isFsInfo(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return (
    view.getUint32(0, true) === FSINFO.lead &&
    view.getUint32(FSINFO.middleOffset, true) === FSINFO.middle
  );
}

async function describe(
  store: FatStore,
  { geometry, sector }: FoundBootSector,
  options: VolumeOptions,
  problems: VolumeProblem[],
): Promise<VolumeInfo> {
  const { bytesPerSector, totalSectors, clusterBytes, clusterCount, mirrored } = geometry;
  return {
    kind: `fat${geometry.bits}`,
    label: await findLabel(store, problems),
    serial: geometry.serial === undefined ? "" : formatSerial(geometry.serial),
    blockSizeBytes: bytesPerSector,
    blockCount: Math.min(totalSectors, Math.floor(store.device.sizeBytes / bytesPerSector)),
    clusterSizeBytes: clusterBytes,
    clusterCount,
    caseSensitive: false,
    nameMaxBytes: NAME_MAX_BYTES,
    details: {
      oemName: geometry.oemName,
      media: `0x${geometry.media.toString(16)}`,
      bootSector: sector,
      reservedSectors: geometry.reservedSectors,
      fatCount: geometry.fatCount,
      sectorsPerFat: geometry.sectorsPerFat,
      activeFat: mirrored ? "mirrored" : geometry.activeFat + 1,
      ...(store.isFat32
        ? { rootCluster: geometry.rootCluster, fsInfoSector: geometry.fsInfoSector }
        : { rootEntries: geometry.rootEntries }),
      totalSectors,
      cleanlyUnmounted: !geometry.dirty && (await isMarkedClean(store)),
      codePage: options.codePage ?? CODE_PAGE_DEFAULT,
    },
  };
}

/** The label in the root directory, which systems show; else the one in the boot sector. */
async function findLabel(store: FatStore, problems: VolumeProblem[]): Promise<string> {
  const { geometry } = store;
  try {
    const { bytes } = await loadDirectory(store, rootClusterOf(geometry));
    for (const slot of scanDirectory(bytes, false)) {
      if (slot.kind === "label")
        return withoutPlaceholder(labelOf(bytes, slot.offset, store.codePage));
    }
  } catch (error) {
    if (!isReelError(error)) throw error;
    problems.push({ where: "/", message: error.message });
  }
  if (geometry.label === undefined) return "";
  return withoutPlaceholder(labelOf(geometry.label, 0, store.codePage));
}

function withoutPlaceholder(label: string): string {
  return label === NO_LABEL ? "" : label;
}

function formatSerial(serial: number): string {
  const digits = serial.toString(16).toUpperCase().padStart(8, "0");
  return `${digits.slice(0, 4)}-${digits.slice(4)}`;
}

/** The entry of cluster 1 has a bit that is cleared while a volume is mounted. FAT12 has none. */
async function isMarkedClean({ table, geometry }: FatStore): Promise<boolean> {
  if (geometry.bits === 12) return true;
  const entry = await table.entry(1);
  const bit = geometry.bits === 16 ? FAT16_CLEAN : FAT32_CLEAN;
  return entry === undefined || (entry & bit) !== 0;
}
