/**
 * The survey: one walk over the directories, every file's clusters found once, then one pass over
 * the allocation bitmap, beside what was found, and one over the parts of the FAT that matter.
 *
 * Files are checked in batches sorted by first cluster, so that the FAT is passed over in order, a
 * few times, however the files are scattered over the directories, and memory does not grow with
 * the number of files. A file is followed only as far as the first cluster that something else
 * has: all files together cost at most one step for each cluster.
 */
import { ExtentSet, ExtentSetBuilder } from "../../device/extents.ts";
import { isReelError, throwIfAborted } from "../../errors.ts";
import type { ClusterRun } from "../cluster-chain.ts";
import { FIRST_CLUSTER } from "../cluster-table.ts";
import { safeName } from "../names.ts";
import { ProblemList } from "../problem-list.ts";
import type { SurveyOptions, VolumeProblem, VolumeSurvey } from "../volume.ts";
import { collectUsed } from "./allocation.ts";
import type { BitmapPlace, UsedClusters } from "./allocation.ts";
import { clusterOffset, REGION_SECTORS } from "./boot-region.ts";
import { ClusterSet } from "./cluster-set.ts";
import { DeletedFiles } from "./deleted.ts";
import type { DirectoryItem } from "./directory.ts";
import type { Allocation, FileEntry } from "./entry-set.ts";
import { findFile, ROOT_ID } from "./exfat-store.ts";
import type { ExfatStore } from "./exfat-store.ts";
import { scanFats } from "./fat-blocks.ts";
import { RunMerger } from "./runs.ts";
import { DirectoryWalk, scanWalked } from "./tree-walk.ts";
import type { WalkedDirectory } from "./tree-walk.ts";

/** Files whose clusters are found together. */
const BATCH_FILES = 64 * 1024;

/** What was found on opening and the survey needs again. */
export interface SystemFiles {
  /** The bitmap in use; undefined: there is none that can be read. */
  readonly bitmap: BitmapPlace | undefined;
  readonly upCaseRuns: readonly ClusterRun[];
  /** Pages of the FAT that the chains of both led through. */
  readonly pages: ReadonlySet<number>;
}

export interface SurveyInput {
  readonly store: ExfatStore;
  readonly system: SystemFiles;
  readonly blockSizeBytes: number;
  /** Those met on opening. */
  readonly problems: readonly VolumeProblem[];
}

/** Surveys a volume. Throws what the device throws. */
export async function surveyExfat(
  input: SurveyInput,
  options: SurveyOptions,
): Promise<VolumeSurvey> {
  return new ExfatSurvey(input, options).run();
}

class ExfatSurvey {
  readonly #store: ExfatStore;
  readonly #input: SurveyInput;
  readonly #options: SurveyOptions;
  readonly #problems: ProblemList;
  /** Pages of the FAT that some chain leads through. */
  readonly #pages: Set<number>;
  readonly #walk: DirectoryWalk;
  /** Clusters that belong to something. */
  readonly #owned = new ClusterSet();
  readonly #control = new RunMerger();
  readonly #batch: FileBatch;
  readonly #deleted: DeletedFiles | undefined;
  #files = 0;
  #directories = 0;

  constructor(input: SurveyInput, options: SurveyOptions) {
    this.#input = input;
    this.#store = input.store;
    this.#options = options;
    this.#problems = new ProblemList(input.problems);
    this.#pages = new Set(input.system.pages);
    this.#walk = new DirectoryWalk(input.store, { pages: this.#pages });
    this.#batch = new FileBatch(input.store, this.#owned, this.#pages, this.#problems);
    if (options.includeDeleted === true) this.#deleted = new DeletedFiles(input.store);
  }

  async run(): Promise<VolumeSurvey> {
    await this.#walkAll();
    await this.#batch.check();
    const extra = await this.#deleted?.finish();
    const { signal } = this.#options;
    const { bitmap } = this.#input.system;
    const clusters = await collectUsed(this.#store, bitmap, this.#owned, { extra, signal });
    const sets = await this.#blockSets(clusters);
    return {
      ...sets,
      clustersUsed: clusters.marked,
      files: this.#files,
      directories: this.#directories,
      problems: this.#problems.finish(),
    };
  }

  async #walkAll(): Promise<void> {
    const { signal, progress } = this.#options;
    const doing = `surveying ${this.#store.device.name}`;
    throwIfAborted(signal, doing);
    for (;;) {
      const directory = await this.#walk.next();
      if (directory === undefined) return;
      if (directory.id !== ROOT_ID) this.#directories++;
      const where = directory.path === "" ? "/" : directory.path;
      this.#claimDirectory(where, directory);
      const sink = (item: DirectoryItem) => {
        this.#takeItem(directory, where, item);
      };
      const fault = await scanWalked(this.#store, directory, sink, {
        wantsDeleted: this.#deleted !== undefined,
        afterPiece: async (deviceOffset, lengthBytes) => {
          throwIfAborted(signal, doing);
          this.#addControl(deviceOffset, lengthBytes);
          if (this.#batch.length >= BATCH_FILES) await this.#batch.check();
        },
      });
      if (fault !== "") this.#problems.add(where, `damaged directory: ${fault}`);
      progress?.({ phase: "surveying", done: this.#files, unit: "files" });
    }
  }

  #claimDirectory(where: string, { place }: WalkedDirectory): void {
    for (const { cluster, count } of place.runs) {
      const added = this.#owned.addRun(cluster, count);
      if (added < count) {
        this.#problems.add(where, `shares cluster ${cluster + added} with a file`);
      }
    }
  }

  #takeItem(directory: WalkedDirectory, where: string, item: DirectoryItem): void {
    switch (item.kind) {
      case "file":
        this.#takeEntry(directory, item.id, item.entry);
        return;
      case "deleted":
        this.#deleted?.add(item.entry);
        return;
      case "broken":
        this.#problems.add(where, item.message);
        return;
      case "bitmap":
        this.#batch.add("", "allocation bitmap", item.allocation);
        return;
      case "upCase":
        this.#batch.add("", "up-case table", item.allocation);
        return;
      case "benign":
        this.#batch.add(directory.path, "unknown benign entry", item.allocation);
        return;
      case "label":
      case "guid":
        return;
    }
  }

  #takeEntry(directory: WalkedDirectory, id: number, entry: FileEntry): void {
    const path = `${directory.path}/${safeName(entry.name)}`;
    for (const each of [entry.fault, entry.remark]) {
      if (each !== undefined) this.#problems.add(path, `${each} (entry at byte ${id})`);
    }
    for (const attached of entry.attached) {
      this.#batch.add(directory.path, `${entry.name}: vendor allocation`, attached);
    }
    if (entry.isDirectory) {
      this.#walk.offer(id, entry, path);
      return;
    }
    this.#files++;
    // Where the set cannot be trusted, what it claims must not be held against other files.
    if (entry.fault === undefined) this.#batch.add(directory.path, entry.name, entry);
  }

  /** Blocks in use and blocks to read, cut off where the device ends. */
  async #blockSets(clusters: UsedClusters): Promise<Pick<VolumeSurvey, "used" | "control">> {
    const { blockSizeBytes, system } = this.#input;
    const { geometry, device, table } = this.#store;
    const { blocks, bad } = await scanFats(
      this.#store,
      clusters.used,
      blockSizeBytes,
      this.#options.signal,
    );
    const nobodys = withoutOwned(bad, this.#owned);
    this.#reportAllocation(clusters, nobodys.total);
    for (const { cluster, count } of system.upCaseRuns) this.#addClusters(cluster, count);
    for (const { cluster, count } of system.bitmap?.runs ?? []) this.#addClusters(cluster, count);
    for (const page of this.#pages) {
      const { offsetBytes, lengthBytes } = table.pagePlace(page);
      this.#addControl(offsetBytes, lengthBytes);
    }
    this.#addControl(0, 2 * REGION_SECTORS * geometry.bytesPerSector);
    // The first entries of the FAT say what kind of medium this is.
    this.#addControl(table.offsetOf(geometry.activeFat), geometry.bytesPerSector);
    const onDevice = ExtentSet.from([
      [0, Math.floor(Math.min(device.sizeBytes, geometry.volumeBytes) / blockSizeBytes)],
    ]);
    const control = this.#control.finish().intersect(onDevice);
    const whole = this.#blocksOf(clusters.used.subtract(nobodys)).union(blocks);
    const used = whole.intersect(onDevice);
    if (used.total < whole.total) {
      const message = `${whole.total - used.total} used blocks lie beyond the end of ${device.name}`;
      this.#problems.add("volume", message);
    }
    return { used: used.union(control), control };
  }

  #reportAllocation(clusters: UsedClusters, badClusters: number): void {
    const { unowned, unmarked, firstUnmarked } = clusters;
    const where = "allocation bitmap";
    const lost = unowned - badClusters;
    if (lost > 0) {
      this.#problems.add(where, `${countOf(lost)} in use by no file or directory`);
    }
    if (unmarked > 0 && this.#input.system.bitmap !== undefined) {
      const message = `${countOf(unmarked)} marked free, but not: the first is cluster ${firstUnmarked}`;
      this.#problems.add(where, message);
    }
  }

  #addClusters(cluster: number, count: number): void {
    const { geometry } = this.#store;
    this.#addControl(clusterOffset(geometry, cluster), count * geometry.clusterBytes);
  }

  #addControl(deviceOffset: number, lengthBytes: number): void {
    const { blockSizeBytes } = this.#input;
    const first = Math.floor(deviceOffset / blockSizeBytes);
    this.#control.add(first, Math.ceil((deviceOffset + lengthBytes) / blockSizeBytes) - first);
  }

  #blocksOf(clusters: ExtentSet): ExtentSet {
    const { geometry } = this.#store;
    const { blockSizeBytes } = this.#input;
    const builder = new ExtentSetBuilder();
    for (const [cluster, count] of clusters) {
      const start = clusterOffset(geometry, cluster) / blockSizeBytes;
      builder.add(start, (count * geometry.clusterBytes) / blockSizeBytes);
    }
    return builder.build();
  }
}

function countOf(clusters: number): string {
  return clusters === 1 ? "1 cluster is" : `${clusters} clusters are`;
}

/** Entries of files in one piece mean nothing: what belongs to something is not bad. */
function withoutOwned(bad: ExtentSet, owned: ClusterSet): ExtentSet {
  const builder = new ExtentSetBuilder();
  for (const [start, count] of bad) {
    for (let cluster = start; cluster < start + count; cluster++) {
      if (!owned.has(cluster)) builder.add(cluster, 1);
    }
  }
  return builder.build();
}

/** Files waiting for their clusters to be found. */
class FileBatch {
  readonly #store: ExfatStore;
  readonly #owned: ClusterSet;
  readonly #pages: Set<number>;
  readonly #problems: ProblemList;
  #folders: string[] = [];
  #names: string[] = [];
  #allocations: Allocation[] = [];

  constructor(store: ExfatStore, owned: ClusterSet, pages: Set<number>, problems: ProblemList) {
    this.#store = store;
    this.#owned = owned;
    this.#pages = pages;
    this.#problems = problems;
  }

  get length(): number {
    return this.#names.length;
  }

  add(folder: string, name: string, allocation: Allocation): void {
    const { firstCluster, sizeBytes, isContiguous } = allocation;
    // The entry of an empty file names no cluster: there is nothing to find.
    if (firstCluster === 0 && sizeBytes === 0) return;
    this.#folders.push(folder);
    this.#names.push(name);
    this.#allocations.push({ firstCluster, sizeBytes, isContiguous });
  }

  /** Finds the clusters of them all and forgets them. */
  async check(): Promise<void> {
    const allocations = this.#allocations;
    const indexes = Uint32Array.from(allocations, (_, index) => index);
    const firstOf = (index: number) => allocations[index]?.firstCluster ?? 0;
    indexes.sort((a, b) => firstOf(a) - firstOf(b));
    for (const index of indexes) {
      const allocation = allocations[index];
      const message = allocation === undefined ? undefined : await this.#faultOf(allocation);
      if (message === undefined) continue;
      const name = safeName(this.#names[index] ?? "");
      this.#problems.add(`${this.#folders[index] ?? ""}/${name}`, message);
    }
    this.#folders = [];
    this.#names = [];
    this.#allocations = [];
  }

  async #faultOf(allocation: Allocation): Promise<string | undefined> {
    const runs: [number, number][] = [];
    let end = 0;
    const sink = (start: number, count: number) => {
      runs.push([start, count]);
      end = Math.max(end, start + count);
    };
    const options = { claims: this.#owned, pages: this.#pages };
    try {
      const { meetsAt, fault, remark } = await findFile(this.#store, allocation, sink, options);
      const isLoop = meetsAt !== undefined && !allocation.isContiguous;
      if (isLoop && ExtentSet.from(runs).has(meetsAt)) {
        return `its cluster chain loops back to cluster ${meetsAt}`;
      }
      const isBeyond = end > this.#store.clustersReadable + FIRST_CLUSTER;
      const beyond = isBeyond ? "part of it lies beyond the end of the device" : undefined;
      return fault ?? beyond ?? remark;
    } catch (error) {
      if (isReelError(error, "io") || isReelError(error, "damaged")) return error.message;
      throw error;
    }
  }
}
