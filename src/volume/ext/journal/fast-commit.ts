/**
 * Fast commits: short notes of single changes (a name made, a range of a file added) that ext4
 * writes to an area at the end of the journal between full commits. They are found and counted, not
 * replayed: replaying one means changing inodes, extent trees, directories and bitmaps.
 *
 * Each note is a tag and its length, two little-endian u16, and a value. A fast commit ends with a
 * tail that has the number of the transaction it belongs to and a CRC-32C of all before it; the
 * first one starts with a head. Source: "Fast commits" in Documentation/filesystems/ext4/journal.rst
 * and the structures of fs/ext4/fast_commit.h.
 */
import { crc32c } from "./checksums.ts";
import type { JournalLog } from "./journal-log.ts";
import type { JournalSuperblock } from "./superblock.ts";

const TAG_BYTES = 4;
const KIND = { addRange: 1, inode: 6, pad: 7, tail: 8, head: 9 } as const;
/** In the value of a head. */
const HEAD = { features: 0, sequence: 4 } as const;
/** In the value of a tail. */
const TAIL = { sequence: 0, checksum: 4 } as const;
const VALUE_BYTES_MIN = 8;

/**
 * Counts the changes of fast commits that belong to the transaction after the last whole one. Reads
 * only as far as they go. Throws what the device throws.
 */
export async function countFastCommits(
  log: JournalLog,
  superblock: JournalSuperblock,
  nextSequence: number,
): Promise<number> {
  const counter = new FastCommitCounter(nextSequence);
  const { fastCommitStart, fastCommitEnd } = superblock;
  for (let index = fastCommitStart; index < fastCommitEnd; index++) {
    const block = log.peek(index) ?? (await log.load(index));
    if (block === undefined || !counter.read(block)) break;
  }
  return counter.changes;
}

class FastCommitCounter {
  /** Changes of commits whose tail was found and is sound. */
  changes = 0;
  readonly #sequence: number;
  #crc = 0;
  #pending = 0;
  #hasHead = false;

  constructor(sequence: number) {
    this.#sequence = sequence;
  }

  /** False when nothing that follows can count. */
  read(block: Uint8Array): boolean {
    const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
    let at = 0;
    while (at + TAG_BYTES < block.length) {
      const valueBytes = view.getUint16(at + 2, true);
      const end = at + TAG_BYTES + valueBytes;
      if (end > block.length) return false;
      if (!this.#note(block, view, at, valueBytes)) return false;
      at = end;
    }
    return true;
  }

  #note(block: Uint8Array, view: DataView, at: number, valueBytes: number): boolean {
    const kind = view.getUint16(at, true);
    const value = at + TAG_BYTES;
    const bytes = block.subarray(at, value + valueBytes);
    if (kind === KIND.head) {
      this.#crc = crc32c(this.#crc, bytes);
      this.#hasHead = this.#isHead(view, value, valueBytes);
      return this.#hasHead;
    }
    if (!this.#hasHead) return false;
    if (kind === KIND.tail) return this.#tail(view, bytes, value, valueBytes);
    if (kind < KIND.addRange || kind > KIND.pad) return false;
    this.#crc = crc32c(this.#crc, bytes);
    if (kind <= KIND.inode) this.#pending++;
    return true;
  }

  #isHead(view: DataView, value: number, valueBytes: number): boolean {
    return (
      valueBytes >= VALUE_BYTES_MIN &&
      view.getUint32(value + HEAD.features, true) === 0 &&
      view.getUint32(value + HEAD.sequence, true) === this.#sequence
    );
  }

  #tail(view: DataView, bytes: Uint8Array, value: number, valueBytes: number): boolean {
    if (valueBytes < VALUE_BYTES_MIN) return false;
    const crc = crc32c(this.#crc, bytes.subarray(0, TAG_BYTES + TAIL.checksum));
    const isSound =
      view.getUint32(value + TAIL.sequence, true) === this.#sequence &&
      view.getUint32(value + TAIL.checksum, true) === crc;
    if (!isSound) return false;
    this.changes += this.#pending;
    this.#pending = 0;
    this.#crc = 0;
    return true;
  }
}
