/**
 * What a plan costs: records, distance and time on a kind of drive, beside the same for reading file
 * by file. Nothing is read from the tape for it but where records begin.
 */
import type { RunOptions } from "../progress.ts";
import { float64Column } from "./columns.ts";
import { IMAGE_RECORDS } from "../tapeimage/incremental/chain-reader.ts";
import { Pacer } from "./pacer.ts";
import type { ImagePlan, RecordRuns, RestorePlan } from "./plan.ts";

/** How long a drive takes; see tape/time-model.ts. Places are bytes from the start of the tape. */
export interface DriveTimes {
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

/** Bytes of tape before a record, for the records at both ends of each segment of a plan. */
export type RecordOffsets = (image: number, record: number) => number;

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

export interface PlanStatistics {
  readonly tapeOrder: OrderStatistics;
  /** The files one after another, in the order selected. */
  readonly fileOrder: OrderStatistics;
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

/** Asks the image for the offsets that planStatistics needs. */
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

/** Compares reading in tape order with reading file by file. The tape starts at its beginning. */
export function planStatistics(
  plan: RestorePlan,
  offsets: RecordOffsets,
  times: DriveTimes,
): PlanStatistics {
  const inTapeOrder = new Simulation(offsets, times);
  for (const each of plan.images) {
    const { firstRecords, counts } = each.needed;
    for (let i = 0; i < firstRecords.length; i++) {
      const first = firstRecords[i] ?? 0;
      inTapeOrder.read(each.image, first, first + (counts[i] ?? 0));
    }
  }
  const inFileOrder = new Simulation(offsets, times);
  for (const [each, segment] of segmentsInFileOrder(plan)) {
    const [first, after] = bordersOf(each, segment);
    inFileOrder.read(each.image, first, after);
  }
  return { tapeOrder: inTapeOrder.result(), fileOrder: inFileOrder.result() };
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

/** A drive that only counts. */
class Simulation {
  readonly #offsets: RecordOffsets;
  readonly #times: DriveTimes;
  #image = -1;
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
  read(image: number, first: number, after: number): void {
    const from = image === this.#image && first === this.#record - 1 ? first + 1 : first;
    if (from >= after) return;
    const fromBytes = from === first ? this.#offsets(image, from) : this.#atBytes;
    this.#moveTo(image, from, fromBytes);
    const bytes = Math.max(0, this.#offsets(image, after) - fromBytes);
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

  #moveTo(image: number, record: number, toBytes: number): void {
    const gapBytes = toBytes - this.#atBytes;
    if (this.#passes === 0 || image !== this.#image || gapBytes < 0) this.#passes++;
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

/**
 * The tape reads of an image: the needed records, and the gaps between them that a drive had better
 * read through than locate over.
 */
export function tapeReads(
  plan: ImagePlan,
  offsets: RecordOffsets,
  readThroughGapBytes: number,
): RecordRuns {
  const firstRecords = float64Column();
  const counts = float64Column();
  let end = -1;
  for (let i = 0; i < plan.needed.firstRecords.length; i++) {
    const first = plan.needed.firstRecords[i] ?? 0;
    const count = plan.needed.counts[i] ?? 0;
    const gapBytes = end < 0 ? Infinity : offsets(plan.image, first) - offsets(plan.image, end);
    if (gapBytes <= readThroughGapBytes) {
      const last = counts.length - 1;
      counts.set(last, counts.at(last) + (first - end) + count);
    } else {
      firstRecords.push(first);
      counts.push(count);
    }
    end = first + count;
  }
  return { firstRecords: firstRecords.view(), counts: counts.view() };
}
