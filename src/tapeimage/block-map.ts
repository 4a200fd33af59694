/**
 * The block map: logical block of the volume -> image of the chain, record, block within the record.
 *
 * Blocks of one image are packed one after another into records of a fixed raw size; `packed` is a
 * block's place in that sequence, so record and index follow by division. Runs that are consecutive
 * both on the volume and in the packing are one entry. Blocks in no entry are not on the tape
 * (unused, or of deleted files).
 *
 * A map of millions of entries is larger than the processor's caches, and a lookup takes as long as
 * it waits for memory. So an entry lies in one place, 16 bytes in one cache line, and a directory
 * says where to look: it divides the volume into equal stretches, at most as many as there are
 * entries, and has the first entry of each. Where entries are spread over the volume, one or two are
 * left to choose from; where they are crowded, binary search chooses. 18 to 20 bytes an entry.
 */
import { ReelError } from "../errors.ts";

/** How packed block numbers of one image of the chain become record numbers. */
export interface ImagePacking {
  /** Record that holds packed block 0. */
  readonly firstRecord: number;
  readonly blocksPerRecord: number;
}

/** One stretch of blocks that lie together: in one record, or (image -1) nowhere. */
export interface BlockPiece {
  /** First logical block. */
  block: number;
  count: number;
  /** Index of the image in the chain, 0 for the image itself; -1: not on tape. */
  image: number;
  record: number;
  /** First block's index within the record. */
  blockInRecord: number;
}

/** Block numbers, on the volume and in the packing: 2^53 bytes in blocks of 512. */
export const BLOCK_NUMBER_MAX = 2 ** 44 - 1;

/**
 * Entries are four words each. Numbers of blocks have 44 bits, images of the chain 10, counts 30:
 *
 *     word 0  start, low 32 bits
 *     word 1  packed, low 32 bits
 *     word 2  count | low 2 bits of the image
 *     word 3  high 12 bits of start | high 12 of packed | high 8 of the image
 */
const ENTRY_WORDS = 4;
const COUNT_BITS = 30;
const COUNT_MAX = 2 ** COUNT_BITS - 1;
const HIGH_BITS = 12;
const HIGH_MASK = 2 ** HIGH_BITS - 1;
const IMAGE_LOW_BITS = 32 - COUNT_BITS;
const IMAGE_MAX = 2 ** (IMAGE_LOW_BITS + 32 - 2 * HIGH_BITS) - 1;
const WORD = 2 ** 32;
/** 1 MiB each, while a map is built. */
const CHUNK_ENTRIES = 65_536;

export class BlockMap {
  readonly blockSizeBytes: number;
  readonly packings: readonly ImagePacking[];
  /** Entries in the map. */
  readonly length: number;
  /** Blocks that are on tape. */
  readonly blocksMapped: number;
  readonly #words: Uint32Array;
  /** First entry that starts in or after each stretch of the volume; one more for the end. */
  readonly #directory: Uint32Array;
  /** A power of two, so that dividing by it is exact. */
  readonly #stretchBlocks: number;

  /** @internal Made by BlockMapBuilder, of entries in words. */
  constructor(blockSizeBytes: number, packings: readonly ImagePacking[], words: Uint32Array) {
    this.blockSizeBytes = blockSizeBytes;
    this.packings = packings;
    this.length = words.length / ENTRY_WORDS;
    this.#words = words;
    let mapped = 0;
    for (let index = 0; index < this.length; index++) mapped += this.#countOf(index);
    this.blocksMapped = mapped;
    const lastStart = this.length === 0 ? 0 : this.#startOf(this.length - 1);
    let stretchBlocks = 1;
    while (lastStart / stretchBlocks >= Math.max(1, this.length)) stretchBlocks *= 2;
    this.#stretchBlocks = stretchBlocks;
    this.#directory = this.#makeDirectory(Math.floor(lastStart / stretchBlocks) + 1);
  }

  #makeDirectory(stretches: number): Uint32Array {
    const directory = new Uint32Array(stretches + 1);
    let index = 0;
    for (let stretch = 0; stretch < stretches; stretch++) {
      const from = stretch * this.#stretchBlocks;
      while (index < this.length && this.#startOf(index) < from) index++;
      directory[stretch] = index;
    }
    directory[stretches] = this.length;
    return directory;
  }

  #startOf(index: number): number {
    const at = index * ENTRY_WORDS;
    return (this.#words[at] ?? 0) + ((this.#words[at + 3] ?? 0) & HIGH_MASK) * WORD;
  }

  #packedOf(index: number): number {
    const at = index * ENTRY_WORDS;
    const high = ((this.#words[at + 3] ?? 0) >>> HIGH_BITS) & HIGH_MASK;
    return (this.#words[at + 1] ?? 0) + high * WORD;
  }

  #countOf(index: number): number {
    return (this.#words[index * ENTRY_WORDS + 2] ?? 0) & COUNT_MAX;
  }

  #imageOf(index: number): number {
    const at = index * ENTRY_WORDS;
    const low = (this.#words[at + 2] ?? 0) >>> COUNT_BITS;
    return low | (((this.#words[at + 3] ?? 0) >>> (2 * HIGH_BITS)) << IMAGE_LOW_BITS);
  }

  /** Entry `index`: rising in `start`, never overlapping. */
  entryAt(index: number): { start: number; count: number; image: number; packed: number } {
    return {
      start: this.#startOf(index),
      count: this.#countOf(index),
      image: this.#imageOf(index),
      packed: this.#packedOf(index),
    };
  }

  /** Index of the first entry that ends after `block`; `length` when there is none. */
  indexFrom(block: number): number {
    const stretch = Math.floor(block / this.#stretchBlocks);
    if (stretch >= this.#directory.length - 1) return this.#endsAfter(this.length - 1, block);
    let low = this.#directory[stretch] ?? 0;
    let high = this.#directory[stretch + 1] ?? 0;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#startOf(middle) > block) high = middle;
      else low = middle + 1;
    }
    return this.#endsAfter(low - 1, block);
  }

  /** `index`, the last entry that starts at or before `block`, if it ends after it; else the next. */
  #endsAfter(index: number, block: number): number {
    if (index < 0) return 0;
    return this.#startOf(index) + this.#countOf(index) > block ? index : index + 1;
  }

  /**
   * Calls `visit` for each piece of [block, block + count), rising, none longer than what one record
   * holds (pieces that are not on tape may be longer). The piece object is reused: copy what you
   * keep.
   */
  visitPieces(block: number, count: number, visit: (piece: Readonly<BlockPiece>) => void): void {
    const end = block + count;
    const piece: BlockPiece = { block, count: 0, image: -1, record: -1, blockInRecord: 0 };
    let at = block;
    for (let index = this.indexFrom(block); at < end; index++) {
      const start = index < this.length ? this.#startOf(index) : end;
      if (start > at) {
        piece.block = at;
        piece.count = Math.min(start, end) - at;
        piece.image = -1;
        piece.record = -1;
        piece.blockInRecord = 0;
        visit(piece);
        at += piece.count;
        if (at >= end) return;
      }
      const image = this.#imageOf(index);
      const packing = this.packings[image];
      if (packing === undefined) {
        throw new ReelError("internal", `block map entry ${index} names image ${image}`);
      }
      const entryEnd = Math.min(end, start + this.#countOf(index));
      let packed = this.#packedOf(index) + (at - start);
      while (at < entryEnd) {
        const ordinal = Math.floor(packed / packing.blocksPerRecord);
        const within = packed - ordinal * packing.blocksPerRecord;
        piece.block = at;
        piece.count = Math.min(entryEnd - at, packing.blocksPerRecord - within);
        piece.image = image;
        piece.record = packing.firstRecord + ordinal;
        piece.blockInRecord = within;
        visit(piece);
        at += piece.count;
        packed += piece.count;
      }
    }
  }
}

/** Collects entries in rising order of their logical start; neighbours that continue are merged. */
export class BlockMapBuilder {
  /** All but the last are full. */
  readonly #chunks: Uint32Array[] = [];
  #length = 0;
  #end = 0;
  /** The entry added last, which is not in a chunk yet; none: its count is 0. */
  #start = 0;
  #count = 0;
  #packed = 0;
  #image = 0;

  /**
   * Adds blocks [start, start + count), packed from `packed` on in image `image` of the chain.
   *
   * @throws ReelError "internal" out of order, "unsupported" for numbers that no volume reaches
   */
  add(start: number, count: number, packed: number, image = 0): void {
    if (count <= 0) return;
    if (start < this.#end) {
      throw new ReelError("internal", `block map out of order: ${start} after ${this.#end}`);
    }
    if (Math.max(start, packed) + count - 1 > BLOCK_NUMBER_MAX || image > IMAGE_MAX) {
      throw new ReelError(
        "unsupported",
        `block ${start}, block ${packed} of image ${image}: too far`,
      );
    }
    this.#end = start + count;
    const continues =
      start === this.#start + this.#count &&
      packed === this.#packed + this.#count &&
      image === this.#image;
    if (this.#count > 0 && continues && this.#count + count <= COUNT_MAX) {
      this.#count += count;
      return;
    }
    for (let done = 0; done < count;) {
      this.#flush();
      this.#start = start + done;
      this.#packed = packed + done;
      this.#image = image;
      this.#count = Math.min(count - done, COUNT_MAX);
      done += this.#count;
    }
  }

  build(blockSizeBytes: number, packings: readonly ImagePacking[]): BlockMap {
    this.#flush();
    const words = new Uint32Array(this.#length * ENTRY_WORDS);
    this.#chunks.forEach((chunk, index) => {
      const from = index * chunk.length;
      words.set(chunk.subarray(0, words.length - from), from);
    });
    return new BlockMap(blockSizeBytes, packings, words);
  }

  #flush(): void {
    if (this.#count === 0) return;
    const within = (this.#length % CHUNK_ENTRIES) * ENTRY_WORDS;
    if (within === 0) this.#chunks.push(new Uint32Array(CHUNK_ENTRIES * ENTRY_WORDS));
    const words = this.#chunks.at(-1) ?? new Uint32Array(0);
    const startHigh = Math.floor(this.#start / WORD);
    const packedHigh = Math.floor(this.#packed / WORD);
    // Bit operators and typed arrays keep the low 32 bits: what is above goes into the last word.
    words[within] = this.#start % WORD;
    words[within + 1] = this.#packed % WORD;
    words[within + 2] = this.#count | (this.#image << COUNT_BITS);
    words[within + 3] =
      startHigh | (packedHigh << HIGH_BITS) | ((this.#image >>> IMAGE_LOW_BITS) << (2 * HIGH_BITS));
    this.#length++;
    this.#count = 0;
  }
}
