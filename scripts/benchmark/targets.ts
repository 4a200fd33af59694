/** What ReelFS wants to reach in a row, and whether it has. */
import type { RowResult } from "./row.ts";
import { summarise } from "./statistics.ts";
import { formatBytes, formatSeconds } from "./text.ts";

const LISTING_FILES = 100_000;
const LISTING_MAX_SECONDS = 0.3;
const MEMORY_FILES = 1_000_000;
const MEMORY_MAX_BYTES = 150 * 1024 * 1024;

export interface Verdict {
  /** The figure that the target speaks of: "1.3 ×". */
  readonly figure: string;
  readonly met: boolean;
}

export interface Target {
  readonly text: string;
  /** Undefined when the one to compare with was left out. */
  readonly judge: (medians: ReadonlyMap<string, number>) => Verdict | undefined;
}

/** Judges by the medians; the first contender is ReelFS. */
export function verdictOf(target: Target, { contenders }: RowResult): Verdict | undefined {
  const medians = contenders.map(({ name, values }) => [name, summarise(values).median] as const);
  return target.judge(new Map(medians));
}

function oursOf(medians: ReadonlyMap<string, number>): number {
  return medians.values().next().value ?? NaN;
}

/** Two digits, and no more than are known of a ratio. */
export function ratioText(ratio: number): string {
  return ratio >= 100 ? ratio.toFixed(0) : ratio >= 10 ? ratio.toFixed(1) : ratio.toFixed(2);
}

/** "≥ 2 × as fast as partclone". */
export function timesAsFastAs(peer: string, factor: number): Target {
  return {
    text: `at least ${factor} × as fast as ${peer}`,
    judge: (medians) => {
      const theirs = medians.get(peer);
      if (theirs === undefined) return undefined;
      const ratio = theirs / oursOf(medians);
      return { figure: `${ratioText(ratio)} ×`, met: ratio >= factor };
    },
  };
}

/** "≤ 0.6 × the best peer's time"; `excluded` are no peers. */
export function timesBestPeer(factor: number, excluded: readonly string[] = []): Target {
  const of = factor === 1 ? "" : `${factor} × `;
  return {
    text: `at most ${of}the best peer's time`,
    judge: (medians) => {
      const peers = [...medians].slice(1).filter(([name]) => !excluded.includes(name));
      if (peers.length === 0) return undefined;
      const ratio = oursOf(medians) / Math.min(...peers.map(([, theirs]) => theirs));
      return { figure: `${ratioText(ratio)} ×`, met: ratio <= factor };
    },
  };
}

/** An absolute limit, in the row's unit. */
export function atMost(limit: number, text: string, show: (value: number) => string): Target {
  return {
    text: `at most ${text}`,
    judge: (medians) => {
      const ours = oursOf(medians);
      return { figure: show(ours), met: ours <= limit };
    },
  };
}

/** First listing: for a volume of so many files. */
export function listingTargets(files: number): Target[] {
  if (files < LISTING_FILES) return [];
  return [atMost(LISTING_MAX_SECONDS, formatSeconds(LISTING_MAX_SECONDS), formatSeconds)];
}

export function memoryTargets(files: number): Target[] {
  if (files < MEMORY_FILES) return [];
  return [atMost(MEMORY_MAX_BYTES, formatBytes(MEMORY_MAX_BYTES), formatBytes)];
}
