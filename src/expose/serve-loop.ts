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
import { mkdtemp, readdir, realpath, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { closeAll, fromSystem, isReelError, ReelError } from "../errors.ts";
import { type ControlServer, startControl } from "../fuse/control.ts";
import { type Mounted, mountTree } from "../fuse/mount-tree.ts";
import { mountAt, readMounts } from "../fuse/mountinfo.ts";
import {
  type LoopRecord,
  type MountedImage,
  removeRecord,
  runtimeFolder,
  sweepRecords,
  writeRecord,
} from "../fuse/registry.ts";
import { unmountPath, type UnmountOptions } from "../fuse/unmount.ts";
import { DeviceTree } from "./device-tree.ts";
import { mountLoop, mountOptionsFor, requireRoot } from "./loop-mount.ts";
import type { OverlayDevice } from "./overlay-device.ts";

export interface ServeLoopOptions {
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

/** The kernel closes the file a moment after the mount has gone; this long is waited for it. */
const CLOSE_WAIT_MS = 10_000;
const CLOSE_CHECK_MS = 10;

/**
 * Has the kernel mount the volume on a device, and makes the mount known. The device is closed when
 * the mount ends, and when mounting fails.
 *
 * @throws ReelError as mountLoop and mountTree
 */
export async function serveLoop(
  overlay: OverlayDevice,
  mountpoint: string,
  options: ServeLoopOptions,
): Promise<ServedLoop> {
  let place: string;
  let folder: string;
  try {
    requireRoot(`cannot mount ${options.name}`);
    place = await checkPlace(mountpoint);
    await sweepRecords();
    folder = await mkdtemp(join(await runtimeFolder(), "loop-"));
  } catch (error) {
    await overlay.close();
    throw fromSystem(error, `cannot mount ${options.name} on ${mountpoint}`);
  }
  const below = new FileBelow(overlay, folder, options);
  try {
    await below.start();
    const mountOptions = await mountOptionsFor(overlay);
    const { name, readOnly, signal } = options;
    const file = join(folder, options.fileName);
    const device = await mountLoop(file, place, { name, readOnly, mountOptions, signal });
    return await publish(below, place, { device, folder }, options);
  } catch (error) {
    await below.end();
    throw error;
  }
}

/** Makes record and control socket, and sees to the end of it all. */
async function publish(
  below: FileBelow,
  place: string,
  loop: LoopRecord,
  options: ServeLoopOptions,
): Promise<ServedLoop> {
  let control: ControlServer | undefined;
  try {
    const { image, readOnly, statistics } = options;
    const record = await writeRecord({ mountpoint: place, image, readOnly, loop });
    control = await startControl({ mounted: below.mounted, record, statistics });
  } catch (error) {
    await unmountPath(place, { lazy: true });
    await removeRecord(place, true);
    throw error;
  }
  const known = { close: async () => removeRecord(place) };
  const isMounted = async (): Promise<boolean> =>
    mountAt(place, await readMounts())?.source === loop.device;
  const finished = below.whenUnused(isMounted).then(async () => {
    await closeAll({ close: async () => below.end() }, control, known);
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

/** The FUSE mount with the one file, in a folder of its own. */
class FileBelow {
  readonly #tree: DeviceTree;
  readonly #folder: string;
  readonly #options: ServeLoopOptions;
  #mounted: Mounted | undefined;
  #released = (): void => undefined;

  constructor(overlay: OverlayDevice, folder: string, options: ServeLoopOptions) {
    this.#folder = folder;
    this.#options = options;
    const { fileName, modifiedMs } = options;
    const onReleased = (): void => {
      this.#released();
    };
    this.#tree = new DeviceTree({ overlay }, { fileName, modifiedMs, onReleased });
  }

  get mounted(): Mounted {
    if (this.#mounted === undefined) throw new ReelError("internal", "the file is not mounted");
    return this.#mounted;
  }

  async start(): Promise<void> {
    const { name, onError } = this.#options;
    this.#mounted = await mountTree(this.#tree, this.#folder, { name, foldsCase: false, onError });
  }

  /** Resolves when nobody has the file open and `isMounted` says no; or when this mount has ended. */
  async whenUnused(isMounted: () => Promise<boolean>): Promise<void> {
    const ended = this.mounted.finished.then(() => "ended" as const);
    for (;;) {
      const released = new Promise<void>((resolve) => (this.#released = resolve));
      const isOpen = this.mounted.statistics().openFiles > 0;
      if (!isOpen && !(await isMounted())) return;
      if ((await Promise.race([released, ended])) === "ended") return;
    }
  }

  /** Takes down what is there of it. */
  async end(): Promise<void> {
    const mounted = this.#mounted;
    if (mounted !== undefined) {
      await this.#whenClosed(mounted);
      await mounted.unmount().catch(async (error: unknown) => {
        if (!isReelError(error, "busy")) throw error;
        // Somebody looks into our folder. He is served until he stops.
        await mounted.unmount({ lazy: true });
        await mounted.finished;
      });
    }
    await closeAll(this.#tree, { close: async () => rmdir(this.#folder).catch(() => undefined) });
  }

  async #whenClosed(mounted: Mounted): Promise<void> {
    const deadline = performance.now() + CLOSE_WAIT_MS;
    while (mounted.statistics().openFiles > 0 && performance.now() < deadline) {
      await delay(CLOSE_CHECK_MS);
    }
  }
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
