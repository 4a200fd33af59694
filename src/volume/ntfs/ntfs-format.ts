/** Recognising and opening NTFS volumes. */
import type { BlockDevice } from "../../device/block-device.ts";
import { isReelError, ReelError } from "../../errors.ts";
import { describeContents } from "../signatures.ts";
import type { Volume, VolumeFormat, VolumeInfo, VolumeProblem } from "../volume.ts";
import { BOOT_SECTOR_BYTES, parseBootSector, volumeBytes } from "./geometry.ts";
import type { NtfsGeometry } from "./geometry.ts";
import { findAttribute, loadInode } from "./inode.ts";
import { isLogClean } from "./log-file.ts";
import { Mft } from "./mft.ts";
import { TYPE } from "./record.ts";
import { readUpCase, UPCASE_RECORD } from "./upcase.ts";

const VOLUME_RECORD = 3;
const VOLUME_INFORMATION = { major: 8, minor: 9, flags: 10, end: 12 } as const;
const FLAG_DIRTY = 0x0001;
const SECTOR_SIZES = [512, 1024, 2048, 4096, 256] as const;
const BLOCK_MIN_BYTES = 512;
const BLOCK_MAX_BYTES = 64 * 1024;
/** 255 UTF-16 units, three bytes of UTF-8 each at most. */
const NAME_MAX_BYTES = 765;

export const ntfsFormat: VolumeFormat = {
  name: "ntfs",

  async probe(device) {
    return (await findBootSector(device)).found !== undefined;
  },

  async open(device): Promise<Volume> {
    const { found, fault } = await findBootSector(device);
    if (found === undefined) {
      throw new ReelError("unsupported", `cannot read ${device.name} as an NTFS volume: ${fault}`);
    }
    return new VolumeOpener(device, found).open();
  },
};

interface FoundBootSector {
  readonly geometry: NtfsGeometry;
  readonly bytes: Buffer;
  /** Set when the backup had to be used: what is wrong with the first sector. */
  readonly fault?: string;
}

/** The boot sector, or its backup in the last sector of the device. Throws what the device throws. */
async function findBootSector(
  device: BlockDevice,
): Promise<{ found: FoundBootSector | undefined; fault: string }> {
  const bytes = await readSector(device, 0);
  if (bytes === undefined) return { found: undefined, fault: "it is shorter than a boot sector" };
  const parsed = parseBootSector(bytes);
  if ("geometry" in parsed) return { found: { geometry: parsed.geometry, bytes }, fault: "" };
  const fault = `its first sector is not an NTFS boot sector: ${parsed.fault}`;
  for (const sectorBytes of SECTOR_SIZES) {
    const backup = await readSector(device, device.sizeBytes - sectorBytes);
    const again = backup === undefined ? parsed : parseBootSector(backup);
    if (backup === undefined || !("geometry" in again)) continue;
    const { geometry } = again;
    const isAtEnd =
      geometry.bytesPerSector === sectorBytes && volumeBytes(geometry) === device.sizeBytes;
    if (!isAtEnd || !(await mayHaveBeenNtfs(device, geometry))) continue;
    return { found: { geometry, bytes: backup, fault }, fault };
  }
  return { found: undefined, fault };
}

/**
 * A volume that was formatted with another filesystem may still have the backup of its NTFS days:
 * what begins like something else is not taken for NTFS, nor is what has no MFT any more.
 */
async function mayHaveBeenNtfs(device: BlockDevice, geometry: NtfsGeometry): Promise<boolean> {
  const seen = await describeContents(device);
  const isUnclear = seen === undefined || /^(an NTFS|a boot sector|the bytes)/.test(seen);
  if (!isUnclear) return false;
  try {
    await Mft.open(device, geometry);
    return true;
  } catch (error) {
    if (isReelError(error, "damaged")) return false;
    throw error;
  }
}

async function readSector(device: BlockDevice, offsetBytes: number): Promise<Buffer | undefined> {
  if (offsetBytes < 0 || offsetBytes + BOOT_SECTOR_BYTES > device.sizeBytes) return undefined;
  const bytes = Buffer.alloc(BOOT_SECTOR_BYTES);
  await device.read(offsetBytes, bytes);
  return bytes;
}

/** Opens a volume whose boot sector was found, noting what is wrong on the way. */
class VolumeOpener {
  readonly #device: BlockDevice;
  readonly #boot: FoundBootSector;
  readonly #problems: VolumeProblem[] = [];
  readonly #notices: string[] = [];

  constructor(device: BlockDevice, boot: FoundBootSector) {
    this.#device = device;
    this.#boot = boot;
  }

  async open(): Promise<Volume> {
    const { geometry, fault } = this.#boot;
    if (fault !== undefined) {
      this.#note("boot sector", `${fault}; its backup at the end of the volume is used instead`);
    }
    const mft = await Mft.open(this.#device, geometry);
    for (const message of mft.faults) this.#note("$MFT", `part of the MFT is lost: ${message}`);
    const state = await this.#tolerate("$Volume", async () => readVolumeState(mft));
    const upcase = await this.#tolerate("$UpCase", async () =>
      readUpCase(mft, await loadInode(mft, UPCASE_RECORD)),
    );
    const isClean = (await this.#tolerate("$LogFile", async () => isLogClean(mft))) ?? true;
    this.#checkSize();
    if (mft.usedMirror) {
      this.#note("$MFT", "its first records are damaged; their copies in $MFTMirr are used");
    }
    if (state?.isDirty === true) {
      this.#notices.push("the volume is marked dirty: Windows would check it before use");
    }
    if (!isClean) {
      this.#notices.push(
        "the volume was not shut down properly: what is in its log but not yet in place is not shown",
      );
    }
    const info = this.#describe(mft, state, isClean);
    const { NtfsVolume } = await import("./ntfs-volume.ts");
    return new NtfsVolume({ mft, info, upcase, problems: this.#problems });
  }

  #note(where: string, message: string): void {
    this.#problems.push({ where, message });
    this.#notices.push(`${where}: ${message}`);
  }

  /** The volume can be read without most of its own files. */
  async #tolerate<T>(where: string, work: () => Promise<T>): Promise<T | undefined> {
    try {
      return await work();
    } catch (error) {
      if (!isReelError(error, "damaged") && !isReelError(error, "not-found")) throw error;
      this.#note(where, error.message);
      return undefined;
    }
  }

  #checkSize(): void {
    const claimed = volumeBytes(this.#boot.geometry);
    const { sizeBytes, name } = this.#device;
    // Without its last sector a volume has lost no more than the backup of its boot sector.
    const missing = claimed - this.#boot.geometry.bytesPerSector > sizeBytes;
    if (!missing) return;
    this.#note(
      "boot sector",
      `says that the volume has ${claimed} bytes, ${name} has ${sizeBytes}: what lies beyond cannot be read`,
    );
  }

  #describe(mft: Mft, state: VolumeState | undefined, isLogClean: boolean): VolumeInfo {
    const { geometry, fault } = this.#boot;
    const blockSizeBytes = blockSizeOf(geometry.clusterBytes, this.#device.sizeBytes);
    const bytes = Math.min(volumeBytes(geometry), this.#device.sizeBytes);
    return {
      kind: "ntfs",
      label: state?.label ?? "",
      serial: geometry.serial,
      blockSizeBytes,
      blockCount: Math.min(
        Math.ceil(bytes / blockSizeBytes),
        Math.floor(this.#device.sizeBytes / blockSizeBytes),
      ),
      clusterSizeBytes: geometry.clusterBytes,
      clusterCount: geometry.clusterCount,
      caseSensitive: false,
      nameMaxBytes: NAME_MAX_BYTES,
      notices: this.#notices,
      details: {
        version: state?.version ?? "unknown",
        bootSector: fault === undefined ? "first sector" : "backup at the end",
        bytesPerSector: geometry.bytesPerSector,
        totalSectors: geometry.totalSectors,
        fileRecordBytes: geometry.recordBytes,
        indexRecordBytes: geometry.indexBytes,
        mftCluster: geometry.mftCluster,
        mftRecords: mft.recordCount,
        mftRuns: mft.runs.length,
        cleanlyUnmounted: isLogClean && state?.isDirty !== true,
      },
    };
  }
}

/** The largest power of two up to the cluster size that the device is a multiple of. */
function blockSizeOf(clusterBytes: number, deviceBytes: number): number {
  let size = Math.max(BLOCK_MIN_BYTES, Math.min(clusterBytes, BLOCK_MAX_BYTES));
  while (size > BLOCK_MIN_BYTES && deviceBytes % size !== 0) size /= 2;
  return size;
}

interface VolumeState {
  readonly label: string;
  readonly version: string;
  readonly isDirty: boolean;
}

async function readVolumeState(mft: Mft): Promise<VolumeState> {
  const inode = await loadInode(mft, VOLUME_RECORD);
  const label = findAttribute(inode, TYPE.volumeName)?.value?.toString("utf16le") ?? "";
  const info = findAttribute(inode, TYPE.volumeInformation)?.value;
  if (info === undefined || info.length < VOLUME_INFORMATION.end) {
    return { label, version: "unknown", isDirty: false };
  }
  const major = info.readUInt8(VOLUME_INFORMATION.major);
  const minor = info.readUInt8(VOLUME_INFORMATION.minor);
  const isDirty = (info.readUInt16LE(VOLUME_INFORMATION.flags) & FLAG_DIRTY) !== 0;
  return { label, version: `${major}.${minor}`, isDirty };
}
