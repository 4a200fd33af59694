/**
 * What reading in one order or another costs: records, distance and time on a kind of drive. Nothing
 * is read from the tape for it but where records begin.
 */
import type { RunOptions } from "../progress.ts";
import { IMAGE_RECORDS } from "../tapeimage/incremental/chain-reader.ts";
import { Pacer } from "./pacer.ts";
import type { ImagePlan, RestorePlan } from "./plan.ts";
import { type ReadOrder, type RecordOffsets, singlePass, stretchesIn } from "./read-order.ts";

/** How long a drive takes; see tape/time-model.ts. Places are bytes from the start of the tape. */
export interface DriveTimes {
  readonly loadSeconds: number;
  readonly unloadSeconds: number;
  rewindSeconds(fromBytes: number): number;
  locateSeconds(fromBytes: number, toBytes: number): number;
  transferSeconds(bytes: number): number;
  /** A gap up to this size is read through: cheaper than stopping and locating. */
  readonly readThroughGapBytes: number;
}

/** Says where records begin: a TapeImage does. */
export interface RecordLocator {
  readonly recordCount: number;
  recordOffsetBytes(record: number): Promise<number>;
}

/** What reading in one order costs. */
export interface OrderStatistics {
  /** Records read because something in them is wanted, repeats included. */
  readonly records: number;
  /** Records that lie in gaps that are read through. */
  readonly recordsReadThrough: number;
  /** Times the tape runs forward: one more than the steps back. */
  readonly passes: number;
  readonly locates: number;
  /** Bytes of tape that pass the head, in either direction. */
  readonly distanceBytes: number;
  readonly seconds: number;
}

/** First record of a segment, and the record after its last. */
function bordersOf(plan: ImagePlan, segment: number): readonly [first: number, after: number] {
  const place = plan.places[segment] ?? 0;
  const end = place + (plan.lengths[segment] ?? 0);
  return [
    plan.firstRecord + Math.floor(place / plan.recordBytes),
    plan.firstRecord + Math.floor((end - 1) / plan.recordBytes) + 1,
  ];
}

/** Asks the image for the offsets that the statistics need. */
export async function locateRecords(
  plan: RestorePlan,
  locator: RecordLocator,
  options: RunOptions = {},
): Promise<RecordOffsets> {
  const pacer = new Pacer("finding out where records begin", options.signal);
  const tables = new Map<number, { records: Float64Array; offsets: Float64Array }>();
  for (const each of plan.images) {
    const records = borderRecords(each);
    const offsets = new Float64Array(records.length);
    for (const [index, record] of records.entries()) {
      offsets[index] = await offsetOf(locator, record, each.recordBytes);
      await pacer.breathe();
    }
    tables.set(each.image, { records, offsets });
  }
  return (image, record) => {
    const table = tables.get(image);
    return table?.offsets[indexOf(table.records, record)] ?? 0;
  };
}

/** A record past the end of a cut tape has no offset: it is taken to lie where it would. */
async function offsetOf(
  locator: RecordLocator,
  record: number,
  recordBytes: number,
): Promise<number> {
  const last = Math.max(0, locator.recordCount - 1);
  // Ancestors were whole when the image was made against them.
  if (record <= last || record >= IMAGE_RECORDS) return locator.recordOffsetBytes(record);
  return (await locator.recordOffsetBytes(last)) + (record - last) * recordBytes;
}

function borderRecords(plan: ImagePlan): Float64Array {
  const found = new Float64Array(plan.places.length * 2);
  for (let segment = 0; segment < plan.places.length; segment++) {
    const [first, after] = bordersOf(plan, segment);
    found[segment * 2] = first;
    found[segment * 2 + 1] = after;
  }
  found.sort();
  return found.filter((record, index) => index === 0 || record !== found[index - 1]);
}

function indexOf(sorted: Float64Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] ?? 0) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What reading in `order` costs. The first tape is loaded and at its beginning. */
export function orderStatistics(
  plan: RestorePlan,
  order: ReadOrder,
  offsets: RecordOffsets,
  times: DriveTimes,
): OrderStatistics {
  const drive = new Simulation(offsets, times);
  for (const { image, firstRun, endRun } of stretchesIn(plan, order)) {
    const { firstRecords, counts } = image.needed;
    for (let run = firstRun; run < endRun; run++) {
      const first = firstRecords[run] ?? 0;
      drive.read(image, first, first + (counts[run] ?? 0));
    }
  }
  return drive.result();
}

export interface PlanStatistics {
  /** In one pass over each tape. */
  readonly tapeOrder: OrderStatistics;
  /** The files one after another, in the order selected. */
  readonly fileOrder: OrderStatistics;
}

/** Compares reading in one pass with reading file by file. */
export function planStatistics(
  plan: RestorePlan,
  offsets: RecordOffsets,
  times: DriveTimes,
): PlanStatistics {
  const inFileOrder = new Simulation(offsets, times);
  for (const [image, segment] of segmentsInFileOrder(plan)) {
    const [first, after] = bordersOf(image, segment);
    inFileOrder.read(image, first, after);
  }
  const tapeOrder = orderStatistics(plan, singlePass(plan), offsets, times);
  return { tapeOrder, fileOrder: inFileOrder.result() };
}

/** The segments of all images as the files name them: by file, then by offset in the file. */
function* segmentsInFileOrder(plan: RestorePlan): Generator<readonly [ImagePlan, number]> {
  const next = plan.images.map(() => 0);
  for (;;) {
    let best = -1;
    let bestFile = Infinity;
    let bestOffset = Infinity;
    for (const [index, each] of plan.images.entries()) {
      const segment = each.fileOrder[next[index] ?? 0];
      if (segment === undefined) continue;
      const file = each.files[segment] ?? 0;
      const offset = each.fileOffsets[segment] ?? 0;
      if (file < bestFile || (file === bestFile && offset < bestOffset)) {
        best = index;
        bestFile = file;
        bestOffset = offset;
      }
    }
    const each = plan.images[best];
    if (each === undefined) return;
    yield [each, each.fileOrder[next[best] ?? 0] ?? 0];
    next[best] = (next[best] ?? 0) + 1;
  }
}

/** Are both on one tape, as far as is known? */
function isOnSameTape(a: ImagePlan, b: ImagePlan): boolean {
  return a === b || (a.tape !== undefined && a.tape === b.tape);
}

/** A drive that only counts. */
class Simulation {
  readonly #offsets: RecordOffsets;
  readonly #times: DriveTimes;
  #image: ImagePlan | undefined;
  /** Where the head is: the record after the one read last, and its offset. */
  #record = -1;
  #atBytes = 0;
  #records = 0;
  #readThrough = 0;
  #passes = 0;
  #locates = 0;
  #distanceBytes = 0;
  #seconds = 0;

  constructor(offsets: RecordOffsets, times: DriveTimes) {
    this.#offsets = offsets;
    this.#times = times;
  }

  /** Reads records [first, after). The record read last is still in memory and not read again. */
  read(image: ImagePlan, first: number, after: number): void {
    const from = image === this.#image && first === this.#record - 1 ? first + 1 : first;
    if (from >= after) return;
    this.#changeTo(image);
    const fromBytes = from === first ? this.#offsets(image.image, from) : this.#atBytes;
    this.#moveTo(image, from, fromBytes);
    const bytes = Math.max(0, this.#offsets(image.image, after) - fromBytes);
    this.#records += after - from;
    this.#distanceBytes += bytes;
    this.#seconds += this.#times.transferSeconds(bytes);
    this.#image = image;
    this.#record = after;
    this.#atBytes = fromBytes + bytes;
  }

  result(): OrderStatistics {
    return {
      records: this.#records,
      recordsReadThrough: this.#readThrough,
      passes: this.#passes,
      locates: this.#locates,
      distanceBytes: this.#distanceBytes,
      seconds: this.#seconds,
    };
  }

  /** Brings the tape of an image, at its beginning. */
  #changeTo(image: ImagePlan): void {
    if (this.#image !== undefined && isOnSameTape(image, this.#image)) return;
    this.#passes++;
    if (this.#image === undefined) return;
    const times = this.#times;
    this.#seconds += times.rewindSeconds(this.#atBytes) + times.unloadSeconds + times.loadSeconds;
    this.#distanceBytes += this.#atBytes;
    this.#atBytes = 0;
  }

  #moveTo(image: ImagePlan, record: number, toBytes: number): void {
    const gapBytes = toBytes - this.#atBytes;
    if (gapBytes < 0) this.#passes++;
    if (gapBytes === 0) return;
    this.#distanceBytes += Math.abs(gapBytes);
    if (image === this.#image && gapBytes > 0 && gapBytes <= this.#times.readThroughGapBytes) {
      this.#readThrough += record - this.#record;
      this.#seconds += this.#times.transferSeconds(gapBytes);
    } else {
      this.#locates++;
      this.#seconds += this.#times.locateSeconds(this.#atBytes, toBytes);
    }
  }
}
