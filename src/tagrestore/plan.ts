/**
 * The planner: a pure function from where files lie on the volume, and where blocks lie on the tape,
 * to the tape reads of a restore. Every record that holds something wanted is read once, whatever the
 * order and number of the files. In which order they are read is decided after it: read-order.ts.
 *
 * A plan does not list records or pieces one by one. Blocks of an image are packed one after
 * another into records of one raw size, so a place on the tape is a byte in that packing, and a
 * file's run that is also packed in one stretch is one segment: (place, file, file offset, length).
 * Sorted by place, the segments are the work in tape order. PieceCursor cuts them at record borders
 * as the records come. A whole 10 TB volume of large files plans in a few thousand rows.
 */
import { ReelError } from "../errors.ts";
import type { BlockMap } from "../tapeimage/block-map.ts";
import type { TapeImage } from "../tapeimage/tape-image.ts";
import { float64Column, uint32Column } from "./columns.ts";
import type { LayoutTable } from "./layouts.ts";

/** Records [firstRecords[i], firstRecords[i] + counts[i]), rising, never touching. */
export interface RecordRuns {
  readonly firstRecords: Float64Array;
  readonly counts: Float64Array;
}

/** What is wanted from one image of the chain. */
export interface ImagePlan {
  /** Index in the chain, 0 for the image itself. */
  readonly image: number;
  /** See ImagePlace. */
  readonly tape: number | undefined;
  /** Record of packed byte 0, and raw bytes in a full record. */
  readonly firstRecord: number;
  readonly recordBytes: number;
  /** Segments, rising in place: bytes from packed byte 0 on. */
  readonly places: Float64Array;
  /** Index in the layout table. */
  readonly files: Uint32Array;
  readonly fileOffsets: Float64Array;
  readonly lengths: Float64Array;
  /** Segment numbers in the order of files and their offsets, for comparison with that order. */
  readonly fileOrder: Uint32Array;
  /** The records that hold the segments. */
  readonly needed: RecordRuns;
  /** Number of records in `needed`. */
  readonly records: number;
}

export interface RestorePlan {
  /** The files, by number. */
  readonly layouts: LayoutTable;
  /** Images that something is wanted from, in the order in which they are passed over. */
  readonly images: readonly ImagePlan[];
  /**
   * By file: bytes that come from the tape; the rest of it is holes. Of an encoded file: those of its
   * encoded bytes.
   */
  readonly bytesOfFile: Float64Array;
  /** Files with runs that are not on the tape, and a block of each that is not. */
  readonly blocksOffTape: ReadonlyMap<number, number>;
  /** Sum of bytesOfFile. */
  readonly bytes: number;
  readonly records: number;
}

/** Where an image of the chain is. */
export interface ImagePlace {
  /** Index in the chain. */
  readonly image: number;
  /** Number of the tape it is on, the same for images on one; undefined: it goes on over several. */
  readonly tape: number | undefined;
}

/** The images of a chain in the order of their tapes. Throws "not-found" when one cannot be had. */
export async function placesOf(image: TapeImage): Promise<ImagePlace[]> {
  const places: ImagePlace[] = [];
  for (const index of await image.imagesInTapeOrder()) {
    places.push({ image: index, tape: await image.tapeOf(index) });
  }
  return places;
}

export interface PlanOptions {
  /** The control set, which an open image has in memory: encoded bytes in it need no tape. */
  readonly control?: { readonly firstRecord: number; readonly records: number } | undefined;
  /** Images of the chain in the order of their tapes; by default as the chain has them, on one. */
  readonly places?: readonly ImagePlace[] | undefined;
  /** Plan nothing for encoded files: their volume will read what it needs by itself. */
  readonly leaveEncoded?: boolean | undefined;
}

const NO_CONTROL = { firstRecord: 0, records: 0 };

/** Plans the reading of all files in `layouts`. Throws "damaged" for a map that contradicts itself. */
export function planRestore(
  layouts: LayoutTable,
  map: BlockMap,
  options: PlanOptions = {},
): RestorePlan {
  const { firstRecord: firstControl, records: controlRecords } = options.control ?? NO_CONTROL;
  const endControl = firstControl + controlRecords;
  const collectors = map.packings.map(() => new SegmentCollector());
  const bytesOfFile = new Float64Array(layouts.length);
  const blocksOffTape = new Map<number, number>();
  const blockBytes = map.blockSizeBytes;
  let bytes = 0;
  for (let file = 0; file < layouts.length; file++) {
    const isEncoded = layouts.isEncoded(file);
    if (isEncoded && options.leaveEncoded === true) continue;
    layouts.visitRuns(file, (fileOffset, deviceOffset, length) => {
      const end = deviceOffset + length;
      const firstBlock = Math.floor(deviceOffset / blockBytes);
      map.visitPieces(firstBlock, Math.ceil(end / blockBytes) - firstBlock, (piece) => {
        if (piece.image < 0) {
          if (!blocksOffTape.has(file)) blocksOffTape.set(file, piece.block);
          return;
        }
        const isControl = piece.record >= firstControl && piece.record < endControl;
        if (isEncoded && isControl) return;
        const packing = map.packings[piece.image];
        const collector = collectors[piece.image];
        if (packing === undefined || collector === undefined) {
          throw new ReelError("damaged", `the block map names image ${piece.image} of the chain`);
        }
        const pieceStart = piece.block * blockBytes;
        const from = Math.max(deviceOffset, pieceStart);
        const to = Math.min(end, pieceStart + piece.count * blockBytes);
        const packedBlock =
          (piece.record - packing.firstRecord) * packing.blocksPerRecord + piece.blockInRecord;
        const place = packedBlock * blockBytes + (from - pieceStart);
        collector.add(place, file, fileOffset + (from - deviceOffset), to - from);
        bytesOfFile[file] = (bytesOfFile[file] ?? 0) + (to - from);
        bytes += to - from;
      });
    });
  }
  const places = options.places ?? map.packings.map((_, image) => ({ image, tape: 0 }));
  const images = places.flatMap((place) => {
    const packing = map.packings[place.image];
    const collector = collectors[place.image];
    if (packing === undefined || collector === undefined || collector.length === 0) return [];
    const recordBytes = packing.blocksPerRecord * blockBytes;
    return [collector.finish(place, packing.firstRecord, recordBytes)];
  });
  const records = images.reduce((sum, each) => sum + each.records, 0);
  return { layouts, images, bytesOfFile, blocksOffTape, bytes, records };
}

/** Collects the segments of one image in the order of the files. */
class SegmentCollector {
  readonly #places = float64Column();
  readonly #files = uint32Column();
  readonly #fileOffsets = float64Column();
  readonly #lengths = float64Column();

  get length(): number {
    return this.#places.length;
  }

  add(place: number, file: number, fileOffset: number, length: number): void {
    const last = this.length - 1;
    if (last >= 0 && this.#files.at(last) === file) {
      const lastLength = this.#lengths.at(last);
      const continues =
        place === this.#places.at(last) + lastLength &&
        fileOffset === this.#fileOffsets.at(last) + lastLength;
      if (continues) {
        this.#lengths.set(last, lastLength + length);
        return;
      }
    }
    this.#places.push(place);
    this.#files.push(file);
    this.#fileOffsets.push(fileOffset);
    this.#lengths.push(length);
  }

  finish({ image, tape }: ImagePlace, firstRecord: number, recordBytes: number): ImagePlan {
    const order = risingOrder(this.#places.view());
    const places = pick(this.#places.view(), order, new Float64Array(order.length));
    const lengths = pick(this.#lengths.view(), order, new Float64Array(order.length));
    const fileOrder = new Uint32Array(order.length);
    for (const [sorted, added] of order.entries()) fileOrder[added] = sorted;
    const { needed, records } = neededRecords(places, lengths, firstRecord, recordBytes);
    return {
      image,
      tape,
      firstRecord,
      recordBytes,
      places,
      files: pick(this.#files.view(), order, new Uint32Array(order.length)),
      fileOffsets: pick(this.#fileOffsets.view(), order, new Float64Array(order.length)),
      lengths,
      fileOrder,
      needed,
      records,
    };
  }
}

/** Indexes of `values` in rising order of the values; equal ones stay in their order. */
function risingOrder(values: Float64Array): Uint32Array {
  const order = new Uint32Array(values.length);
  let rising = true;
  for (let i = 0; i < values.length; i++) {
    order[i] = i;
    if (i > 0 && (values[i] ?? 0) < (values[i - 1] ?? 0)) rising = false;
  }
  // Files are mostly met in the order in which they were once written.
  if (rising) return order;
  return order.sort((a, b) => (values[a] ?? 0) - (values[b] ?? 0) || a - b);
}

function pick<A extends Float64Array | Uint32Array>(from: A, order: Uint32Array, into: A): A {
  for (let i = 0; i < order.length; i++) into[i] = from[order[i] ?? 0] ?? 0;
  return into;
}

function neededRecords(
  places: Float64Array,
  lengths: Float64Array,
  firstRecord: number,
  recordBytes: number,
): { needed: RecordRuns; records: number } {
  const firstRecords = float64Column();
  const counts = float64Column();
  let end = -1;
  let records = 0;
  for (let i = 0; i < places.length; i++) {
    const place = places[i] ?? 0;
    const first = firstRecord + Math.floor(place / recordBytes);
    const after = firstRecord + Math.floor((place + (lengths[i] ?? 0) - 1) / recordBytes) + 1;
    if (after <= end) continue;
    const from = Math.max(first, end);
    if (from === end) {
      counts.set(counts.length - 1, counts.at(counts.length - 1) + (after - from));
    } else {
      firstRecords.push(from);
      counts.push(after - from);
    }
    records += after - from;
    end = after;
  }
  return { needed: { firstRecords: firstRecords.view(), counts: counts.view() }, records };
}

/** Each record of the runs, rising. */
export function* recordsOf(runs: RecordRuns): Generator<number> {
  for (let i = 0; i < runs.firstRecords.length; i++) {
    const first = runs.firstRecords[i] ?? 0;
    const end = first + (runs.counts[i] ?? 0);
    for (let record = first; record < end; record++) yield record;
  }
}
