/** What is said of a handful of repeated measurements. */

export interface Summary {
  readonly median: number;
  readonly least: number;
  readonly most: number;
  /** Median absolute deviation from the median: the usual noise, outliers left out. */
  readonly deviation: number;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

/** NaN throughout when there are no values. */
export function summarise(values: readonly number[]): Summary {
  const middle = median(values);
  return {
    median: middle,
    least: values.length === 0 ? NaN : Math.min(...values),
    most: values.length === 0 ? NaN : Math.max(...values),
    deviation: median(values.map((value) => Math.abs(value - middle))),
  };
}

/** Marsaglia's xorshift32: the same numbers for the same seed on every machine. */
export function randomNumbers(seed: number): (below: number) => number {
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** `count` of the items, in random order; all of them when there are fewer. */
export function pickSome<T>(items: readonly T[], count: number, seed: number): T[] {
  const random = randomNumbers(seed);
  const picked = [...items];
  for (let i = picked.length - 1; i > 0; i--) {
    const j = random(i + 1);
    [picked[i], picked[j]] = [picked[j] as T, picked[i] as T];
  }
  return picked.slice(0, count);
}
