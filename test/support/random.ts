/** Property tests: a body that runs with seeded random numbers, and what bodies often need. */
import { seededRandom } from "./seeded-random.ts";
import type { SeededRandom } from "./seeded-random.ts";

/** Runs `body`; a failure's message ends with the seed that repeats it. */
export async function withRandom(
  body: (random: SeededRandom) => void | Promise<void>,
): Promise<void> {
  const random = seededRandom();
  try {
    await body(random);
  } catch (error) {
    if (error instanceof Error) error.message += `\n(repeat with ${random.seedNote})`;
    throw error;
  }
}

/** True in `percent` of cases. */
export function chance(random: SeededRandom, percent: number): boolean {
  return random.below(100) < percent;
}

export function randomBytes(random: SeededRandom, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}
