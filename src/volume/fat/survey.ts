/**
 * The survey: one pass over the FAT for what is in use, one walk over the directories for what
 * must be read to walk them again, and every file's chain followed once.
 *
 * Chains are checked in batches sorted by first cluster, so that the FAT is passed over in order,
 * a few times, however the files are scattered over the directories, and memory does not grow
 * with the number of files. A chain is followed only as far as the first cluster that another
 * object has: all chains together cost at most one step for each cluster.
 */
import { ExtentSet, ExtentSetBuilder } from "../../device/extents.ts";
import { isReelError, throwIfAborted } from "../../errors.ts";
import { Bitmap } from "../bitmap.ts";
import { FIRST_CLUSTER } from "../cluster-table.ts";
import { safeName } from "../names.ts";
import { ProblemList } from "../problem-list.ts";
import type { SurveyOptions, VolumeProblem, VolumeSurvey } from "../volume.ts";
import { scanAllocation } from "./allocation.ts";
import { DeletedFiles } from "./deleted.ts";
import { entryFields, scanDirectory, shortNameOf } from "./directory.ts";
import type { EntryFields, Slot } from "./directory.ts";
import { checkFileChain, deviceOffsetOf, ROOT_ID } from "./fat-store.ts";
import type { FatStore } from "./fat-store.ts";
import { clusterOffset } from "./geometry.ts";
import { DirectoryWalk } from "./tree-walk.ts";
import type { WalkedDirectory } from "./tree-walk.ts";

/** Files whose chains are checked together. */
const BATCH_FILES = 64 * 1024;
/** A reserved area up to this size is control as a whole: boot sectors, FSInfo, their backups. */
const RESERVED_CONTROL_BYTES_MAX = 64 * 1024;
/** Sectors of the boot code and of its backup in a larger reserved area. */
const BOOT_SECTORS = 3;

/** Surveys a volume. `problems` are those met on opening. Throws what the device throws. */
export async function surveyFat(
  store: FatStore,
  problems: readonly VolumeProblem[],
  options: SurveyOptions,
): Promise<VolumeSurvey> {
  const survey = new FatSurvey(store, problems, options);
  return survey.run();
}

class FatSurvey {
  readonly #store: FatStore;
  readonly #options: SurveyOptions;
  readonly #problems: ProblemList;
  readonly #walk: DirectoryWalk;
  /** Clusters that some file or directory has. */
  readonly #owned: Bitmap;
  readonly #batch: FileBatch;
  #files = 0;
  #directories = 0;

  constructor(store: FatStore, problems: readonly VolumeProblem[], options: SurveyOptions) {
    this.#store = store;
    this.#options = options;
    this.#problems = new ProblemList(problems);
    this.#walk = new DirectoryWalk(store);
    this.#owned = new Bitmap(store.table.clustersReadable + FIRST_CLUSTER);
    this.#batch = new FileBatch(store, this.#owned, this.#problems);
  }

  async run(): Promise<VolumeSurvey> {
    const { table } = this.#store;
    const { allocated, badClusters, problems } = await scanAllocation(table, this.#options.signal);
    for (const { where, message } of problems) this.#problems.add(where, message);
    const deleted =
      this.#options.includeDeleted === true ? new DeletedFiles(this.#store, allocated) : undefined;
    await this.#walkAll(deleted);
    await this.#batch.check();
    const directories = this.#walk.claimed.toExtents();
    const lost = allocated.subtract(this.#owned.toExtents()).total;
    if (lost > 0) {
      const clusters = lost === 1 ? "1 cluster is" : `${lost} clusters are`;
      this.#problems.add("FAT", `${clusters} in use by no file or directory`);
    }
    const clusters = allocated.union((await deleted?.finish()) ?? ExtentSet.empty);
    const { used, control } = this.#sectorSets(clusters, directories);
    return {
      used,
      control,
      clustersUsed: allocated.total + badClusters,
      files: this.#files,
      directories: this.#directories,
      problems: this.#problems.finish(),
    };
  }

  async #walkAll(deleted: DeletedFiles | undefined): Promise<void> {
    const { signal, progress } = this.#options;
    for (;;) {
      throwIfAborted(signal, `surveying ${this.#store.device.name}`);
      const directory = await this.#walk.next();
      if (directory === undefined) return;
      if (directory.id !== ROOT_ID) this.#directories++;
      this.#claimDirectory(directory);
      for (const slot of scanDirectory(directory.data.bytes, true)) {
        if (slot.kind === "deleted") deleted?.add(directory.data.bytes, slot.offset);
        else if (slot.kind === "entry") this.#addEntry(directory, slot);
      }
      if (this.#batch.length >= BATCH_FILES) await this.#batch.check();
      progress?.({ phase: "surveying", done: this.#files, unit: "files" });
    }
  }

  #claimDirectory({ path, data }: WalkedDirectory): void {
    const where = path === "" ? "/" : path;
    if (data.fault !== undefined) this.#problems.add(where, `damaged directory: ${data.fault}`);
    for (const { cluster, clusterCount } of data.extents) {
      const shared = this.#owned.setRun(cluster, clusterCount);
      if (shared !== undefined) this.#problems.add(where, `shares cluster ${shared} with a file`);
    }
  }

  #addEntry(directory: WalkedDirectory, slot: Slot): void {
    const { bytes } = directory.data;
    const entry = entryFields(bytes, slot.offset, this.#store.isFat32);
    const name = slot.longName ?? shortNameOf(bytes, slot.offset, this.#store.codePage);
    if (!entry.isDirectory) {
      this.#files++;
      this.#batch.add(directory.path, name, entry);
      return;
    }
    const path = `${directory.path}/${safeName(name)}`;
    const id = deviceOffsetOf(directory.data, slot.offset);
    if (this.#walk.offer(id, entry.firstCluster, path)) return;
    this.#problems.add(
      path,
      `leads to cluster ${entry.firstCluster}, the start of a directory that has another place`,
    );
  }

  /** Everything in sectors, cut off where the device ends. */
  #sectorSets(
    clusters: ExtentSet,
    directories: ExtentSet,
  ): { used: ExtentSet; control: ExtentSet } {
    const { geometry, device } = this.#store;
    const { bytesPerSector, dataSector, totalSectors, reservedSectors, sectorsPerFat } = geometry;
    const onDevice = ExtentSet.from([
      [0, Math.min(totalSectors, Math.floor(device.sizeBytes / bytesPerSector))],
    ]);
    const entries = geometry.clusterCount + FIRST_CLUSTER;
    const fatSectors = Math.ceil((entries * geometry.bits) / 8 / bytesPerSector);
    const control = ExtentSet.from([
      ...this.#reservedControl(),
      [reservedSectors + geometry.activeFat * sectorsPerFat, fatSectors],
      [geometry.rootSector, geometry.rootSectors],
    ])
      .union(this.#sectorsOf(directories))
      .intersect(onDevice);
    const whole = ExtentSet.from([[0, dataSector]]).union(this.#sectorsOf(clusters));
    const used = whole.intersect(onDevice);
    if (used.total < whole.total) {
      this.#problems.add(
        "volume",
        `${whole.total - used.total} used sectors lie beyond the end of ${device.name}`,
      );
    }
    return { used: used.union(control), control };
  }

  #sectorsOf(clusters: ExtentSet): ExtentSet {
    const { geometry } = this.#store;
    const builder = new ExtentSetBuilder();
    for (const [cluster, count] of clusters) {
      const start = clusterOffset(geometry, cluster) / geometry.bytesPerSector;
      builder.add(start, count * geometry.sectorsPerCluster);
    }
    return builder.build();
  }

  #reservedControl(): [number, number][] {
    const { reservedSectors, bytesPerSector, fsInfoSector, backupBootSector } =
      this.#store.geometry;
    if (reservedSectors * bytesPerSector <= RESERVED_CONTROL_BYTES_MAX) {
      return [[0, reservedSectors]];
    }
    return [
      [0, BOOT_SECTORS],
      [fsInfoSector, 1],
      [backupBootSector, BOOT_SECTORS],
    ];
  }
}

/** Files waiting for their chains to be checked. */
class FileBatch {
  readonly #store: FatStore;
  readonly #owned: Bitmap;
  readonly #problems: ProblemList;
  #folders: string[] = [];
  #names: string[] = [];
  #firstClusters: number[] = [];
  #sizes: number[] = [];

  constructor(store: FatStore, owned: Bitmap, problems: ProblemList) {
    this.#store = store;
    this.#owned = owned;
    this.#problems = problems;
  }

  get length(): number {
    return this.#names.length;
  }

  add(folder: string, name: string, { firstCluster, sizeBytes }: EntryFields): void {
    // The entry of an empty file names no cluster: there is nothing to check.
    if (firstCluster === 0 && sizeBytes === 0) return;
    this.#folders.push(folder);
    this.#names.push(name);
    this.#firstClusters.push(firstCluster);
    this.#sizes.push(sizeBytes);
  }

  /** Checks them all and forgets them. */
  async check(): Promise<void> {
    const indexes = Uint32Array.from(this.#names, (_, index) => index);
    const firstClusters = this.#firstClusters;
    indexes.sort((a, b) => (firstClusters[a] ?? 0) - (firstClusters[b] ?? 0));
    for (const index of indexes) {
      const message = await this.#faultOf(firstClusters[index] ?? 0, this.#sizes[index] ?? 0);
      if (message === undefined) continue;
      const name = safeName(this.#names[index] ?? "");
      this.#problems.add(`${this.#folders[index] ?? ""}/${name}`, message);
    }
    this.#folders = [];
    this.#names = [];
    this.#firstClusters = [];
    this.#sizes = [];
  }

  async #faultOf(firstCluster: number, sizeBytes: number): Promise<string | undefined> {
    const runs: [number, number][] = [];
    const sink = (start: number, count: number) => void runs.push([start, count]);
    try {
      const chain = await checkFileChain(this.#store, firstCluster, sizeBytes, sink, this.#owned);
      const { meetsAt } = chain;
      if (meetsAt !== undefined && ExtentSet.from(runs).has(meetsAt)) {
        return `its cluster chain loops back to cluster ${meetsAt}`;
      }
      return chain.fault ?? chain.remark;
    } catch (error) {
      if (isReelError(error, "io") || isReelError(error, "damaged")) return error.message;
      throw error;
    }
  }
}
