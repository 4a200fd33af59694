/**
 * A folder with one file in it, which is a block device: `volume.img`. Programs that open image
 * files (a loop device, mtools, ntfs-3g, qemu) find everything in it that they look for.
 *
 * The file has the size of the device for ever: it is written in place, never cut, extended,
 * removed or renamed. Mode, owner and times can be set; like all that is written they are kept for
 * as long as the tree.
 */
import type { BlockDevice, WritableBlockDevice } from "../device/block-device.ts";
import { ReelError } from "../errors.ts";
import type {
  AttributeChanges,
  FileTree,
  NodeId,
  NodeStat,
  TreeEntry,
  TreeStats,
  WritableFileTree,
} from "../tree/file-tree.ts";

export interface DeviceTreeOptions {
  /** Name of the file: "volume.img". */
  readonly fileName: string;
  /** When what is on the device was changed last, in milliseconds since 1970. */
  readonly modifiedMs: number;
  /** Called when the last program has closed the file. */
  readonly onReleased?: (() => void) | undefined;
}

/** What the file is written to. */
export interface ChangedDevice extends WritableBlockDevice {
  /** Bytes that can still be written, where that is less than the device. */
  writableBytes?(): Promise<number>;
}

const ROOT_ID = 1;
const FILE_ID = 2;
/** A volume holds the files of everybody: only its owner may look. */
const FILE_MODE = 0o600;
const READ_ONLY_FILE_MODE = 0o400;
const DIRECTORY_MODE = 0o700;
const BLOCK_BYTES = 4096;
const NAME_MAX_BYTES = 255;

/** The device is the tree's: it is closed with it. An overlay makes the file writable. */
export class DeviceTree implements FileTree {
  readonly rootId: NodeId = ROOT_ID;
  readonly writable: WritableFileTree | undefined;
  readonly #device: BlockDevice;
  readonly #overlay: ChangedDevice | undefined;
  readonly #options: DeviceTreeOptions;
  readonly #stats = new Map<NodeId, NodeStat>();
  #openCount = 0;
  #closing: Promise<void> | undefined;

  constructor(
    parts: { readonly device: BlockDevice } | { readonly overlay: ChangedDevice },
    options: DeviceTreeOptions,
  ) {
    this.#overlay = "overlay" in parts ? parts.overlay : undefined;
    this.#device = "overlay" in parts ? parts.overlay : parts.device;
    this.#options = options;
    const times = {
      modifiedMs: options.modifiedMs,
      accessedMs: options.modifiedMs,
      changedMs: options.modifiedMs,
    };
    const { sizeBytes } = this.#device;
    this.#stats.set(ROOT_ID, {
      ...{ id: ROOT_ID, kind: "directory", sizeBytes: 0, allocatedBytes: 0 },
      ...{ mode: DIRECTORY_MODE, linkCount: 2 },
      ...times,
    });
    this.#stats.set(FILE_ID, {
      ...{ id: FILE_ID, kind: "file", sizeBytes, allocatedBytes: sizeBytes },
      mode: this.#overlay === undefined ? READ_ONLY_FILE_MODE : FILE_MODE,
      linkCount: 1,
      ...times,
    });
    this.writable = this.#overlay === undefined ? undefined : this.#changes(this.#overlay);
  }

  async lookup(parent: NodeId, name: string): Promise<TreeEntry | undefined> {
    this.#directory(parent);
    return name === this.#options.fileName ? this.#entry() : undefined;
  }

  async stat(id: NodeId): Promise<NodeStat> {
    return this.#node(id);
  }

  async readDirectory(id: NodeId): Promise<readonly TreeEntry[]> {
    this.#directory(id);
    return [this.#entry()];
  }

  async read(id: NodeId, offsetBytes: number, target: Uint8Array): Promise<number> {
    this.#file(id);
    const length = Math.min(target.length, Math.max(0, this.#device.sizeBytes - offsetBytes));
    if (length > 0) await this.#device.read(offsetBytes, target.subarray(0, length));
    return length;
  }

  async readLink(id: NodeId): Promise<string> {
    this.#node(id);
    throw new ReelError("invalid", `cannot read a link: ${this.#options.fileName} is none`);
  }

  async listXattrs(id: NodeId): Promise<readonly string[]> {
    this.#node(id);
    return [];
  }

  async getXattr(id: NodeId): Promise<Uint8Array | undefined> {
    this.#node(id);
    return undefined;
  }

  async statfs(): Promise<TreeStats> {
    this.#checkOpen();
    const blocks = Math.ceil(this.#device.sizeBytes / BLOCK_BYTES);
    const freeBytes = (await this.#overlay?.writableBytes?.()) ?? 0;
    return {
      blockSizeBytes: BLOCK_BYTES,
      blocks,
      blocksFree: Math.min(blocks, Math.floor(freeBytes / BLOCK_BYTES)),
      files: 1,
      filesFree: 0,
      nameMaxBytes: NAME_MAX_BYTES,
    };
  }

  async close(): Promise<void> {
    this.#closing ??= this.#device.close();
    return this.#closing;
  }

  /** The writable half, for a device that has an overlay. */
  #changes(overlay: ChangedDevice): WritableFileTree {
    const fixed = async (): Promise<never> => {
      this.#checkOpen();
      throw new ReelError(
        "no-permission",
        `the folder of ${this.#options.fileName} is as it is: nothing can be added, removed or renamed`,
      );
    };
    const noXattrs = async (id: NodeId): Promise<never> => {
      this.#node(id);
      throw new ReelError("unsupported", `${this.#options.fileName} has no extended attributes`);
    };
    return {
      createFile: fixed,
      createDirectory: fixed,
      createSymlink: fixed,
      unlink: fixed,
      removeDirectory: fixed,
      rename: fixed,
      setXattr: noXattrs,
      removeXattr: noXattrs,
      write: async (id, offsetBytes, source) => this.#write(overlay, id, offsetBytes, source),
      setAttributes: async (id, changes) => {
        this.#setAttributes(id, changes);
      },
      sync: async (id) => {
        this.#node(id);
        await overlay.flush();
      },
      retain: (id) => {
        this.#node(id);
        this.#openCount++;
      },
      release: () => {
        this.#openCount--;
        if (this.#openCount === 0) this.#options.onReleased?.();
      },
    };
  }

  async #write(
    overlay: ChangedDevice,
    id: NodeId,
    offsetBytes: number,
    source: Uint8Array,
  ): Promise<void> {
    const stat = this.#file(id);
    const endBytes = offsetBytes + source.length;
    if (!Number.isSafeInteger(offsetBytes) || !Number.isSafeInteger(endBytes) || offsetBytes < 0) {
      throw new ReelError("invalid", `${this.#options.fileName} has no offset ${offsetBytes}`);
    }
    if (endBytes > overlay.sizeBytes) {
      throw new ReelError(
        "no-space",
        `cannot write up to byte ${endBytes} of ${this.#options.fileName}: it ends at ${overlay.sizeBytes}`,
      );
    }
    await overlay.write(offsetBytes, source);
    const now = Date.now();
    this.#stats.set(id, { ...stat, ...this.#stats.get(id), modifiedMs: now, changedMs: now });
  }

  #setAttributes(id: NodeId, changes: AttributeChanges): void {
    const stat = this.#node(id);
    if (changes.sizeBytes !== undefined) {
      const { sizeBytes } = this.#file(id);
      if (changes.sizeBytes !== sizeBytes) {
        throw new ReelError(
          "invalid",
          `cannot make ${this.#options.fileName} ${changes.sizeBytes} bytes long: ` +
            `it is a volume of ${sizeBytes} bytes; write into it instead (dd conv=notrunc)`,
        );
      }
    }
    for (const time of [changes.modifiedMs, changes.accessedMs]) {
      if (time === undefined || Number.isFinite(time)) continue;
      throw new ReelError("invalid", `${time} is no time for ${this.#options.fileName}`);
    }
    this.#stats.set(id, {
      ...stat,
      mode: changes.mode ?? stat.mode,
      uid: changes.uid ?? stat.uid,
      gid: changes.gid ?? stat.gid,
      modifiedMs: changes.modifiedMs ?? stat.modifiedMs,
      accessedMs: changes.accessedMs ?? stat.accessedMs,
      changedMs: Date.now(),
    });
  }

  #entry(): TreeEntry {
    return { name: this.#options.fileName, stat: this.#node(FILE_ID) };
  }

  #directory(id: NodeId): void {
    if (this.#node(id).kind === "directory") return;
    throw new ReelError("not-a-directory", `${this.#options.fileName} is not a directory`);
  }

  #file(id: NodeId): NodeStat {
    const stat = this.#node(id);
    if (stat.kind === "file") return stat;
    const { fileName } = this.#options;
    throw new ReelError("is-a-directory", `the folder of ${fileName} is a directory, not a file`);
  }

  #node(id: NodeId): NodeStat {
    this.#checkOpen();
    const stat = this.#stats.get(id);
    if (stat !== undefined) return stat;
    throw new ReelError("not-found", `there is no file ${id} beside ${this.#options.fileName}`);
  }

  #checkOpen(): void {
    if (this.#closing === undefined) return;
    throw new ReelError("closed", `cannot use ${this.#options.fileName}: it was closed`);
  }
}
