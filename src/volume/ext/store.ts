/** What all parts of an opened ext volume work with. */
import type { BlockDevice } from "../../device/block-device.ts";
import type { DeviceBlocks } from "./device-blocks.ts";
import type { FastChanges } from "./fast-changes.ts";
import type { GroupTable } from "./group-table.ts";
import type { InodeTable } from "./inode-table.ts";
import type { ReplayedJournal } from "./replay.ts";
import type { Superblock } from "./superblock.ts";

export interface ExtStore {
  /** The volume, with the journal replayed where that was needed. */
  readonly device: BlockDevice;
  readonly superblock: Superblock;
  readonly blocks: DeviceBlocks;
  readonly groups: GroupTable;
  readonly inodes: InodeTable;
  /** What fast commits changed after the last transaction; the inodes have it. */
  readonly changes: FastChanges | undefined;
  /** Absent where the journal is clean, or cannot be replayed. */
  readonly journal: ReplayedJournal | undefined;
}
