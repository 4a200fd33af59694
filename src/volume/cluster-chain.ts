/**
 * Following a cluster chain through the FAT, of FAT and exFAT alike.
 *
 * The chain is followed synchronously inside a page of the table; only a change of page awaits.
 * It is given to its consumer as runs of adjacent clusters. A chain that loops is noticed by
 * Brent's method (one number compared per step), after at most three times the clusters of the
 * loop and its lead-in, so that even a hostile volume costs a bounded walk and no memory.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { isCluster } from "./cluster-table.ts";
import type { ClusterPage, ClusterTable } from "./cluster-table.ts";

/** Steps after which the event loop gets a turn: a few milliseconds. */
const STEPS_PER_TURN = 512 * 1024;

/** Why a chain stopped. */
export type ChainStop =
  /** At its end mark. */
  | "end"
  /** After as many clusters as were asked for; the chain goes on. */
  | "limit"
  /** The last cluster is marked free. */
  | "free"
  /** The last cluster is marked bad. */
  | "bad"
  /** The last cluster points to a cluster that does not exist. */
  | "outside"
  /** The FAT entry of the last cluster lies beyond the end of the device. */
  | "beyond"
  /** The next cluster is in the set of clusters not to be entered. */
  | "taken"
  /** The chain comes back to a cluster it has passed; runs may repeat. */
  | "loop";

export interface ChainResult {
  readonly stop: ChainStop;
  /** Clusters passed, the last one included. */
  readonly clusters: number;
  /** The cluster at which the chain stopped, and its FAT entry. */
  readonly lastCluster: number;
  readonly lastValue: number;
}

/** Gets clusters as runs of adjacent ones, in the order of the file. */
export type RunSink = (firstCluster: number, count: number) => void;

/** Clusters that a walk does not enter, and to which it adds those that it passes. */
export interface ClusterClaims {
  has(cluster: number): boolean;
  set(cluster: number): void;
}

export interface ChainOptions {
  readonly claims?: ClusterClaims | undefined;
  /** Gets the indexes of the pages of the FAT that were read. */
  readonly pages?: Set<number> | undefined;
}

/**
 * Follows a chain from `first`, which must be a cluster that exists, for at most `clustersMax`
 * clusters. Throws what reading the FAT throws.
 */
export async function followChain(
  table: ClusterTable,
  first: number,
  clustersMax: number,
  sink: RunSink,
  options: ChainOptions = {},
): Promise<ChainResult> {
  const walk = new ChainWalk(table, first, clustersMax, sink, options.claims);
  let stepsBefore = 0;
  for (;;) {
    const pageIndex = table.pageIndexOf(walk.cluster);
    options.pages?.add(pageIndex);
    const page = await table.page(pageIndex);
    const stop = walk.followIn(page, table.firstClusterOf(pageIndex));
    if (stop !== undefined) {
      const { clusters, cluster, value } = walk;
      return { stop, clusters, lastCluster: cluster, lastValue: value };
    }
    if (walk.clusters - stepsBefore > STEPS_PER_TURN) {
      stepsBefore = walk.clusters;
      await nextTurn();
    }
  }
}

class ChainWalk {
  cluster: number;
  value = 0;
  /** Clusters before `cluster` until the walk stops; then `cluster` is counted too. */
  clusters = 0;
  readonly #table: ClusterTable;
  readonly #clustersMax: number;
  readonly #sink: RunSink;
  readonly #claims: ClusterClaims | undefined;
  #runStart: number;
  #runCount = 0;
  /** Brent's method: the cluster to meet again, and the step at which another one is chosen. */
  #mark = 0;
  #markAgainAt = 1;

  constructor(
    table: ClusterTable,
    first: number,
    clustersMax: number,
    sink: RunSink,
    claims: ClusterClaims | undefined,
  ) {
    this.#table = table;
    this.cluster = first;
    this.#runStart = first;
    this.#clustersMax = clustersMax;
    this.#sink = sink;
    this.#claims = claims;
  }

  /** Goes on while the entries are in this page; tells why it stopped, undefined: another page. */
  followIn(page: ClusterPage, pageStart: number): ChainStop | undefined {
    const { mask } = this.#table.values;
    const pageEnd = pageStart + page.length;
    do {
      if (this.cluster === this.#mark) return this.#finish("loop");
      if (this.clusters === this.#markAgainAt) {
        this.#mark = this.cluster;
        this.#markAgainAt *= 2;
      }
      if (this.#claims?.has(this.cluster) === true) return this.#finish("taken");
      this.#claims?.set(this.cluster);
      this.#take(this.cluster);
      const entry = page[this.cluster - pageStart];
      if (entry === undefined) return this.#finish("beyond");
      this.value = (entry & mask) >>> 0;
      const stop = this.#stopAt(this.value);
      if (stop !== undefined) return this.#finish(stop);
      this.cluster = this.value;
    } while (this.cluster >= pageStart && this.cluster < pageEnd);
    return undefined;
  }

  #stopAt(value: number): ChainStop | undefined {
    const { bad, end } = this.#table.values;
    if (value >= end) return "end";
    if (value === 0) return "free";
    if (value === bad) return "bad";
    if (this.clusters >= this.#clustersMax) return "limit";
    if (!isCluster(this.#table.geometry, value)) return "outside";
    return undefined;
  }

  #take(cluster: number): void {
    this.clusters++;
    if (cluster === this.#runStart + this.#runCount) {
      this.#runCount++;
      return;
    }
    this.#sink(this.#runStart, this.#runCount);
    this.#runStart = cluster;
    this.#runCount = 1;
  }

  #finish(stop: ChainStop): ChainStop {
    if (this.#runCount > 0) this.#sink(this.#runStart, this.#runCount);
    return stop;
  }
}

/** What is wrong with a chain, in words: "... which is marked free". */
export function describeStop(chain: ChainResult): string {
  const at = `cluster ${chain.lastCluster}`;
  switch (chain.stop) {
    case "end":
      return `its cluster chain ends after ${chain.clusters} clusters, at ${at}`;
    case "limit":
      return `its cluster chain goes on after ${chain.clusters} clusters, at ${at}`;
    case "free":
      return `its cluster chain runs into ${at}, which is marked free in the FAT`;
    case "bad":
      return `its cluster chain runs into ${at}, which is marked bad`;
    case "outside":
      return `its cluster chain points from ${at} to cluster ${chain.lastValue}, which does not exist`;
    case "beyond":
      return `the FAT entry of its ${at} lies beyond the end of the device`;
    case "taken":
      return `its cluster chain runs into ${at}, which belongs to something else too`;
    case "loop":
      return `its cluster chain loops back to ${at}`;
  }
}

// Against a file's size ------------------------------------------------------------------------------

/** A file's clusters against its size. */
export interface FileChain {
  /** Why the contents cannot be read; undefined when they can. */
  readonly fault: string | undefined;
  /** What is wrong besides; the contents are all there. */
  readonly remark: string | undefined;
  /** With claims: the cluster at which the file meets another, or itself. */
  readonly meetsAt?: number | undefined;
}

const SOUND: FileChain = { fault: undefined, remark: undefined };

/** What a file's first cluster tells; undefined where its clusters have to be looked at. */
export function judgeStart(
  { geometry }: ClusterTable,
  firstCluster: number,
  needed: number,
  sizeBytes: number,
): FileChain | undefined {
  if (firstCluster === 0) {
    if (needed === 0) return SOUND;
    return { fault: `it has ${sizeBytes} bytes but no first cluster`, remark: undefined };
  }
  if (isCluster(geometry, firstCluster)) return undefined;
  const text = `it starts at cluster ${firstCluster}, which does not exist`;
  return needed === 0 ? { fault: undefined, remark: text } : { fault: text, remark: undefined };
}

/** What a file's whole chain tells, where its `sizeBytes` need `needed` clusters. */
export function judgeChain(chain: ChainResult, needed: number, sizeBytes: number): FileChain {
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

// Runs of a directory ---------------------------------------------------------------------------------

/** Adjacent clusters. */
export interface ClusterRun {
  readonly cluster: number;
  readonly count: number;
}

/** The runs up to the first cluster that comes again. Directories are short enough to list them. */
export function untilRepeated(runs: readonly ClusterRun[]): ClusterRun[] {
  const seen = new Set<number>();
  const kept: ClusterRun[] = [];
  for (const { cluster, count } of runs) {
    let fresh = 0;
    while (fresh < count && !seen.has(cluster + fresh)) seen.add(cluster + fresh++);
    if (fresh > 0) kept.push({ cluster, count: fresh });
    if (fresh < count) break;
  }
  return kept;
}

export function dropLastCluster(runs: ClusterRun[]): void {
  const last = runs.pop();
  if (last !== undefined && last.count > 1) runs.push({ ...last, count: last.count - 1 });
}
