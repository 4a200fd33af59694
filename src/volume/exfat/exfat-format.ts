/** Recognising and opening exFAT volumes. */
import type { BlockDevice } from "../../device/block-device.ts";
import { isReelError, ReelError } from "../../errors.ts";
import type { ClusterRun } from "../cluster-chain.ts";
import { describeContents } from "../signatures.ts";
import type { Volume, VolumeFormat, VolumeInfo, VolumeProblem } from "../volume.ts";
import { findBitmap } from "./allocation.ts";
import type { BitmapPlace } from "./allocation.ts";
import {
  BOOT,
  hasFileSystemName,
  JUMP,
  parseBootRegion,
  REGION_SECTORS,
  sectorBytesOf,
} from "./boot-region.ts";
import type { ExfatGeometry, ParsedBootRegion } from "./boot-region.ts";
import type { DirectoryItem } from "./directory.ts";
import type { Allocation } from "./entry-set.ts";
import { findDirectory, findFile, rootAllocation, scanDirectory } from "./exfat-store.ts";
import type { ExfatStore } from "./exfat-store.ts";
import { FatTable } from "./fat-table.ts";
import { loadUpCase } from "./up-case.ts";
import type { UpCaseEntry } from "./up-case.ts";

const SECTOR_SIZES = [512, 1024, 2048, 4096] as const;
const BLOCK_BYTES_MIN = 512;
const BLOCK_BYTES_MAX = 64 * 1024;
/** 255 UTF-16 units, three bytes of UTF-8 each at most. */
const NAME_MAX_BYTES = 765;
const TIME_ZONE_MAX_MINUTES = 24 * 60;

export const exfatFormat: VolumeFormat = {
  name: "exfat",

  async probe(device) {
    const start = await readAt(device, 0, BLOCK_BYTES_MIN);
    if (start === undefined) return false;
    const isNamed = hasFileSystemName(start);
    if (isNamed && sectorBytesOf(start) !== undefined) return true;
    if (!isNamed && !(await mayHaveLostItsStart(device, start))) return false;
    return (await findBackup(device)).geometry !== undefined;
  },

  async open(device, options = {}): Promise<Volume> {
    const timeZoneMinutes = options.timeZoneMinutes ?? 0;
    if (!(Math.abs(timeZoneMinutes) <= TIME_ZONE_MAX_MINUTES)) {
      throw new ReelError(
        "invalid",
        `cannot use ${timeZoneMinutes} minutes as a time zone: it is more than a day`,
      );
    }
    const { geometry, problems, notices, bootRegion } = await openBootRegion(device);
    const store = makeStore(device, geometry, timeZoneMinutes);
    if (geometry.volumeBytes > device.sizeBytes) {
      const message = `says that it has ${geometry.volumeBytes} bytes, ${device.name} has ${device.sizeBytes}: what lies beyond cannot be read`;
      problems.push({ where: "boot region", message });
    }
    const root = await readRoot(store, problems);
    const pages = new Set<number>();
    const bitmap = await openBitmap(store, root, pages, problems);
    const { fold, fault } = await loadUpCase(store, root.upCase, { pages });
    const upCaseRuns = await runsOf(store, root.upCase?.allocation, pages);
    if (fault !== undefined) {
      problems.push({ where: "up-case table", message: `${fault}; the built-in one is used` });
      notices.push("the up-case table is damaged: names are compared with a built-in one");
    }
    const info = describe(store, root, notices, {
      bootRegion,
      upCaseTable: fault === undefined ? "the volume's" : "built-in",
    });
    const system = { bitmap, upCaseRuns, pages };
    const { ExfatVolume } = await import("./exfat-volume.ts");
    return new ExfatVolume({ store, info, system, fold, problems });
  },
};

/**
 * A backup boot region may be left over from an exFAT volume that another filesystem has replaced.
 * It counts only where the first sector holds nothing that is known.
 */
async function mayHaveLostItsStart(device: BlockDevice, start: Uint8Array): Promise<boolean> {
  if (JUMP.every((byte, index) => start[BOOT.jump + index] === byte)) return true;
  const contents = await describeContents(device);
  return contents === undefined || contents.startsWith("the bytes");
}

/** The backup boot region, at whichever sector size it is. */
async function findBackup(
  device: BlockDevice,
): Promise<{ geometry: ExfatGeometry | undefined; fault: string }> {
  let fault = "there is none";
  for (const bytesPerSector of SECTOR_SIZES) {
    const { parsed, bytes } = await readRegion(device, REGION_SECTORS, bytesPerSector);
    if ("geometry" in parsed) return { geometry: parsed.geometry, fault: "" };
    if (hasFileSystemName(bytes)) fault = parsed.fault;
  }
  return { geometry: undefined, fault };
}

async function readRegion(
  device: BlockDevice,
  firstSector: number,
  bytesPerSector: number,
): Promise<{ parsed: ParsedBootRegion; bytes: Uint8Array }> {
  const lengthBytes = REGION_SECTORS * bytesPerSector;
  const bytes = await readAt(device, firstSector * bytesPerSector, lengthBytes);
  if (bytes === undefined) {
    return { parsed: { fault: "it is cut short", isUnsupported: false }, bytes: new Uint8Array(0) };
  }
  return { parsed: parseBootRegion(bytes, bytesPerSector), bytes };
}

async function readAt(
  device: BlockDevice,
  offsetBytes: number,
  lengthBytes: number,
): Promise<Uint8Array | undefined> {
  if (offsetBytes + lengthBytes > device.sizeBytes) return undefined;
  const bytes = new Uint8Array(lengthBytes);
  await device.read(offsetBytes, bytes);
  return bytes;
}

interface OpenedBootRegion {
  readonly geometry: ExfatGeometry;
  readonly bootRegion: "main" | "backup";
  readonly problems: VolumeProblem[];
  readonly notices: string[];
}

/** The main boot region, or the backup where that is damaged. Throws "damaged", "unsupported". */
async function openBootRegion(device: BlockDevice): Promise<OpenedBootRegion> {
  const main = await readMain(device);
  if ("geometry" in main.parsed) {
    const { geometry } = main.parsed;
    return openedFrom(geometry, "main", await checkBackup(device, main.bytes, geometry));
  }
  const { fault, isUnsupported } = main.parsed;
  const backup = isUnsupported ? undefined : await findBackup(device);
  if (backup?.geometry !== undefined) {
    const message = `${fault}; the backup in sector ${REGION_SECTORS} is used instead`;
    return openedFrom(backup.geometry, "backup", [{ where: "boot region", message }]);
  }
  const further = backup === undefined ? "" : `; its backup boot region: ${backup.fault}`;
  throw new ReelError(
    isUnsupported || !hasFileSystemName(main.bytes) ? "unsupported" : "damaged",
    `cannot read ${device.name} as an exFAT volume: its boot region at byte 0: ${fault}${further}`,
  );
}

async function readMain(
  device: BlockDevice,
): Promise<{ parsed: ParsedBootRegion; bytes: Uint8Array }> {
  const start = (await readAt(device, 0, BLOCK_BYTES_MIN)) ?? new Uint8Array(0);
  const bytesPerSector = sectorBytesOf(start);
  if (hasFileSystemName(start) && bytesPerSector !== undefined) {
    return readRegion(device, 0, bytesPerSector);
  }
  const fault = hasFileSystemName(start)
    ? "its sector size makes no sense"
    : 'it is not named "EXFAT"';
  return { parsed: { fault, isUnsupported: false }, bytes: start };
}

function openedFrom(
  geometry: ExfatGeometry,
  bootRegion: "main" | "backup",
  problems: VolumeProblem[],
): OpenedBootRegion {
  const notices: string[] = [];
  if (bootRegion === "backup") notices.push("the boot region is damaged: its backup is used");
  if (geometry.isDirty) {
    notices.push("the volume was not cleanly unmounted: what was written last may be missing");
  }
  if (geometry.hadMediaFailure) notices.push("the volume has met failures of its medium");
  return { geometry, bootRegion, problems, notices };
}

/** The backup must say the same, but for what changes while a volume is in use. */
async function checkBackup(
  device: BlockDevice,
  main: Uint8Array,
  { bytesPerSector }: ExfatGeometry,
): Promise<VolumeProblem[]> {
  const where = "backup boot region";
  const { parsed, bytes } = await readRegion(device, REGION_SECTORS, bytesPerSector);
  if (!("geometry" in parsed)) return [{ where, message: parsed.fault }];
  // Equal checksums over nearly all of it: what differs is in the bytes that are not summed.
  const checksumAt = (REGION_SECTORS - 1) * bytesPerSector;
  if (Buffer.compare(main.subarray(checksumAt), bytes.subarray(checksumAt)) === 0) return [];
  return [{ where, message: "differs from the boot region" }];
}

function makeStore(
  device: BlockDevice,
  geometry: ExfatGeometry,
  timeZoneMinutes: number,
): ExfatStore {
  const fromHeap = Math.max(0, device.sizeBytes - geometry.heapOffsetBytes);
  const onDevice = Math.floor(fromHeap / geometry.clusterBytes);
  return {
    device,
    geometry,
    table: new FatTable(device, geometry),
    timeZoneMinutes,
    clustersReadable: Math.min(geometry.clusterCount, onDevice),
  };
}

/** What the root directory says of the volume. */
interface RootFacts {
  label: string | undefined;
  guid: string | undefined;
  upCase: UpCaseEntry | undefined;
  /** By index: that of the FAT they go with. */
  readonly bitmaps: (Allocation | undefined)[];
}

async function readRoot(store: ExfatStore, problems: VolumeProblem[]): Promise<RootFacts> {
  const facts: RootFacts = { label: undefined, guid: undefined, upCase: undefined, bitmaps: [] };
  const sink = (item: DirectoryItem) => {
    if (item.kind === "label") facts.label ??= item.text;
    else if (item.kind === "guid") facts.guid ??= item.text;
    else if (item.kind === "upCase") facts.upCase ??= item;
    else if (item.kind === "bitmap") facts.bitmaps[item.index] ??= item.allocation;
  };
  const { activeFat } = store.geometry;
  const isDone = () =>
    facts.label !== undefined &&
    facts.upCase !== undefined &&
    facts.bitmaps[activeFat] !== undefined;
  try {
    const place = await findDirectory(store, rootAllocation(store.geometry));
    await scanDirectory(store, place, sink, { isDone });
  } catch (error) {
    if (!isReelError(error, "io") && !isReelError(error, "damaged")) throw error;
    problems.push({ where: "/", message: error.message });
  }
  return facts;
}

async function openBitmap(
  store: ExfatStore,
  { bitmaps }: RootFacts,
  pages: Set<number>,
  problems: VolumeProblem[],
): Promise<BitmapPlace | undefined> {
  const where = "allocation bitmap";
  const { activeFat } = store.geometry;
  const allocation = bitmaps[activeFat] ?? bitmaps[1 - activeFat];
  if (allocation === undefined) {
    const message = "the root directory has no entry for it: only what files have counts as used";
    problems.push({ where, message });
    return undefined;
  }
  if (bitmaps[activeFat] === undefined) {
    problems.push({ where, message: `bitmap ${activeFat + 1} is missing; the other is used` });
  }
  try {
    const place = await findBitmap(store, allocation, { pages });
    if (place.fault !== undefined) problems.push({ where, message: place.fault });
    return place;
  } catch (error) {
    if (!isReelError(error, "io") && !isReelError(error, "damaged")) throw error;
    problems.push({ where, message: error.message });
    return undefined;
  }
}

async function runsOf(
  store: ExfatStore,
  allocation: Allocation | undefined,
  pages: Set<number>,
): Promise<ClusterRun[]> {
  const runs: ClusterRun[] = [];
  if (allocation === undefined) return runs;
  try {
    await findFile(store, allocation, (cluster, count) => void runs.push({ cluster, count }), {
      pages,
    });
  } catch (error) {
    if (!isReelError(error, "io") && !isReelError(error, "damaged")) throw error;
  }
  return runs;
}

function describe(
  store: ExfatStore,
  { label, guid }: RootFacts,
  notices: readonly string[],
  found: { bootRegion: string; upCaseTable: string },
): VolumeInfo {
  const { geometry, device } = store;
  const blockSizeBytes = blockSizeOf(geometry, device.sizeBytes);
  const volumeBytes = Math.min(geometry.volumeBytes, device.sizeBytes);
  return {
    kind: "exfat",
    label: label ?? "",
    serial: formatSerial(geometry.serial),
    blockSizeBytes,
    blockCount: Math.floor(volumeBytes / blockSizeBytes),
    clusterSizeBytes: geometry.clusterBytes,
    clusterCount: geometry.clusterCount,
    caseSensitive: false,
    nameMaxBytes: NAME_MAX_BYTES,
    ...(notices.length > 0 ? { notices } : {}),
    details: {
      revision: geometry.revision,
      bootRegion: found.bootRegion,
      bytesPerSector: geometry.bytesPerSector,
      fatCount: geometry.fatCount,
      activeFat: geometry.activeFat + 1,
      fatOffsetBytes: geometry.fatOffsetBytes,
      fatBytes: geometry.fatBytes,
      clusterHeapOffsetBytes: geometry.heapOffsetBytes,
      rootCluster: geometry.rootCluster,
      ...(guid === undefined ? {} : { volumeGuid: guid }),
      percentInUse: geometry.percentInUse ?? "unknown",
      upCaseTable: found.upCaseTable,
      cleanlyUnmounted: !geometry.isDirty,
      mediaFailure: geometry.hadMediaFailure,
    },
  };
}

/**
 * The largest block of which the device, the volume and all areas are whole numbers: an image is
 * made of whole blocks, so one that did not divide the device would lose its last bytes.
 */
function blockSizeOf(geometry: ExfatGeometry, deviceBytes: number): number {
  const { volumeBytes, fatOffsetBytes, heapOffsetBytes, clusterBytes } = geometry;
  const all = [deviceBytes, volumeBytes, fatOffsetBytes, heapOffsetBytes, clusterBytes];
  if (geometry.fatCount > 1) all.push(geometry.fatBytes);
  let blockBytes = BLOCK_BYTES_MAX;
  while (blockBytes > BLOCK_BYTES_MIN && all.some((each) => each % blockBytes !== 0)) {
    blockBytes /= 2;
  }
  return blockBytes;
}

function formatSerial(serial: number): string {
  const digits = serial.toString(16).toUpperCase().padStart(8, "0");
  return `${digits.slice(0, 4)}-${digits.slice(4)}`;
}
