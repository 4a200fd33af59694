/**
 * A copy-on-write device: reads come from the device below until something is written, then the
 * written blocks come from a private store with a budget. Nothing ever reaches the device below.
 *
 *     block in the index    not there: the device below has it
 *                           there:     the store has all of it
 *
 * A block is stored whole, so a write that covers only a part of one fetches the rest from below.
 * That may take as long as a tape takes to locate. It happens before the write takes its turn, so
 * that other writes do not wait for it; it stays right, because the device below never changes.
 * Writes take turns, reads do not wait: a block enters the index when its bytes are in the store,
 * and leaves it only when the device is closed.
 */
import { BlockIndex, INDEX_PAGE_COST_BYTES, NOT_STORED } from "../cache/block-index.ts";
import {
  OVERLAY_BLOCK_BYTES,
  OverlayStore,
  type BlockRun,
  type OverlayStoreStatistics,
} from "../cache/overlay-store.ts";
import type { BlockDevice } from "../device/block-device.ts";
import { CheckedWritableDevice } from "../device/checked-device.ts";
import { settleAll } from "../device/settle-all.ts";
import { closeAll } from "../errors.ts";

export interface OverlayDeviceOptions {
  /** Bytes that written blocks, and the memory to find them again, may take. */
  readonly budgetBytes: number;
  /** Folder of the store's temporary file. Default: the system's. */
  readonly directory?: string | undefined;
  /** True: closing the overlay closes the device below. */
  readonly ownsBase?: boolean | undefined;
}

/** A longer write is done in pieces of this, so that it holds no more memory and no longer turns. */
const PIECE_BYTES = 1 << 20;
/** Written by `zero`, again and again; never written to. */
const ZEROS = new Uint8Array(PIECE_BYTES);

export class OverlayDevice extends CheckedWritableDevice {
  readonly #base: BlockDevice;
  readonly #store: OverlayStore;
  readonly #ownsBase: boolean;
  readonly #index = new BlockIndex();
  #lastTurn: Promise<void> = Promise.resolve();

  private constructor(base: BlockDevice, store: OverlayStore, ownsBase: boolean) {
    const { name, sizeBytes, sectorSizeBytes } = base;
    super({ name: `${name} with its overlay`, sizeBytes, sectorSizeBytes });
    this.#base = base;
    this.#store = store;
    this.#ownsBase = ownsBase;
  }

  /**
   * Lays an empty overlay over a device.
   *
   * @throws ReelError "invalid" for a budget that is no size, or what making a temporary file throws
   */
  static async open(base: BlockDevice, options: OverlayDeviceOptions): Promise<OverlayDevice> {
    const { budgetBytes, directory, ownsBase = false } = options;
    return new OverlayDevice(base, await OverlayStore.open({ budgetBytes, directory }), ownsBase);
  }

  statistics(): OverlayStoreStatistics {
    return this.#store.statistics();
  }

  /** Bytes that can still be written, as far as is known. */
  async writableBytes(): Promise<number> {
    return this.#store.writableBytes();
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    if (this.#index.count === 0) return this.#base.read(offsetBytes, target);
    const parts: Promise<void>[] = [];
    for (const part of this.#parts(offsetBytes, target)) {
      const { atBytes, bytes, stored } = part;
      parts.push(
        stored === NOT_STORED
          ? this.#base.read(atBytes, bytes)
          : this.#store.read(stored, atBytes % OVERLAY_BLOCK_BYTES, bytes),
      );
    }
    await settleAll(parts);
  }

  protected override async writeRange(offsetBytes: number, source: Uint8Array): Promise<void> {
    for (let done = 0; done < source.length;) {
      const at = offsetBytes + done;
      const length = Math.min(source.length - done, PIECE_BYTES - (at % PIECE_BYTES));
      await this.#writePiece(at, source.subarray(done, done + length));
      done += length;
    }
  }

  protected override async zeroRange(offsetBytes: number, lengthBytes: number): Promise<void> {
    for (let done = 0; done < lengthBytes;) {
      const length = Math.min(lengthBytes - done, PIECE_BYTES);
      await this.writeRange(offsetBytes + done, ZEROS.subarray(0, length));
      done += length;
    }
  }

  /** There is nothing to make stable: what was written is gone with the process in any case. */
  protected override async sync(): Promise<void> {
    await this.#lastTurn;
  }

  protected override async release(): Promise<void> {
    await closeAll(this.#store, this.#ownsBase ? this.#base : undefined);
  }

  async #writePiece(offsetBytes: number, source: Uint8Array): Promise<void> {
    const first = Math.floor(offsetBytes / OVERLAY_BLOCK_BYTES);
    const whole = await this.#wholeBlocks(first, offsetBytes, source);
    await this.#inTurn(async () => {
      // Blocks that are added below are not looked at again: the parts are found as they are now.
      for (const { atBytes, bytes, stored, block, count } of [
        ...this.#parts(offsetBytes, source),
      ]) {
        if (stored !== NOT_STORED) {
          await this.#store.write(stored, atBytes % OVERLAY_BLOCK_BYTES, bytes);
          continue;
        }
        const from = (block - first) * OVERLAY_BLOCK_BYTES;
        await this.#addBlocks(block, whole.subarray(from, from + count * OVERLAY_BLOCK_BYTES));
      }
    });
  }

  /**
   * The source, where it begins and ends with a block; else a copy of it that does, filled up from
   * below. Blocks that are stored already are left as zeros: of these only the source is written.
   */
  async #wholeBlocks(first: number, offsetBytes: number, source: Uint8Array): Promise<Uint8Array> {
    const startBytes = first * OVERLAY_BLOCK_BYTES;
    const before = offsetBytes - startBytes;
    const blocks = Math.ceil((before + source.length) / OVERLAY_BLOCK_BYTES);
    if (blocks * OVERLAY_BLOCK_BYTES === source.length) return source;
    const whole = new Uint8Array(blocks * OVERLAY_BLOCK_BYTES);
    const behind = before + source.length;
    const endBytes = Math.min(this.sizeBytes, startBytes + whole.length);
    const last = first + blocks - 1;
    await settleAll([
      this.#fill(first, offsetBytes - before, whole.subarray(0, before)),
      this.#fill(last, startBytes + behind, whole.subarray(behind, endBytes - startBytes)),
    ]);
    whole.set(source, before);
    return whole;
  }

  async #fill(block: number, offsetBytes: number, target: Uint8Array): Promise<void> {
    if (target.length === 0 || this.#index.get(block) !== NOT_STORED) return;
    await this.#base.read(offsetBytes, target);
  }

  /** Stores blocks that are not there yet, all of them or none. */
  async #addBlocks(block: number, contents: Uint8Array): Promise<void> {
    const count = contents.length / OVERLAY_BLOCK_BYTES;
    const cost = this.#index.pagesMissing(block, block + count) * INDEX_PAGE_COST_BYTES;
    this.#store.chargeMetadata(cost);
    let runs: readonly BlockRun[] = [];
    try {
      runs = this.#store.allocate(count);
      let done = 0;
      for (const run of runs) {
        const length = run.count * OVERLAY_BLOCK_BYTES;
        await this.#store.write(run.start, 0, contents.subarray(done, done + length));
        done += length;
      }
    } catch (error) {
      for (const run of runs) this.#store.free(run.start, run.count);
      this.#store.refundMetadata(cost);
      throw error;
    }
    let at = block;
    for (const run of runs) {
      for (let i = 0; i < run.count; i++) this.#index.set(at++, run.start + i);
    }
  }

  /** The parts of a range that lie together in the store, or together below it. */
  *#parts(
    offsetBytes: number,
    range: Uint8Array,
  ): Generator<{
    atBytes: number;
    bytes: Uint8Array;
    stored: number;
    block: number;
    count: number;
  }> {
    const end = offsetBytes + range.length;
    const first = Math.floor(offsetBytes / OVERLAY_BLOCK_BYTES);
    for (const run of this.#index.runs(first, Math.ceil(end / OVERLAY_BLOCK_BYTES))) {
      const { block, count, stored } = run;
      const atBytes = Math.max(offsetBytes, block * OVERLAY_BLOCK_BYTES);
      const to = Math.min(end, (block + count) * OVERLAY_BLOCK_BYTES);
      const bytes = range.subarray(atBytes - offsetBytes, to - offsetBytes);
      yield { atBytes, bytes, stored, block, count };
    }
  }

  /** Runs `work` when all work before it is done, however that ended. */
  async #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#lastTurn.then(work);
    this.#lastTurn = turn.catch(() => undefined);
    return turn;
  }
}
