/**
 * An ext2, ext3 or ext4 volume, read-only, to the Volume contract.
 *
 * The id of a node is its inode number, so that hard links are one node. A name that leads nowhere
 * (its inode is free, reserved, or a directory with another place) is listed under an id of its own
 * kind, so that the name is seen and everything else about it is an error.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { ReelError } from "../../errors.ts";
import { uniqueNames } from "../names.ts";
import { readContents } from "../read-contents.ts";
import type {
  FileLayout,
  NodeId,
  NodeKind,
  NodeStat,
  SurveyOptions,
  Volume,
  VolumeEntry,
  VolumeInfo,
  VolumeProblem,
  VolumeSurvey,
} from "../volume.ts";
import { readAttributes } from "./attributes.ts";
import { mapBlocks } from "./block-map.ts";
import { foldCase } from "./case-fold.ts";
import { DirectoryPlaces } from "./directory-places.ts";
import { loadDirectory } from "./directory.ts";
import type { DirectoryEntries } from "./directory.ts";
import { inlineLayout, readInline } from "./inline.ts";
import { INODE_FLAG } from "./inode.ts";
import type { Inode } from "./inode.ts";
import { isFastLink } from "./links.ts";
import { relocated } from "./replay.ts";
import type { ExtStore } from "./store.ts";
import { ROOT_INODE } from "./superblock.ts";
import { surveyExt } from "./survey.ts";

/** Ids of names that lead nowhere: this and the inode number. */
const NOWHERE_IDS = 2 ** 40;
const INODE_NUMBERS = 2 ** 32;
const KIND_OF_TYPE: readonly (NodeKind | undefined)[] = [
  undefined,
  "file",
  "directory",
  "character",
  "block",
  "fifo",
  "socket",
  "symlink",
];

export class ExtVolume implements Volume {
  readonly info: VolumeInfo;
  readonly rootId: NodeId = ROOT_INODE;
  readonly #store: ExtStore;
  readonly #problems: readonly VolumeProblem[];
  readonly #places = new DirectoryPlaces();
  /** Directories in which names are the same in either case. */
  readonly #folding = new Set<NodeId>();
  #isClosed = false;

  /** `problems` are those met on opening; every survey begins with them. */
  constructor(store: ExtStore, info: VolumeInfo, problems: readonly VolumeProblem[]) {
    this.#store = store;
    this.info = info;
    this.#problems = problems;
  }

  get #device(): BlockDevice {
    return this.#store.device;
  }

  async survey(options: SurveyOptions = {}): Promise<VolumeSurvey> {
    this.#checkOpen();
    return surveyExt(this.#store, this.#problems, options);
  }

  async readDirectory(id: NodeId): Promise<readonly VolumeEntry[]> {
    const inode = await this.#inode(id);
    if (inode.kind !== "directory") {
      throw new ReelError(
        "not-a-directory",
        `cannot list inode ${id}: it is a ${inode.kind ?? ""}`,
      );
    }
    const { entries, fault } = await loadDirectory(this.#store.blocks, inode);
    if (fault !== undefined) {
      throw new ReelError(
        "damaged",
        `cannot list the directory with inode ${id} of ${this.#device.name}: ${fault}`,
      );
    }
    if (inode.hasFlag(INODE_FLAG.casefold)) this.#folding.add(id);
    return this.#entriesWithStats(id, entries);
  }

  async stat(id: NodeId): Promise<NodeStat> {
    return (await this.#inode(id)).stat();
  }

  async layout(id: NodeId): Promise<FileLayout> {
    const layout = await this.#layoutOnVolume(id);
    const { journal, superblock } = this.#store;
    if (journal === undefined) return layout;
    return relocated(layout, journal.replay, superblock.blockSizeBytes);
  }

  /** For files of which the journal has bytes that are not stored as they are. */
  async read(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number> {
    const inode = await this.#inode(id);
    if (inode.isReplayed && inode.hasFlag(INODE_FLAG.inlineData)) {
      return readReplayedInline(inode, offsetBytes, target);
    }
    const layout = await this.#layoutOnVolume(id);
    return readContents(this.#device, layout, offsetBytes, target);
  }

  async readLink(id: NodeId): Promise<string> {
    const inode = await this.#inode(id);
    if (inode.kind !== "symlink") {
      throw new ReelError("invalid", `inode ${id} is no symbolic link but a ${inode.kind ?? ""}`);
    }
    this.#checkReadable(inode);
    return Buffer.from(await this.#linkBytes(inode)).toString("utf8");
  }

  async xattrs(id: NodeId): Promise<ReadonlyMap<string, Uint8Array>> {
    const inode = await this.#inode(id);
    return readAttributes(this.#store.blocks, this.#store.inodes, inode);
  }

  /** Only directories that are marked so fold names, and only of those that were listed it is known. */
  foldName(name: string, directory?: NodeId): string {
    return directory !== undefined && this.#folding.has(directory) ? foldCase(name) : name;
  }

  async freeClusters(): Promise<number> {
    this.#checkOpen();
    const { groups } = this.#store;
    let free = 0;
    for (let group = 0; group < groups.count; group++) {
      if (groups.isKnown(group)) free += groups.freeClusters(group);
    }
    return free;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#store.blocks.clear();
    this.#store.inodes.clear();
  }

  #checkOpen(): void {
    if (!this.#isClosed) return;
    throw new ReelError("closed", `the volume on ${this.#device.name} was closed`);
  }

  async #inode(id: NodeId): Promise<Inode> {
    this.#checkOpen();
    const number = id - NOWHERE_IDS;
    if (number >= 0 && number < INODE_NUMBERS) {
      const fault = this.#store.inodes.faultOfNumber(number) ?? "it is free, or in another place";
      throw new ReelError(
        "damaged",
        `cannot read what a name leads to, inode ${number} of ${this.#device.name}: ${fault}`,
      );
    }
    const inode =
      id === ROOT_INODE ? await this.#store.inodes.find(id) : await this.#store.inodes.get(id);
    if (inode === undefined || (id === ROOT_INODE && inode.kind !== "directory")) {
      throw new ReelError(
        "damaged",
        `cannot read the root, inode ${ROOT_INODE} of ${this.#device.name}: it is no directory`,
      );
    }
    return inode;
  }

  /** A file's layout as the volume has it, with the journal replayed. */
  async #layoutOnVolume(id: NodeId): Promise<FileLayout> {
    const inode = await this.#inode(id);
    const { kind } = inode;
    if (kind === "directory") {
      throw new ReelError("is-a-directory", `cannot lay out inode ${id}: it is a directory`);
    }
    if (kind !== "file") {
      throw new ReelError("invalid", `cannot lay out inode ${id}: it is a ${kind ?? ""}`);
    }
    this.#checkReadable(inode);
    if (inode.hasFlag(INODE_FLAG.inlineData)) return inlineLayout(inode);
    const { runs } = await mapBlocks(this.#store.blocks, inode);
    return runs.toLayout(inode.sizeBytes, this.info.blockSizeBytes);
  }

  /** Contents and link targets of fscrypt are only for those who have the key. */
  #checkReadable(inode: Inode): void {
    if (!inode.hasFlag(INODE_FLAG.encrypted)) return;
    throw new ReelError(
      "unsupported",
      `cannot read inode ${inode.number} of ${this.#device.name}: it is encrypted with fscrypt; ` +
        `unlock it on a mounted volume and copy it from there`,
    );
  }

  async #linkBytes(inode: Inode): Promise<Uint8Array> {
    const { sizeBytes } = inode;
    const { blocks } = this.#store;
    if (inode.hasFlag(INODE_FLAG.inlineData)) return readInline(inode);
    if (isFastLink(inode)) return inode.blockField.subarray(0, sizeBytes);
    const { runs } = await mapBlocks(blocks, inode);
    if (sizeBytes > blocks.blockSizeBytes || runs.length !== 1 || sizeBytes === 0) {
      throw new ReelError(
        "damaged",
        `cannot read the symbolic link of inode ${inode.number} of ${this.#device.name}: ` +
          `its target of ${sizeBytes} bytes is not in one block`,
      );
    }
    const bytes = await blocks.read(runs.physicalAt(0), "a symbolic link");
    return bytes.subarray(0, sizeBytes);
  }

  async #entriesWithStats(id: NodeId, entries: DirectoryEntries): Promise<VolumeEntry[]> {
    const { names, notUtf8, numbers, types } = entries;
    const stats = new Array<NodeStat | undefined>(numbers.length);
    await this.#store.inodes.getMany(numbers, (index, inode) => {
      if (!(inode instanceof ReelError)) stats[index] = inode.stat();
      else if (inode.code !== "not-found") {
        stats[index] = unknownStat(numbers[index] ?? 0, types[index] ?? 0);
      }
    });
    const isInPlace = this.#places.list(id);
    return uniqueNames(names, (name) => name).map((name, index) => {
      const stat = stats[index];
      const number = numbers[index] ?? 0;
      const isThere = stat !== undefined && (stat.kind !== "directory" || isInPlace(number));
      return {
        name,
        stat: isThere ? stat : unknownStat(NOWHERE_IDS + number, types[index] ?? 0),
        isNotUtf8: notUtf8.has(index) ? true : undefined,
      };
    });
  }
}

/** Contents that fast commits put into an inode. */
function readReplayedInline(inode: Inode, offsetBytes: number, target: Uint8Array): number {
  const contents = readInline(inode).subarray(offsetBytes, offsetBytes + target.length);
  target.set(contents);
  return contents.length;
}

/** What little is known of a node whose inode cannot be read. */
function unknownStat(id: NodeId, type: number): NodeStat {
  return {
    id,
    kind: KIND_OF_TYPE[type] ?? "file",
    sizeBytes: 0,
    mode: 0,
    linkCount: 1,
    modifiedMs: 0,
    accessedMs: 0,
    changedMs: 0,
    allocatedBytes: 0,
  };
}
