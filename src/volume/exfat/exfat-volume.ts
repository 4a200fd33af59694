/** An exFAT volume, read-only, to the Volume contract. */
import { FoundOnce } from "../../device/found-once.ts";
import { ReelError } from "../../errors.ts";
import { LayoutBuilder } from "../layout-builder.ts";
import { uniqueNames } from "../names.ts";
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
import { countUsed } from "./allocation.ts";
import { clusterOffset, clustersFor } from "./boot-region.ts";
import { EntryLookup } from "./entry-lookup.ts";
import { ATTRIBUTE, ENTRY_BYTES, entryTimes } from "./entry-set.ts";
import type { FileEntry } from "./entry-set.ts";
import { findDirectory, findFile, ROOT_ID, rootAllocation, scanDirectory } from "./exfat-store.ts";
import type { DirectoryPlace, ExfatStore } from "./exfat-store.ts";
import { surveyExfat } from "./survey.ts";
import type { SystemFiles } from "./survey.ts";
import { PlaceCheck } from "./tree-walk.ts";
import type { Fold } from "./up-case.ts";

/** What opening a volume found. */
export interface OpenedExfat {
  readonly store: ExfatStore;
  readonly info: VolumeInfo;
  readonly system: SystemFiles;
  readonly fold: Fold;
  /** Every survey begins with them. */
  readonly problems: readonly VolumeProblem[];
}

export class ExfatVolume implements Volume {
  readonly info: VolumeInfo;
  readonly rootId: NodeId = ROOT_ID;
  readonly #opened: OpenedExfat;
  readonly #store: ExfatStore;
  readonly #places: PlaceCheck;
  readonly #entries: EntryLookup;
  readonly #freeClusters = new FoundOnce(async () => this.#countFree());
  #isClosed = false;

  constructor(opened: OpenedExfat) {
    this.#opened = opened;
    this.#store = opened.store;
    this.info = opened.info;
    this.#places = new PlaceCheck(opened.store.device.name);
    this.#entries = new EntryLookup(opened.store);
  }

  async survey(options: SurveyOptions = {}): Promise<VolumeSurvey> {
    this.#checkOpen();
    const { store, system, problems } = this.#opened;
    const { blockSizeBytes } = this.info;
    return surveyExfat({ store, system, problems, blockSizeBytes }, options);
  }

  async readDirectory(id: NodeId): Promise<readonly VolumeEntry[]> {
    this.#checkOpen();
    const entry = id === ROOT_ID ? undefined : await this.#readEntry(id);
    if (entry?.isDirectory === false) {
      throw new ReelError(
        "not-a-directory",
        `cannot list ${this.#describe(id, entry)}: it is a file`,
      );
    }
    const place = await findDirectory(this.#store, entry ?? rootAllocation(this.#store.geometry));
    this.#places.check(id, place);
    this.#entries.note(place);
    const names: string[] = [];
    const stats: NodeStat[] = [];
    const { fault, isComplete } = await scanDirectory(this.#store, place, (item) => {
      if (item.kind !== "file") return;
      names.push(item.entry.name);
      stats.push(this.#makeStat(item.id, item.entry));
    });
    if (!isComplete) {
      throw new ReelError(
        "damaged",
        `cannot list ${this.#describe(id, entry)}: ${fault ?? "it is not whole"}`,
      );
    }
    const unique = uniqueNames(names, this.#opened.fold);
    return stats.map((stat, index) => ({ name: unique[index] ?? "", stat }));
  }

  async stat(id: NodeId): Promise<NodeStat> {
    this.#checkOpen();
    if (id === ROOT_ID) return this.#statOfRoot();
    return this.#makeStat(id, await this.#readEntry(id));
  }

  async layout(id: NodeId): Promise<FileLayout> {
    this.#checkOpen();
    const entry = id === ROOT_ID ? undefined : await this.#readEntry(id);
    if (entry === undefined || entry.isDirectory) {
      throw new ReelError(
        "is-a-directory",
        `cannot lay out ${this.#describe(id)}: it is a directory`,
      );
    }
    const { geometry, device } = this.#store;
    const layout = new LayoutBuilder(entry.sizeBytes, entry.validBytes);
    const found =
      entry.fault === undefined
        ? await findFile(this.#store, entry, (cluster, count) => {
            layout.add(clusterOffset(geometry, cluster), count * geometry.clusterBytes);
          })
        : entry;
    const beyond =
      layout.endBytes > device.sizeBytes
        ? `part of it lies beyond the end of the device, at byte ${device.sizeBytes}`
        : undefined;
    const fault = found.fault ?? beyond;
    if (fault !== undefined) {
      throw new ReelError("damaged", `cannot read ${this.#describe(id, entry)}: ${fault}`);
    }
    return layout.build();
  }

  foldName(name: string): string {
    return this.#opened.fold(name);
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

  /** Clusters that a bitmap says nothing of are not known to be free. */
  async #countFree(): Promise<number> {
    const { bitmap } = this.#opened.system;
    if (bitmap === undefined) return 0;
    const known = Math.min(bitmap.readableBytes * 8, this.#store.geometry.clusterCount);
    return known - (await countUsed(this.#store, bitmap));
  }

  async #readEntry(id: NodeId): Promise<FileEntry> {
    const entry = await this.#entries.find(id);
    if (entry !== undefined) return entry;
    throw new ReelError(
      "not-found",
      `there is no entry of a file at byte ${id} of ${this.#store.device.name}`,
    );
  }

  #makeStat(id: NodeId, entry: FileEntry): NodeStat {
    const { geometry, timeZoneMinutes } = this.#store;
    const { attributes, isDirectory, sizeBytes } = entry;
    const times = entryTimes(entry.primary, timeZoneMinutes);
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
      allocatedBytes: clustersFor(geometry, sizeBytes) * geometry.clusterBytes,
      attributes,
    };
  }

  async #statOfRoot(): Promise<NodeStat> {
    const { geometry, timeZoneMinutes } = this.#store;
    const place: DirectoryPlace = await findDirectory(this.#store, rootAllocation(geometry));
    // The root has no entry, so no times: it gets the earliest there is.
    const { modifiedMs } = entryTimes(new Uint8Array(ENTRY_BYTES), timeZoneMinutes);
    return {
      id: ROOT_ID,
      kind: "directory",
      sizeBytes: place.sizeBytes,
      linkCount: 1,
      modifiedMs,
      accessedMs: modifiedMs,
      changedMs: modifiedMs,
      allocatedBytes: place.sizeBytes,
    };
  }

  #describe(id: NodeId, entry?: FileEntry): string {
    const { device } = this.#store;
    if (id === ROOT_ID) return `the root directory of ${device.name}`;
    const name = entry === undefined ? "" : `${entry.name} `;
    return `${name}(entry at byte ${id} of ${device.name})`;
  }
}
