/**
 * What every part of the FAT reader works on, and the two things all of them read: directories and
 * chains of files.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { fromSystem, ReelError } from "../../errors.ts";
import { isCluster } from "../cluster-table.ts";
import type { CodePage } from "../code-pages.ts";
import type { NodeId } from "../volume.ts";
import {
  describeStop,
  dropLastCluster,
  followChain,
  judgeChain,
  judgeStart,
  untilRepeated,
} from "../cluster-chain.ts";
import type { ClusterClaims, ClusterRun, FileChain, RunSink } from "../cluster-chain.ts";
import { hasEndMark } from "./directory.ts";
import type { FatTable } from "./fat-table.ts";
import { clusterOffset, ENTRY_BYTES } from "./geometry.ts";
import type { FatGeometry } from "./geometry.ts";

/**
 * The root directory has no entry of its own. Every other node's id is the offset of its short
 * entry on the device, a multiple of 32.
 */
export const ROOT_ID: NodeId = 1;

/**
 * Longest directory that is read. The specification stops at 65,536 slots (2 MiB); some systems
 * write more.
 */
export const DIRECTORY_BYTES_MAX = 16 * 1024 * 1024;

/** The root's number where a cluster number is expected: FAT12 and FAT16 have no such cluster. */
export const FIXED_ROOT = 0;

export interface FatStore {
  readonly device: BlockDevice;
  readonly geometry: FatGeometry;
  readonly table: FatTable;
  readonly isFat32: boolean;
  readonly codePage: CodePage;
  readonly timeZoneMinutes: number;
}

/** A directory's slots, as far as its chain is sound. */
export interface DirectoryData {
  readonly bytes: Uint8Array;
  readonly extents: readonly DirectoryExtent[];
  /** What is wrong with its chain; entries that lie before the fault are in `bytes`. */
  readonly fault: string | undefined;
  /** True when all its entries are in `bytes`, in spite of a fault. */
  readonly isComplete: boolean;
}

/** A stretch of a directory: where it lies in `bytes`, on the device, and from which cluster on. */
export interface DirectoryExtent {
  readonly position: number;
  readonly deviceOffset: number;
  readonly lengthBytes: number;
  readonly cluster: number;
  readonly clusterCount: number;
}

export function rootClusterOf(geometry: FatGeometry): number {
  return geometry.bits === 32 ? geometry.rootCluster : FIXED_ROOT;
}

/**
 * Reads a directory by its first cluster; FIXED_ROOT is the root of FAT12 and FAT16. What is wrong
 * with the directory is told in the result. Throws what the device throws.
 */
export async function loadDirectory(store: FatStore, firstCluster: number): Promise<DirectoryData> {
  const { geometry } = store;
  if (firstCluster === FIXED_ROOT && geometry.bits !== 32) return loadFixedRoot(store);
  if (!isCluster(geometry, firstCluster)) {
    return {
      bytes: new Uint8Array(0),
      extents: [],
      fault: `it starts at cluster ${firstCluster}, which does not exist`,
      isComplete: false,
    };
  }
  const clustersMax = Math.ceil(DIRECTORY_BYTES_MAX / geometry.clusterBytes);
  let runs: ClusterRun[] = [];
  const chain = await followChain(store.table, firstCluster, clustersMax, (cluster, count) => {
    runs.push({ cluster, count });
  });
  if (chain.stop === "loop") runs = untilRepeated(runs);
  if (chain.stop === "free") dropLastCluster(runs);
  const fault = chain.stop === "end" ? undefined : describeStop(chain);
  return readExtents(store, extentsOf(geometry, runs), fault);
}

async function loadFixedRoot(store: FatStore): Promise<DirectoryData> {
  const { rootSector, bytesPerSector, rootEntries } = store.geometry;
  const extent: DirectoryExtent = {
    position: 0,
    deviceOffset: rootSector * bytesPerSector,
    lengthBytes: rootEntries * ENTRY_BYTES,
    cluster: FIXED_ROOT,
    clusterCount: 0,
  };
  return readExtents(store, [extent], undefined);
}

/** Reads what lies on the device, and adds a fault when that is not all. */
async function readExtents(
  store: FatStore,
  extents: readonly DirectoryExtent[],
  chainFault: string | undefined,
): Promise<DirectoryData> {
  const { device } = store;
  const isOnDevice = (extent: DirectoryExtent) =>
    extent.deviceOffset + extent.lengthBytes <= device.sizeBytes;
  const beyond = extents.findIndex((extent) => !isOnDevice(extent));
  const readable = beyond < 0 ? extents : extents.slice(0, beyond);
  const total = readable.reduce((sum, extent) => sum + extent.lengthBytes, 0);
  const bytes = new Uint8Array(total);
  for (const { position, deviceOffset, lengthBytes } of readable) {
    try {
      await device.read(deviceOffset, bytes.subarray(position, position + lengthBytes));
    } catch (error) {
      throw fromSystem(error, `cannot read a directory at byte ${deviceOffset} of ${device.name}`);
    }
  }
  const fault = beyond < 0 ? chainFault : `it lies beyond the end of ${device.name}`;
  return {
    bytes,
    extents: readable,
    fault,
    isComplete: fault === undefined || hasEndMark(bytes),
  };
}

function extentsOf(geometry: FatGeometry, runs: readonly ClusterRun[]): DirectoryExtent[] {
  let position = 0;
  return runs.map(({ cluster, count: clusterCount }) => {
    const lengthBytes = clusterCount * geometry.clusterBytes;
    const deviceOffset = clusterOffset(geometry, cluster);
    const extent = { position, deviceOffset, lengthBytes, cluster, clusterCount };
    position += lengthBytes;
    return extent;
  });
}

/** Offset on the device of a position in a directory. */
export function deviceOffsetOf(directory: DirectoryData, position: number): number {
  const { extents } = directory;
  let low = 0;
  let high = extents.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((extents[middle]?.position ?? 0) <= position) low = middle;
    else high = middle - 1;
  }
  const extent = extents[low];
  if (extent === undefined) throw new ReelError("internal", `no directory byte ${position}`);
  return extent.deviceOffset + position - extent.position;
}

/**
 * Follows the chain of a file to its end, however long its size says it is, so that a loop is
 * always found. The sink gets all of it, beyond the size too. With `claims`, a chain that meets
 * another one is a remark and is followed no further. Throws what reading the FAT throws.
 */
export async function checkFileChain(
  store: FatStore,
  firstCluster: number,
  sizeBytes: number,
  sink: RunSink,
  claims?: ClusterClaims,
): Promise<FileChain> {
  const { geometry, table } = store;
  const needed = Math.ceil(sizeBytes / geometry.clusterBytes);
  const start = judgeStart(table, firstCluster, needed, sizeBytes);
  if (start !== undefined) return start;
  const chain = await followChain(table, firstCluster, geometry.clusterCount, sink, { claims });
  return judgeChain(chain, needed, sizeBytes);
}
