/**
 * Where an overlay keeps what was written: blocks of 4 KiB in one private temporary file that is
 * gone when the process is, and a budget in bytes that blocks and metadata share.
 *
 * - Room is taken before anything is written, so "no-space" leaves nothing half done.
 * - Metadata (names, nodes, block indexes) lives in memory, not in the file; its owners charge what
 *   it costs, so that a million empty files meet the budget too. Because memory is scarcer than
 *   disk, metadata has a limit of its own below the budget.
 * - Freed blocks are used again; the file never shrinks.
 */
import { statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { ReelError } from "../errors.ts";
import type { BlockRun } from "./overlay-allocator.ts";
import { OverlayAllocator } from "./overlay-allocator.ts";
import { PrivateFile } from "./private-file.ts";

export type { BlockRun };

export const OVERLAY_BLOCK_BYTES = 4096;

/** Block numbers fit in 32 bits, with values to spare for "none". 16 TiB less one block. */
const BLOCKS_MAX = 0xffff_fffe;
const METADATA_MAX_BYTES = 256 * 1024 * 1024;

export interface OverlayStoreOptions {
  /** Bytes of blocks and metadata together. */
  readonly budgetBytes: number;
  /** Bytes of metadata. Default 256 MiB; never more than the budget. */
  readonly metadataMaxBytes?: number | undefined;
  /** Folder of the temporary file. Default: the system's. */
  readonly directory?: string | undefined;
}

export interface OverlayStoreStatistics {
  readonly budgetBytes: number;
  readonly blocksUsed: number;
  readonly metadataBytes: number;
  /** What blocks and metadata leave of the budget. */
  readonly bytesFree: number;
  /** Bytes that more metadata may take. */
  readonly metadataBytesFree: number;
  /** Size of the temporary file. */
  readonly fileBytes: number;
}

export class OverlayStore {
  readonly #file: PrivateFile;
  readonly #directory: string;
  readonly #budgetBytes: number;
  readonly #metadataMaxBytes: number;
  readonly #allocator: OverlayAllocator;
  #metadataBytes = 0;

  private constructor(file: PrivateFile, directory: string, options: OverlayStoreOptions) {
    this.#file = file;
    this.#directory = directory;
    this.#budgetBytes = options.budgetBytes;
    this.#metadataMaxBytes = Math.min(
      options.budgetBytes,
      options.metadataMaxBytes ?? METADATA_MAX_BYTES,
    );
    this.#allocator = new OverlayAllocator(
      Math.min(BLOCKS_MAX, Math.floor(options.budgetBytes / OVERLAY_BLOCK_BYTES)),
    );
  }

  /** Throws "invalid" for a budget that is no size, or what making the file throws. */
  static async open(options: OverlayStoreOptions): Promise<OverlayStore> {
    for (const size of [options.budgetBytes, options.metadataMaxBytes ?? 0]) {
      if (Number.isSafeInteger(size) && size >= 0) continue;
      throw new ReelError("invalid", `cannot make an overlay of ${size} bytes`);
    }
    const directory = options.directory ?? tmpdir();
    return new OverlayStore(await PrivateFile.open(directory), directory, options);
  }

  /**
   * Takes `count` blocks, as one run where possible. Their contents are undefined until written.
   * Throws "no-space", with nothing taken.
   */
  allocate(count: number): BlockRun[] {
    const fits = count * OVERLAY_BLOCK_BYTES <= this.#bytesFree;
    const runs = fits ? this.#allocator.allocate(count) : undefined;
    if (runs === undefined) {
      throw this.#noSpace(`${count} blocks of ${OVERLAY_BLOCK_BYTES} bytes`);
    }
    return runs;
  }

  free(start: number, count: number): void {
    this.#allocator.free(start, count);
  }

  /** Counts `bytes` of memory that the caller is about to use. Throws "no-space", uncounted. */
  chargeMetadata(bytes: number): void {
    if (bytes > Math.min(this.#bytesFree, this.#metadataBytesFree)) {
      throw this.#noSpace(`${bytes} bytes of metadata`);
    }
    this.#metadataBytes += bytes;
  }

  /** Counts `bytes` even beyond the budget: deleting must work on a full overlay. */
  forceMetadata(bytes: number): void {
    this.#metadataBytes += bytes;
  }

  refundMetadata(bytes: number): void {
    if (bytes > this.#metadataBytes) {
      throw new ReelError("internal", `${bytes} bytes of overlay metadata are refunded twice`);
    }
    this.#metadataBytes -= bytes;
  }

  /** Writes `source` from byte `offsetInBlock` of a block on; it may run into the blocks after. */
  async write(block: number, offsetInBlock: number, source: Uint8Array): Promise<void> {
    await this.#file.write(block * OVERLAY_BLOCK_BYTES + offsetInBlock, source);
  }

  /** Fills `target` from byte `offsetInBlock` of a block on. The blocks must have been written. */
  async read(block: number, offsetInBlock: number, target: Uint8Array): Promise<void> {
    await this.#file.read(block * OVERLAY_BLOCK_BYTES + offsetInBlock, target);
  }

  statistics(): OverlayStoreStatistics {
    return {
      budgetBytes: this.#budgetBytes,
      blocksUsed: this.#allocator.used,
      metadataBytes: this.#metadataBytes,
      bytesFree: this.#bytesFree,
      metadataBytesFree: this.#metadataBytesFree,
      fileBytes: this.#file.sizeBytes,
    };
  }

  /**
   * Bytes that can be written: what the budget leaves, or less where the disk under the temporary
   * file is nearly full.
   */
  async writableBytes(): Promise<number> {
    const reusable = this.#allocator.reusable * OVERLAY_BLOCK_BYTES;
    try {
      const disk = await statfs(this.#directory);
      return Math.min(this.#bytesFree, reusable + disk.bavail * disk.bsize);
    } catch {
      // A folder that went away says nothing of its disk; the file in it is open and goes on.
      return this.#bytesFree;
    }
  }

  /** Waits for reads and writes under way; the file's room is free after that. */
  async close(): Promise<void> {
    await this.#file.close();
  }

  get #bytesFree(): number {
    const blocks = this.#allocator.used * OVERLAY_BLOCK_BYTES;
    return Math.max(0, this.#budgetBytes - blocks - this.#metadataBytes);
  }

  get #metadataBytesFree(): number {
    return Math.max(0, this.#metadataMaxBytes - this.#metadataBytes);
  }

  #noSpace(what: string): ReelError {
    const { blocksUsed, metadataBytes } = this.statistics();
    return new ReelError(
      "no-space",
      `cannot keep ${what} in the overlay: ${blocksUsed * OVERLAY_BLOCK_BYTES} bytes of data and ` +
        `${metadataBytes} of metadata fill its ${this.#budgetBytes} bytes; ` +
        `delete something or use a larger overlay`,
    );
  }
}
