/** Random numbers for tests, the same again for the same seed (env REELFS_SEED takes it back). */

export interface SeededRandom {
  readonly seed: number;
  /** For the message of every assertion: "REELFS_SEED=123". */
  readonly seedNote: string;
  /** An integer from 0 to limit - 1. */
  below(limit: number): number;
  pick<T>(items: readonly T[]): T;
}

/** From `given`, else from REELFS_SEED, else from the clock. (The generator is mulberry32.) */
export function seededRandom(given = Number(process.env["REELFS_SEED"] ?? "")): SeededRandom {
  const seed = Number.isSafeInteger(given) && given > 0 ? given : Date.now() % 2 ** 31;
  let state = seed | 0;
  const below = (limit: number): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
  return {
    seed,
    seedNote: `REELFS_SEED=${seed}`,
    below,
    pick: (items) => {
      const item = items[below(items.length)];
      if (item === undefined) throw new RangeError("nothing to pick from");
      return item;
    },
  };
}
