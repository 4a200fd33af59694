/**
 * In which order the needed records of a plan are read. A stretch is one or more runs of needed
 * records with the short gaps between them, which are read through. Within a stretch the tape runs
 * forward; stretches may come in any order, tape by tape.
 */
import { uint32Column } from "./columns.ts";
import type { ImagePlan, RestorePlan } from "./plan.ts";

/** Bytes of tape before a record, for the records at both ends of each segment of a plan. */
export type RecordOffsets = (image: number, record: number) => number;

/** Stretches in the order in which they are read. */
export interface ReadOrder {
  /** Index in the plan's images. */
  readonly images: Uint32Array;
  /** A stretch is the image's needed runs from firstRuns[i] up to, and without, endRuns[i]. */
  readonly firstRuns: Uint32Array;
  readonly endRuns: Uint32Array;
}

export interface Stretch {
  readonly image: ImagePlan;
  readonly firstRun: number;
  readonly endRun: number;
  /** Gaps that are read through included. */
  readonly firstRecord: number;
  readonly endRecord: number;
}

/** Each stretch in the order of reading. */
export function* stretchesIn(plan: RestorePlan, order: ReadOrder): Generator<Stretch> {
  for (const [index, imageIndex] of order.images.entries()) {
    const image = plan.images[imageIndex];
    if (image === undefined) return;
    const [firstRun = 0, endRun = 0] = [order.firstRuns[index], order.endRuns[index]];
    const { firstRecords, counts } = image.needed;
    const firstRecord = firstRecords[firstRun] ?? 0;
    const endRecord = (firstRecords[endRun - 1] ?? 0) + (counts[endRun - 1] ?? 0);
    yield { image, firstRun, endRun, firstRecord, endRecord };
  }
}

/** Each record to read, those in gaps that are read through included. */
export function* recordsIn(plan: RestorePlan, order: ReadOrder): Generator<number> {
  for (const { firstRecord, endRecord } of stretchesIn(plan, order)) {
    for (let record = firstRecord; record < endRecord; record++) yield record;
  }
}

/** One pass over each tape, no gap read: what a virtual tape gets. */
export function singlePass(plan: RestorePlan): ReadOrder {
  return singlePassThrough(plan, () => 0, -1);
}

/** One pass over each tape that reads gaps up to `gapBytes` through. */
export function singlePassThrough(
  plan: RestorePlan,
  offsets: RecordOffsets,
  gapBytes: number,
): ReadOrder {
  const [images, firstRuns, endRuns] = [uint32Column(), uint32Column(), uint32Column()];
  for (const [index, { image, needed }] of plan.images.entries()) {
    const { firstRecords, counts } = needed;
    for (let run = 0; run < firstRecords.length; run++) {
      const first = firstRecords[run] ?? 0;
      const before = (firstRecords[run - 1] ?? 0) + (counts[run - 1] ?? 0);
      const isNear = run > 0 && offsets(image, first) - offsets(image, before) <= gapBytes;
      if (isNear) {
        endRuns.set(endRuns.length - 1, run + 1);
        continue;
      }
      images.push(index);
      firstRuns.push(run);
      endRuns.push(run + 1);
    }
  }
  return { images: images.view(), firstRuns: firstRuns.view(), endRuns: endRuns.view() };
}

/** The same stretches, those at `indexes` one after another. */
export function reordered(order: ReadOrder, indexes: Uint32Array): ReadOrder {
  const pick = (column: Uint32Array): Uint32Array => indexes.map((index) => column[index] ?? 0);
  return {
    images: pick(order.images),
    firstRuns: pick(order.firstRuns),
    endRuns: pick(order.endRuns),
  };
}
