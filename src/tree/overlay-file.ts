/**
 * The contents of one changed file: blocks of 4 KiB that are in the overlay's store, over the bytes
 * of the base. As in nbdkit's cow filter, every block is in one of few states:
 *
 *     state    block index   contents                             after a write
 *     base     NOT_STORED    the base's bytes, zeros from         stored; a block written in part
 *                            `baseLimit` on                       gets the rest from the base first
 *     stored   a number      4096 bytes in the store              stored, changed in place
 *
 * There is no state for holes: `baseLimit` starts as the base's size and only ever falls, to the
 * smallest size the file had since. What lies beyond it was cut off once or never was, so it is
 * zeros, whatever the base has there.
 *
 * Invariants: `baseLimit` <= size; in a stored block, bytes beyond the end of the file are zeros
 * (shrinking clears them), so that growing has nothing to do.
 *
 * Writes and truncates hold the file's lock alone, reads share it: two writes to one block cannot
 * lose bytes of each other, a read sees a write whole or not at all. Different files do not wait.
 *
 * A write takes its room first and fills new blocks before it changes old ones, so "no-space" (of
 * the budget, or of the disk) leaves the file as it was. Only an I/O error of the temporary file
 * in the middle of changing stored blocks can leave part of a write behind.
 */
import type { IndexRun } from "../cache/block-index.ts";
import { BlockIndex, INDEX_PAGE_COST_BYTES, NOT_STORED } from "../cache/block-index.ts";
import type { BlockRun, OverlayStore } from "../cache/overlay-store.ts";
import { OVERLAY_BLOCK_BYTES as BLOCK } from "../cache/overlay-store.ts";
import { ReelError } from "../errors.ts";
import { ReadBatch } from "./read-runs.ts";
import { SharedLock } from "./shared-lock.ts";

/** Blocks written by one system call; bounds the copy that a partly covered block needs. */
const PIECE_BLOCKS_MAX = 256;

/** Blocks of the file that are together in the store, with what happens to them in a write. */
interface WritePiece extends IndexRun {
  /** Not yet in the index: must be filled completely. */
  readonly isNew: boolean;
}

/** The base's bytes of the file; fewer than the target holds only at the end. */
export type BaseReader = (offsetBytes: number, target: Uint8Array) => Promise<number>;

export class OverlayFile {
  readonly #store: OverlayStore;
  readonly #readBase: BaseReader;
  readonly #index = new BlockIndex();
  readonly #lock = new SharedLock();
  #sizeBytes: number;
  #baseLimitBytes: number;
  #discarded = false;

  constructor(store: OverlayStore, baseSizeBytes: number, readBase: BaseReader) {
    this.#store = store;
    this.#readBase = readBase;
    this.#sizeBytes = baseSizeBytes;
    this.#baseLimitBytes = baseSizeBytes;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Bytes of the base that can still be seen. */
  get baseLimitBytes(): number {
    return this.#baseLimitBytes;
  }

  /** Bytes that the file holds in the store. */
  get storedBytes(): number {
    return this.#index.count * BLOCK;
  }

  /** As FileTree.read. */
  async read(offsetBytes: number, target: Uint8Array): Promise<number> {
    return this.#lock.shared(async () => {
      this.#checkPresent();
      const count = Math.max(0, Math.min(target.length, this.#sizeBytes - offsetBytes));
      if (count > 0) await this.#fill(offsetBytes, target.subarray(0, count));
      return count;
    });
  }

  /** As WritableFileTree.write, for a `source` that is not empty. */
  async write(offsetBytes: number, source: Uint8Array): Promise<void> {
    await this.#lock.alone(async () => {
      this.#checkPresent();
      const endBytes = offsetBytes + source.length;
      const first = Math.floor(offsetBytes / BLOCK);
      const end = Math.ceil(endBytes / BLOCK);
      const runs = [...this.#index.runs(first, end)];
      const pagesMissing = this.#index.pagesMissing(first, end);
      const room = this.#takeRoom(runs, pagesMissing);
      try {
        const pieces = planPieces(runs, room);
        for (const isNew of [true, false]) {
          for (const piece of pieces) {
            if (piece.isNew === isNew) await this.#writePiece(piece, offsetBytes, source);
          }
        }
        this.#enter(pieces);
      } catch (error) {
        for (const run of room) this.#store.free(run.start, run.count);
        this.#store.refundMetadata(pagesMissing * INDEX_PAGE_COST_BYTES);
        throw error;
      }
      this.#sizeBytes = Math.max(this.#sizeBytes, endBytes);
    });
  }

  async truncate(sizeBytes: number): Promise<void> {
    await this.#lock.alone(async () => {
      this.#checkPresent();
      if (sizeBytes < this.#sizeBytes) {
        await this.#clearTail(sizeBytes);
        this.#forgetFrom(Math.ceil(sizeBytes / BLOCK));
        this.#baseLimitBytes = Math.min(this.#baseLimitBytes, sizeBytes);
      }
      this.#sizeBytes = sizeBytes;
    });
  }

  /**
   * Gives back all room, at once or when the reads and writes under way are done. Later calls throw
   * "not-found": the file was deleted.
   */
  async discard(): Promise<void> {
    await this.#lock.alone(async () => {
      this.#discarded = true;
      this.#forgetFrom(0);
    });
  }

  #checkPresent(): void {
    if (this.#discarded) throw new ReelError("not-found", "cannot use a file that was deleted");
  }

  async #fill(offsetBytes: number, target: Uint8Array): Promise<void> {
    const endBytes = offsetBytes + target.length;
    const batch = new ReadBatch();
    const end = Math.ceil(endBytes / BLOCK);
    for (const run of this.#index.runs(Math.floor(offsetBytes / BLOCK), end)) {
      const from = Math.max(offsetBytes, run.block * BLOCK);
      const to = Math.min(endBytes, (run.block + run.count) * BLOCK);
      const part = target.subarray(from - offsetBytes, to - offsetBytes);
      if (run.stored === NOT_STORED) batch.add(this.#fillFromBase(from, part));
      else batch.add(this.#store.read(run.stored, from - run.block * BLOCK, part));
      if (batch.isFull) await batch.finish();
    }
    await batch.finish();
  }

  /** The base's bytes as far as they can still be seen, then zeros. */
  async #fillFromBase(offsetBytes: number, target: Uint8Array): Promise<void> {
    const visible = this.#baseLimitBytes - offsetBytes;
    const count = Math.max(0, Math.min(target.length, visible));
    target.fill(0, count);
    if (count === 0) return;
    const read = await this.#readBase(offsetBytes, target.subarray(0, count));
    if (read !== count) {
      throw new ReelError(
        "damaged",
        `cannot read ${count} bytes at offset ${offsetBytes} of a file: it ends after ${read}`,
      );
    }
  }

  /** Blocks for the runs that are not stored, and index pages; all or "no-space". */
  #takeRoom(runs: readonly IndexRun[], pagesMissing: number): BlockRun[] {
    let blocks = 0;
    for (const run of runs) if (run.stored === NOT_STORED) blocks += run.count;
    const metadataBytes = pagesMissing * INDEX_PAGE_COST_BYTES;
    this.#store.chargeMetadata(metadataBytes);
    try {
      return blocks === 0 ? [] : this.#store.allocate(blocks);
    } catch (error) {
      this.#store.refundMetadata(metadataBytes);
      throw error;
    }
  }

  async #writePiece(piece: WritePiece, offsetBytes: number, source: Uint8Array): Promise<void> {
    const startBytes = piece.block * BLOCK;
    const endBytes = startBytes + piece.count * BLOCK;
    const from = Math.max(offsetBytes, startBytes);
    const to = Math.min(offsetBytes + source.length, endBytes);
    const data = source.subarray(from - offsetBytes, to - offsetBytes);
    if (!piece.isNew || data.length === piece.count * BLOCK) {
      await this.#store.write(piece.stored, from - startBytes, data);
      return;
    }
    const filled = Buffer.allocUnsafe(piece.count * BLOCK);
    const last = filled.length - BLOCK;
    if (from > startBytes) await this.#fillFromBase(startBytes, filled.subarray(0, BLOCK));
    if (to < endBytes && (last > 0 || from === startBytes)) {
      await this.#fillFromBase(startBytes + last, filled.subarray(last));
    }
    filled.set(data, from - startBytes);
    await this.#store.write(piece.stored, 0, filled);
  }

  #enter(pieces: readonly WritePiece[]): void {
    for (const piece of pieces) {
      if (!piece.isNew) continue;
      for (let i = 0; i < piece.count; i++) this.#index.set(piece.block + i, piece.stored + i);
    }
  }

  /** Zeros from the new end of the file to the end of its last block, if that is stored. */
  async #clearTail(sizeBytes: number): Promise<void> {
    const within = sizeBytes % BLOCK;
    if (within === 0) return;
    const stored = this.#index.get(Math.floor(sizeBytes / BLOCK));
    if (stored === NOT_STORED) return;
    await this.#store.write(stored, within, new Uint8Array(BLOCK - within));
  }

  #forgetFrom(block: number): void {
    const pages = this.#index.pages;
    for (const run of this.#index.clearFrom(block)) this.#store.free(run.start, run.count);
    this.#store.refundMetadata((pages - this.#index.pages) * INDEX_PAGE_COST_BYTES);
  }
}

/** Lays the runs of a write over the room taken for it. */
function planPieces(runs: readonly IndexRun[], room: readonly BlockRun[]): WritePiece[] {
  const pieces: WritePiece[] = [];
  let roomIndex = 0;
  let roomUsed = 0;
  for (const run of runs) {
    const isNew = run.stored === NOT_STORED;
    for (let done = 0; done < run.count;) {
      let count = Math.min(run.count - done, PIECE_BLOCKS_MAX);
      let stored = run.stored + done;
      if (isNew) {
        const from = room[roomIndex];
        if (from === undefined) throw new ReelError("internal", "too little room for a write");
        count = Math.min(count, from.count - roomUsed);
        stored = from.start + roomUsed;
        roomUsed += count;
        if (roomUsed === from.count) {
          roomIndex++;
          roomUsed = 0;
        }
      }
      pieces.push({ block: run.block + done, count, stored, isNew });
      done += count;
    }
  }
  return pieces;
}
