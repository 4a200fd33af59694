/**
 * A whole disk as a tree with a folder for each partition, named p1, p2, … as the kernel numbers
 * them: from the images that a backup of it made, or from the disk itself.
 */
import { OverlayStore } from "../cache/overlay-store.ts";
import type { BlockDevice } from "../device/block-device.ts";
import { SliceDevice } from "../device/slice-device.ts";
import { ReelError } from "../errors.ts";
import type { DiskSet } from "../tapeimage/disk-set.ts";
import {
  CACHE_BYTES_DEFAULT,
  HEADER_MEMORY_BYTES_DEFAULT,
  openTapeImage,
} from "../tapeimage/open-image.ts";
import { openPartition } from "../volume/formats.ts";
import type { PartitionTable } from "../volume/partitions/partition-table.ts";
import type { NodeId, Volume, VolumeOptions } from "../volume/volume.ts";
import { ComposedTree, type OpenedPart, type TreePart } from "./composed-tree.ts";
import type { FileTree } from "./file-tree.ts";
import { openImageTree } from "./image-tree.ts";
import { OverlayTree } from "./overlay-tree.ts";
import { VolumeTree } from "./volume-tree.ts";

/** The memory of one image goes around among all partitions of a disk; each gets at least this. */
const MEMORY_BYTES_MIN = 4 * 1024 * 1024;

export interface DiskTreeOptions extends VolumeOptions {
  readonly cacheBytes?: number | undefined;
  /** Lets the files be changed: room for changes on all partitions together. */
  readonly overlayBytes?: number | undefined;
}

export function partitionFolder(number: number): string {
  return `p${number}`;
}

/** The partitions that a backup saved. Images are opened when they are first looked into. */
export async function openDiskSetTree(
  set: DiskSet,
  options: DiskTreeOptions = {},
): Promise<ComposedTree> {
  const count = Math.max(1, set.partitions.length);
  const share = (bytes: number): number => Math.max(MEMORY_BYTES_MIN, Math.floor(bytes / count));
  const openPart = async (index: number): Promise<Opened> => {
    const partition = set.partitions[index];
    if (partition?.image === undefined) {
      const what = `partition ${partition?.facts.number ?? index} of ${set.image}`;
      throw new ReelError("not-found", `cannot show ${what}: ${partition?.problem ?? ""}`);
    }
    const image = await openTapeImage(partition.image, {
      ...set.lookup,
      cacheBytes: share(options.cacheBytes ?? CACHE_BYTES_DEFAULT),
      headerMemoryBytes: share(HEADER_MEMORY_BYTES_DEFAULT),
    });
    try {
      const opened = await openImageTree(image, { ...volumeOptions(options), closeImage: true });
      return { ...opened, notices: image.state.notices };
    } catch (error) {
      await image.close();
      throw error;
    }
  };
  const numbers = set.partitions.map(({ facts }) => facts.number);
  return compose(set.image, numbers, openPart, options);
}

/** The partitions of a disk; the device becomes the tree's. */
export async function openDiskTree(
  device: BlockDevice,
  table: PartitionTable,
  options: DiskTreeOptions = {},
): Promise<ComposedTree> {
  const openPart = async (index: number): Promise<Opened> => {
    const entry = table.entries[index];
    if (entry === undefined) throw new ReelError("not-found", `there is no partition ${index}`);
    const slice = new SliceDevice(device, {
      offsetBytes: entry.startBytes,
      lengthBytes: entry.sizeBytes,
      name: `partition ${entry.number} of ${device.name}`,
    });
    const volume = await openPartition(slice, volumeOptions(options));
    const tree = new VolumeTree(volume, slice, { closeDevice: true });
    return { volume, tree, notices: [] };
  };
  const numbers = table.entries.map(({ number }) => number);
  return compose(device.name, numbers, openPart, options, device);
}

interface Opened {
  readonly volume: Volume;
  readonly tree: FileTree;
  readonly notices: readonly string[];
}

async function compose(
  name: string,
  numbers: readonly number[],
  openPart: (index: number) => Promise<Opened>,
  options: DiskTreeOptions,
  device?: BlockDevice,
): Promise<ComposedTree> {
  const budgetBytes = options.overlayBytes;
  const store = budgetBytes === undefined ? undefined : await OverlayStore.open({ budgetBytes });
  const open = async (index: number): Promise<OpenedPart> => {
    const { volume, tree, notices } = await openPart(index);
    const all = [...notices, ...(volume.info.notices ?? [])];
    if (store === undefined || budgetBytes === undefined) return { tree, notices: all };
    const foldName = (text: string, directory: NodeId): string => volume.foldName(text, directory);
    return { tree: await OverlayTree.open(tree, { budgetBytes, store, foldName }), notices: all };
  };
  const parts = numbers.map((number, index): TreePart => ({
    name: partitionFolder(number),
    open: async () => open(index),
  }));
  const owned = [store, device].filter((each) => each !== undefined);
  return new ComposedTree({ name, parts, writable: store !== undefined, owned });
}

function volumeOptions({ codePage, timeZoneMinutes }: DiskTreeOptions): VolumeOptions {
  return { codePage, timeZoneMinutes };
}
