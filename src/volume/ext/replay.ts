/**
 * A volume with a journal that is not empty: it is replayed in memory, and from then on read as it
 * would be after a mount. What this changes for others is that a file's bytes may lie in the
 * journal (data=journal): its layout then leads there.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import { isReelError, ReelError } from "../../errors.ts";
import type { FileLayout, VolumeProblem } from "../volume.ts";
import { mapBlocks } from "./block-map.ts";
import { DeviceBlocks } from "./device-blocks.ts";
import { COMPAT, INCOMPAT } from "./features.ts";
import { GroupTable } from "./group-table.ts";
import { InodeTable } from "./inode-table.ts";
import { readJournal } from "./journal/journal.ts";
import type { JournalReplay } from "./journal/journal.ts";
import { JOURNAL_BLOCKS_MAX } from "./journal/superblock.ts";
import type { Superblock } from "./superblock.ts";

export interface ReplayedJournal {
  readonly replay: JournalReplay;
  /** Blocks that say where the journal lies. */
  readonly treeBlocks: readonly number[];
}

/** Is there a journal on this volume that must be replayed? */
export function needsReplay({ compat, incompat, journalInode }: Superblock): boolean {
  const hasJournal = (compat & COMPAT.hasJournal) !== 0;
  return hasJournal && (incompat & INCOMPAT.recover) !== 0 && journalInode !== 0;
}

/**
 * Replays the journal; what is out of the ordinary goes to `notices`. A journal that cannot be
 * read is a problem, and the volume is shown without it: undefined. Throws what the device throws.
 */
export async function replayJournal(
  device: BlockDevice,
  superblock: Superblock,
  notices: string[],
  problems: VolumeProblem[],
): Promise<ReplayedJournal | undefined> {
  try {
    const { blocks, treeBlocks } = await findJournal(device, superblock);
    const replay = await readJournal({
      device,
      name: `the journal of ${device.name} (inode ${superblock.journalInode})`,
      blockSizeBytes: superblock.blockSizeBytes,
      blocks,
      volumeUuid: superblock.uuid,
      inodeSizeBytes: superblock.inodeSizeBytes,
    });
    notices.push(noticeOf(replay), ...replay.notices);
    return { replay, treeBlocks };
  } catch (error) {
    const isBad =
      isReelError(error, "damaged") ||
      isReelError(error, "unsupported") ||
      isReelError(error, "not-found");
    if (!isBad) throw error;
    problems.push({ where: "journal", message: error.message });
    notices.push(
      `the volume was not cleanly unmounted and its journal cannot be replayed, so that the last ` +
        `changes are missing or half done: ${error.message}`,
    );
    return undefined;
  }
}

function noticeOf({ transactions, blocks, fastCommits }: JournalReplay): string {
  const fast =
    fastCommits.commits === 0
      ? ""
      : `, fast commits: ${fastCommits.commits} with ${fastCommits.notes.length} changes`;
  const found =
    transactions === 0 && fast === ""
      ? "the journal holds nothing to replay"
      : `the journal was replayed in memory (transactions: ${transactions}, blocks: ${blocks}${fast})`;
  return `the volume was not cleanly unmounted; ${found}`;
}

/** Where each block of the journal is; 0 for one that is nowhere. */
async function findJournal(
  device: BlockDevice,
  superblock: Superblock,
): Promise<{ blocks: Float64Array; treeBlocks: readonly number[] }> {
  const { blockSizeBytes, blockCount, journalInode } = superblock;
  const volume = new DeviceBlocks(device, blockSizeBytes, blockCount);
  const groups = await GroupTable.load(volume, superblock, []);
  const inode = await new InodeTable(volume, superblock, groups).getAny(journalInode);
  const isPlausible =
    inode.kind === "file" &&
    inode.sizeBytes / blockSizeBytes <= Math.min(JOURNAL_BLOCKS_MAX, blockCount);
  if (!isPlausible) {
    throw new ReelError(
      "damaged",
      `cannot read the journal of ${device.name}: inode ${journalInode} is no file, or has ` +
        `${inode.sizeBytes} bytes`,
    );
  }
  const { runs, treeBlocks } = await mapBlocks(volume, inode);
  const blocks = new Float64Array(Math.floor(inode.sizeBytes / blockSizeBytes));
  for (let run = 0; run < runs.length; run++) {
    const logical = runs.logicalAt(run);
    const physical = runs.physicalAt(run);
    const end = Math.min(blocks.length, logical + runs.countAt(run));
    for (let block = logical; block < end; block++) blocks[block] = physical + block - logical;
  }
  return { blocks, treeBlocks };
}

/** Where the journal has newer copies of blocks. */
type Copies = Pick<JournalReplay, "locate" | "firstReplacedIn">;

/**
 * A layout whose runs lead to the journal's copies where there are any. It is not direct when a copy
 * is not stored as it is (escaped): then the runs only say what must be read.
 */
export function relocated(layout: FileLayout, replay: Copies, blockSizeBytes: number): FileLayout {
  const pieces = new RelocatedRuns(replay, blockSizeBytes);
  for (let i = 0; i < layout.length; i++) {
    pieces.add(layout.fileOffsets[i] ?? 0, layout.deviceOffsets[i] ?? 0, layout.lengths[i] ?? 0);
  }
  return pieces.isMoved ? pieces.toLayout(layout) : layout;
}

class RelocatedRuns {
  isMoved = false;
  readonly #replay: Copies;
  readonly #blockSizeBytes: number;
  readonly #fileOffsets: number[] = [];
  readonly #deviceOffsets: number[] = [];
  readonly #lengths: number[] = [];
  #isDirect = true;

  constructor(replay: Copies, blockSizeBytes: number) {
    this.#replay = replay;
    this.#blockSizeBytes = blockSizeBytes;
  }

  add(fileOffset: number, deviceOffset: number, length: number): void {
    const size = this.#blockSizeBytes;
    const endBlock = Math.ceil((deviceOffset + length) / size);
    let done = 0;
    while (done < length) {
      const at = deviceOffset + done;
      const block = Math.floor(at / size);
      const replaced = this.#replay.firstReplacedIn(block, endBlock - block);
      const isHere = replaced === block;
      const end = replaced < 0 ? endBlock : isHere ? block + 1 : replaced;
      const part = Math.min(length - done, end * size - at);
      const copy = isHere ? this.#replay.locate(block) : undefined;
      const moved = copy === undefined ? at : copy.physicalBlock * size + (at - block * size);
      this.#push(fileOffset + done, moved, part);
      if (copy !== undefined) this.isMoved = true;
      if (copy?.escaped === true) this.#isDirect = false;
      done += part;
    }
  }

  #push(fileOffset: number, deviceOffset: number, length: number): void {
    const last = this.#lengths.length - 1;
    const lastLength = this.#lengths[last] ?? 0;
    const continues =
      last >= 0 &&
      (this.#fileOffsets[last] ?? 0) + lastLength === fileOffset &&
      (this.#deviceOffsets[last] ?? 0) + lastLength === deviceOffset;
    if (continues) {
      this.#lengths[last] = lastLength + length;
      return;
    }
    this.#fileOffsets.push(fileOffset);
    this.#deviceOffsets.push(deviceOffset);
    this.#lengths.push(length);
  }

  toLayout({ sizeBytes, direct }: FileLayout): FileLayout {
    return {
      sizeBytes,
      length: this.#lengths.length,
      fileOffsets: Float64Array.from(this.#fileOffsets),
      deviceOffsets: Float64Array.from(this.#deviceOffsets),
      lengths: Float64Array.from(this.#lengths),
      direct: direct && this.#isDirect,
    };
  }
}
