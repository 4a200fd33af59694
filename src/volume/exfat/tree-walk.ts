/**
 * Walking all directories, each once, and telling whether a directory entry is where its directory
 * belongs.
 *
 * On a damaged or hostile volume two entries may lead to one directory, two directories may share
 * clusters, or a directory may contain itself: a tree of paths would then have no end. An exFAT
 * directory does not name its parent, so only the way to it can tell: a directory belongs to the
 * entry by which it was first reached, for as long as the volume is open, and any other entry that
 * leads to one of its clusters is damaged. No loop can be entered that way: it would have to come
 * back to a cluster that somebody has. A survey goes level by level, so there the entry nearest to
 * the root comes first.
 */
import { isReelError, ReelError } from "../../errors.ts";
import type { ClusterRun } from "../cluster-chain.ts";
import type { NodeId } from "../volume.ts";
import { ClusterSet } from "./cluster-set.ts";
import type { DirectoryItem } from "./directory.ts";
import type { Allocation } from "./entry-set.ts";
import { findDirectory, ROOT_ID, rootAllocation, scanDirectory } from "./exfat-store.ts";
import type { ClusterOptions, DirectoryPlace, ExfatStore, ScanOptions } from "./exfat-store.ts";

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
  readonly #options: ClusterOptions;
  /** All clusters of the directories handed out. */
  readonly #claimed = new ClusterSet();
  #waiting: Waiting[] = [];
  #next: Waiting[] = [];

  /** `options.pages` gets the pages of the FAT that were needed. */
  constructor(store: ExfatStore, options: ClusterOptions = {}) {
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
      const shared = claim(this.#claimed, place.runs);
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
function claim(claimed: ClusterSet, runs: readonly ClusterRun[]): number | undefined {
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

/** Gives each directory that is read to the entry by which it was first reached. */
export class PlaceCheck {
  readonly #deviceName: string;
  /** Who has which directory, by its first cluster, and the clusters of all of them. */
  readonly #held = new Map<number, NodeId>();
  readonly #claimed = new ClusterSet();

  constructor(deviceName: string) {
    this.#deviceName = deviceName;
  }

  /** Throws "damaged" when the directory that entry `id` leads to belongs to another entry. */
  check(id: NodeId, { runs }: DirectoryPlace): void {
    const first = runs[0]?.cluster;
    if (first === undefined || this.#held.get(first) === id) return;
    const shared = claim(this.#claimed, runs);
    if (shared === undefined) {
      this.#held.set(first, id);
      return;
    }
    const holder = this.#held.get(shared);
    const whose =
      holder === undefined
        ? "belongs to another directory"
        : holder === ROOT_ID
          ? "is where the root directory starts"
          : `is where the directory of the entry at byte ${holder} starts`;
    throw new ReelError(
      "damaged",
      `cannot read the directory whose entry is at byte ${id} of ${this.#deviceName}: ` +
        `its cluster ${shared} ${whose}; a directory cannot be in two places`,
    );
  }
}
