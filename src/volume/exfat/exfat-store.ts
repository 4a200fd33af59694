/**
 * What every part of the exFAT reader works on, and the two things all of them read: directories
 * and the clusters of files.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { fromSystem, ReelError } from "../../errors.ts";
import { FIRST_CLUSTER, isCluster } from "../cluster-table.ts";
import type { NodeId } from "../volume.ts";
import { clusterOffset, clustersFor } from "./boot-region.ts";
import type { ExfatGeometry } from "./boot-region.ts";
import {
  describeStop,
  dropLastCluster,
  followChain,
  judgeChain,
  judgeStart,
  untilRepeated,
} from "../cluster-chain.ts";
import type {
  ChainOptions,
  ChainResult,
  ClusterRun,
  FileChain,
  RunSink,
} from "../cluster-chain.ts";
import type { ClusterSet } from "./cluster-set.ts";
import { DirectoryScanner } from "./directory.ts";
import type { DirectoryItem } from "./directory.ts";
import type { Allocation } from "./entry-set.ts";
import type { FatTable } from "./fat-table.ts";

/**
 * The root directory has no entry of its own. Every other node's id is the offset of its File
 * entry on the device, a multiple of 32.
 */
export const ROOT_ID: NodeId = 1;

/** The longest directory that the specification allows: 8,388,608 entries. */
export const DIRECTORY_BYTES_MAX = 256 * 1024 * 1024;
/** Directories are read in pieces that grow from the one to the other, up to their end mark. */
const PIECE_BYTES_MIN = 64 * 1024;
const PIECE_BYTES_MAX = 512 * 1024;

export interface ExfatStore {
  readonly device: BlockDevice;
  readonly geometry: ExfatGeometry;
  readonly table: FatTable;
  readonly timeZoneMinutes: number;
  /** Clusters that lie on the device: all of them, unless the device is cut short. */
  readonly clustersReadable: number;
}

/** Where a directory lies, as far as its chain is sound. */
export interface DirectoryPlace {
  readonly runs: readonly ClusterRun[];
  readonly sizeBytes: number;
  /** What is wrong; entries that lie before the fault can be read. */
  readonly fault: string | undefined;
}

/** As for a chain; clusters without one are claimed by the run. */
export interface ClusterOptions extends ChainOptions {
  readonly claims?: ClusterSet | undefined;
}

export interface ScanOptions {
  readonly wantsDeleted?: boolean;
  /** Called after each piece with the stretch of the device that it was read from. */
  readonly afterPiece?: (deviceOffset: number, lengthBytes: number) => Promise<void> | void;
  /** Asked after each piece: true ends the scan there. */
  readonly isDone?: () => boolean;
}

/** The root: a chain without a size. */
export function rootAllocation(geometry: ExfatGeometry): Allocation {
  return { firstCluster: geometry.rootCluster, sizeBytes: Infinity, isContiguous: false };
}

/** Finds a directory's clusters. What is wrong is told in the result; throws what reading throws. */
export async function findDirectory(
  store: ExfatStore,
  allocation: Allocation,
  options: ClusterOptions = {},
): Promise<DirectoryPlace> {
  const { geometry } = store;
  const { firstCluster, sizeBytes } = allocation;
  if (firstCluster === 0 && sizeBytes === 0) return { runs: [], sizeBytes: 0, fault: undefined };
  if (!isCluster(geometry, firstCluster)) {
    return faulty(`it starts at cluster ${firstCluster}, which does not exist`);
  }
  const limitBytes = Math.min(sizeBytes, DIRECTORY_BYTES_MAX);
  const clustersMax = Math.max(1, clustersFor(geometry, limitBytes));
  let runs: ClusterRun[] = [];
  const sink: RunSink = (cluster, count) => void runs.push({ cluster, count });
  let fault: string | undefined;
  if (allocation.isContiguous) {
    fault = contiguousFault(store, firstCluster, clustersMax, sink);
  } else {
    const chain = await followChain(store.table, firstCluster, clustersMax, sink, options);
    if (chain.stop === "loop") runs = untilRepeated(runs);
    if (chain.stop === "free") dropLastCluster(runs);
    fault = faultOfChain(chain, clustersMax, sizeBytes);
  }
  if (sizeBytes > DIRECTORY_BYTES_MAX && sizeBytes !== Infinity) {
    fault ??= `it claims ${sizeBytes} bytes; a directory has at most ${DIRECTORY_BYTES_MAX}`;
  }
  const clusters = runs.reduce((sum, { count }) => sum + count, 0);
  return { runs, sizeBytes: Math.min(clusters * geometry.clusterBytes, limitBytes), fault };
}

function faultOfChain(chain: ChainResult, wanted: number, sizeBytes: number): string | undefined {
  if (sizeBytes === Infinity) return chain.stop === "end" ? undefined : describeStop(chain);
  // A chain that goes on is longer than the directory: what belongs to it is all there.
  const isSound = chain.stop === "end" || chain.stop === "limit";
  return isSound && chain.clusters >= wanted ? undefined : describeStop(chain);
}

function faulty(fault: string): DirectoryPlace {
  return { runs: [], sizeBytes: 0, fault };
}

/** Hands on a run that may reach beyond the last cluster, cut off there, and tells if it does. */
function contiguousFault(
  store: ExfatStore,
  firstCluster: number,
  count: number,
  sink: RunSink,
): string | undefined {
  const { clusterCount } = store.geometry;
  const there = clusterCount + FIRST_CLUSTER - firstCluster;
  sink(firstCluster, Math.min(count, there));
  if (count <= there) return undefined;
  return `its ${count} clusters from cluster ${firstCluster} on reach beyond the last, ${clusterCount + 1}`;
}

/** Did a walk through a directory come to all its entries? */
export interface DirectoryWalked {
  readonly fault: string | undefined;
  /** True when all entries were handed out, in spite of a fault. */
  readonly isComplete: boolean;
}

/**
 * Hands out what a directory holds, in order; its clusters are read as far as its end mark.
 * Throws what reading the device throws.
 */
export async function scanDirectory(
  store: ExfatStore,
  place: DirectoryPlace,
  sink: (item: DirectoryItem) => void,
  options: ScanOptions = {},
): Promise<DirectoryWalked> {
  const { device } = store;
  const scanner = new DirectoryScanner(sink, options);
  let fault = place.fault;
  for (const { deviceOffset, lengthBytes } of piecesOf(store.geometry, place)) {
    if (deviceOffset + lengthBytes > device.sizeBytes) {
      fault = `it lies beyond the end of ${device.name}, at byte ${deviceOffset}`;
      break;
    }
    const piece = new Uint8Array(lengthBytes);
    try {
      await device.read(deviceOffset, piece);
    } catch (error) {
      throw fromSystem(error, `cannot read a directory at byte ${deviceOffset} of ${device.name}`);
    }
    scanner.scan(piece, deviceOffset);
    await options.afterPiece?.(deviceOffset, lengthBytes);
    if (scanner.hasEnded || options.isDone?.() === true) break;
  }
  if (!scanner.hasEnded) scanner.finish();
  return { fault, isComplete: scanner.hasEnded || fault === undefined };
}

function* piecesOf(
  geometry: ExfatGeometry,
  place: DirectoryPlace,
): Generator<{ deviceOffset: number; lengthBytes: number }> {
  let wanted = PIECE_BYTES_MIN;
  let left = place.sizeBytes;
  for (const { cluster, count } of place.runs) {
    const start = clusterOffset(geometry, cluster);
    const runBytes = Math.min(count * geometry.clusterBytes, left);
    for (let at = 0; at < runBytes;) {
      const lengthBytes = Math.min(wanted, runBytes - at);
      yield { deviceOffset: start + at, lengthBytes };
      at += lengthBytes;
      wanted = Math.min(wanted * 2, PIECE_BYTES_MAX);
    }
    left -= runBytes;
  }
}

/**
 * Finds the clusters of a file. A chain is followed to its end, however long the size says it is,
 * so that a loop is always found; the sink gets all of it. With `claims`, a file that meets
 * another one is a remark and is followed no further. Throws what reading the FAT throws.
 */
export async function findFile(
  store: ExfatStore,
  allocation: Allocation,
  sink: RunSink,
  options: ClusterOptions = {},
): Promise<FileChain> {
  const { geometry, table } = store;
  const { firstCluster, sizeBytes, isContiguous } = allocation;
  const needed = clustersFor(geometry, sizeBytes);
  const start = judgeStart(table, firstCluster, needed, sizeBytes);
  if (start !== undefined) return start;
  if (!isContiguous) {
    const chain = await followChain(table, firstCluster, geometry.clusterCount, sink, options);
    return judgeChain(chain, needed, sizeBytes);
  }
  return findContiguous(store, firstCluster, needed, sink, options);
}

function findContiguous(
  store: ExfatStore,
  firstCluster: number,
  needed: number,
  sink: RunSink,
  { claims }: ClusterOptions,
): FileChain {
  if (needed === 0) {
    const remark = `it is empty, but has a first cluster, ${firstCluster}`;
    return { fault: undefined, remark };
  }
  let meetsAt: number | undefined;
  const fault = contiguousFault(store, firstCluster, needed, (cluster, count) => {
    const added = claims?.addRun(cluster, count) ?? count;
    if (added < count) meetsAt = cluster + added;
    sink(cluster, count);
  });
  const remark =
    meetsAt === undefined ? undefined : `its cluster ${meetsAt} belongs to something else too`;
  return { fault, remark, meetsAt };
}

/**
 * Reads all of a small object. Throws "damaged" when its clusters are not sound or not on the
 * device, and what reading throws.
 */
export async function readFully(
  store: ExfatStore,
  allocation: Allocation,
  options: ClusterOptions = {},
): Promise<Uint8Array> {
  const { device, geometry } = store;
  const bytes = new Uint8Array(allocation.sizeBytes);
  const runs: ClusterRun[] = [];
  const { fault } = await findFile(
    store,
    allocation,
    (cluster, count) => void runs.push({ cluster, count }),
    options,
  );
  if (fault !== undefined) throw new ReelError("damaged", fault);
  let at = 0;
  for (const { cluster, count } of runs) {
    const part = bytes.subarray(at, at + count * geometry.clusterBytes);
    if (part.length === 0) break;
    const deviceOffset = clusterOffset(geometry, cluster);
    if (deviceOffset + part.length > device.sizeBytes) {
      throw new ReelError("damaged", `its cluster ${cluster} lies beyond the end of the device`);
    }
    await device.read(deviceOffset, part);
    at += part.length;
  }
  return bytes;
}
