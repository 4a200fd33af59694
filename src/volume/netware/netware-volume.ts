/**
 * What stands on one or more NetWare partitions, as a Volume. A single volume is shown as it is;
 * where there are several, the root has a folder for each.
 *
 * Node ids: a volume's number and the number of the directory record, which is 128 bytes long:
 * `volume * 2^40 + (record + 1) * 128`. The root above several volumes is 1.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { ExtentSet } from "../../device/extents.ts";
import { FoundOnce } from "../../device/found-once.ts";
import { ReelError, throwIfAborted } from "../../errors.ts";
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
import { blocksInSegments, blocksOfBytes, partitionHeads } from "./device-blocks.ts";
import type { DeviceBlocks } from "./device-blocks.ts";
import { Entries } from "./entries.ts";
import type { Partition } from "./partition.ts";
import { RECORD_BYTES, RECORDS_MAX, ROOT_RECORD } from "./records.ts";
import type { NetwareStore } from "./store.ts";
import { surveyStore } from "./survey.ts";
import type { VolumeShape } from "./volume-table.ts";

const ROOT_ABOVE_ID: NodeId = 1;
const IDS_PER_VOLUME = 2 ** 40;
const PROBLEMS_MAX = 1000;

/** A volume of the partitions: opened, or why not. */
export type Member =
  | { readonly shape: VolumeShape; readonly store: NetwareStore }
  | { readonly shape: VolumeShape; readonly error: ReelError };

export interface NetwareParts {
  readonly device: BlockDevice;
  readonly deviceBlocks: DeviceBlocks;
  readonly partitions: readonly Partition[];
  readonly members: readonly Member[];
  readonly info: VolumeInfo;
  readonly problems: readonly VolumeProblem[];
}

/** A node: record `record` of a member, or the root above several. */
interface Place {
  readonly entries: Entries;
  readonly record: number;
}

export class NetwareVolume implements Volume {
  readonly info: VolumeInfo;
  readonly rootId: NodeId;
  readonly #parts: NetwareParts;
  readonly #entries: readonly (Entries | undefined)[];
  readonly #folderNames: readonly string[];
  readonly #freeClusters = new FoundOnce(async () => this.#countFree());
  #isClosed = false;

  constructor(parts: NetwareParts) {
    this.#parts = parts;
    this.info = parts.info;
    this.#entries = parts.members.map((member, index) =>
      "store" in member ? new Entries(member.store, (record) => idOf(index, record)) : undefined,
    );
    const names = parts.members.map(({ shape }) => shape.parameters.name);
    this.#folderNames = uniqueNames(names, upperCaseByUnit);
    this.rootId = names.length === 1 ? idOf(0, ROOT_RECORD) : ROOT_ABOVE_ID;
  }

  async survey(options: SurveyOptions = {}): Promise<VolumeSurvey> {
    this.#checkOpen();
    const { members, partitions, deviceBlocks: blocks, info } = this.#parts;
    throwIfAborted(options.signal, `surveying ${this.#parts.device.name}`);
    const heads = partitionHeads(partitions, blocks);
    const problems = new ProblemList(this.#parts.problems);
    let { control, used } = heads;
    let [clustersUsed, files, directories] = [0, 0, this.#isAbove ? members.length : 0];
    for (const member of members) {
      const { map, mirrors } = member.shape;
      const { blockBytes } = map;
      const inAll = (set: ExtentSet) =>
        blocksInSegments(set, [...map.segments, ...mirrors], blockBytes, blocks);
      if (!("store" in member)) {
        // Nothing is known of it: all of it is kept.
        used = used.union(inAll(ExtentSet.from([[0, map.blockCount]])));
        clustersUsed += map.blockCount * (blockBytes / info.clusterSizeBytes);
        continue;
      }
      const found = await surveyStore(member.store, problems, options);
      const links = blocksOfBytes(found.controlBytes, blocks);
      control = control
        .union(blocksInSegments(found.control, map.segments, blockBytes, blocks))
        .union(links);
      used = used.union(inAll(found.used));
      clustersUsed += found.allocatedBlocks * (blockBytes / info.clusterSizeBytes);
      files += found.files;
      directories += found.directories;
    }
    used = used.union(control);
    return { used, control, clustersUsed, files, directories, problems: problems.finish() };
  }

  async readDirectory(id: NodeId): Promise<readonly VolumeEntry[]> {
    this.#checkOpen();
    if (id !== ROOT_ABOVE_ID || !this.#isAbove) {
      const { entries, record } = this.#placeOf(id);
      return entries.list(record);
    }
    const folders: VolumeEntry[] = [];
    for (const [index, name] of this.#folderNames.entries()) {
      folders.push({ name, stat: await this.stat(idOf(index, ROOT_RECORD)) });
    }
    return folders;
  }

  async stat(id: NodeId): Promise<NodeStat> {
    this.#checkOpen();
    if (id === ROOT_ABOVE_ID && this.#isAbove) return plainDirectory(id);
    const index = memberIndexOf(id);
    const isBroken = index < this.#entries.length && this.#entries[index] === undefined;
    if (isBroken && id === idOf(index, ROOT_RECORD)) return plainDirectory(id);
    const { entries, record } = this.#placeOf(id);
    return entries.stat(record);
  }

  async layout(id: NodeId): Promise<FileLayout> {
    this.#checkOpen();
    if (id === ROOT_ABOVE_ID && this.#isAbove) {
      const { name } = this.#parts.device;
      throw new ReelError("is-a-directory", `cannot read the root of ${name}: it is a directory`);
    }
    const { entries, record } = this.#placeOf(id);
    return entries.layout(record);
  }

  async readOtherCopy(
    id: NodeId,
    offsetBytes: number,
    target: Uint8Array,
  ): Promise<number | undefined> {
    this.#checkOpen();
    const { entries, record } = this.#placeOf(id);
    return entries.readOtherCopy(record, offsetBytes, target);
  }

  async readLink(id: NodeId): Promise<string> {
    this.#checkOpen();
    const { entries, record } = this.#placeOf(id);
    return entries.readLink(record);
  }

  async xattrs(id: NodeId): Promise<ReadonlyMap<string, Uint8Array>> {
    this.#checkOpen();
    if (id === ROOT_ABOVE_ID && this.#isAbove) return new Map();
    const { entries, record } = this.#placeOf(id);
    return entries.xattrs(record);
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

  /** Is there a root above several volumes? */
  get #isAbove(): boolean {
    return this.rootId === ROOT_ABOVE_ID;
  }

  #checkOpen(): void {
    if (!this.#isClosed) return;
    throw new ReelError("closed", `the volume on ${this.#parts.device.name} was closed`);
  }

  /** Throws "not-found" for what is no id, and the error of a volume that could not be opened. */
  #placeOf(id: NodeId): Place {
    const index = memberIndexOf(id);
    const member = this.#parts.members[index];
    const record = (id - index * IDS_PER_VOLUME) / RECORD_BYTES - 1;
    if (member === undefined || !Number.isInteger(record) || record < 0 || record >= RECORDS_MAX) {
      const { name } = this.#parts.device;
      throw new ReelError("not-found", `there is no node ${id} on ${name}`);
    }
    if ("error" in member) throw member.error;
    const entries = this.#entries[index];
    if (entries === undefined) throw new ReelError("internal", `no entries of member ${index}`);
    return { entries, record };
  }

  async #countFree(): Promise<number> {
    let free = 0;
    for (const member of this.#parts.members) {
      if (!("store" in member)) continue;
      const blocks = await countFree(member.store.fat);
      free += blocks * (member.shape.map.blockBytes / this.info.clusterSizeBytes);
    }
    return free;
  }
}

function idOf(memberIndex: number, record: number): NodeId {
  return memberIndex * IDS_PER_VOLUME + (record + 1) * RECORD_BYTES;
}

function memberIndexOf(id: NodeId): number {
  return Number.isSafeInteger(id) && id >= 0 ? Math.floor(id / IDS_PER_VOLUME) : -1;
}

/** A directory that no record describes. */
function plainDirectory(id: NodeId): NodeStat {
  const earliest = Date.UTC(1980, 0, 1);
  return {
    id,
    kind: "directory",
    sizeBytes: 0,
    linkCount: 1,
    modifiedMs: earliest,
    accessedMs: earliest,
    changedMs: earliest,
    allocatedBytes: 0,
  };
}

/** Problems up to a limit, and how many there were besides. */
class ProblemList {
  readonly #list: VolumeProblem[];
  #more = 0;

  constructor(problems: readonly VolumeProblem[]) {
    this.#list = [...problems];
  }

  add(problem: VolumeProblem): void {
    if (this.#list.length < PROBLEMS_MAX) this.#list.push(problem);
    else this.#more++;
  }

  finish(): readonly VolumeProblem[] {
    if (this.#more === 0) return this.#list;
    return [...this.#list, { where: "volume", message: `${this.#more} more problems` }];
  }
}
