/**
 * Random numbers for tests, from a seed that is printed when a test fails and taken back from the
 * environment: REELFS_SEED=12345 npx mocha test/…
 */

export interface Random {
  readonly seed: number;
  /** A whole number from 0 to `endExclusive` - 1. */
  below(endExclusive: number): number;
  /** True with this probability. */
  chance(probability: number): boolean;
  bytes(length: number): Uint8Array;
}

/** From REELFS_SEED where that is set, else a new one each time. */
export function seedOfThisRun(): number {
  const given = Number(process.env["REELFS_SEED"]);
  return Number.isInteger(given) && given > 0 ? given : 1 + Math.floor(Math.random() * 0x7fffffff);
}

/** mulberry32: 32 bits of state, good enough to choose cases. */
export function makeRandom(seed: number = seedOfThisRun()): Random {
  let state = seed | 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
  return {
    seed,
    below: (endExclusive) => Math.floor(next() * endExclusive),
    chance: (probability) => next() < probability,
    bytes: (length) => Uint8Array.from({ length }, () => Math.floor(next() * 256)),
  };
}

/** Runs `body` with random numbers; a failure's message ends with the seed to repeat it with. */
export async function withRandom(body: (random: Random) => void | Promise<void>): Promise<void> {
  const random = makeRandom();
  try {
    await body(random);
  } catch (error) {
    if (error instanceof Error) error.message += `\n(repeat with REELFS_SEED=${random.seed})`;
    throw error;
  }
}
