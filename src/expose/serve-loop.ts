/**
 * A volume mounted by the kernel, from a file that this process serves in a private folder:
 *
 *     tape ─► image ─► overlay ─► volume.img in RUNTIME/reelfs/loop-…  (FUSE, this process)
 *                                     └─► /dev/loop3 ─► the mount point  (kernel)
 *
 * It ends from the top down, whoever begins it. `unmount` takes the kernel's mount away; so does
 * umount(8) at a user's hand. The kernel then lets go of the loop device and that of the file, and
 * this process, which is told when the file is closed, takes its own mount down.
 */
import { readdir, realpath } from "node:fs/promises";
import { closeAll, fromSystem, ReelError } from "../errors.ts";
import { type ControlExtension, type ControlServer, startControl } from "../fuse/control.ts";
import { mountAt, readMounts } from "../fuse/mountinfo.ts";
import {
  type LoopRecord,
  type MountedImage,
  removeRecord,
  sweepRecords,
  writeRecord,
} from "../fuse/registry.ts";
import { unmountPath, type UnmountOptions } from "../fuse/unmount.ts";
import { mountLoop, mountOptionsFor, requireRoot } from "./loop-mount.ts";
import type { ChangedDevice } from "./device-tree.ts";
import { ServedFile, type ServedFileOptions } from "./served-file.ts";

export interface ServeLoopOptions extends Pick<ServedFileOptions, "treeOf"> {
  /** For messages, and as the filesystem that df shows of the private mount. */
  readonly name: string;
  readonly image: MountedImage;
  readonly fileName: string;
  readonly modifiedMs: number;
  /** The kernel mounts it read-only. What it writes to replay a journal goes to the overlay. */
  readonly readOnly: boolean;
  /** Interrupts the mounting. */
  readonly signal?: AbortSignal | undefined;
  readonly onError?: ((operation: string, error: unknown) => void) | undefined;
  readonly statistics?: (() => Readonly<Record<string, unknown>>) | undefined;
  /** More requests for the control socket, given the private folder and the kernel's mount. */
  readonly extension?: ((folder: string, mountpoint: string) => ControlExtension) | undefined;
}

export interface ServedLoop {
  /** Where the kernel has mounted the volume: absolute, without symbolic links. */
  readonly mountpoint: string;
  /** "/dev/loop3". */
  readonly loopDevice: string;
  /** Settles when both mounts have ended and all that stood below them is closed and gone. */
  readonly finished: Promise<void>;
  /** @throws ReelError "busy" with the processes that hold the kernel's mount */
  unmount(options?: UnmountOptions): Promise<void>;
}

/**
 * Has the kernel mount the volume on a device, and makes the mount known. The device is closed when
 * the mount ends, and when mounting fails.
 *
 * @throws ReelError as mountLoop and mountTree
 */
export async function serveLoop(
  overlay: ChangedDevice,
  mountpoint: string,
  options: ServeLoopOptions,
): Promise<ServedLoop> {
  let place: string;
  let mountOptions: readonly string[];
  try {
    requireRoot(`cannot mount ${options.name}`);
    place = await checkPlace(mountpoint);
    mountOptions = await mountOptionsFor(overlay);
    await sweepRecords();
  } catch (error) {
    await overlay.close();
    throw error;
  }
  const file = await ServedFile.start(overlay, options);
  try {
    const { name, readOnly, signal } = options;
    const device = await mountLoop(file.path, place, { name, readOnly, mountOptions, signal });
    return await publish(file, place, { device, folder: file.folder }, options);
  } catch (error) {
    await file.end();
    throw error;
  }
}

/** Makes record and control socket, and sees to the end of it all. */
async function publish(
  file: ServedFile,
  place: string,
  loop: LoopRecord,
  options: ServeLoopOptions,
): Promise<ServedLoop> {
  let control: ControlServer | undefined;
  try {
    const { image, readOnly, statistics } = options;
    const record = await writeRecord({ mountpoint: place, image, readOnly, loop });
    const extension = options.extension?.(file.folder, place);
    control = await startControl({ mounted: file.mounted, record, statistics, extension });
  } catch (error) {
    await unmountPath(place, { lazy: true });
    await removeRecord(place, true);
    throw error;
  }
  const known = { close: async () => removeRecord(place) };
  const isMounted = async (): Promise<boolean> =>
    mountAt(place, await readMounts())?.source === loop.device;
  const finished = file.whenUnused(isMounted).then(async () => {
    await closeAll({ close: async () => file.end() }, control, known);
  });
  return {
    mountpoint: place,
    loopDevice: loop.device,
    finished,
    unmount: async (how = {}) => {
      if (await isMounted()) await unmountPath(place, how);
      if (how.lazy !== true) await finished;
    },
  };
}

/** The mount point without links, when it is an empty folder and nothing like ours is mounted there. */
async function checkPlace(mountpoint: string): Promise<string> {
  const doing = `cannot mount on ${mountpoint}`;
  let place: string;
  let content: string[];
  try {
    place = await realpath(mountpoint);
    content = await readdir(place);
  } catch (error) {
    throw fromSystem(error, doing);
  }
  const mounted = mountAt(place, await readMounts());
  if (
    mounted?.type.startsWith("fuse") === true ||
    mounted?.source.startsWith("/dev/loop") === true
  ) {
    throw new ReelError("busy", `${doing}: ${mounted.source} is mounted there; unmount it first`);
  }
  if (content.length > 0) {
    throw new ReelError("not-empty", `${doing}: the directory is not empty; choose an empty one`);
  }
  return place;
}
