/**
 * A device that notes which of its blocks are read: what a filesystem needs of a volume is found by
 * letting it work and looking at the notes.
 *
 * A bit per block, in pages that are made where something is read. When there are too many pages
 * the block is doubled, again and again if need be: then a little too much is noted, never too
 * little, and the memory stays within its limit however large the device is.
 */
import type { BlockDevice } from "../device/block-device.ts";
import { CheckedDevice } from "../device/checked-device.ts";
import { type ExtentSet, ExtentSetBuilder } from "../device/extents.ts";

const PAGE_WORDS = 1024;
const WORD_BITS = 32;
const PAGE_BITS = PAGE_WORDS * WORD_BITS;
/** 64 MiB of notes: at 4 KiB a block, 2 TiB of device with something read in every 128 MiB. */
const PAGES_MAX = 16384;

export interface RecordingOptions {
  /** Unit of the notes. */
  readonly blockSizeBytes: number;
  /** Pages of 4 KiB that the notes may take. Default 16384. */
  readonly pagesMax?: number | undefined;
}

/** The device below stays open when this one is closed. */
export class RecordingDevice extends CheckedDevice {
  readonly #base: BlockDevice;
  readonly #blockSizeBytes: number;
  readonly #pagesMax: number;
  /** Blocks of `#blockSizeBytes` to one bit: a power of two. */
  #blocksPerBit = 1;
  #pages = new Map<number, Uint32Array>();

  constructor(base: BlockDevice, options: RecordingOptions) {
    super(base);
    this.#base = base;
    this.#blockSizeBytes = options.blockSizeBytes;
    this.#pagesMax = options.pagesMax ?? PAGES_MAX;
  }

  /** The blocks that were read, in whole or in part; the last one may reach beyond the device. */
  blocksRead(): ExtentSet {
    const builder = new ExtentSetBuilder();
    const blocks = Math.ceil(this.sizeBytes / this.#blockSizeBytes);
    const add = (bit: number): void => {
      const start = bit * this.#blocksPerBit;
      builder.add(start, Math.min(this.#blocksPerBit, blocks - start));
    };
    for (const number of [...this.#pages.keys()].sort((a, b) => a - b)) {
      this.#pages.get(number)?.forEach((word, index) => {
        for (let rest = word; rest !== 0; rest &= rest - 1) {
          const lowest = WORD_BITS - 1 - Math.clz32(rest & -rest);
          add(number * PAGE_BITS + index * WORD_BITS + lowest);
        }
      });
    }
    return builder.build();
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    const unit = this.#blockSizeBytes * this.#blocksPerBit;
    const last = Math.floor((offsetBytes + target.length - 1) / unit);
    for (let bit = Math.floor(offsetBytes / unit); bit <= last; bit++) this.#note(this.#pages, bit);
    while (this.#pages.size > this.#pagesMax) this.#coarsen();
    await this.#base.read(offsetBytes, target);
  }

  protected override async release(): Promise<void> {
    // The device below is the caller's.
  }

  #note(pages: Map<number, Uint32Array>, bit: number): void {
    const number = Math.floor(bit / PAGE_BITS);
    let page = pages.get(number);
    if (page === undefined) pages.set(number, (page = new Uint32Array(PAGE_WORDS)));
    const within = bit % PAGE_BITS;
    const index = within >>> 5;
    page[index] = (page[index] ?? 0) | (1 << (within & 31));
  }

  #coarsen(): void {
    const pages = new Map<number, Uint32Array>();
    for (const [number, page] of this.#pages) {
      const first = number * PAGE_BITS;
      page.forEach((word, index) => {
        if (word === 0) return;
        for (let bit = 0; bit < WORD_BITS; bit++) {
          if (((word >>> bit) & 1) === 0) continue;
          this.#note(pages, Math.floor((first + index * WORD_BITS + bit) / 2));
        }
      });
    }
    this.#pages = pages;
    this.#blocksPerBit *= 2;
  }
}
