/**
 * The blocks of a journal, read in order: a window of them is in memory at a time, so that a log is
 * read in large pieces and most steps of the reader need no await. It remembers which blocks were
 * read, because those must be at hand to do the same again.
 */
import type { BlockDevice } from "../../../device/block-device.ts";

const WINDOW_BYTES = 256 * 1024;

/** A journal as a file on a device: where each of its blocks lies. */
export interface JournalBlocks {
  readonly device: BlockDevice;
  readonly blockSizeBytes: number;
  /** Block of the device for each block of the journal. */
  readonly blocks: Float64Array;
}

export class JournalLog {
  readonly blockSizeBytes: number;
  /** Whole blocks on the device. */
  readonly deviceBlocks: number;
  readonly #journal: JournalBlocks;
  readonly #window: Uint8Array;
  readonly #wasRead: Uint8Array;
  #windowStart = 0;
  #windowCount = 0;

  constructor(journal: JournalBlocks) {
    this.blockSizeBytes = journal.blockSizeBytes;
    this.deviceBlocks = Math.floor(journal.device.sizeBytes / journal.blockSizeBytes);
    this.#journal = journal;
    this.#window = new Uint8Array(Math.max(WINDOW_BYTES, journal.blockSizeBytes));
    this.#wasRead = new Uint8Array(journal.blocks.length);
  }

  /** Where a block of the journal lies; undefined where that is no place on the device. */
  physicalOf(index: number): number | undefined {
    const block = this.#journal.blocks[index];
    // Block 0 is how a hole in the journal's file looks.
    const isSound = Number.isSafeInteger(block) && Number(block) > 0;
    return isSound && Number(block) < this.deviceBlocks ? block : undefined;
  }

  /** A block that is in the window; a view that holds until the next `load`. */
  peek(index: number): Uint8Array | undefined {
    const at = index - this.#windowStart;
    if (at < 0 || at >= this.#windowCount) return undefined;
    return this.#window.subarray(at * this.blockSizeBytes, (at + 1) * this.blockSizeBytes);
  }

  /**
   * Moves the window to start at `index`, with as many blocks as there is room for or `blocksMax`;
   * undefined when the block lies nowhere.
   */
  async load(index: number, blocksMax = Number.POSITIVE_INFINITY): Promise<Uint8Array | undefined> {
    this.#windowCount = 0;
    const room = Math.floor(this.#window.length / this.blockSizeBytes);
    const countMax = Math.min(room, blocksMax);
    const reads: Promise<void>[] = [];
    let count = 0;
    while (count < countMax) {
      const run = this.#runAt(index + count, countMax - count);
      if (run.count === 0) break;
      const from = count * this.blockSizeBytes;
      const target = this.#window.subarray(from, from + run.count * this.blockSizeBytes);
      reads.push(this.#journal.device.read(run.start * this.blockSizeBytes, target));
      this.#wasRead.fill(1, index + count, index + count + run.count);
      count += run.count;
    }
    await Promise.all(reads);
    this.#windowStart = index;
    this.#windowCount = count;
    return this.peek(index);
  }

  /** Notes a block that was not read now and must be at hand later. */
  markNeeded(index: number): void {
    this.#wasRead[index] = 1;
  }

  /** All blocks that were read or marked, as rising blocks of the device. */
  neededBlocks(): Float64Array {
    const indexes = this.#wasRead;
    let count = 0;
    for (const flag of indexes) count += flag;
    const blocks = new Float64Array(count);
    let at = 0;
    for (let i = 0; i < indexes.length; i++) {
      if (indexes[i] === 1) blocks[at++] = this.#journal.blocks[i] ?? 0;
    }
    return blocks.sort();
  }

  /** The stretch of the device that holds the journal's blocks from `index` on. */
  #runAt(index: number, countMax: number): { start: number; count: number } {
    const start = this.physicalOf(index) ?? 0;
    let count = start === 0 ? 0 : 1;
    while (count > 0 && count < countMax && this.physicalOf(index + count) === start + count) {
      count++;
    }
    return { start, count };
  }
}
