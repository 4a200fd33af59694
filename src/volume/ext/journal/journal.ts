/**
 * The journal of ext3 and ext4 (JBD2), replayed in memory: a volume that was not unmounted, or was
 * copied while in use, is seen as it would be after a mount, and nothing is written.
 *
 * The journal is a file of the volume. Its first block is a superblock; the rest is a ring, the log,
 * of transactions: descriptor blocks that name blocks of the volume, each followed by copies of
 * them, revoke blocks that name blocks whose older copies no longer count, and a commit block at the
 * end. Replaying means: of the whole transactions, take the newest copy of each block. That needs a
 * table of where the copies are (log-scan.ts makes it, copy-table.ts holds it) and a device that
 * looks there first (replayed-device.ts). The copies stay where they are.
 *
 * What ext4 wrote after the last transaction as fast commits (fast-commit.ts) are no copies of
 * blocks: it is read and checked here, and applied where inodes and directories are read.
 *
 * Source: "Journal (jbd2)", Documentation/filesystems/ext4/journal.rst, and the kernel's own
 * behaviour, with which the tests compare.
 */
import type { BlockDevice } from "../../../device/block-device.ts";
import { ExtentSetBuilder } from "../../../device/extents.ts";
import type { ExtentSet } from "../../../device/extents.ts";
import { ReelError } from "../../../errors.ts";
import { CopyTable, lowerBound } from "./copy-table.ts";
import { NO_FAST_COMMITS, readFastCommits } from "./fast-commit.ts";
import type { FastCommits } from "./fast-commit.ts";
import { JournalLog } from "./journal-log.ts";
import { SUPERBLOCK_BYTES } from "./layout.ts";
import { LogScan } from "./log-scan.ts";
import type { ScannedLog } from "./log-scan.ts";
import { ReplayedDevice } from "./replayed-device.ts";
import type { ReplacedBlocks } from "./replayed-device.ts";
import { JOURNAL_BLOCKS_MAX, parseSuperblock } from "./superblock.ts";
import type { JournalSuperblock } from "./superblock.ts";

/** A journal that lies on the volume it belongs to. */
export interface JournalFile {
  readonly device: BlockDevice;
  /** For messages: "the journal of sda1 (inode 8)". */
  readonly name: string;
  readonly blockSizeBytes: number;
  /** Physical block of each logical block of the journal. */
  readonly blocks: Float64Array;
  /** Not needed: checksums are seeded with the UUID in the journal's own superblock. */
  readonly volumeUuid?: Uint8Array | undefined;
  /** No inode in a fast commit is larger. */
  readonly inodeSizeBytes?: number;
}

export interface JournalReplay {
  /** Whole transactions in the log; 0 for a clean journal. */
  readonly transactions: number;
  /** Blocks of the volume that have a newer copy in the journal. */
  readonly blocks: number;
  /** What comes after the transactions: changes that the device here does not show. */
  readonly fastCommits: FastCommits;
  /** What is out of the ordinary; nothing is said of a replay without incident. */
  readonly notices: readonly string[];
  /**
   * Physical blocks that must be readable to replay again: whatever `readJournal` read (the
   * journal's superblock and the part of the log in use) and the copies.
   */
  readonly controlBlocks: ExtentSet;
  /** Where the newest copy of a block is; undefined when the block on the volume is the newest. */
  locate(block: number): { physicalBlock: number; escaped: boolean } | undefined;
  /** First block of [startBlock, startBlock + count) that the journal replaces, or -1. */
  firstReplacedIn(startBlock: number, count: number): number;
  /** The volume as it is after the replay, read-only; closing it leaves the inner device open. */
  readonly device: BlockDevice;
}

/**
 * Reads a journal's superblock and log. Throws "damaged" when the superblock makes no sense,
 * "unsupported" for features that are not known and logs beyond all limits, and what the device
 * throws. Damage inside the log is a notice: transactions up to it are replayed.
 */
export async function readJournal(journal: JournalFile): Promise<JournalReplay> {
  const log = new JournalLog(journal);
  const superblock = await readSuperblock(journal, log);
  const notices: string[] = [];
  if (superblock.hasError) notices.push("the journal has noted an error of the filesystem");
  let scanned: ScannedLog | undefined;
  let fastCommits = NO_FAST_COMMITS;
  if (superblock.startBlock !== 0) {
    scanned = await new LogScan(journal.name, log, superblock).run();
    notices.push(...scanned.notices);
    const inodeBytesMax = journal.inodeSizeBytes ?? journal.blockSizeBytes;
    fastCommits = await readFastCommits(log, superblock, scanned.nextSequence, inodeBytesMax);
    notices.push(...fastCommits.notices);
  }
  return makeReplay(journal, log, { scanned, fastCommits, notices });
}

async function readSuperblock(journal: JournalFile, log: JournalLog): Promise<JournalSuperblock> {
  const { name, blockSizeBytes, blocks } = journal;
  if (blocks.length > JOURNAL_BLOCKS_MAX) {
    throw new ReelError(
      "unsupported",
      `cannot read ${name}: it has ${blocks.length} blocks, more than ${JOURNAL_BLOCKS_MAX}`,
    );
  }
  if (blockSizeBytes < SUPERBLOCK_BYTES) {
    throw new ReelError("invalid", `cannot read ${name}: blocks of ${blockSizeBytes} bytes`);
  }
  const block = await log.load(0, 1);
  if (block === undefined) {
    throw new ReelError(
      "damaged",
      `cannot read ${name}: its superblock would be at block ${String(blocks[0])} of ${journal.device.name}`,
    );
  }
  return parseSuperblock(name, block, blockSizeBytes, blocks.length);
}

interface Found {
  readonly scanned: ScannedLog | undefined;
  readonly fastCommits: FastCommits;
  readonly notices: readonly string[];
}

function makeReplay(
  journal: JournalFile,
  log: JournalLog,
  { scanned, fastCommits, notices }: Found,
): JournalReplay {
  const sorted = (scanned?.copies ?? new CopyTable()).sorted();
  const { blocks, escaped } = sorted;
  const physicalBlocks = Float64Array.from(sorted.indexes, (index) => {
    log.markNeeded(index);
    return log.physicalOf(index) ?? 0;
  });
  const replaced: ReplacedBlocks = { blocks, physicalBlocks, escaped };
  return {
    transactions: scanned?.transactions ?? 0,
    blocks: blocks.length,
    fastCommits,
    notices,
    controlBlocks: extentsOf(log.neededBlocks()),
    locate: (block) => {
      const at = lowerBound(blocks, block);
      if (blocks[at] !== block) return undefined;
      return { physicalBlock: physicalBlocks[at] ?? 0, escaped: escaped[at] === 1 };
    },
    firstReplacedIn: (startBlock, count) => {
      const block = blocks[lowerBound(blocks, startBlock)] ?? Number.POSITIVE_INFINITY;
      return block < startBlock + count ? block : -1;
    },
    device: new ReplayedDevice(journal.device, journal.blockSizeBytes, replaced),
  };
}

function extentsOf(rising: Float64Array): ExtentSet {
  const builder = new ExtentSetBuilder();
  for (const block of rising) builder.add(block, 1);
  return builder.build();
}
