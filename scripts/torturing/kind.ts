/** What a kind of torture is: steps, each of which does one damage and makes the one check. */
import type { SeededRandom } from "../../test/support/seeded-random.ts";
import type { Samples } from "./samples.ts";
import type { Workshop } from "./workshop.ts";

export interface Step {
  /** Of this step alone: what it chooses comes from here, so that it can be repeated alone. */
  readonly random: SeededRandom;
  /** Empty, and removed after a step without a finding. */
  readonly folder: string;
  readonly workshop: Workshop;
  readonly samples: Samples;
  /** Says what is being done: the last words before a finding. */
  readonly say: (what: string) => void;
}

export interface Kind {
  readonly name: string;
  /** One line for --help. */
  readonly does: string;
  /** Why it cannot be done here; undefined where it can. */
  readonly trouble?: () => string | undefined;
  /** How often it is chosen beside others: quick ones more often. */
  readonly weight: number;
  readonly run: (step: Step) => Promise<void>;
}

/** What must not be: something acknowledged is lost, something wrong served, or a poor message. */
export class Finding extends Error {
  override readonly name = "Finding";
}

/** Throws a Finding unless the condition holds. */
export function must(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Finding(otherwise);
}
