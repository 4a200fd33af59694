/**
 * Mounting a file through the kernel: a loop device on it, the filesystem of that device on a
 * folder. As root, with losetup(8) and mount(8) of util-linux.
 *
 *     file  ──losetup──►  /dev/loop3  ──mount──►  folder
 *
 * The loop device is told to go as soon as it is mounted. The kernel keeps it for as long as it is
 * in use and then lets go of it by itself: whoever unmounts the folder, in whatever way, leaves no
 * loop device behind.
 *
 * It reads the file with direct I/O. So the file is asked for what the filesystem wants, in its
 * pieces; not for pages around it, and nothing is cached twice.
 */
import type { BlockDevice } from "../device/block-device.ts";
import { loopDevices } from "../device/loop-devices.ts";
import { ReelError } from "../errors.ts";
import { runProgram, saidBy } from "./run-program.ts";

export interface LoopMountOptions {
  /** What is mounted, for messages: "photos.tap#1". */
  readonly name: string;
  readonly readOnly: boolean;
  /** More options for mount -o. */
  readonly mountOptions?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
  /** False: the kernel fetches what is asked for, and nothing behind it. Default: as it likes. */
  readonly readAhead?: boolean | undefined;
}

/**
 * What lies in an image is not trusted to be this machine's: its set-uid programs and device nodes
 * have no effect. Reading changes nothing (access times would be written).
 */
const MOUNT_OPTIONS = ["noatime", "nodev", "nosuid"] as const;

/** The kernel's default, 128 KiB. */
const READ_AHEAD_SECTORS = 256;

/** @throws ReelError "no-permission" for anybody but root */
export function requireRoot(doing: string): void {
  if (process.getuid?.() === 0) return;
  throw new ReelError(
    "no-permission",
    `${doing}: only root can attach a loop device and mount it; try again with sudo`,
  );
}

/**
 * Attaches a loop device to a file and mounts it on a folder. Nothing is left behind when it fails.
 *
 * @returns the loop device: "/dev/loop3"
 * @throws ReelError "no-permission" unless root; "unsupported" when the kernel has no loop devices or
 *   does not know the filesystem; "damaged" when it does not accept it; "aborted"
 */
export async function mountLoop(
  file: string,
  folder: string,
  options: LoopMountOptions,
): Promise<string> {
  const doing = `cannot mount ${options.name}`;
  requireRoot(doing);
  const device = await attach(file, doing);
  try {
    if (options.readAhead === false) await stopReadAhead(device, doing);
    await mount(device, folder, doing, options);
  } catch (error) {
    await letGo(device);
    throw error;
  }
  await letGo(device);
  return device;
}

/** Never interrupted: a loop device whose name is not known could not be let go of. */
async function attach(file: string, doing: string): Promise<string> {
  const args = ["--find", "--show", "--direct-io=on", "--", file];
  const outcome = await runProgram("losetup", args);
  const device = outcome.stdout.trim();
  if (outcome.status === 0 && device.startsWith("/dev/")) return device;
  const said = saidBy("losetup", outcome);
  const why = /cannot find an unused loop device/i.test(said)
    ? "there is no free loop device; load the kernel module loop, or give the container /dev/loop-control and some of /dev/loop*"
    : said;
  throw new ReelError("unsupported", `${doing}: ${why}`);
}

async function stopReadAhead(device: string, doing: string): Promise<void> {
  const outcome = await runProgram("blockdev", ["--setra", "0", device]);
  if (outcome.status === 0) return;
  throw new ReelError("io", `${doing}: ${saidBy("blockdev", outcome)}`);
}

/**
 * Gives a loop device that was mounted with `readAhead: false`, and is unmounted again, the
 * kernel's own read-ahead: older kernels hand the setting on to whoever uses the device next.
 */
export async function restoreReadAhead(device: string): Promise<void> {
  await runProgram("blockdev", ["--setra", String(READ_AHEAD_SECTORS), device]);
}

/** At once where the device is not in use, else when it is no longer. */
async function letGo(device: string): Promise<void> {
  await runProgram("losetup", ["--detach", device]);
}

/** Has the loop devices let go that stand on files in a folder, which may be a mount that is dead. */
export async function letGoOfFilesIn(folder: string): Promise<void> {
  for (const { path, backingFile } of await loopDevices()) {
    if (backingFile.startsWith(`${folder}/`)) await letGo(path);
  }
}

async function mount(
  device: string,
  folder: string,
  doing: string,
  options: LoopMountOptions,
): Promise<void> {
  const { readOnly, mountOptions = [], signal } = options;
  const words = [readOnly ? "ro" : "rw", ...MOUNT_OPTIONS, ...mountOptions];
  const args = ["-o", words.join(","), "--", device, folder];
  const outcome = await runProgram("mount", args, { signal });
  if (outcome.status === 0) return;
  const said = saidBy("mount", outcome);
  if (/unknown filesystem type/i.test(said)) {
    throw new ReelError(
      "unsupported",
      `${doing}: the kernel of this machine does not know its filesystem (${said}); ` +
        `reelfs expose without --loop gives other programs the volume as a file`,
    );
  }
  throw new ReelError("damaged", `${doing}: the kernel does not accept it: ${said}`);
}

const XFS_MAGIC = Buffer.from("XFSB");

/**
 * Options with which the kernel mounts a copy. XFS refuses a volume whose UUID it has mounted
 * already, and here that may be the very volume the copy was made of.
 */
export async function mountOptionsFor(device: BlockDevice): Promise<readonly string[]> {
  const magic = Buffer.alloc(Math.min(XFS_MAGIC.length, device.sizeBytes));
  await device.read(0, magic);
  return magic.equals(XFS_MAGIC) ? ["nouuid"] : [];
}
