/**
 * A row of the table: one piece of work, done by ReelFS and by others on the same data, in turns
 * (A B A B), so that what else the machine does meets all of them alike.
 */
import type { Target } from "./targets.ts";

/** Of the values of a row: less is better for all of them. */
export type Unit = "seconds" | "bytes";

export interface Contender {
  readonly name: string;
  /** Not measured. */
  readonly prepare?: (() => Promise<void>) | undefined;
  /** The value in the row's unit; without one, the seconds that it took count. */
  readonly run: () => Promise<number | undefined>;
  /** Not measured; called whatever has happened. */
  readonly tidy?: (() => Promise<void>) | undefined;
}

/** What a row of the table says of itself. */
interface RowFacts {
  readonly id: string;
  readonly what: string;
  readonly unit: Unit;
  /** Bytes that are moved, where a rate says more than a time. */
  readonly bytes?: number | undefined;
  /** What is done so many times, where that says more: "files", "reads". */
  readonly items?: { readonly count: number; readonly noun: string } | undefined;
  readonly targets: readonly Target[];
}

export interface Row extends RowFacts {
  /** The first is ReelFS; the others are compared with it. */
  readonly contenders: readonly Contender[];
}

export interface Measured {
  readonly name: string;
  readonly values: readonly number[];
}

export interface RowResult extends RowFacts {
  readonly contenders: readonly Measured[];
}

export interface MeasureEvents {
  /** Called after each measurement. */
  readonly measured: (contender: string, value: number) => void;
  /** Another program could not do it, and takes no further part; may throw to end all. */
  readonly failed: (contender: string, error: unknown) => void;
}

/**
 * Measures a row. The tidying of a contender that failed is still done. Throws when ReelFS fails:
 * there is nothing to compare then.
 */
export async function measure(row: Row, runs: number, events: MeasureEvents): Promise<RowResult> {
  const values = row.contenders.map((): number[] => []);
  const out = new Set<number>();
  for (let run = 0; run < runs; run++) {
    for (const [index, contender] of row.contenders.entries()) {
      if (out.has(index)) continue;
      try {
        const value = await once(contender);
        values[index]?.push(value);
        events.measured(contender.name, value);
      } catch (error) {
        if (index === 0) throw error;
        out.add(index);
        events.failed(contender.name, error);
      }
    }
  }
  const { id, what, unit, bytes, items, targets } = row;
  const contenders = row.contenders
    .map(({ name }, index) => ({ name, values: values[index] ?? [] }))
    .filter((_, index) => !out.has(index));
  return { id, what, unit, bytes, items, contenders, targets };
}

async function once(contender: Contender): Promise<number> {
  try {
    await contender.prepare?.();
    const startedMs = performance.now();
    const value = await contender.run();
    return value ?? (performance.now() - startedMs) / 1000;
  } finally {
    await contender.tidy?.();
  }
}
