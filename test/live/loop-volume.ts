/** A small ext4 volume on a loop device, mounted: what a person has in use while it is backed up. */
import { mkdir, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "chai";
import type { ErrorCode } from "../../src/errors.ts";
import { expectReelError } from "../support/expect-error.ts";
import { hasTool, runTool } from "../support/mountpoint.ts";
import { skipUnless } from "../support/skip.ts";
import { makeTempFolder } from "../support/temp.ts";
import { endKernelMount } from "../support/end-kernel-mount.ts";

const VOLUME_BYTES = 32 << 20;

export interface LoopVolume {
  /** Not on the volume. */
  readonly folder: string;
  /** The file that the loop device stands on. */
  readonly file: string;
  readonly device: string;
  readonly mountpoint: string;
  remove(): Promise<void>;
}

/** In a before hook. */
export function requireLoopMounts(context: Mocha.Context): void {
  skipUnless(context, process.getuid?.() === 0, "only root may mount");
  for (const tool of ["mkfs.ext4", "losetup", "mount", "umount"]) {
    skipUnless(context, hasTool(tool), `${tool} is missing: install e2fsprogs and util-linux`);
  }
}

export async function makeLoopVolume(): Promise<LoopVolume> {
  const { folder, remove } = await makeTempFolder();
  const [file, mountpoint] = [join(folder, "volume.img"), join(folder, "mnt")];
  await writeFile(file, "");
  await truncate(file, VOLUME_BYTES);
  await mkdir(mountpoint);
  await mustRun("mkfs.ext4", ["-q", "-F", "-L", "USED", file]);
  const device = (await mustRun("losetup", ["--find", "--show", file])).trim();
  await mustRun("mount", [device, mountpoint]);
  return {
    ...{ folder, file, device, mountpoint },
    remove: async () => {
      // Whatever a test that failed has left behind.
      await runTool("fsfreeze", ["--unfreeze", mountpoint]);
      endKernelMount(mountpoint);
      await mustRun("losetup", ["--detach", device]);
      await remove();
    },
  };
}

/** A program that has to succeed; returns its output. */
export async function mustRun(command: string, args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await runTool(command, args);
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
  return stdout;
}

export async function expectSaid(
  promise: Promise<unknown>,
  code: ErrorCode,
  message: RegExp,
): Promise<void> {
  expect((await expectReelError(promise, code)).message).to.match(message);
}
