/**
 * Finding the entry set that a node's id, the offset of its first entry, stands for.
 *
 * A set may cross from one cluster of its directory into the next, and the offset alone does not
 * say which that is. Directories that were listed left a note where they are in pieces; without
 * one, the cluster that follows on the device is tried, then the one that the FAT names: the
 * checksum of the set tells which was right.
 */
import { fromSystem } from "../../errors.ts";
import { FIRST_CLUSTER, isCluster } from "../cluster-table.ts";
import type { NodeId } from "../volume.ts";
import { clusterAt, clusterOffset } from "./boot-region.ts";
import { DirectoryScanner } from "./directory.ts";
import { ENTRY_BYTES, ENTRY_TYPE, FILE } from "./entry-set.ts";
import type { FileEntry } from "./entry-set.ts";
import type { DirectoryPlace, ExfatStore } from "./exfat-store.ts";

/** A set with a name of 255 units has 19 entries. */
const FIRST_READ_BYTES = 19 * ENTRY_BYTES;
/** Notes cost memory; a set without one is still found. */
const NOTES_MAX = 256 * 1024;

type NextCluster = (cluster: number) => Promise<number | undefined> | number | undefined;

export class EntryLookup {
  readonly #store: ExfatStore;
  /** The last cluster of each piece of a directory, and the one where the next piece begins. */
  readonly #notes = new Map<number, number>();

  constructor(store: ExfatStore) {
    this.#store = store;
  }

  /** Remembers where a directory goes on. */
  note({ runs }: DirectoryPlace): void {
    for (let i = 0; i + 1 < runs.length && this.#notes.size < NOTES_MAX; i++) {
      const run = runs[i];
      const next = runs[i + 1];
      if (run !== undefined && next !== undefined) {
        this.#notes.set(run.cluster + run.count - 1, next.cluster);
      }
    }
  }

  /** Undefined where no entry set begins. Throws what reading the device throws. */
  async find(id: NodeId): Promise<FileEntry | undefined> {
    const cluster = this.#clusterOf(id);
    if (cluster === undefined) return undefined;
    const { geometry, table } = this.#store;
    const clusterEnd = clusterOffset(geometry, cluster) + geometry.clusterBytes;
    const start = await this.#read(id, Math.min(FIRST_READ_BYTES, clusterEnd - id));
    if (start[0] !== ENTRY_TYPE.file) return undefined;
    const wanted = ((start[FILE.secondaryCount] ?? 0) + 1) * ENTRY_BYTES;
    if (wanted <= start.length) return parse(start.subarray(0, wanted), id);
    const following = await this.#collect(
      id,
      cluster,
      wanted,
      (at) => this.#notes.get(at) ?? at + 1,
    );
    if (following !== undefined && following.fault === undefined) return following;
    const chained = await this.#collect(id, cluster, wanted, async (at) => table.entry(at));
    return chained !== undefined && chained.fault === undefined ? chained : (following ?? chained);
  }

  #clusterOf(id: NodeId): number | undefined {
    if (!Number.isSafeInteger(id) || id <= 0 || id % ENTRY_BYTES !== 0) return undefined;
    const cluster = clusterAt(this.#store.geometry, id);
    return cluster !== undefined && this.#isReadable(cluster) ? cluster : undefined;
  }

  #isReadable(cluster: number): boolean {
    const { geometry, clustersReadable } = this.#store;
    return isCluster(geometry, cluster) && cluster - FIRST_CLUSTER < clustersReadable;
  }

  /** The set at `id`, when the clusters it lies in are those that `next` names. */
  async #collect(
    id: NodeId,
    cluster: number,
    wanted: number,
    next: NextCluster,
  ): Promise<FileEntry | undefined> {
    const { geometry } = this.#store;
    const parts: Uint8Array[] = [];
    let missing = wanted;
    let at: number | undefined = cluster;
    let offset = id;
    for (;;) {
      const end = clusterOffset(geometry, at) + geometry.clusterBytes;
      const part = await this.#read(offset, Math.min(missing, end - offset));
      parts.push(part);
      missing -= part.length;
      if (missing === 0) return parse(Buffer.concat(parts), id);
      at = await next(at);
      if (at === undefined || !this.#isReadable(at)) return undefined;
      offset = clusterOffset(geometry, at);
    }
  }

  async #read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const { device } = this.#store;
    const bytes = new Uint8Array(lengthBytes);
    try {
      await device.read(offsetBytes, bytes);
    } catch (error) {
      throw fromSystem(error, `cannot read an entry set at byte ${offsetBytes} of ${device.name}`);
    }
    return bytes;
  }
}

function parse(set: Uint8Array, id: NodeId): FileEntry | undefined {
  let found: FileEntry | undefined;
  const scanner = new DirectoryScanner((item) => {
    if (item.kind === "file" && item.id === id) found = item.entry;
  });
  scanner.scan(set, id);
  return found;
}
