/**
 * Decides in which order a plan is read: in one pass over each tape, or, where a drive takes its time
 * and that is cheaper, by the shortest way between the stretches on it (see locate-order.ts). Tapes
 * are visited one after another, each of them once, in either.
 */
import type { RunOptions } from "../progress.ts";
import { ORDERED_STRETCHES_MAX, shortestLocateOrder } from "./locate-order.ts";
import type { RestorePlan } from "./plan.ts";
import { type DriveTimes, orderStatistics, type OrderStatistics } from "./plan-statistics.ts";
import {
  type ReadOrder,
  type RecordOffsets,
  reordered,
  singlePassThrough,
  stretchesIn,
} from "./read-order.ts";

export interface OrderChoice {
  /** The cheaper of the two. */
  readonly taken: ReadOrder;
  readonly isSinglePass: boolean;
  readonly singlePass: OrderStatistics;
  /**
   * Of the shortest way. Undefined where none was looked for: on tapes that take no time, images
   * that go on over several tapes, and with more than ORDERED_STRETCHES_MAX stretches on one tape.
   */
  readonly shortestLocates: OrderStatistics | undefined;
}

export async function chooseOrder(
  plan: RestorePlan,
  offsets: RecordOffsets,
  times: DriveTimes,
  options: RunOptions = {},
): Promise<OrderChoice> {
  const rising = singlePassThrough(plan, offsets, times.readThroughGapBytes);
  const singlePass = orderStatistics(plan, rising, offsets, times);
  const choice = { taken: rising, isSinglePass: true, singlePass, shortestLocates: undefined };
  if (singlePass.seconds === 0) return choice;
  const shortest = await shortestOrder(plan, rising, offsets, times, options);
  if (shortest === undefined) return choice;
  const shortestLocates = orderStatistics(plan, shortest, offsets, times);
  const isSinglePass = shortestLocates.seconds >= singlePass.seconds;
  return { taken: isSinglePass ? rising : shortest, isSinglePass, singlePass, shortestLocates };
}

/** Undefined when no tape has stretches to be put in order. */
async function shortestOrder(
  plan: RestorePlan,
  rising: ReadOrder,
  offsets: RecordOffsets,
  times: DriveTimes,
  { signal }: RunOptions,
): Promise<ReadOrder | undefined> {
  const indexes = Uint32Array.from(rising.images.keys());
  const locateSeconds = (from: number, to: number): number => times.locateSeconds(from, to);
  let isOrdered = false;
  for (const [first, end] of tapesIn(plan, rising)) {
    if (end - first > ORDERED_STRETCHES_MAX) continue;
    const stretches = [...stretchesIn(plan, reordered(rising, indexes.subarray(first, end)))];
    const bytes = {
      startBytes: Float64Array.from(stretches, (each) =>
        offsets(each.image.image, each.firstRecord),
      ),
      endBytes: Float64Array.from(stretches, (each) => offsets(each.image.image, each.endRecord)),
    };
    const order = await shortestLocateOrder(bytes, locateSeconds, signal);
    indexes.set(
      order.map((index) => first + index),
      first,
    );
    isOrdered = true;
  }
  return isOrdered ? reordered(rising, indexes) : undefined;
}

/** From and to which place of the order each tape is read; without images that are on several. */
function* tapesIn(
  { images }: RestorePlan,
  order: ReadOrder,
): Generator<readonly [first: number, end: number]> {
  const tapes = Array.from(order.images, (image) => images[image]?.tape);
  let first = 0;
  for (let index = 1; index <= tapes.length; index++) {
    if (index < tapes.length && tapes[index] === tapes[first]) continue;
    if (tapes[first] !== undefined) yield [first, index];
    first = index;
  }
}
