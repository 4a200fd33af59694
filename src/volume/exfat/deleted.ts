/**
 * Where deleted files still lie. Deleting a file on exFAT clears the bits that say "in use" in its
 * entry set and in the bitmap; first cluster, size and, for a file in one piece, all of its place
 * remain. Chains are often left in the FAT too, and are followed as far as they go. Deleted
 * directories are read, for the files that were deleted with them.
 */
import { isReelError } from "../../errors.ts";
import { followChain } from "../cluster-chain.ts";
import { FIRST_CLUSTER, isCluster } from "../cluster-table.ts";
import { ClusterSet } from "./cluster-set.ts";
import type { FileEntry } from "./entry-set.ts";
import { clustersFor } from "./boot-region.ts";
import { findDirectory, scanDirectory } from "./exfat-store.ts";
import type { ExfatStore } from "./exfat-store.ts";
import { RunMerger } from "./runs.ts";

/** Deleted files whose chains wait to be followed. */
const CHAINS_MAX = 1024 * 1024;

export class DeletedFiles {
  readonly #store: ExfatStore;
  readonly #runs = new RunMerger();
  /** Clusters of chains: a chain that meets another one is followed no further. */
  readonly #chained = new ClusterSet();
  readonly #directories: FileEntry[] = [];
  /** Clusters of the deleted directories that were read: none is read twice. */
  readonly #directoryClusters = new ClusterSet();
  readonly #chains: [firstCluster: number, clusters: number][] = [];

  constructor(store: ExfatStore) {
    this.#store = store;
  }

  add(entry: FileEntry): void {
    const { geometry } = this.#store;
    const { firstCluster, sizeBytes, isContiguous } = entry;
    if (!isCluster(geometry, firstCluster) || sizeBytes === 0) return;
    if (entry.isDirectory && !this.#directoryClusters.has(firstCluster)) {
      this.#directories.push(entry);
    }
    const clusters = Math.min(clustersFor(geometry, sizeBytes), geometry.clusterCount);
    if (isContiguous) {
      const there = geometry.clusterCount + FIRST_CLUSTER - firstCluster;
      this.#runs.add(firstCluster, Math.min(clusters, there));
    } else if (this.#chains.length < CHAINS_MAX) {
      this.#chains.push([firstCluster, clusters]);
    }
  }

  /** Reads the deleted directories found so far and those below; all clusters that were found. */
  async finish(): Promise<ClusterSet> {
    for (;;) {
      const directory = this.#directories.pop();
      if (directory === undefined) break;
      await this.#readDirectory(directory);
    }
    await this.#followChains();
    const clusters = new ClusterSet();
    for (const [start, count] of this.#runs.finish()) clusters.addRun(start, count);
    return clusters;
  }

  async #readDirectory(directory: FileEntry): Promise<void> {
    try {
      const place = await findDirectory(this.#store, directory);
      for (const { cluster, count } of place.runs) {
        if (this.#directoryClusters.addRun(cluster, count) < count) return;
      }
      await scanDirectory(
        this.#store,
        place,
        (item) => {
          const isSet = item.kind === "file" || item.kind === "deleted";
          if (isSet && item.entry.fault === undefined) this.add(item.entry);
        },
        { wantsDeleted: true },
      );
    } catch (error) {
      if (!isReelError(error, "io") && !isReelError(error, "damaged")) throw error;
    }
  }

  async #followChains(): Promise<void> {
    const sink = (start: number, count: number) => {
      this.#runs.add(start, count);
    };
    const options = { claims: this.#chained };
    this.#chains.sort((a, b) => a[0] - b[0]);
    for (const [first, clusters] of this.#chains) {
      await followChain(this.#store.table, first, clusters, sink, options);
    }
  }
}
