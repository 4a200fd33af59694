/**
 * The order in which a drive reads scattered stretches of one tape the soonest.
 *
 * Tape is serpentine: what is far apart in order may lie side by side on neighbouring wraps. For
 * many stretches on each wrap nothing is better than one rising pass; for a few on each of many
 * wraps, going to whichever is nearest takes a third to a half of the time. To find the best order is
 * the travelling salesman's problem, with a way there that takes another time than the way back. So:
 *
 *   start    the better of the rising order and of "always the nearest next"
 *   improve  take out one to three stretches in a row, and put them where that saves most; again
 *            from the start until nothing saves anything, or the moves tried have used up the budget
 *
 * The result never takes longer than the rising order, and is the same each time: the budget is
 * counted in moves, not in time.
 */
import { Pacer } from "./pacer.ts";

/**
 * Above so many stretches only the single pass is considered: to find the nearest takes the square
 * of the number, and tapes have some hundred wraps, so that there is little left to gain.
 */
export const ORDERED_STRETCHES_MAX = 4096;
/** Moves tried for an improvement: under a second. */
const MOVES_TRIED_MAX = 2_000_000;
/** Stretches that are moved together. */
const MOVED_MAX = 3;
/** Less is an error of rounding. */
const SAVING_SECONDS_MIN = 1e-6;

/** Places are bytes from the start of the tape. */
export interface Stretches {
  /** Rising. */
  readonly startBytes: Float64Array;
  /** Where the head stands when each is read. */
  readonly endBytes: Float64Array;
}

export type LocateSeconds = (fromBytes: number, toBytes: number) => number;

/**
 * Indexes of the stretches in the order found; the tape stands at its beginning. At most
 * ORDERED_STRETCHES_MAX of them.
 */
export async function shortestLocateOrder(
  stretches: Stretches,
  locateSeconds: LocateSeconds,
  signal?: AbortSignal,
): Promise<Uint32Array> {
  const pacer = new Pacer("looking for the shortest way over the tape", signal);
  const search = new OrderSearch(stretches, locateSeconds);
  await search.start(pacer);
  await search.improve(pacer);
  return search.order;
}

class OrderSearch {
  order: Uint32Array;
  readonly #stretches: Stretches;
  readonly #locateSeconds: LocateSeconds;
  /** Seconds from the stretch before to the one at each place of the order. */
  #legs: Float64Array;
  #tried = 0;

  constructor(stretches: Stretches, locateSeconds: LocateSeconds) {
    this.#stretches = stretches;
    this.#locateSeconds = locateSeconds;
    this.order = Uint32Array.from(stretches.startBytes.keys());
    this.#legs = this.#legsOf(this.order);
  }

  async start(pacer: Pacer): Promise<void> {
    const nearest = await this.#nearestNext(pacer);
    const legs = this.#legsOf(nearest);
    if (sum(legs) >= sum(this.#legs)) return;
    this.order = nearest;
    this.#legs = legs;
  }

  async improve(pacer: Pacer): Promise<void> {
    let isBetter = true;
    while (isBetter) {
      isBetter = false;
      for (let from = 0; from < this.order.length; from++) {
        for (let count = 1; count <= MOVED_MAX && from + count <= this.order.length; count++) {
          if (this.#tried > MOVES_TRIED_MAX) return;
          const to = this.#bestPlaceFor(from, count);
          if (to === undefined) continue;
          this.#move(from, count, to);
          isBetter = true;
        }
        await pacer.breathe();
      }
    }
  }

  /** Seconds from the end of one stretch to the start of another; undefined: from the beginning. */
  #seconds(from: number | undefined, to: number): number {
    const { startBytes, endBytes } = this.#stretches;
    const fromBytes = from === undefined ? 0 : (endBytes[from] ?? 0);
    return this.#locateSeconds(fromBytes, startBytes[to] ?? 0);
  }

  #legsOf(order: Uint32Array): Float64Array {
    return Float64Array.from(order, (to, place) => this.#seconds(order[place - 1], to));
  }

  async #nearestNext(pacer: Pacer): Promise<Uint32Array> {
    const left = Uint32Array.from(this.order.keys());
    const order = new Uint32Array(left.length);
    let at: number | undefined;
    for (let place = 0; place < order.length; place++) {
      const count = order.length - place;
      let nearest = 0;
      let nearestSeconds = Infinity;
      for (let index = 0; index < count; index++) {
        const seconds = this.#seconds(at, left[index] ?? 0);
        if (seconds >= nearestSeconds) continue;
        nearestSeconds = seconds;
        nearest = index;
      }
      at = left[nearest] ?? 0;
      order[place] = at;
      // Order among those left decides between equals: the last takes the place of the one taken.
      left[nearest] = left[count - 1] ?? 0;
      await pacer.breathe();
    }
    return order;
  }

  /**
   * The place behind which the `count` stretches from place `from` on are best put (-1: first);
   * undefined when they are best where they are.
   */
  #bestPlaceFor(from: number, count: number): number | undefined {
    const { order } = this;
    const [first = 0, last = 0] = [order[from], order[from + count - 1]];
    const next = order[from + count];
    const closed = next === undefined ? 0 : this.#seconds(order[from - 1], next);
    const nextLeg = next === undefined ? 0 : (this.#legs[from + count] ?? 0);
    const saved = (this.#legs[from] ?? 0) + nextLeg - closed;
    if (saved < SAVING_SECONDS_MIN) return undefined;
    let best: number | undefined;
    let bestSaving = SAVING_SECONDS_MIN;
    for (let place = -1; place < order.length; place++) {
      if (place >= from - 1 && place < from + count) continue;
      this.#tried++;
      const added = this.#seconds(order[place], first);
      // What goes in costs at least that: most places are out at once.
      const after = order[place + 1];
      const leg = after === undefined ? 0 : (this.#legs[place + 1] ?? 0);
      if (saved - added + leg <= bestSaving) continue;
      const saving = saved - added + leg - (after === undefined ? 0 : this.#seconds(last, after));
      if (saving <= bestSaving) continue;
      bestSaving = saving;
      best = place;
    }
    return best;
  }

  #move(from: number, count: number, behind: number): void {
    const [low, middle, high] =
      behind < from ? [behind + 1, from, from + count] : [from, from + count, behind + 1];
    rotate(this.order, low, middle, high);
    rotate(this.#legs, low, middle, high);
    for (const place of [low, low + high - middle, high]) {
      const to = this.order[place];
      if (to !== undefined) this.#legs[place] = this.#seconds(this.order[place - 1], to);
    }
  }
}

/** Puts what is from `middle` up to `high` before what is from `low` up to `middle`. */
function rotate(
  array: Uint32Array | Float64Array,
  low: number,
  middle: number,
  high: number,
): void {
  const front = array.slice(low, middle);
  array.copyWithin(low, middle, high);
  array.set(front, low + high - middle);
}

function sum(values: Float64Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}
