/**
 * What the tracker serves: `volume.img`, which is written through to what is tracked, and, while a
 * backup is under way, the volume as it was when that began. Each backup reads a file of a name of its own,
 * because the kernel keeps pages by name.
 */
import type { BlockDevice } from "../device/block-device.ts";
import { closeAll, ReelError } from "../errors.ts";
import { DeviceTree } from "../expose/device-tree.ts";
import type {
  FileTree,
  NodeId,
  NodeStat,
  TreeEntry,
  TreeStats,
  WritableFileTree,
} from "../tree/file-tree.ts";
import type { TrackedDevice } from "./tracked-device.ts";

export const VOLUME_FILE = "volume.img";
/** Ids of the snapshots' files: far from those of the tree with the volume. */
const FIRST_SNAPSHOT_ID = 1000;

/** What is tracked; closed with the tree. */
export interface Tracked {
  readonly device: TrackedDevice;
  readonly modifiedMs: number;
  close(): Promise<void>;
}

export interface TrackTreeOptions {
  /** Default: "volume.img". */
  readonly fileName?: string | undefined;
  /** Called when the last program has closed the volume, or one has closed a snapshot. */
  readonly onReleased?: (() => void) | undefined;
}

interface SnapshotFile {
  readonly id: NodeId;
  readonly name: string;
  readonly tree: DeviceTree;
}

export class TrackTree implements FileTree {
  readonly rootId: NodeId;
  readonly writable: WritableFileTree;
  readonly #tracked: Tracked;
  readonly #onReleased: (() => void) | undefined;
  readonly #volume: DeviceTree;
  #snapshot: SnapshotFile | undefined;
  #snapshots = 0;

  constructor(tracked: Tracked, { fileName = VOLUME_FILE, onReleased }: TrackTreeOptions = {}) {
    this.#tracked = tracked;
    this.#onReleased = onReleased;
    const { device: overlay, modifiedMs } = tracked;
    this.#volume = new DeviceTree({ overlay }, { fileName, modifiedMs, onReleased });
    this.rootId = this.#volume.rootId;
    this.writable = this.#changes();
  }

  /** Shows a snapshot. The device stays the caller's. */
  show(device: BlockDevice): string {
    const name = `snapshot-${++this.#snapshots}.img`;
    const tree = new DeviceTree({ device }, { fileName: name, modifiedMs: Date.now() });
    this.#snapshot = { id: FIRST_SNAPSHOT_ID + this.#snapshots, name, tree };
    return name;
  }

  /** Takes a snapshot away again; nothing, when another one is shown by now. */
  hide(name: string): void {
    if (this.#snapshot?.name === name) this.#snapshot = undefined;
  }

  async lookup(parent: NodeId, name: string): Promise<TreeEntry | undefined> {
    const snapshot = this.#snapshot;
    if (parent === this.rootId && name === snapshot?.name) return this.#entry(snapshot);
    return this.#volume.lookup(parent, name);
  }

  async stat(id: NodeId): Promise<NodeStat> {
    const snapshot = this.#snapshotOf(id);
    return snapshot === undefined ? this.#volume.stat(id) : (await this.#entry(snapshot)).stat;
  }

  async readDirectory(id: NodeId): Promise<readonly TreeEntry[]> {
    const entries = await this.#volume.readDirectory(id);
    const snapshot = this.#snapshot;
    return snapshot === undefined ? entries : [...entries, await this.#entry(snapshot)];
  }

  async read(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number> {
    const snapshot = this.#snapshotOf(id);
    if (snapshot === undefined) return this.#volume.read(id, offsetBytes, target);
    return snapshot.tree.read((await this.#entryIn(snapshot)).stat.id, offsetBytes, target);
  }

  async readLink(id: NodeId): Promise<string> {
    return this.#volume.readLink(this.#volumeId(id));
  }

  async listXattrs(id: NodeId): Promise<readonly string[]> {
    return this.#snapshotOf(id) === undefined ? this.#volume.listXattrs(id) : [];
  }

  async getXattr(id: NodeId): Promise<Uint8Array | undefined> {
    return this.#snapshotOf(id) === undefined ? this.#volume.getXattr(id) : undefined;
  }

  async statfs(): Promise<TreeStats> {
    return this.#volume.statfs();
  }

  /** Closes what is tracked: a tracker saves what has changed. */
  async close(): Promise<void> {
    this.#snapshot = undefined;
    await closeAll(this.#tracked, this.#volume);
  }

  /** Those of the tree with the volume; a snapshot's file refuses all. */
  #changes(): WritableFileTree {
    const { writable } = this.#volume;
    if (writable === undefined) {
      throw new ReelError("internal", "the tree of a tracked volume cannot be written");
    }
    return {
      ...writable,
      write: async (id, offsetBytes, source) =>
        writable.write(this.#volumeId(id), offsetBytes, source),
      setAttributes: async (id, changes) => writable.setAttributes(this.#volumeId(id), changes),
      setXattr: async (id, ...rest) => writable.setXattr(this.#volumeId(id), ...rest),
      removeXattr: async (id, name) => writable.removeXattr(this.#volumeId(id), name),
      sync: async (id) => {
        if (this.#snapshotOf(id) === undefined) await writable.sync?.(id);
      },
      retain: (id) => {
        if (this.#snapshotOf(id) === undefined) writable.retain?.(id);
      },
      release: (id) => {
        if (id < FIRST_SNAPSHOT_ID) writable.release?.(id);
        else this.#onReleased?.();
      },
    };
  }

  /** The node of the volume's tree; never that of a snapshot. */
  #volumeId(id: NodeId): NodeId {
    const snapshot = this.#snapshotOf(id);
    if (snapshot === undefined) return id;
    throw new ReelError("read-only", `cannot change ${snapshot.name}: a backup is reading it`);
  }

  #snapshotOf(id: NodeId): SnapshotFile | undefined {
    return id === this.#snapshot?.id ? this.#snapshot : undefined;
  }

  async #entry(snapshot: SnapshotFile): Promise<TreeEntry> {
    const { name, stat } = await this.#entryIn(snapshot);
    return { name, stat: { ...stat, id: snapshot.id } };
  }

  async #entryIn({ tree, name }: SnapshotFile): Promise<TreeEntry> {
    const found = await tree.lookup(tree.rootId, name);
    if (found !== undefined) return found;
    throw new ReelError("internal", `${name} is not in its folder`);
  }
}
