/**
 * The block map: logical block of the volume -> image of the chain, record, block within the record.
 *
 * Blocks of one image are packed one after another into records of a fixed raw size; `packed` is a
 * block's place in that sequence, so record and index follow by division. Runs that are consecutive
 * both on the volume and in the packing are one entry: four columns, 21 bytes an entry where a chain
 * has up to 256 images, at most 24. Blocks in no entry are not on the tape (unused, or of deleted
 * files).
 *
 * An entry is found by binary search, first among every 64th start, which stay in the processor's
 * cache however long the map is, then among the 64 that begin there.
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

const COUNT_MAX = 0xffff_ffff;
/** Entries between two that are looked at first. */
const STRIDE = 64;

/** Image numbers of a chain, as narrow as they can be. */
type ImageColumn = Uint8Array | Uint16Array | Uint32Array;

export class BlockMap {
  readonly blockSizeBytes: number;
  readonly packings: readonly ImagePacking[];
  /** Blocks that are on tape. */
  readonly blocksMapped: number;
  readonly #starts: Float64Array;
  readonly #counts: Uint32Array;
  readonly #packed: Float64Array;
  readonly #images: ImageColumn;
  /** Every STRIDE-th of `#starts`. */
  readonly #landmarks: Float64Array;

  /** @internal Made by BlockMapBuilder. */
  constructor(
    blockSizeBytes: number,
    packings: readonly ImagePacking[],
    columns: {
      starts: Float64Array;
      counts: Uint32Array;
      packed: Float64Array;
      images: ImageColumn;
    },
  ) {
    this.blockSizeBytes = blockSizeBytes;
    this.packings = packings;
    this.#starts = columns.starts;
    this.#counts = columns.counts;
    this.#packed = columns.packed;
    this.#images = columns.images;
    const { starts } = columns;
    this.#landmarks = new Float64Array(Math.ceil(starts.length / STRIDE));
    for (let index = 0; index < this.#landmarks.length; index++) {
      this.#landmarks[index] = starts[index * STRIDE] ?? 0;
    }
    let mapped = 0;
    for (const count of columns.counts) mapped += count;
    this.blocksMapped = mapped;
  }

  /** Entries in the map. */
  get length(): number {
    return this.#starts.length;
  }

  /** Entry `index`: rising in `start`, never overlapping. */
  entryAt(index: number): { start: number; count: number; image: number; packed: number } {
    return {
      start: this.#starts[index] ?? 0,
      count: this.#counts[index] ?? 0,
      image: this.#images[index] ?? 0,
      packed: this.#packed[index] ?? 0,
    };
  }

  /** Index of the first entry that ends after `block`; `length` when there is none. */
  indexFrom(block: number): number {
    const landmark = firstAbove(this.#landmarks, block, 0, this.#landmarks.length) - 1;
    if (landmark < 0) return 0;
    const from = landmark * STRIDE;
    const to = Math.min(from + STRIDE, this.#starts.length);
    const last = firstAbove(this.#starts, block, from, to) - 1;
    const isIn = (this.#starts[last] ?? 0) + (this.#counts[last] ?? 0) > block;
    return isIn ? last : last + 1;
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
      const start = index < this.#starts.length ? (this.#starts[index] ?? 0) : end;
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
      const image = this.#images[index] ?? 0;
      const packing = this.packings[image];
      if (packing === undefined) {
        throw new ReelError("internal", `block map entry ${index} names image ${image}`);
      }
      const entryEnd = Math.min(end, start + (this.#counts[index] ?? 0));
      let packed = (this.#packed[index] ?? 0) + (at - start);
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

/** Index of the first of `values`, rising from `from` up to `to`, that is above `value`; else `to`. */
function firstAbove(values: Float64Array, value: number, from: number, to: number): number {
  let low = from;
  let high = to;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((values[middle] ?? 0) > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

function imageColumn(images: Uint32Array): ImageColumn {
  let highest = 0;
  for (const image of images) highest = Math.max(highest, image);
  if (highest < 2 ** 8) return Uint8Array.from(images);
  return highest < 2 ** 16 ? Uint16Array.from(images) : images;
}

/** Collects entries in rising order of their logical start; neighbours that continue are merged. */
export class BlockMapBuilder {
  #starts = new Float64Array(256);
  #counts = new Uint32Array(256);
  #packed = new Float64Array(256);
  #images = new Uint32Array(256);
  #length = 0;
  #end = 0;

  /** Adds blocks [start, start + count), packed from `packed` on in image `image` of the chain. */
  add(start: number, count: number, packed: number, image = 0): void {
    if (count <= 0) return;
    if (start < this.#end) {
      throw new ReelError("internal", `block map out of order: ${start} after ${this.#end}`);
    }
    const last = this.#length - 1;
    const lastCount = this.#counts[last] ?? 0;
    if (
      last >= 0 &&
      start === this.#end &&
      image === this.#images[last] &&
      packed === (this.#packed[last] ?? 0) + lastCount &&
      lastCount + count <= COUNT_MAX
    ) {
      this.#counts[last] = lastCount + count;
      this.#end = start + count;
      return;
    }
    for (let rest = count, at = start, to = packed; rest > 0;) {
      const part = Math.min(rest, COUNT_MAX);
      this.#append(at, part, to, image);
      rest -= part;
      at += part;
      to += part;
    }
    this.#end = start + count;
  }

  build(blockSizeBytes: number, packings: readonly ImagePacking[]): BlockMap {
    return new BlockMap(blockSizeBytes, packings, {
      starts: this.#starts.slice(0, this.#length),
      counts: this.#counts.slice(0, this.#length),
      packed: this.#packed.slice(0, this.#length),
      images: imageColumn(this.#images.slice(0, this.#length)),
    });
  }

  #append(start: number, count: number, packed: number, image: number): void {
    const at = this.#length;
    if (at === this.#starts.length) this.#grow();
    this.#starts[at] = start;
    this.#counts[at] = count;
    this.#packed[at] = packed;
    this.#images[at] = image;
    this.#length = at + 1;
  }

  #grow(): void {
    const size = this.#starts.length * 2;
    const starts = new Float64Array(size);
    starts.set(this.#starts);
    this.#starts = starts;
    const counts = new Uint32Array(size);
    counts.set(this.#counts);
    this.#counts = counts;
    const packed = new Float64Array(size);
    packed.set(this.#packed);
    this.#packed = packed;
    const images = new Uint32Array(size);
    images.set(this.#images);
    this.#images = images;
  }
}
