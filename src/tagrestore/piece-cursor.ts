/** Cuts the segments of an image's plan at record borders, as the records come by. */
import type { ImagePlan } from "./plan.ts";

/** Part of a file within one record. */
export interface Piece {
  readonly file: number;
  /** Of an encoded file: offset in its encoded bytes. */
  readonly fileOffset: number;
  readonly offsetInRecord: number;
  readonly length: number;
}

export class PieceCursor {
  readonly #plan: ImagePlan;
  /** The record that comes next unless the tape is moved. */
  #record = -1;
  /** First segment that begins in or behind it. */
  #next = 0;
  /** Segments that began before it and go on. */
  #open: number[] = [];
  /** For each segment, where it and all before it have ended; made when the tape is first moved. */
  #endPlaces: Float64Array | undefined;

  constructor(plan: ImagePlan) {
    this.#plan = plan;
  }

  /** What is wanted of `record`, rising in its place there. Cheapest for records in a row. */
  piecesOf(record: number): readonly Piece[] {
    const plan = this.#plan;
    const start = (record - plan.firstRecord) * plan.recordBytes;
    const end = start + plan.recordBytes;
    if (record !== this.#record) this.#seek(start);
    this.#record = record + 1;
    const here = this.#open;
    while (this.#next < plan.places.length && (plan.places[this.#next] ?? 0) < end) {
      here.push(this.#next++);
    }
    const pieces: Piece[] = [];
    this.#open = [];
    for (const segment of here) {
      const place = plan.places[segment] ?? 0;
      const length = plan.lengths[segment] ?? 0;
      const from = Math.max(place, start);
      const to = Math.min(place + length, end);
      if (place + length > end) this.#open.push(segment);
      pieces.push({
        file: plan.files[segment] ?? 0,
        fileOffset: (plan.fileOffsets[segment] ?? 0) + (from - place),
        offsetInRecord: from - start,
        length: to - from,
      });
    }
    return pieces;
  }

  /**
   * A segment that goes on over `place` begins behind the last at which all had ended. Between
   * stretches of records that are read there is none, unless files share blocks.
   */
  #seek(place: number): void {
    const { places, lengths } = this.#plan;
    this.#endPlaces ??= endPlacesOf(this.#plan);
    this.#next = firstNotBelow(places, place);
    this.#open = [];
    for (let segment = firstAbove(this.#endPlaces, place); segment < this.#next; segment++) {
      const end = (places[segment] ?? 0) + (lengths[segment] ?? 0);
      if (end > place) this.#open.push(segment);
    }
  }
}

function endPlacesOf({ places, lengths }: ImagePlan): Float64Array {
  let end = 0;
  return places.map((place, segment) => (end = Math.max(end, place + (lengths[segment] ?? 0))));
}

/** Index of the first of rising values that is `value` or more. */
function firstNotBelow(values: Float64Array, value: number): number {
  return firstWhere(values, (each) => each >= value);
}

function firstAbove(values: Float64Array, value: number): number {
  return firstWhere(values, (each) => each > value);
}

function firstWhere(values: Float64Array, isIt: (value: number) => boolean): number {
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isIt(values[middle] ?? 0)) high = middle;
    else low = middle + 1;
  }
  return low;
}
