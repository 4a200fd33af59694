/**
 * Fast commits: short notes of single changes (a name made, a range of a file added) that ext4
 * writes to an area at the end of the journal between full commits. Here they are read; what they
 * change is the business of whoever knows inodes and directories.
 *
 * The first fast commit after a full one starts with a head, each ends with a tail that fills its
 * block. Both have the number of the transaction that would come next as a full commit: the first
 * that is not in the log. The tail has a CRC-32C of all since the tail before (the head, for the
 * first), and a commit counts only when that is right. No block is cleared when a new round begins
 * at the start of the area, so behind the last commit there may be blocks of an earlier round,
 * whole but for the number in their tails: they are the end, as is anything that is no note.
 * Sources: as for fast-commit-notes.ts, and what the kernel makes of such journals.
 */
import { crc32c } from "./checksums.ts";
import { decodeNote, FAST_TAG, HEAD, TAG_BYTES, TAIL } from "./fast-commit-notes.ts";
import type { FastNote } from "./fast-commit-notes.ts";
import type { JournalLog } from "./journal-log.ts";
import type { JournalSuperblock } from "./superblock.ts";

/** No further is read; areas have 256 blocks unless mke2fs was told otherwise. */
export const FAST_COMMIT_BYTES_MAX = 64 * 1024 * 1024;
/** More changes than this are not kept in memory. */
export const FAST_NOTES_MAX = 2 ** 18;

export interface FastCommits {
  /** Whole ones. */
  readonly commits: number;
  /** Their changes, in the order in which they are to be made. */
  readonly notes: readonly FastNote[];
  /** Why there may be changes that are not among them. */
  readonly notices: readonly string[];
}

export const NO_FAST_COMMITS: FastCommits = { commits: 0, notes: [], notices: [] };

/**
 * Reads the fast commits that follow the last whole transaction; `nextSequence` is the number after
 * its own. Reads only as far as they go. Throws what the device throws.
 */
export async function readFastCommits(
  log: JournalLog,
  superblock: JournalSuperblock,
  nextSequence: number,
  inodeBytesMax: number,
): Promise<FastCommits> {
  const reader = new FastCommitReader(nextSequence, inodeBytesMax);
  const { fastCommitStart, fastCommitEnd } = superblock;
  const blocksMax = Math.floor(FAST_COMMIT_BYTES_MAX / log.blockSizeBytes);
  for (let index = fastCommitStart; index < fastCommitEnd; index++) {
    const block = log.peek(index) ?? (await log.load(index));
    if (block === undefined) break;
    if (index - fastCommitStart >= blocksMax) reader.stopFor(index, "is too far behind the first");
    if (!reader.read(index, block)) break;
  }
  return reader;
}

class FastCommitReader implements FastCommits {
  commits = 0;
  readonly notes: FastNote[] = [];
  readonly notices: string[] = [];
  readonly #sequence: number;
  readonly #inodeBytesMax: number;
  #isAtEnd = false;
  #hasHead = false;
  #crc = 0;
  /** Notes since the last tail. */
  #pending: FastNote[] = [];

  constructor(sequence: number, inodeBytesMax: number) {
    this.#sequence = sequence;
    this.#inodeBytesMax = inodeBytesMax;
  }

  /** Takes the block with this number in the journal; false when nothing that follows can count. */
  read(index: number, block: Uint8Array): boolean {
    const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
    let at = 0;
    while (at + TAG_BYTES <= block.length && !this.#isAtEnd) {
      const tag = view.getUint16(at, true);
      const end = at + TAG_BYTES + view.getUint16(at + 2, true);
      const whole = end <= block.length ? block.subarray(at, end) : undefined;
      this.#isAtEnd = !this.#take(index, tag, whole);
      at = end;
    }
    return !this.#isAtEnd;
  }

  /** Ends the reading before a commit that is not taken, and says so; always false. */
  stopFor(index: number, fault: string): boolean {
    this.#isAtEnd = true;
    this.notices.push(
      `the fast commit in block ${index} of the journal ${fault}: ` +
        `its changes, and those of any after it, are not shown`,
    );
    return false;
  }

  /** One note; false where the commits end. `whole`: its tag and value, if they fit in the block. */
  #take(index: number, tag: number, whole: Uint8Array | undefined): boolean {
    if (!this.#hasHead)
      return tag === FAST_TAG.head && whole !== undefined && this.#head(index, whole);
    if (whole === undefined) return this.#malformed(index, tag);
    if (tag === FAST_TAG.tail) return this.#tail(index, whole);
    if (tag === FAST_TAG.head) return this.#head(index, whole);
    if (tag !== FAST_TAG.pad) {
      const note = decodeNote(tag, whole.subarray(TAG_BYTES), this.#inodeBytesMax);
      if (note === undefined) return this.#malformed(index, tag);
      if (this.notes.length + this.#pending.length >= FAST_NOTES_MAX) {
        return this.stopFor(index, `is one of more than ${FAST_NOTES_MAX} changes in all`);
      }
      this.#pending.push(note);
    }
    this.#crc = crc32c(this.#crc, whole);
    return true;
  }

  #head(index: number, whole: Uint8Array): boolean {
    if (whole.length !== TAG_BYTES + HEAD.bytes) return false;
    const value = new DataView(whole.buffer, whole.byteOffset + TAG_BYTES, HEAD.bytes);
    if (value.getUint32(HEAD.sequence, true) !== this.#sequence) return false;
    const features = value.getUint32(HEAD.features, true);
    if (features !== 0) {
      return this.stopFor(
        index,
        `has features that are not known here (0x${features.toString(16)})`,
      );
    }
    this.#hasHead = true;
    this.#crc = crc32c(this.#crc, whole);
    return true;
  }

  #tail(index: number, whole: Uint8Array): boolean {
    if (whole.length < TAG_BYTES + TAIL.bytes) return this.#malformed(index, FAST_TAG.tail);
    const value = new DataView(whole.buffer, whole.byteOffset + TAG_BYTES, TAIL.bytes);
    // Of an earlier round of the area.
    if (value.getUint32(TAIL.sequence, true) !== this.#sequence) return false;
    const crc = crc32c(this.#crc, whole.subarray(0, TAG_BYTES + TAIL.checksum));
    if (value.getUint32(TAIL.checksum, true) !== crc) {
      return this.stopFor(index, "was cut off or is damaged (its checksum does not match)");
    }
    for (const note of this.#pending) this.notes.push(note);
    this.#pending = [];
    this.#crc = 0;
    this.commits++;
    return true;
  }

  /** Zeros and left-overs are how commits end; what begins as one and goes on wrongly is damage. */
  #malformed(index: number, tag: number): boolean {
    const isWithinCommit = this.#pending.length > 0 || this.commits === 0;
    if (tag === 0 || !isWithinCommit) return false;
    return this.stopFor(index, `has a note of kind ${tag} that makes no sense`);
  }
}
