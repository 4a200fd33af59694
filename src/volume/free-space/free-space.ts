/**
 * What is free on volumes that only other people's tools can read: XFS (xfs_logprint and xfs_db) and
 * Btrfs (btrfs inspect-internal).
 *
 * Leaving out a block that is in use loses data, so an answer is only taken when nothing speaks
 * against it: the filesystem was left clean and is not mounted for writing, the tool ended well and
 * had nothing to complain of, and what it says adds up, to the block, to what the filesystem's own
 * superblocks count. Whatever is in doubt, and whatever the tool does not speak of (the space behind
 * the filesystem, boot sectors), is in use.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import type { ExtentSet } from "../../device/extents.ts";
import type { RunOptions } from "../../progress.ts";

export interface FreeSpace {
  /** Stretches of the device that hold nothing, in bytes. */
  readonly free: ExtentSet;
  /** Who says so: "xfs_db". */
  readonly tool: string;
}

/** Why nothing can be left out. */
export interface Doubt {
  readonly doubt: string;
}

/**
 * Asks about the filesystem on a device, which the system has under this path. Throws "aborted", and
 * ReelErrors that say why there is no answer.
 */
export type AskTool = (
  device: BlockDevice,
  path: string,
  options: RunOptions,
) => Promise<FreeSpace | Doubt>;
