/** Recognising and opening ext2, ext3 and ext4 volumes. */
import type { BlockDevice } from "../../device/block-device.ts";
import { ReelError } from "../../errors.ts";
import { describeContents } from "../signatures.ts";
import type { Volume, VolumeFormat, VolumeInfo, VolumeProblem } from "../volume.ts";
import { DeviceBlocks } from "./device-blocks.ts";
import {
  COMPAT,
  featureNames,
  INCOMPAT,
  kindOf,
  unknownRoFeatures,
  unreadableFeatures,
} from "./features.ts";
import { FastChanges } from "./fast-changes.ts";
import { GroupTable } from "./group-table.ts";
import { faultOfNumber, InodeTable } from "./inode-table.ts";
import {
  formatUuid,
  parseSuperblock,
  STATE,
  SUPERBLOCK_BYTES,
  SUPERBLOCK_OFFSET,
} from "./superblock.ts";
import type { ParsedSuperblock, Superblock } from "./superblock.ts";
import { needsReplay, replayJournal } from "./replay.ts";
import type { ReplayedJournal } from "./replay.ts";

const NAME_MAX_BYTES = 255;
/** Groups that hold a copy of the superblock whatever the features, and the sizes groups may have. */
const COPY_GROUPS = [1, 3, 5, 7] as const;
const BLOCK_SIZES = [1024, 2048, 4096, 8192, 16384, 32768, 65536] as const;
/** Blocks of a cluster that mke2fs makes when it is not told otherwise; 1 is no bigalloc. */
const CLUSTER_BLOCKS = [1, 16] as const;

export const extFormat: VolumeFormat = {
  name: "ext",

  async probe(device) {
    const primary = await readSuperblock(device, SUPERBLOCK_OFFSET);
    if (primary !== undefined && ("superblock" in primary || primary.isOurs)) return true;
    // A copy that survived behind another filesystem must not make the device ours.
    const found = await describeContents(device);
    const isUnclaimed =
      found === undefined || found.startsWith("the bytes") || found.includes("ext2");
    return isUnclaimed && (await findCopy(device)) !== undefined;
  },

  async open(device): Promise<Volume> {
    const problems: VolumeProblem[] = [];
    const notices: string[] = [];
    let superblock = await findSuperblock(device, problems, notices);
    checkFeatures(device, superblock);
    noticeState(superblock, notices);
    const journal = needsReplay(superblock)
      ? await replayJournal(device, superblock, notices, problems)
      : undefined;
    const replayed = journal?.replay.device ?? device;
    if (journal !== undefined) {
      superblock = await findSuperblock(replayed, [], []);
      checkFeatures(device, superblock);
    }
    const { blockSizeBytes, blockCount } = superblock;
    const blocks = new DeviceBlocks(replayed, blockSizeBytes, blockCount);
    if (blocks.blocksOnDevice < blockCount) {
      const message = `says that it has ${blockCount * blockSizeBytes} bytes, ${device.name} has ${device.sizeBytes}: what lies beyond cannot be read`;
      problems.push({ where: "superblock", message });
    }
    const groups = await GroupTable.load(blocks, superblock, problems);
    const changes = changesOf(journal, superblock, notices);
    const inodes = new InodeTable(blocks, superblock, groups, changes);
    const store = { device: replayed, superblock, blocks, groups, inodes, changes, journal };
    const { ExtVolume } = await import("./ext-volume.ts");
    return new ExtVolume(store, describe(superblock, blocks, notices), problems);
  },
};

/** What fast commits changed, if there are any. */
function changesOf(
  journal: ReplayedJournal | undefined,
  superblock: Superblock,
  notices: string[],
): FastChanges | undefined {
  const notes = journal?.replay.fastCommits.notes ?? [];
  if (notes.length === 0) return undefined;
  const changes = new FastChanges(notes, (number) => faultOfNumber(superblock, number));
  const { misplaced } = changes;
  if (misplaced > 0) {
    notices.push(
      `the fast commits in the journal have ${misplaced} changes of inodes that no file can ` +
        `have, which are not shown`,
    );
  }
  return changes;
}

async function readSuperblock(
  device: BlockDevice,
  offsetBytes: number,
): Promise<ParsedSuperblock | undefined> {
  if (offsetBytes + SUPERBLOCK_BYTES > device.sizeBytes) return undefined;
  const bytes = new Uint8Array(SUPERBLOCK_BYTES);
  await device.read(offsetBytes, bytes);
  return parseSuperblock(bytes);
}

/** The superblock, or a copy of it where it is damaged. */
async function findSuperblock(
  device: BlockDevice,
  problems: VolumeProblem[],
  notices: string[],
): Promise<Superblock> {
  const primary = await readSuperblock(device, SUPERBLOCK_OFFSET);
  if (primary !== undefined && "superblock" in primary) return primary.superblock;
  if (primary?.isJournal === true) {
    throw new ReelError(
      "unsupported",
      `cannot read the volume on ${device.name}: it is the external journal of an ext3 or ext4 ` +
        `volume and holds no files; name the volume itself`,
    );
  }
  const fault = primary?.fault ?? "the device is too small for one";
  const copy = await findCopy(device);
  if (copy === undefined) {
    throw new ReelError(
      primary?.isOurs === true ? "damaged" : "unsupported",
      `cannot read ${device.name} as an ext2, ext3 or ext4 volume: the superblock at byte ` +
        `${SUPERBLOCK_OFFSET} is not sound (${fault}), and no copy of it was found`,
    );
  }
  const message = `${fault}; the copy in group ${copy.groupNumber} is used instead`;
  problems.push({ where: `superblock at byte ${SUPERBLOCK_OFFSET}`, message });
  notices.push(`the superblock is damaged: ${message}`);
  return copy;
}

/** A copy of the superblock where groups of the usual sizes begin. */
async function findCopy(device: BlockDevice): Promise<Superblock | undefined> {
  for (const blockSizeBytes of BLOCK_SIZES) {
    for (const clusterBlocks of CLUSTER_BLOCKS) {
      const groupBlocks = 8 * blockSizeBytes * clusterBlocks;
      const firstBlock = blockSizeBytes === 1024 && clusterBlocks === 1 ? 1 : 0;
      for (const group of COPY_GROUPS) {
        const parsed = await readSuperblock(
          device,
          (firstBlock + group * groupBlocks) * blockSizeBytes,
        );
        if (parsed === undefined) break;
        if (!("superblock" in parsed)) continue;
        const { superblock } = parsed;
        const isHere =
          superblock.groupNumber === group &&
          superblock.blockSizeBytes === blockSizeBytes &&
          superblock.blocksPerGroup === groupBlocks;
        if (isHere) return superblock;
      }
    }
  }
  return undefined;
}

function checkFeatures(device: BlockDevice, superblock: Superblock): void {
  const unreadable = unreadableFeatures(superblock);
  if (unreadable.length > 0) {
    throw new ReelError(
      "unsupported",
      `cannot read the volume on ${device.name}: it has features that are not supported: ` +
        unreadable.join(", "),
    );
  }
}

/** What a person should know about the state that the volume was left in. */
function noticeState(superblock: Superblock, notices: string[]): void {
  const hasJournal = (superblock.compat & COMPAT.hasJournal) !== 0;
  if (hasJournal && superblock.journalInode === 0) {
    const uuid = formatUuid(superblock.journalUuid);
    notices.push(`the journal is on another device (${uuid}) and was not looked at`);
  }
  const isUnclean = (superblock.incompat & INCOMPAT.recover) !== 0;
  if (isUnclean && !needsReplay(superblock)) {
    notices.push("the volume was not cleanly unmounted; the journal was not replayed");
  } else if (!isUnclean && (superblock.state & STATE.clean) === 0) {
    notices.push("the volume was not cleanly unmounted");
  }
  if ((superblock.state & STATE.errors) !== 0) {
    notices.push("the volume is marked as having errors; e2fsck should check it");
  }
  const unknown = unknownRoFeatures(superblock);
  if (unknown.length > 0) {
    notices.push(`the volume has features that are not known here: ${unknown.join(", ")}`);
  }
}

function describe(
  superblock: Superblock,
  blocks: DeviceBlocks,
  notices: readonly string[],
): VolumeInfo {
  const { blockSizeBytes, blockCount, clusterBlocks } = superblock;
  return {
    kind: kindOf(superblock),
    label: superblock.label,
    serial: formatUuid(superblock.uuid),
    blockSizeBytes,
    blockCount: blocks.blocksOnDevice,
    clusterSizeBytes: blockSizeBytes * clusterBlocks,
    clusterCount: Math.ceil(blockCount / clusterBlocks),
    // With casefold there may be directories in which they are not.
    caseSensitive: (superblock.incompat & INCOMPAT.casefold) === 0,
    nameMaxBytes: NAME_MAX_BYTES,
    notices,
    details: {
      features: featureNames(superblock).join(" "),
      blockCount,
      inodeCount: superblock.inodeCount,
      inodeSizeBytes: superblock.inodeSizeBytes,
      groups: superblock.groupCount,
      blocksPerGroup: superblock.blocksPerGroup,
      inodesPerGroup: superblock.inodesPerGroup,
      lastMountedOn: superblock.lastMounted,
      created: new Date(superblock.createdSeconds * 1000).toISOString(),
      state: (superblock.state & STATE.clean) === 0 ? "not clean" : "clean",
      errors: superblock.errorCount,
    },
  };
}
