/** A FAT12, FAT16 or FAT32 volume, read-only, to the Volume contract. */
import { FoundOnce } from "../../device/found-once.ts";
import { ReelError } from "../../errors.ts";
import { isCluster } from "../cluster-table.ts";
import { LayoutBuilder } from "../layout-builder.ts";
import { uniqueNames, upperCaseByUnit } from "../names.ts";
import type {
  FileLayout,
  NodeId,
  NodeStat,
  SurveyOptions,
  Volume,
  VolumeEntry,
  VolumeInfo,
  VolumeProblem,
  VolumeSurvey,
} from "../volume.ts";
import { countFree } from "./allocation.ts";
import { followChain } from "../cluster-chain.ts";
import {
  entryFields,
  entryTimes,
  isDotEntry,
  isLiveEntry,
  scanDirectory,
  shortNameOf,
  ATTRIBUTE,
} from "./directory.ts";
import type { EntryFields } from "./directory.ts";
import {
  checkFileChain,
  deviceOffsetOf,
  DIRECTORY_BYTES_MAX,
  loadDirectory,
  ROOT_ID,
  rootClusterOf,
} from "./fat-store.ts";
import type { DirectoryData, FatStore } from "./fat-store.ts";
import { clusterAt, clusterOffset, ENTRY_BYTES } from "./geometry.ts";
import { surveyFat } from "./survey.ts";
import { PlaceCheck } from "./tree-walk.ts";

/** A short entry with where it was found. */
interface FoundEntry {
  readonly fields: EntryFields;
  readonly bytes: Uint8Array;
  readonly offset: number;
}

export class FatVolume implements Volume {
  readonly info: VolumeInfo;
  readonly rootId: NodeId = ROOT_ID;
  readonly #store: FatStore;
  readonly #problems: readonly VolumeProblem[];
  readonly #places: PlaceCheck;
  readonly #freeClusters = new FoundOnce(async () => countFree(this.#store.table));
  #isClosed = false;

  /** `problems` are those met on opening; every survey begins with them. */
  constructor(store: FatStore, info: VolumeInfo, problems: readonly VolumeProblem[]) {
    this.#store = store;
    this.info = info;
    this.#problems = problems;
    this.#places = new PlaceCheck(store);
  }

  async survey(options: SurveyOptions = {}): Promise<VolumeSurvey> {
    this.#checkOpen();
    return surveyFat(this.#store, this.#problems, options);
  }

  async readDirectory(id: NodeId): Promise<readonly VolumeEntry[]> {
    this.#checkOpen();
    const data = await this.#loadDirectory(id);
    const names: string[] = [];
    const found: { id: NodeId; entry: FoundEntry; shortName: string }[] = [];
    for (const { kind, offset, longName } of scanDirectory(data.bytes, true)) {
      if (kind !== "entry") continue;
      const shortName = shortNameOf(data.bytes, offset, this.#store.codePage);
      names.push(longName ?? shortName);
      const entry = this.#entryIn(data.bytes, offset);
      found.push({ id: deviceOffsetOf(data, offset), entry, shortName });
    }
    const unique = uniqueNames(names, upperCaseByUnit);
    const entries: VolumeEntry[] = [];
    for (const [index, { id: entryId, entry, shortName }] of found.entries()) {
      const name = unique[index] ?? "";
      // Only a directory's size has to be looked up.
      const stat = entry.fields.isDirectory
        ? await this.#statOf(entryId, entry)
        : this.#makeStat(entryId, entry, entry.fields.sizeBytes);
      entries.push(name === shortName ? { name, stat } : { name, stat, shortName });
    }
    return entries;
  }

  async stat(id: NodeId): Promise<NodeStat> {
    this.#checkOpen();
    if (id === ROOT_ID) return this.#statOfRoot();
    return this.#statOf(id, await this.#readEntry(id));
  }

  async layout(id: NodeId): Promise<FileLayout> {
    this.#checkOpen();
    const entry = id === ROOT_ID ? undefined : await this.#readEntry(id);
    if (entry === undefined || entry.fields.isDirectory) {
      throw new ReelError(
        "is-a-directory",
        `cannot lay out ${this.#describe(id)}: it is a directory`,
      );
    }
    const { geometry } = this.#store;
    const { firstCluster, sizeBytes } = entry.fields;
    const layout = new LayoutBuilder(sizeBytes);
    const sink = (cluster: number, count: number) => {
      layout.add(clusterOffset(geometry, cluster), count * geometry.clusterBytes);
    };
    const chain = await checkFileChain(this.#store, firstCluster, sizeBytes, sink);
    const beyond = layout.endBytes > this.#store.device.sizeBytes;
    const fault =
      chain.fault ?? (beyond ? "part of it lies beyond the end of the device" : undefined);
    if (fault !== undefined) {
      throw new ReelError("damaged", `cannot read ${this.#describe(id, entry)}: ${fault}`);
    }
    return layout.build();
  }

  foldName(name: string): string {
    return upperCaseByUnit(name);
  }

  async freeClusters(): Promise<number> {
    this.#checkOpen();
    return this.#freeClusters.get();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
  }

  #checkOpen(): void {
    if (!this.#isClosed) return;
    throw new ReelError("closed", `the volume on ${this.#store.device.name} was closed`);
  }

  /** A directory that can be listed: sound enough to have all its entries, and in its place. */
  async #loadDirectory(id: NodeId): Promise<DirectoryData> {
    const entry = id === ROOT_ID ? undefined : await this.#readEntry(id);
    if (entry?.fields.isDirectory === false) {
      throw new ReelError(
        "not-a-directory",
        `cannot list ${this.#describe(id, entry)}: it is a file`,
      );
    }
    const firstCluster = entry?.fields.firstCluster ?? rootClusterOf(this.#store.geometry);
    if (entry !== undefined && firstCluster === 0) {
      throw new ReelError(
        "damaged",
        `cannot list ${this.#describe(id, entry)}: it has no first cluster`,
      );
    }
    const data = await loadDirectory(this.#store, firstCluster);
    if (!data.isComplete) {
      throw new ReelError(
        "damaged",
        `cannot list ${this.#describe(id, entry)}: ${data.fault ?? "it is not whole"}`,
      );
    }
    await this.#places.check(id, firstCluster, data);
    return data;
  }

  /** Reads the short entry that an id stands for. Throws "not-found" where there is none. */
  async #readEntry(id: NodeId): Promise<FoundEntry> {
    const { device } = this.#store;
    const bytes = new Uint8Array(ENTRY_BYTES);
    if (this.#canHoldEntry(id)) {
      await device.read(id, bytes);
      if (isLiveEntry(bytes, 0) && !isDotEntry(bytes, 0)) return this.#entryIn(bytes, 0);
    }
    throw new ReelError("not-found", `there is no directory entry at byte ${id} of ${device.name}`);
  }

  #canHoldEntry(id: NodeId): boolean {
    const { device, geometry } = this.#store;
    if (!Number.isSafeInteger(id) || id < 0 || id % ENTRY_BYTES !== 0) return false;
    if (id + ENTRY_BYTES > device.sizeBytes) return false;
    const rootOffset = geometry.rootSector * geometry.bytesPerSector;
    const rootEnd = rootOffset + geometry.rootEntries * ENTRY_BYTES;
    return clusterAt(geometry, id) !== undefined || (id >= rootOffset && id < rootEnd);
  }

  #entryIn(bytes: Uint8Array, offset: number): FoundEntry {
    return { fields: entryFields(bytes, offset, this.#store.isFat32), bytes, offset };
  }

  async #statOf(id: NodeId, entry: FoundEntry): Promise<NodeStat> {
    const { isDirectory, firstCluster, sizeBytes } = entry.fields;
    return this.#makeStat(
      id,
      entry,
      isDirectory ? await this.#directoryBytes(firstCluster) : sizeBytes,
    );
  }

  #makeStat(id: NodeId, entry: FoundEntry, sizeBytes: number): NodeStat {
    const { geometry, timeZoneMinutes } = this.#store;
    const { attributes, isDirectory } = entry.fields;
    const times = entryTimes(entry.bytes, entry.offset, timeZoneMinutes);
    const { clusterBytes } = geometry;
    return {
      id,
      kind: isDirectory ? "directory" : "file",
      sizeBytes,
      readOnly: (attributes & ATTRIBUTE.readOnly) !== 0,
      linkCount: 1,
      modifiedMs: times.modifiedMs,
      accessedMs: times.accessedMs,
      createdMs: times.createdMs,
      changedMs: times.modifiedMs,
      allocatedBytes: Math.ceil(sizeBytes / clusterBytes) * clusterBytes,
      attributes,
    };
  }

  async #statOfRoot(): Promise<NodeStat> {
    const { geometry, timeZoneMinutes } = this.#store;
    const sizeBytes =
      geometry.bits === 32
        ? await this.#directoryBytes(geometry.rootCluster)
        : geometry.rootSectors * geometry.bytesPerSector;
    // The root has no entry, so no times: it gets the earliest there is.
    const { modifiedMs } = entryTimes(new Uint8Array(ENTRY_BYTES), 0, timeZoneMinutes);
    return {
      id: ROOT_ID,
      kind: "directory",
      sizeBytes,
      linkCount: 1,
      modifiedMs,
      accessedMs: modifiedMs,
      changedMs: modifiedMs,
      allocatedBytes: sizeBytes,
    };
  }

  /** What a directory occupies, as far as its chain goes. */
  async #directoryBytes(firstCluster: number): Promise<number> {
    const { geometry, table } = this.#store;
    if (!isCluster(geometry, firstCluster)) return 0;
    const clustersMax = Math.ceil(DIRECTORY_BYTES_MAX / geometry.clusterBytes);
    const chain = await followChain(table, firstCluster, clustersMax, () => undefined);
    return chain.clusters * geometry.clusterBytes;
  }

  #describe(id: NodeId, entry?: FoundEntry): string {
    const { device, codePage } = this.#store;
    if (id === ROOT_ID) return `the root directory of ${device.name}`;
    const name = entry === undefined ? "" : `${shortNameOf(entry.bytes, entry.offset, codePage)} `;
    return `${name}(entry at byte ${id} of ${device.name})`;
  }
}
