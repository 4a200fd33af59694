/** One pass over the whole FAT: which clusters are in use, and whether its copies agree. */
import { ExtentSetBuilder } from "../../device/extents.ts";
import type { ExtentSet } from "../../device/extents.ts";
import { isReelError, throwIfAborted } from "../../errors.ts";
import type { VolumeProblem } from "../volume.ts";
import type { FatStretch, FatTable } from "./fat-table.ts";
import { FIRST_CLUSTER } from "./geometry.ts";

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
  let free = 0;
  for await (const { firstCluster, entries } of table.stream()) {
    for (let i = firstCluster === 0 ? FIRST_CLUSTER : 0; i < entries.length; i++) {
      if (((entries[i] ?? 0) & table.mask) === 0) free++;
    }
  }
  return free;
}

class RunCollector {
  badClusters = 0;
  readonly #table: FatTable;
  readonly #builder = new ExtentSetBuilder();

  constructor(table: FatTable) {
    this.#table = table;
  }

  add({ firstCluster, entries }: FatStretch): void {
    const { mask, bad } = this.#table;
    let runStart = -1;
    for (let i = firstCluster === 0 ? FIRST_CLUSTER : 0; i < entries.length; i++) {
      const value = (entries[i] ?? 0) & mask;
      if (value !== 0 && value !== bad) {
        if (runStart < 0) runStart = i;
        continue;
      }
      if (value === bad) this.badClusters++;
      if (runStart >= 0) this.#builder.add(firstCluster + runStart, i - runStart);
      runStart = -1;
    }
    if (runStart >= 0) this.#builder.add(firstCluster + runStart, entries.length - runStart);
  }

  finish(): ExtentSet {
    return this.#builder.build();
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
    const { mask } = this.#table;
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

function asBytes(page: Uint16Array | Uint32Array): Uint8Array {
  return new Uint8Array(page.buffer, page.byteOffset, page.byteLength);
}
