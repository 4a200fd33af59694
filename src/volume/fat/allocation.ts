/** One pass over the whole FAT: which clusters are in use, and whether its copies agree. */
import { ExtentSetBuilder } from "../../device/extents.ts";
import type { ExtentSet } from "../../device/extents.ts";
import { isReelError, throwIfAborted } from "../../errors.ts";
import { FIRST_CLUSTER } from "../cluster-table.ts";
import type { ClusterPage } from "../cluster-table.ts";
import type { VolumeProblem } from "../volume.ts";
import type { FatStretch, FatTable } from "./fat-table.ts";

const PART_ENTRIES = 4096;
const ZEROS = new Uint8Array(PART_ENTRIES * 4);

export interface Allocation {
  /** Clusters in use; clusters marked bad are not among them: what they hold cannot be read. */
  readonly allocated: ExtentSet;
  readonly badClusters: number;
  readonly problems: readonly VolumeProblem[];
}

/** Throws what reading the active FAT throws, and "aborted". */
export async function scanAllocation(table: FatTable, signal?: AbortSignal): Promise<Allocation> {
  const collector = new RunCollector(table);
  const mirrors = mirrorsOf(table);
  for await (const stretch of table.stream()) {
    throwIfAborted(signal, "reading the FAT");
    collector.add(stretch);
    for (const mirror of mirrors) await mirror.compare(stretch);
  }
  return {
    allocated: collector.finish(),
    badClusters: collector.badClusters,
    problems: mirrors.flatMap((mirror) => mirror.problem ?? []),
  };
}

/** Free clusters, as far as the FAT is on the device. */
export async function countFree(table: FatTable): Promise<number> {
  const { mask } = table.values;
  let free = 0;
  for await (const stretch of table.stream()) {
    for (const [start, end] of parts(stretch)) {
      const { entries } = stretch;
      if (isZero(entries, start, end)) {
        free += end - start;
        continue;
      }
      for (let i = start; i < end; i++) if (((entries[i] ?? 0) & mask) === 0) free++;
    }
  }
  return free;
}

/** The entries of clusters in a stretch, in parts short enough to be compared with zeros. */
function* parts({ firstCluster, entries }: FatStretch): Generator<[start: number, end: number]> {
  for (let start = firstCluster === 0 ? FIRST_CLUSTER : 0; start < entries.length;) {
    const end = Math.min(start + PART_ENTRIES, entries.length);
    yield [start, end];
    start = end;
  }
}

/** Most of a large FAT is free: a comparison of memory passes over that much faster than a loop. */
function isZero(entries: ClusterPage, start: number, end: number): boolean {
  const bytes = asBytes(entries.subarray(start, end));
  return Buffer.compare(bytes, ZEROS.subarray(0, bytes.length)) === 0;
}

class RunCollector {
  badClusters = 0;
  readonly #table: FatTable;
  readonly #builder = new ExtentSetBuilder();
  /** First cluster of a run that has not ended yet; -1: none. */
  #runStart = -1;
  #clusterEnd = 0;

  constructor(table: FatTable) {
    this.#table = table;
  }

  add(stretch: FatStretch): void {
    const { firstCluster, entries } = stretch;
    for (const [start, end] of parts(stretch)) {
      if (isZero(entries, start, end)) this.#endRun(firstCluster + start);
      else this.#addPart(firstCluster, entries, start, end);
    }
    this.#clusterEnd = firstCluster + entries.length;
  }

  finish(): ExtentSet {
    this.#endRun(this.#clusterEnd);
    return this.#builder.build();
  }

  #addPart(firstCluster: number, entries: ClusterPage, start: number, end: number): void {
    const { mask, bad } = this.#table.values;
    for (let i = start; i < end; i++) {
      const value = (entries[i] ?? 0) & mask;
      if (value !== 0 && value !== bad) {
        if (this.#runStart < 0) this.#runStart = firstCluster + i;
        continue;
      }
      if (value === bad) this.badClusters++;
      if (this.#runStart >= 0) this.#endRun(firstCluster + i);
    }
  }

  #endRun(cluster: number): void {
    if (this.#runStart >= 0) this.#builder.add(this.#runStart, cluster - this.#runStart);
    this.#runStart = -1;
  }
}

function mirrorsOf(table: FatTable): Mirror[] {
  const { mirrored, fatCount, activeFat } = table.geometry;
  if (!mirrored) return [];
  const others = Array.from({ length: fatCount }, (_, index) => index);
  return others.filter((index) => index !== activeFat).map((index) => new Mirror(table, index));
}

/** A copy of the FAT, compared as far as the first difference. */
class Mirror {
  problem: VolumeProblem | undefined;
  readonly #table: FatTable;
  readonly #fatIndex: number;
  readonly #buffer: ArrayBuffer;

  constructor(table: FatTable, fatIndex: number) {
    this.#table = table;
    this.#fatIndex = fatIndex;
    this.#buffer = new ArrayBuffer(Math.ceil((table.entriesPerStretch * table.geometry.bits) / 8));
  }

  async compare(stretch: FatStretch): Promise<void> {
    if (this.problem !== undefined) return;
    const cluster = await this.#firstDifference(stretch);
    if (cluster === undefined) return;
    const active = this.#table.geometry.activeFat;
    this.problem = {
      where: `FAT ${this.#fatIndex + 1}`,
      message:
        typeof cluster === "string"
          ? cluster
          : `differs from FAT ${active + 1}, which is used, from entry ${cluster} on`,
    };
  }

  async #firstDifference(stretch: FatStretch): Promise<number | string | undefined> {
    const { mask } = this.#table.values;
    try {
      const copy = await this.#table.mirrorOf(stretch, this.#fatIndex, this.#buffer);
      if (copy === undefined) return "lies beyond the end of the device";
      const { entries, firstCluster } = stretch;
      if (Buffer.compare(asBytes(entries), asBytes(copy)) === 0) return undefined;
      for (let i = 0; i < entries.length; i++) {
        if (((entries[i] ?? 0) & mask) !== ((copy[i] ?? 0) & mask)) return firstCluster + i;
      }
      return undefined;
    } catch (error) {
      if (isReelError(error, "io") || isReelError(error, "damaged")) return error.message;
      throw error;
    }
  }
}

function asBytes(page: ClusterPage): Uint8Array {
  return new Uint8Array(page.buffer, page.byteOffset, page.byteLength);
}
