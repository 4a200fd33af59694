/** The public library: everything the commands do, without a terminal. Re-exports only. */
export { ReelError, isReelError, type ErrorCode } from "./errors.ts";
export type { Progress, ProgressEvent, RunOptions } from "./progress.ts";

export type { BlockDevice, WritableBlockDevice } from "./device/block-device.ts";
export { openFileDevice, openWritableFileDevice } from "./device/file-device.ts";
export { MemoryDevice } from "./device/memory-device.ts";
export { SegmentsDevice, WritableSegmentsDevice } from "./device/segments-device.ts";
export { SliceDevice, WritableSliceDevice } from "./device/slice-device.ts";
export { ExtentSet, ExtentSetBuilder } from "./device/extents.ts";

export { VOLUME_FORMATS, openForBackup, openVolume } from "./volume/formats.ts";
export { readPartitionTable } from "./volume/partitions/read-partition-table.ts";
export type * from "./volume/volume.ts";

export type * from "./tape/tape-drive.ts";
export { openSimhTape, type SimhTapeOptions } from "./tape/simh-tape.ts";
export { TapeSetDrive } from "./tape/tape-set.ts";
export { openTapeForReading } from "./tape/set/set-files.ts";
export { openTapeForWriting } from "./tape/set/open-for-writing.ts";
export { MemoryTape } from "./tape/memory-tape.ts";
export { CountingDrive } from "./tape/counting-drive.ts";
export { estimateSeconds, TAPE_MODEL_NAMES, tapeModel, type TapeModel } from "./tape/time-model.ts";
export { openTape, recogniseContainer } from "./tape/open-tape.ts";
export { convertTape } from "./tape/containers/convert.ts";
export { createTapeSink } from "./tape/containers/tape-sink.ts";
export { describeTape } from "./tape/tape-contents.ts";
export { checkTape } from "./tape/tape-check.ts";
export { dumpTape, hexLines } from "./tape/tape-dump.ts";
export { openTapeFile } from "./tape/tape-file-stream.ts";
export { indexTar } from "./tape/tar-index.ts";
export {
  decodeFileLabel,
  decodeVolumeLabel,
  encodeVolumeLabel,
  readLabel,
  writeLabel,
} from "./tape/labels.ts";

export { backupVolume, type BackupOptions, type BackupResult } from "./tapeimage/backup.ts";
export {
  listImages,
  openTapeImage,
  type ImageSummary,
  type OpenImageOptions,
} from "./tapeimage/open-image.ts";
export { backupDisk } from "./tapeimage/backup-disk.ts";
export { findDiskSet } from "./tapeimage/disk-set.ts";
export { openImageVolume } from "./tapeimage/image-volume.ts";
export { restoreDisk } from "./tapeimage/restore-disk.ts";
export { consolidateImage } from "./tapeimage/incremental/consolidate.ts";
export type { ImageExceptions, LiveSource } from "./tapeimage/exceptions.ts";
export type * from "./tapeimage/tape-image.ts";
export type { ImageHeader } from "./tapeimage/header.ts";
export { verifyImage, type VerifyResult } from "./tapeimage/verify.ts";
export {
  restoreImage,
  type RestoreImageOptions,
  type RestoreImageResult,
} from "./tapeimage/restore-image.ts";

export type * from "./tree/file-tree.ts";
export { VolumeTree } from "./tree/volume-tree.ts";
export { OverlayTree } from "./tree/overlay-tree.ts";
export { openImageTree } from "./tree/image-tree.ts";
export { ComposedTree } from "./tree/composed-tree.ts";
export { openDiskSetTree, openDiskTree } from "./tree/disk-trees.ts";
export { openHistory } from "./tree/history-tree.ts";
export { compareTrees } from "./tree/compare-trees.ts";
export { resolvePath, walk } from "./tree/path.ts";

export {
  planSelection,
  restoreSelection,
  type RestoreOptions,
  type RestoreSource,
  type RestoreSummary,
  type SelectionPlan,
} from "./tagrestore/restore.ts";

export type * from "./vtl/tape-loader.ts";
export {
  adoptVirtualLoader,
  createVirtualLoader,
  deleteVirtualLoader,
  getVirtualLoaderInformation,
  openVirtualLoader,
  setVirtualLoader,
} from "./vtl/manage-loaders.ts";
export { inventoryVirtualLoader } from "./vtl/inventory.ts";
export { exportVirtualTape, importVirtualTapes } from "./vtl/import-export.ts";
export {
  createVirtualTape,
  createVirtualTapes,
  deleteVirtualTape,
  eraseVirtualTape,
  labelVirtualTape,
  protectVirtualTape,
} from "./vtl/virtual-tapes.ts";
export { readAcrossTapes, writeAcrossTapes } from "./vtl/across-tapes.ts";
export { VirtualLoader } from "./vtl/virtual-loader.ts";
export { CHANGER_LUN, lunOfDrive, ScsiTarget } from "./vtl/scsi/target.ts";
export { describeAnswer, describeCdb } from "./vtl/scsi/decode.ts";
export type { ScsiAnswer } from "./vtl/scsi/answer.ts";
export type { CartridgeMemories, CartridgeMemory } from "./vtl/scsi/cartridge-memory.ts";
export { storedCartridgeMemories } from "./vtl/stored-cartridge-memory.ts";
export { openLoaderTree } from "./vtl/tree/loader-tree.ts";

export { DeviceTree } from "./expose/device-tree.ts";
export { learnControlSet } from "./expose/learn.ts";
export { OverlayDevice } from "./expose/overlay-device.ts";

export { LiveBackup } from "./live/live-backup.ts";
export { TrackedBackup } from "./track/tracked-backup.ts";
export { Tracker } from "./track/tracker.ts";
export { serveTracker } from "./track/serve-tracker.ts";

export { mountTree } from "./fuse/mount-tree.ts";
export { listMounts } from "./fuse/registry.ts";
export { serveMount } from "./fuse/serve-mount.ts";
export { taggedPaths } from "./fuse/control.ts";
