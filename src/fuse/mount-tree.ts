/**
 * Serving a FileTree as a mounted filesystem.
 *
 * A process must never do blocking I/O on a mount that it serves itself: the answer would have to
 * come from the thread that waits for it. So nothing in this folder opens or stats anything below
 * the mount point once it is mounted; even its end is seen from outside: the descriptor of
 * /dev/fuse, which libfuse closes when the kernel has let go of the mount.
 */
import { readdirSync, readlinkSync } from "node:fs";
import { access, constants, readdir, readFile, realpath } from "node:fs/promises";
import { fromSystem, isReelError, ReelError } from "../errors.ts";
import type { FileTree } from "../tree/file-tree.ts";
import {
  type Binding,
  loadBinding,
  MOUNTPOINT_MAX_BYTES,
  type NativeHandler,
  type NativeMount,
} from "./binding.ts";
import { widenReadAhead } from "./kernel-read-ahead.ts";
import { isDeadMount, mountAt, placeOf, readMounts } from "./mountinfo.ts";
import {
  type MountTreeOptions,
  optionText,
  ownershipOf,
  remembersSharedAttributes,
  SHARED_ATTRIBUTES_MS,
  timeoutMsOf,
} from "./mount-options.ts";
import { operationTable } from "./operation-table.ts";
import { Session, type SessionStatistics } from "./session.ts";
import { TreeHandlers } from "./tree-handlers.ts";
import { unmountPath, type UnmountOptions } from "./unmount.ts";

export type { MountTreeOptions } from "./mount-options.ts";

export interface MountStatistics extends SessionStatistics {
  readonly openFiles: number;
  readonly cachedNames: number;
  readonly tags: number;
}

export interface Mounted {
  /** Absolute, without symbolic links. */
  readonly mountpoint: string;
  /** Tags, by path in the mount. */
  readonly tagging: Pick<TreeHandlers, "tag" | "untag" | "tags">;
  /** Settles when the mount has ended, whoever ended it. */
  readonly finished: Promise<void>;
  statistics(): MountStatistics;
  /**
   * Unmounts, and waits for the end; with `lazy` only until it is out of sight. The tree stays
   * open: it is the caller's. Does nothing when the mount has ended.
   *
   * @throws ReelError "busy" with the processes that hold it
   */
  unmount(options?: UnmountOptions): Promise<void>;
}

/** How often the end is looked for: a readlink in /proc each time. */
const END_CHECK_MS = 50;

/**
 * Mounts a tree and serves it from this process. Resolves when the mount can be used. The tree
 * stays the caller's, to be closed after `finished`.
 *
 * @throws ReelError "not-found", "not-a-directory", "not-empty" for an unsuitable mount point,
 *   "busy" when a filesystem of ours is mounted there, "no-permission", "unsupported" when FUSE is
 *   not there, "invalid" for options
 */
export async function mountTree(
  tree: FileTree,
  mountpoint: string,
  options: MountTreeOptions,
): Promise<Mounted> {
  const owner = ownershipOf(options);
  const timeoutMs = timeoutMsOf(options);
  const binding = loadBinding();
  const place = await checkMountpoint(mountpoint);
  await checkAllowOther(options);
  const writable = options.readOnly !== true && tree.writable !== undefined;
  const remembersNames = options.changesOutside !== true;
  const handlers = new TreeHandlers(tree, {
    readOnly: !writable,
    remembersNames,
    opensNothing: options.ignoresOpens === true && !writable && remembersNames,
    attributesRememberedMs: remembersSharedAttributes(options, writable) ? SHARED_ATTRIBUTES_MS : 0,
  });
  let ready = (): void => undefined;
  const started = new Promise<void>((settle) => (ready = settle));
  const session = new Session({ timeoutMs, onError: options.onError ?? ((): void => undefined) });
  const table = operationTable(binding, handlers, session, {
    owner,
    onReady: () => {
      ready();
    },
  });
  const device = mountDevice(binding, place, optionText(options, writable), table);
  const finished = watchEnd(device);
  await started;
  await widenReadAhead(place);
  return {
    mountpoint: place,
    tagging: handlers,
    finished,
    statistics: () => ({
      ...session.statistics(),
      openFiles: handlers.openFiles,
      cachedNames: handlers.cachedNames,
      tags: handlers.tags.size,
    }),
    unmount: async (how = {}) => {
      if (device.ended) return;
      try {
        await unmountPath(place, how);
      } catch (error) {
        // Somebody else was faster.
        if (!isReelError(error, "not-found")) throw error;
      }
      if (how.lazy !== true) await finished;
    },
  };
}

interface FuseDevice {
  readonly descriptor: number;
  readonly native: NativeMount;
  ended: boolean;
}

/** Mounts, and finds the descriptor of /dev/fuse that came with it. */
function mountDevice(
  binding: Binding,
  place: string,
  options: string,
  table: readonly NativeHandler[],
): FuseDevice {
  const before = new Set(fuseDescriptors());
  let native: NativeMount;
  try {
    native = binding.mount(place, options, table);
  } catch (error) {
    throw new ReelError(
      "io",
      `cannot mount on ${place}: FUSE refused; what it said is on standard error, or in the log of the mount`,
      { cause: error },
    );
  }
  const descriptor = fuseDescriptors().find((each) => !before.has(each)) ?? -1;
  return { descriptor, native, ended: false };
}

/** Descriptors of this process that are connections to the kernel's FUSE. */
export function fuseDescriptors(): number[] {
  return readdirSync("/proc/self/fd")
    .map(Number)
    .filter((descriptor) => isFuseDescriptor(descriptor));
}

function isFuseDescriptor(descriptor: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`) === "/dev/fuse";
  } catch {
    return false;
  }
}

async function watchEnd(device: FuseDevice): Promise<void> {
  await new Promise<void>((settle) => {
    const timer = setInterval(() => {
      if (isFuseDescriptor(device.descriptor)) return;
      clearInterval(timer);
      settle();
    }, END_CHECK_MS);
  });
  device.ended = true;
  device.native.release();
}

/** The mount point without links, when a mount there is possible and hides nothing. */
async function checkMountpoint(mountpoint: string): Promise<string> {
  const doing = `cannot mount on ${mountpoint}`;
  await clearStaleMount(mountpoint);
  let place: string;
  let content: string[];
  try {
    place = await realpath(mountpoint);
    content = await readdir(place);
  } catch (error) {
    const reason = fromSystem(error, doing);
    if (reason.code === "not-found") {
      throw new ReelError("not-found", `${doing}: there is no such directory; make it first`, {
        cause: error,
      });
    }
    if (reason.code === "not-a-directory") {
      throw new ReelError("not-a-directory", `${doing}: it is not a directory`, { cause: error });
    }
    throw reason;
  }
  if (Buffer.byteLength(place) > MOUNTPOINT_MAX_BYTES) {
    throw new ReelError(
      "name-too-long",
      `${doing}: the path is longer than ${MOUNTPOINT_MAX_BYTES} bytes`,
    );
  }
  const mounted = mountAt(place, await readMounts());
  if (mounted?.type.startsWith("fuse") === true) {
    throw new ReelError("busy", `${doing}: ${mounted.source} is mounted there; unmount it first`);
  }
  if (content.length > 0) {
    throw new ReelError("not-empty", `${doing}: the directory is not empty; choose an empty one`);
  }
  await checkDevice(doing);
  return place;
}

/** Takes down what a killed daemon left at a place. */
async function clearStaleMount(mountpoint: string): Promise<void> {
  if (await isDeadMount(mountpoint)) await unmountPath(await placeOf(mountpoint), { lazy: true });
}

/** /dev/fuse must be there; opening it is fusermount's business for users other than root. */
async function checkDevice(doing: string): Promise<void> {
  try {
    await access("/dev/fuse", constants.F_OK);
  } catch (error) {
    throw new ReelError(
      "unsupported",
      `${doing}: /dev/fuse is missing; load the kernel module fuse, or give the container the device`,
      { cause: error },
    );
  }
}

const FUSE_CONF = "/etc/fuse.conf";

/** fusermount refuses allow_other to users unless root has allowed it; say so before it does. */
async function checkAllowOther(options: MountTreeOptions): Promise<void> {
  if (options.allowOther !== true || process.getuid?.() === 0) return;
  const configuration = await readFile(FUSE_CONF, "utf8").catch(() => "");
  if (/^\s*user_allow_other\s*$/m.test(configuration)) return;
  throw new ReelError(
    "no-permission",
    `cannot let other users in: root has not allowed it; add the line user_allow_other to ${FUSE_CONF}`,
  );
}
