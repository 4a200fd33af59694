/** A mount with all that belongs to it: its record, its control socket, and an end to everything. */
import { closeAll } from "../errors.ts";
import type { FileTree } from "../tree/file-tree.ts";
import { type ControlExtension, type ControlServer, startControl } from "./control.ts";
import { type Mounted, mountTree, type MountTreeOptions } from "./mount-tree.ts";
import { type MountedImage, removeRecord, sweepRecords, writeRecord } from "./registry.ts";
import type { UnmountOptions } from "./unmount.ts";

export interface ServeOptions extends MountTreeOptions {
  readonly image: MountedImage;
  /** More for the control socket's "statistics". */
  readonly statistics?: (() => Readonly<Record<string, unknown>>) | undefined;
  /** More requests for the control socket. */
  readonly extension?: ControlExtension | undefined;
}

export interface ServedMount {
  readonly mounted: Mounted;
  /** Settles when the mount has ended and its tree, record and socket are closed and gone. */
  readonly finished: Promise<void>;
  unmount(options?: UnmountOptions): Promise<void>;
}

/**
 * Mounts a tree, makes it known, and closes it when the mount ends. The tree is closed, too, when
 * mounting fails.
 */
export async function serveMount(
  tree: FileTree,
  mountpoint: string,
  options: ServeOptions,
): Promise<ServedMount> {
  let mounted: Mounted;
  try {
    mounted = await mountTree(tree, mountpoint, { ignoresOpens: true, ...options });
  } catch (error) {
    await tree.close();
    throw error;
  }
  let control: ControlServer | undefined;
  const finished = mounted.finished.then(async () => {
    await closeAll(control, tree, { close: async () => removeRecord(mounted.mountpoint) });
  });
  try {
    await sweepRecords();
    const record = await writeRecord({
      mountpoint: mounted.mountpoint,
      image: options.image,
      readOnly: options.readOnly === true || tree.writable === undefined,
    });
    const { statistics, extension } = options;
    control = await startControl({ mounted, record, statistics, extension });
  } catch (error) {
    await mounted.unmount({ lazy: true });
    await finished;
    throw error;
  }
  return {
    mounted,
    finished,
    unmount: async (how) => mounted.unmount(how),
  };
}
