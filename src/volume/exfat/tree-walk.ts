/**
 * Walking all directories, each once, and telling whether a directory entry is where its directory
 * belongs.
 *
 * On a damaged or hostile volume two entries may lead to one directory, two directories may share
 * clusters, or a directory may contain itself: a tree of paths would then have no end. An exFAT
 * directory does not name its parent, so only the way to it can tell. Each cluster of a directory
 * therefore gets one place. A walk (nearest to the root first) gives it to the first entry that
 * leads there, and that settles everything; but it reads every directory of the volume. As long as
 * no two directories that were read share a cluster no walk is needed: whoever came first has it,
 * and a loop would have to enter a cluster that somebody has. The first conflict causes the walk,
 * and from then on what the walk found decides.
 */
import { isReelError, ReelError, throwIfAborted } from "../../errors.ts";
import type { NodeId } from "../volume.ts";
import type { ChainOptions } from "./chain.ts";
import { ClusterSet } from "./cluster-set.ts";
import type { DirectoryItem } from "./directory.ts";
import type { Allocation } from "./entry-set.ts";
import { findDirectory, ROOT_ID, rootAllocation, scanDirectory } from "./exfat-store.ts";
import type { DirectoryPlace, ExfatStore, ScanOptions } from "./exfat-store.ts";

export interface WalkedDirectory {
  readonly id: NodeId;
  readonly allocation: Allocation;
  /** "" for the root, "/A/B" below. */
  readonly path: string;
  readonly place: DirectoryPlace;
}

type Waiting = Omit<WalkedDirectory, "place">;

/** Hands out directories; its user reads their entries and offers it the ones that it finds. */
export class DirectoryWalk {
  readonly #store: ExfatStore;
  readonly #options: ChainOptions;
  /** All clusters of the directories handed out. */
  readonly #claimed = new ClusterSet();
  #waiting: Waiting[] = [];
  #next: Waiting[] = [];

  /** `options.pages` gets the pages of the FAT that were needed. */
  constructor(store: ExfatStore, options: ChainOptions = {}) {
    this.#store = store;
    this.#options = options;
    this.offer(ROOT_ID, rootAllocation(store.geometry), "");
  }

  /** Puts a directory in the queue. */
  offer(id: NodeId, allocation: Allocation, path: string): void {
    this.#next.push({ id, allocation, path });
  }

  /** The next directory, all of one level before those below; undefined after the last. */
  async next(): Promise<WalkedDirectory | undefined> {
    if (this.#waiting.length === 0) {
      this.#waiting = this.#next.reverse();
      this.#next = [];
    }
    const waiting = this.#waiting.pop();
    if (waiting === undefined) return undefined;
    return { ...waiting, place: await this.#find(waiting.allocation) };
  }

  /** Damage that cannot even be read is a fault of that directory, and the walk goes on. */
  async #find(allocation: Allocation): Promise<DirectoryPlace> {
    try {
      const place = await findDirectory(this.#store, allocation, this.#options);
      const shared = claim(this.#claimed, place);
      if (shared === undefined) return place;
      return nowhere(`its cluster ${shared} belongs to another directory`);
    } catch (error) {
      if (isReelError(error, "io") || isReelError(error, "damaged")) return nowhere(error.message);
      throw error;
    }
  }
}

function nowhere(fault: string): DirectoryPlace {
  return { runs: [], sizeBytes: 0, fault };
}

/** Marks a directory's clusters; returns one that was marked before, if there is any. */
function claim(claimed: ClusterSet, { runs }: DirectoryPlace): number | undefined {
  for (const { cluster, count } of runs) {
    const added = claimed.addRun(cluster, count);
    if (added < count) return cluster + added;
  }
  return undefined;
}

/**
 * Hands out what a directory of a walk holds. Damage is told in the result: "" when there is none.
 * Throws what says that the device is gone for good.
 */
export async function scanWalked(
  store: ExfatStore,
  { place }: WalkedDirectory,
  sink: (item: DirectoryItem) => void,
  options: ScanOptions = {},
): Promise<string> {
  try {
    const { fault } = await scanDirectory(store, place, sink, options);
    return fault ?? "";
  } catch (error) {
    if (isReelError(error, "io") || isReelError(error, "damaged")) return error.message;
    throw error;
  }
}

/** The entry that each directory belongs to, by the directory's first cluster. */
type DirectoryOwners = ReadonlyMap<number, NodeId>;

/** Walks all directories. Throws what the device throws. */
async function findOwners(store: ExfatStore, signal?: AbortSignal): Promise<DirectoryOwners> {
  const owners = new Map<number, NodeId>();
  const walk = new DirectoryWalk(store);
  for (let found = await walk.next(); found !== undefined; found = await walk.next()) {
    throwIfAborted(signal, `walking ${store.device.name}`);
    const first = found.place.runs[0];
    if (first !== undefined) owners.set(first.cluster, found.id);
    await scanWalked(store, found, (item) => {
      if (item.kind === "file" && item.entry.isDirectory) walk.offer(item.id, item.entry, "");
    });
  }
  return owners;
}

/** Answers for single directories, with a walk only where it cannot be helped. */
export class PlaceCheck {
  readonly #store: ExfatStore;
  /** Who has which directory, by its first cluster, and the clusters of all of them. */
  readonly #held = new Map<number, NodeId>();
  readonly #claimed = new ClusterSet();
  #owners: Promise<DirectoryOwners> | undefined;

  constructor(store: ExfatStore) {
    this.#store = store;
  }

  /** Throws "damaged" when the directory that entry `id` leads to belongs to another entry. */
  async check(id: NodeId, place: DirectoryPlace): Promise<void> {
    const first = place.runs[0]?.cluster;
    if (first === undefined) return;
    if (this.#owners === undefined) {
      const holder = this.#held.get(first);
      if (holder === id) return;
      if (holder === undefined && claim(this.#claimed, place) === undefined) {
        this.#held.set(first, id);
        return;
      }
    }
    const owner = (await this.#findOwners()).get(first);
    if (owner === id) return;
    const whose =
      owner === undefined
        ? "belongs to another directory or cannot be reached from the root"
        : owner === ROOT_ID
          ? "is the root directory"
          : `belongs to the entry at byte ${owner}`;
    throw new ReelError(
      "damaged",
      `cannot read the directory whose entry is at byte ${id} of ${this.#store.device.name}: ` +
        `its first cluster, ${first}, ${whose}; a directory cannot be in two places`,
    );
  }

  async #findOwners(): Promise<DirectoryOwners> {
    this.#owners ??= findOwners(this.#store);
    try {
      return await this.#owners;
    } catch (error) {
      this.#owners = undefined;
      throw error;
    }
  }
}
