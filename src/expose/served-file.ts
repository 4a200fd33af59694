/**
 * A device as a file in a private folder, served by this process for a loop device to stand on.
 *
 *     RUNTIME/reelfs/loop-AbCdEf/volume.img      the file, in a FUSE mount of its own
 *     RUNTIME/reelfs/walk-AbCdEf                 where a volume is mounted only to be looked through
 */
import { mkdtemp, readdir, rmdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { closeAll, fromSystem, isReelError } from "../errors.ts";
import { type Mounted, mountTree } from "../fuse/mount-tree.ts";
import { isDeadMount, mountAt, readMounts } from "../fuse/mountinfo.ts";
import { runtimeFolder } from "../fuse/registry.ts";
import { unmountPath } from "../fuse/unmount.ts";
import type { FileTree } from "../tree/file-tree.ts";
import { type ChangedDevice, DeviceTree, type DeviceTreeOptions } from "./device-tree.ts";
import { letGoOfFilesIn } from "./loop-mount.ts";

const FILE_PREFIX = "loop-";
const WALK_PREFIX = "walk-";
/** The kernel closes the file a moment after its mount has gone; this long is waited for it. */
const CLOSE_WAIT_MS = 10_000;
const CLOSE_CHECK_MS = 10;

export interface ServedFileOptions extends Omit<DeviceTreeOptions, "onReleased"> {
  /** For messages, and as what df shows. */
  readonly name: string;
  readonly onError?: ((operation: string, error: unknown) => void) | undefined;
  /** The tree with the file, when it is to hold more. It must call back as a DeviceTree does. */
  readonly treeOf?: ((onReleased: () => void) => FileTree) | undefined;
}

export class ServedFile {
  /** The private folder, which is the mount point. */
  readonly folder: string;
  /** The file in it. */
  readonly path: string;
  readonly mounted: Mounted;
  readonly #tree: FileTree;
  readonly #events: { released: () => void };

  private constructor(
    parts: { folder: string; tree: FileTree; mounted: Mounted; events: { released: () => void } },
    fileName: string,
  ) {
    this.folder = parts.folder;
    this.path = join(parts.folder, fileName);
    this.mounted = parts.mounted;
    this.#tree = parts.tree;
    this.#events = parts.events;
  }

  /** Serves the file. The device is closed with it, and when that fails. */
  static async start(overlay: ChangedDevice, options: ServedFileOptions): Promise<ServedFile> {
    const { name, fileName, modifiedMs, onError, treeOf } = options;
    const events = { released: (): void => undefined };
    const onReleased = (): void => {
      events.released();
    };
    const tree =
      treeOf?.(onReleased) ?? new DeviceTree({ overlay }, { fileName, modifiedMs, onReleased });
    let folder: string | undefined;
    try {
      await sweepServedFiles();
      folder = await mkdtemp(join(await runtimeFolder(), FILE_PREFIX));
      const mounted = await mountTree(tree, folder, { name, foldsCase: false, onError });
      return new ServedFile({ folder, tree, mounted, events }, fileName);
    } catch (error) {
      if (folder !== undefined) await removeFolder(folder);
      await tree.close();
      throw fromSystem(error, `cannot serve ${name} as a file`);
    }
  }

  /** The name of the folder beside it in which the volume can be mounted to be looked through. */
  get walkFolder(): string {
    return walkFolderOf(this.folder);
  }

  /** Resolves when nobody has the file open and `isMounted` says no; or when this mount has ended. */
  async whenUnused(isMounted: () => Promise<boolean>): Promise<void> {
    const ended = this.mounted.finished.then(() => "ended" as const);
    for (;;) {
      const released = new Promise<void>((resolve) => (this.#events.released = resolve));
      const isOpen = this.mounted.statistics().openFiles > 0;
      if (!isOpen && !(await isMounted())) return;
      if ((await Promise.race([released, ended])) === "ended") return;
    }
  }

  /** Waits until the kernel has closed the file, or has had time enough. */
  async whenClosed(): Promise<void> {
    const deadline = performance.now() + CLOSE_WAIT_MS;
    while (this.mounted.statistics().openFiles > 0 && performance.now() < deadline) {
      await delay(CLOSE_CHECK_MS);
    }
  }

  /** Takes everything down; what must come first is unmounting what stands on the file. */
  async end(): Promise<void> {
    await this.whenClosed();
    try {
      await this.mounted.unmount();
    } catch (error) {
      if (!isReelError(error, "busy")) throw error;
      // Somebody looks into our folder, and is served until he stops.
      await this.mounted.unmount({ lazy: true });
      await this.mounted.finished;
    }
    await closeAll(this.#tree, { close: async () => removeFolder(this.folder) });
  }
}

function walkFolderOf(folder: string): string {
  const suffix = basename(folder).slice(FILE_PREFIX.length);
  return join(dirname(folder), `${WALK_PREFIX}${suffix}`);
}

async function removeFolder(folder: string): Promise<void> {
  await rmdir(folder).catch(() => undefined);
}

/** Takes away what processes left behind that were killed while they served such files. */
async function sweepServedFiles(): Promise<void> {
  const runtime = await runtimeFolder();
  for (const name of await readdir(runtime)) {
    if (!name.startsWith(FILE_PREFIX)) continue;
    const folder = join(runtime, name);
    if (!(await isDeadMount(folder))) continue;
    await letGoOfFilesIn(folder);
    for (const place of [walkFolderOf(folder), folder]) {
      const isMounted = mountAt(place, await readMounts()) !== undefined;
      if (isMounted) await unmountPath(place, { lazy: true }).catch(() => undefined);
      await removeFolder(place);
    }
  }
}
