/**
 * What every part of the FAT reader works on, and the two things all of them read: directories and
 * chains of files.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { fromSystem, ReelError } from "../../errors.ts";
import type { CodePage } from "../code-pages.ts";
import type { NodeId } from "../volume.ts";
import { describeStop, followChain } from "./chain.ts";
import type { ChainResult, ClusterClaims, RunSink } from "./chain.ts";
import { hasEndMark } from "./directory.ts";
import type { FatTable } from "./fat-table.ts";
import { clusterOffset, ENTRY_BYTES, isCluster } from "./geometry.ts";
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
  let runs: [number, number][] = [];
  const chain = await followChain(store.table, firstCluster, clustersMax, (start, count) => {
    runs.push([start, count]);
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

function extentsOf(geometry: FatGeometry, runs: readonly [number, number][]): DirectoryExtent[] {
  let position = 0;
  return runs.map(([cluster, clusterCount]) => {
    const lengthBytes = clusterCount * geometry.clusterBytes;
    const deviceOffset = clusterOffset(geometry, cluster);
    const extent = { position, deviceOffset, lengthBytes, cluster, clusterCount };
    position += lengthBytes;
    return extent;
  });
}

/** The runs up to the first cluster that comes again. Directories are short enough to list them. */
function untilRepeated(runs: readonly [number, number][]): [number, number][] {
  const seen = new Set<number>();
  const kept: [number, number][] = [];
  for (const [start, count] of runs) {
    let fresh = 0;
    while (fresh < count && !seen.has(start + fresh)) seen.add(start + fresh++);
    if (fresh > 0) kept.push([start, fresh]);
    if (fresh < count) break;
  }
  return kept;
}

function dropLastCluster(runs: [number, number][]): void {
  const last = runs.at(-1);
  if (last === undefined) return;
  last[1]--;
  if (last[1] === 0) runs.pop();
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

/** A file's chain against its size. */
export interface FileChain {
  /** Why the contents cannot be read; undefined when they can. */
  readonly fault: string | undefined;
  /** What is wrong besides; the contents are all there. */
  readonly remark: string | undefined;
  /** With claims: the cluster at which the chain meets another, or itself. */
  readonly meetsAt?: number;
}

const SOUND: FileChain = { fault: undefined, remark: undefined };

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
  if (firstCluster === 0) {
    if (needed === 0) return SOUND;
    return { fault: `it has ${sizeBytes} bytes but no first cluster`, remark: undefined };
  }
  if (!isCluster(geometry, firstCluster)) {
    const text = `it starts at cluster ${firstCluster}, which does not exist`;
    return needed === 0 ? { fault: undefined, remark: text } : { fault: text, remark: undefined };
  }
  const chain = await followChain(table, firstCluster, geometry.clusterCount, sink, claims);
  return judge(chain, needed, sizeBytes);
}

function judge(chain: ChainResult, needed: number, sizeBytes: number): FileChain {
  const { stop, clusters } = chain;
  if (stop === "taken") {
    return { fault: undefined, remark: describeStop(chain), meetsAt: chain.lastCluster };
  }
  // A cluster that is marked free or bad is not the file's, though the chain leads to it.
  const isLastSound = stop !== "free" && stop !== "bad" && stop !== "beyond";
  const sound = isLastSound ? clusters : clusters - 1;
  if (needed > 0 && (stop === "loop" || sound < needed)) {
    const wanted = stop === "end" ? `, but its ${sizeBytes} bytes need ${needed}` : "";
    return { fault: `${describeStop(chain)}${wanted}`, remark: undefined };
  }
  if (stop !== "end") return { fault: undefined, remark: describeStop(chain) };
  if (clusters === needed) return SOUND;
  const remark = `its cluster chain has ${clusters} clusters, its ${sizeBytes} bytes need ${needed}`;
  return { fault: undefined, remark };
}
