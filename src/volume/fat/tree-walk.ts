/**
 * Walking all directories, each once, and telling whether a directory entry is where its directory
 * belongs.
 *
 * On a damaged or hostile volume two entries may lead to one directory, two directories may share
 * clusters, or a directory may contain itself: a tree of paths would then have no end. So each
 * directory cluster gets one place. A walk (nearest to the root first) gives it to the first entry
 * that leads there, and that settles everything; but it reads every directory of the volume. To
 * read single directories no walk is needed as long as each says by its ".." that it belongs to
 * the directory that its entry stands in, and none shares a cluster with one read before: without
 * a shared cluster a directory has one "..", so one parent, and a loop could only be entered
 * through an entry that its ".." does not confirm. The first directory of which that is not true
 * causes the walk, and from then on what the walk found decides.
 */
import { isReelError, ReelError, throwIfAborted } from "../../errors.ts";
import { Bitmap } from "../bitmap.ts";
import { followChain } from "../cluster-chain.ts";
import { FIRST_CLUSTER, isCluster } from "../cluster-table.ts";
import type { NodeId } from "../volume.ts";
import { entryFields, parentClusterOf, scanDirectory } from "./directory.ts";
import {
  deviceOffsetOf,
  FIXED_ROOT,
  DIRECTORY_BYTES_MAX,
  loadDirectory,
  ROOT_ID,
  rootClusterOf,
} from "./fat-store.ts";
import type { DirectoryData, FatStore } from "./fat-store.ts";
import { clusterAt } from "./geometry.ts";

export interface WalkedDirectory {
  readonly id: NodeId;
  readonly firstCluster: number;
  /** "" for the root, "/A/B" below. */
  readonly path: string;
  readonly data: DirectoryData;
}

interface Waiting {
  readonly id: NodeId;
  readonly firstCluster: number;
  readonly path: string;
}

/** Hands out directories; its user reads their entries and offers it the ones that it finds. */
export class DirectoryWalk {
  readonly #store: FatStore;
  /** First clusters in the queue or behind it. */
  readonly #placed: Bitmap;
  readonly #claimed: Bitmap;
  #waiting: Waiting[] = [];
  #next: Waiting[] = [];

  constructor(store: FatStore) {
    this.#store = store;
    this.#placed = newClusterBitmap(store);
    this.#claimed = newClusterBitmap(store);
    this.offer(ROOT_ID, rootClusterOf(store.geometry), "");
  }

  /** All clusters of the directories handed out. */
  get claimed(): Bitmap {
    return this.#claimed;
  }

  /**
   * Puts a directory in the queue. False when its first cluster has a place already; a cluster
   * that does not exist is accepted, to be found faulty when it is read.
   */
  offer(id: NodeId, firstCluster: number, path: string): boolean {
    if (isCluster(this.#store.geometry, firstCluster)) {
      if (this.#placed.has(firstCluster)) return false;
      this.#placed.set(firstCluster);
    } else if (id !== ROOT_ID && firstCluster === rootClusterOf(this.#store.geometry)) {
      return false;
    }
    this.#next.push({ id, firstCluster, path });
    return true;
  }

  /** The next directory, all of one level before those below; undefined after the last. */
  async next(): Promise<WalkedDirectory | undefined> {
    if (this.#waiting.length === 0) {
      this.#waiting = this.#next.reverse();
      this.#next = [];
    }
    const waiting = this.#waiting.pop();
    if (waiting === undefined) return undefined;
    return { ...waiting, data: await this.#load(waiting.firstCluster) };
  }

  /** Damage that cannot even be read is a fault of that directory, and the walk goes on. */
  async #load(firstCluster: number): Promise<DirectoryData> {
    try {
      const data = await loadDirectory(this.#store, firstCluster);
      const shared = claim(this.#claimed, data);
      if (shared === undefined) return data;
      return faulty(`it shares cluster ${shared} with another directory`);
    } catch (error) {
      if (isReelError(error, "io") || isReelError(error, "damaged")) return faulty(error.message);
      throw error;
    }
  }
}

function newClusterBitmap(store: FatStore): Bitmap {
  return new Bitmap(store.table.clustersReadable + FIRST_CLUSTER);
}

/** Marks a directory's clusters; returns one that was marked before, if there is any. */
function claim(claimed: Bitmap, { extents }: DirectoryData): number | undefined {
  let shared: number | undefined;
  for (const { cluster, clusterCount } of extents) {
    shared ??= claimed.setRun(cluster, clusterCount);
  }
  return shared;
}

function faulty(fault: string): DirectoryData {
  return { bytes: new Uint8Array(0), extents: [], fault, isComplete: false };
}

/** The entry that each directory belongs to, by the directory's first cluster. */
export type DirectoryOwners = ReadonlyMap<number, NodeId>;

/** Walks all directories. Throws what the device throws. */
export async function findOwners(store: FatStore, signal?: AbortSignal): Promise<DirectoryOwners> {
  const owners = new Map<number, NodeId>();
  const walk = new DirectoryWalk(store);
  for (let found = await walk.next(); found !== undefined; found = await walk.next()) {
    throwIfAborted(signal, `walking ${store.device.name}`);
    const { bytes, extents } = found.data;
    if (extents.length > 0) owners.set(found.firstCluster, found.id);
    for (const slot of scanDirectory(bytes, false)) {
      const { isDirectory, firstCluster } = entryFields(bytes, slot.offset, store.isFat32);
      if (slot.kind !== "entry" || !isDirectory) continue;
      walk.offer(deviceOffsetOf(found.data, slot.offset), firstCluster, "");
    }
  }
  return owners;
}

/** Answers for single directories, with a walk only where it cannot be helped. */
export class PlaceCheck {
  readonly #store: FatStore;
  /** First clusters of the directories read so far, and all their clusters. */
  readonly #vetted: Bitmap;
  readonly #claimed: Bitmap;
  #owners: Promise<DirectoryOwners> | undefined;

  constructor(store: FatStore) {
    this.#store = store;
    this.#vetted = newClusterBitmap(store);
    this.#claimed = newClusterBitmap(store);
  }

  /** Throws "damaged" when the directory that entry `id` leads to belongs to another entry. */
  async check(id: NodeId, firstCluster: number, directory: DirectoryData): Promise<void> {
    if (this.#owners === undefined) {
      const isAlone = this.#isAlone(firstCluster, directory);
      if (isAlone && (id === ROOT_ID || (await this.#saysSo(id, directory)))) return;
    }
    this.#owners ??= findOwners(this.#store);
    let owners: DirectoryOwners;
    try {
      owners = await this.#owners;
    } catch (error) {
      this.#owners = undefined;
      throw error;
    }
    const owner = owners.get(firstCluster);
    if (owner === id) return;
    const place =
      firstCluster === rootClusterOf(this.#store.geometry)
        ? "is the root directory"
        : owner === undefined
          ? "cannot be reached from the root"
          : `belongs to the entry at byte ${owner}`;
    throw new ReelError(
      "damaged",
      `cannot read the directory whose entry is at byte ${id} of ${this.#store.device.name}: ` +
        `its first cluster, ${firstCluster}, ${place}; a directory cannot be in two places`,
    );
  }

  /** Does it share no cluster with a directory that was read before? */
  #isAlone(firstCluster: number, directory: DirectoryData): boolean {
    if (directory.extents.length === 0 || firstCluster === FIXED_ROOT) return true;
    if (this.#vetted.has(firstCluster)) return true;
    if (claim(this.#claimed, directory) !== undefined) return false;
    this.#vetted.set(firstCluster);
    return true;
  }

  /** Does the directory's ".." name the directory that the entry stands in? */
  async #saysSo(id: NodeId, directory: DirectoryData): Promise<boolean> {
    const { geometry, table, isFat32 } = this.#store;
    const named = parentClusterOf(directory.bytes, isFat32);
    if (named === undefined) return false;
    const standsIn = clusterAt(geometry, id);
    // On FAT32, too, 0 stands for the root.
    const parent = named === 0 ? rootClusterOf(geometry) : named;
    if (standsIn === undefined) return parent === 0 && !isFat32;
    if (parent === standsIn) return true;
    if (!isCluster(geometry, parent)) return false;
    const clustersMax = Math.ceil(DIRECTORY_BYTES_MAX / geometry.clusterBytes);
    let isThere = false;
    await followChain(table, parent, clustersMax, (start, count) => {
      isThere ||= standsIn >= start && standsIn < start + count;
    });
    return isThere;
  }
}
