/**
 * The files of a volume as a FileTree, read-only: names come from the volume's directories, bytes
 * straight from its device at the offsets that a file's layout gives.
 *
 * Directories are kept with an index by name, layouts as the typed arrays that the volume made;
 * both within a budget, each loaded once however many ask. A lookup in a directory that is here
 * costs one or two map accesses.
 */
import type { BlockDevice } from "../device/block-device.ts";
import { CallGate } from "../device/checked-device.ts";
import { FoundOnce } from "../device/found-once.ts";
import { closeAll, isReelError, ReelError } from "../errors.ts";
import type { FileLayout, NodeId, NodeStat, Volume, VolumeEntry } from "../volume/volume.ts";
import type { FileTree, TreeEntry, TreeStats } from "./file-tree.ts";
import type { ImageLocator } from "./image-locator.ts";
import { LoadCache } from "./load-cache.ts";
import {
  EXCEPTION_VALUE,
  EXCEPTION_XATTR,
  EXTENTS_XATTR,
  extentsValue,
  IMAGE_XATTR,
  TAPE_RECORDS_XATTR,
  tapeRecordsValue,
} from "./location-xattrs.ts";
import { nodesAt } from "./nodes-at.ts";
import { readRuns } from "./read-runs.ts";

/** An entry with its names and indexes takes about 500 bytes: 32 MiB. */
const DIRECTORY_CACHE_ENTRIES = 65536;
const LAYOUT_CACHE_BYTES = 16 * 1024 * 1024;
/** A layout beside its arrays: objects, headers of three typed arrays. */
const LAYOUT_COST_BYTES = 512;
const RUN_COST_BYTES = 24;

export interface VolumeTreeOptions {
  /** Directory entries kept, over all directories. Default 65536. */
  readonly directoryCacheEntries?: number | undefined;
  /** Bytes of file layouts kept. Default 16 MiB. */
  readonly layoutCacheBytes?: number | undefined;
  /** Adds the attributes that tell where a file lies on tape. */
  readonly locator?: ImageLocator | undefined;
  /** Paths of files to be marked as open for writing while the volume was read. */
  readonly exceptions?: readonly string[] | undefined;
  /** Close the device with the tree. Default: it stays the caller's. */
  readonly closeDevice?: boolean | undefined;
}

interface Directory {
  readonly id: NodeId;
  readonly entries: readonly VolumeEntry[];
  readonly byName: ReadonlyMap<string, VolumeEntry>;
  /** By folded long name, then by short name; made at the first lookup that `byName` misses. */
  byFoldedName: ReadonlyMap<string, VolumeEntry> | undefined;
}

export class VolumeTree implements FileTree {
  readonly rootId: NodeId;
  readonly #volume: Volume;
  readonly #device: BlockDevice;
  readonly #options: VolumeTreeOptions;
  readonly #directories: LoadCache<Directory>;
  readonly #layouts: LoadCache<FileLayout>;
  readonly #gate: CallGate;
  readonly #stats = new FoundOnce(async () => this.#countFree());
  #exceptions: Promise<ReadonlySet<NodeId>> | undefined;

  /** The volume becomes the tree's: `close` closes it. */
  constructor(volume: Volume, device: BlockDevice, options: VolumeTreeOptions = {}) {
    this.rootId = volume.rootId;
    this.#volume = volume;
    this.#device = device;
    this.#options = options;
    this.#gate = new CallGate(`the tree of ${device.name}`);
    this.#directories = new LoadCache({
      budget: options.directoryCacheEntries ?? DIRECTORY_CACHE_ENTRIES,
      sizeOf: (directory) => directory.entries.length,
      load: async (id) => this.#loadDirectory(id),
    });
    this.#layouts = new LoadCache({
      budget: options.layoutCacheBytes ?? LAYOUT_CACHE_BYTES,
      sizeOf: (layout) => LAYOUT_COST_BYTES + layout.length * RUN_COST_BYTES,
      load: async (id) => this.#loadLayout(id),
    });
  }

  async lookup(parent: NodeId, name: string): Promise<TreeEntry | undefined> {
    this.#gate.check();
    const kept = this.#directories.peek(parent);
    if (kept !== undefined) return this.#find(kept, name);
    return this.#gate.run(async () => this.#find(await this.#directories.get(parent), name));
  }

  async readDirectory(id: NodeId): Promise<readonly TreeEntry[]> {
    return this.#gate.run(async () => (await this.#directories.get(id)).entries);
  }

  async stat(id: NodeId): Promise<NodeStat> {
    return this.#gate.run(async () => this.#volume.stat(id));
  }

  async read(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number> {
    return this.#gate.run(async () => {
      const layout = this.#layouts.peek(id) ?? (await this.#layouts.get(id));
      if (layout.direct) return this.#readDirect(id, layout, offsetBytes, target);
      if (this.#volume.read === undefined) {
        throw new ReelError("unsupported", `cannot read node ${id} of ${this.#device.name}`);
      }
      return this.#volume.read(id, offsetBytes, target);
    });
  }

  readOrWait(id: NodeId, offsetBytes: number, target: Uint8Array): number | Promise<number> {
    this.#gate.check();
    const layout = this.#layouts.peek(id);
    if (layout?.direct !== true) return this.read(id, offsetBytes, target);
    const read = readRuns(this.#device, layout, offsetBytes, target);
    return typeof read === "number" ? read : this.#gate.run(async () => read);
  }

  async readLink(id: NodeId): Promise<string> {
    return this.#gate.run(async () => {
      const link = await this.#volume.readLink?.(id);
      if (link !== undefined) return link;
      await this.#volume.stat(id);
      throw new ReelError("invalid", `node ${id} of ${this.#device.name} is no symbolic link`);
    });
  }

  async listXattrs(id: NodeId): Promise<readonly string[]> {
    return this.#gate.run(async () => {
      const names = [...((await this.#volume.xattrs?.(id))?.keys() ?? [])];
      const { kind } = await this.#volume.stat(id);
      if (this.#options.locator !== undefined) names.push(IMAGE_XATTR);
      if (kind === "file") {
        names.push(EXTENTS_XATTR);
        if (this.#options.locator !== undefined) names.push(TAPE_RECORDS_XATTR);
        if (await this.#isException(id)) names.push(EXCEPTION_XATTR);
      }
      return names;
    });
  }

  async getXattr(id: NodeId, name: string): Promise<Uint8Array | undefined> {
    return this.#gate.run(async () => {
      const { locator } = this.#options;
      switch (name) {
        case IMAGE_XATTR:
          return locator === undefined ? undefined : Buffer.from(locator.imageUuid);
        case EXCEPTION_XATTR:
          return (await this.#isException(id)) ? Buffer.from(EXCEPTION_VALUE) : undefined;
        case EXTENTS_XATTR:
        case TAPE_RECORDS_XATTR: {
          const forTape = name === TAPE_RECORDS_XATTR;
          if (forTape && locator === undefined) return undefined;
          if ((await this.#volume.stat(id)).kind !== "file") return undefined;
          const layout = await this.#layouts.get(id);
          return forTape && locator !== undefined
            ? tapeRecordsValue(layout, locator)
            : extentsValue(layout);
        }
        default:
          return (await this.#volume.xattrs?.(id))?.get(name);
      }
    });
  }

  /** Free clusters never change on a volume that nobody writes: counted once. */
  async statfs(): Promise<TreeStats> {
    return this.#gate.run(async () => this.#stats.get());
  }

  async close(): Promise<void> {
    await this.#gate.close(async () => {
      this.#directories.clear();
      this.#layouts.clear();
      await closeAll(this.#volume, this.#options.closeDevice === true ? this.#device : undefined);
    });
  }

  async #readDirect(
    id: NodeId,
    layout: FileLayout,
    offsetBytes: number,
    target: Uint8Array,
  ): Promise<number> {
    try {
      return await readRuns(this.#device, layout, offsetBytes, target);
    } catch (error) {
      if (!isReelError(error, "io") && !isReelError(error, "damaged")) throw error;
      const count = await this.#volume.readOtherCopy?.(id, offsetBytes, target);
      if (count === undefined) throw error;
      return count;
    }
  }

  /** The log names paths: which files they are is found out when somebody first asks. */
  async #isException(id: NodeId): Promise<boolean> {
    const { exceptions = [] } = this.#options;
    if (exceptions.length === 0) return false;
    this.#exceptions ??= nodesAt(exceptions, this.rootId, async (parent, name) =>
      this.#find(await this.#directories.get(parent), name),
    );
    return (await this.#exceptions).has(id) && (await this.#volume.stat(id)).kind === "file";
  }

  /** The name as it is first; then as the volume folds it; then as a short name. */
  #find(directory: Directory, name: string): VolumeEntry | undefined {
    const exact = directory.byName.get(name);
    if (exact !== undefined) return exact;
    directory.byFoldedName ??= this.#indexFolded(directory);
    return directory.byFoldedName.get(this.#volume.foldName(name, directory.id));
  }

  async #loadDirectory(id: NodeId): Promise<Directory> {
    const entries = await this.#volume.readDirectory(id);
    const byName = new Map<string, VolumeEntry>();
    for (const entry of entries) {
      if (!byName.has(entry.name)) byName.set(entry.name, entry);
    }
    return { id, entries, byName, byFoldedName: undefined };
  }

  #indexFolded({ id, entries }: Directory): ReadonlyMap<string, VolumeEntry> {
    const index = new Map<string, VolumeEntry>();
    const add = (name: string, entry: VolumeEntry): void => {
      const folded = this.#volume.foldName(name, id);
      if (!index.has(folded)) index.set(folded, entry);
    };
    if (!this.#volume.info.caseSensitive) for (const entry of entries) add(entry.name, entry);
    for (const entry of entries) {
      if (entry.shortName !== undefined) add(entry.shortName, entry);
    }
    return index;
  }

  /** Kind is checked here, once for each load, so that `read` need not ask. */
  async #loadLayout(id: NodeId): Promise<FileLayout> {
    const { kind } = await this.#volume.stat(id);
    const what = `node ${id} of ${this.#device.name}`;
    if (kind === "directory") throw new ReelError("is-a-directory", `${what} is a directory`);
    if (kind !== "file") throw new ReelError("invalid", `${what} has no contents: it is a ${kind}`);
    return this.#volume.layout(id);
  }

  async #countFree(): Promise<TreeStats> {
    const { info } = this.#volume;
    return {
      blockSizeBytes: info.clusterSizeBytes,
      blocks: info.clusterCount,
      blocksFree: await this.#volume.freeClusters(),
      // Only a walk could count them; 0 is what Linux shows for FAT.
      files: 0,
      filesFree: 0,
      nameMaxBytes: info.nameMaxBytes,
    };
  }
}
