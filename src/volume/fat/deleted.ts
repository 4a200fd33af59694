/**
 * Where deleted files still seem to lie. Deleting a file frees its chain, so only its first
 * cluster and its size remain; the guess is that it lay in one piece. It counts while its first
 * cluster is free, and as far as the free clusters that follow reach. (Windows also clears the
 * upper half of the first cluster's number on FAT32: such a file is guessed wrong or not at all.)
 * Deleted directories are read, for the files that were deleted with them.
 */
import { ExtentSet } from "../../device/extents.ts";
import { FIRST_CLUSTER, isCluster } from "../cluster-table.ts";
import { entryFields, looksLikeDirectory, scanDirectory } from "./directory.ts";
import type { FatStore } from "./fat-store.ts";
import { clusterOffset } from "./geometry.ts";

/** Runs are merged when there are this many, so that memory follows the volume, not the entries. */
const RUNS_PENDING_MAX = 64 * 1024;

export class DeletedFiles {
  readonly #store: FatStore;
  readonly #allocated: ExtentSet;
  readonly #directoriesSeen = new Set<number>();
  readonly #directories: number[] = [];
  #found = ExtentSet.empty;
  #runs: [start: number, count: number][] = [];

  constructor(store: FatStore, allocated: ExtentSet) {
    this.#store = store;
    this.#allocated = allocated;
  }

  /** Adds the deleted entry at a position of a directory. */
  add(directoryBytes: Uint8Array, offset: number): void {
    const { geometry, isFat32 } = this.#store;
    const entry = entryFields(directoryBytes, offset, isFat32);
    const { firstCluster } = entry;
    if (!isCluster(geometry, firstCluster)) return;
    const free = this.#freeFrom(firstCluster);
    if (free === 0) return;
    if (entry.isDirectory) this.#addDirectory(firstCluster);
    const needed = entry.isDirectory ? 1 : Math.ceil(entry.sizeBytes / geometry.clusterBytes);
    this.#runs.push([firstCluster, Math.min(needed, free)]);
    if (this.#runs.length >= RUNS_PENDING_MAX) this.#merge();
  }

  /** Reads the deleted directories found so far and those below; all clusters that were found. */
  async finish(): Promise<ExtentSet> {
    const { device, geometry, isFat32 } = this.#store;
    const bytes = new Uint8Array(geometry.clusterBytes);
    for (;;) {
      const cluster = this.#directories.pop();
      if (cluster === undefined) break;
      const offsetBytes = clusterOffset(geometry, cluster);
      if (offsetBytes + bytes.length > device.sizeBytes) continue;
      await device.read(offsetBytes, bytes);
      if (!looksLikeDirectory(bytes, cluster, isFat32)) continue;
      for (const slot of scanDirectory(bytes, false)) this.add(bytes, slot.offset);
    }
    this.#merge();
    return this.#found;
  }

  #addDirectory(cluster: number): void {
    if (this.#directoriesSeen.has(cluster)) return;
    this.#directoriesSeen.add(cluster);
    this.#directories.push(cluster);
  }

  /** Free clusters in a row from this one on. */
  #freeFrom(cluster: number): number {
    const index = this.#allocated.indexFrom(cluster);
    const end =
      index < this.#allocated.length
        ? this.#allocated.startAt(index)
        : this.#store.table.clustersReadable + FIRST_CLUSTER;
    return Math.max(0, end - cluster);
  }

  #merge(): void {
    this.#found = this.#found.union(ExtentSet.from(this.#runs));
    this.#runs = [];
  }
}
