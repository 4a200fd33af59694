/** What was measured: as a table for people, and as JSON for programs. */
import { formatSize } from "../../src/cli/sizes.ts";
import type { RowResult } from "./row.ts";
import { summarise } from "./statistics.ts";
import { ratioText, verdictOf } from "./targets.ts";
import { formatValue, threeDigits } from "./text.ts";

/** Where and how it was measured. */
export interface Circumstances {
  readonly date: string;
  readonly cpu: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly node: string;
  /** Processes that wanted to run in the minute before. */
  readonly loadBefore: number;
  readonly seed: number;
  readonly runs: number;
  readonly dropCaches: boolean;
  /** Of the table; growth has its own. */
  readonly data?: string | undefined;
  readonly seconds: number;
}

export interface Report {
  readonly circumstances: Circumstances;
  readonly results: readonly RowResult[];
  /** Programs that are not there. */
  readonly leftOut: readonly string[];
  /** Rows that could not be measured, and why. */
  readonly failed: readonly string[];
}

const TITLES = ["", "program", "median", "rate", "noise (MAD)", "least … most", "beside ReelFS"];
/** Columns of numbers stand on the right. */
const RIGHT = [false, false, true, true, true, true, true];

/** The table and what belongs to it, as Markdown. Columns are not padded: Prettier does that. */
export function markdown({ circumstances, results, leftOut, failed }: Report): string {
  const titles = [...TITLES, "target"];
  const rules = [...RIGHT, false].map((right) => (right ? "---:" : "---"));
  const lines = results.flatMap((result) => cells(result));
  const table = [titles, rules, ...lines].map((row) => `| ${row.map(escaped).join(" | ")} |`);
  return [
    circumstancesText(circumstances),
    table.join("\n"),
    ...leftOut.map((reason) => `Left out: ${escaped(reason)}.`),
    ...failed.map((reason) => `Failed: ${escaped(reason)}.`),
  ].join("\n\n");
}

/** A `|` would end the cell, a line break the table. */
function escaped(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, " ").replaceAll("|", "\\|");
}

function circumstancesText(of: Circumstances): string {
  const machine = `${of.cpus} × ${of.cpu}, ${formatSize(of.memoryBytes)} of memory, Linux ${of.kernel}, Node ${of.node}`;
  const caches = of.dropCaches ? "caches emptied before each" : "sources in the page cache";
  const data = of.data === undefined ? "" : `${of.data}, `;
  return (
    `${of.date.slice(0, 10)}, ${machine}. Load before: ${of.loadBefore.toFixed(1)}. ` +
    `${data}seed ${of.seed}, ${of.runs} runs, ${caches}; ${Math.round(of.seconds / 60)} minutes in all.`
  );
}

/** One line for each program; the first says what it is about, and how the targets are met. */
function cells(result: RowResult): string[][] {
  const summaries = result.contenders.map(({ values }) => summarise(values));
  const ours = summaries[0]?.median ?? NaN;
  return result.contenders.map(({ name }, index) => {
    const summary = summaries[index] ?? summarise([]);
    const show = (value: number): string => formatValue(value, result.unit);
    const isOurs = index === 0;
    return [
      isOurs ? whatText(result) : "",
      name,
      show(summary.median),
      rateText(result, summary.median),
      summary.median === 0
        ? ""
        : `±${((summary.deviation / Math.abs(summary.median)) * 100).toFixed(0)} %`,
      `${show(summary.least)} … ${show(summary.most)}`,
      isOurs ? "" : `${ratioText(summary.median / ours)} ×`,
      isOurs ? targetText(result) : "",
    ];
  });
}

function whatText({ what, bytes, items }: RowResult): string {
  if (bytes !== undefined) return `${what}, ${formatSize(bytes)}`;
  if (items !== undefined) return `${what}, ${items.count.toLocaleString("en")} ${items.noun}`;
  return what;
}

function rateText({ unit, bytes, items }: RowResult, median: number): string {
  if (unit !== "seconds" || median <= 0) return "";
  if (bytes !== undefined) return `${formatSize(bytes / median)}/s`;
  if (items !== undefined) return `${threeDigits(items.count / median)} ${items.noun}/s`;
  return "";
}

function targetText(result: RowResult): string {
  return result.targets
    .map((target) => {
      const verdict = verdictOf(target, result);
      if (verdict === undefined) return `${target.text}: no peer here`;
      return `${target.text}: ${verdict.figure}, ${verdict.met ? "met" : "**not met**"}`;
    })
    .join("; ");
}

/** Everything that was measured, each single value too. */
export function asJson({ circumstances, results, leftOut, failed }: Report): object {
  const rows = results.map((result) => ({
    ...{ id: result.id, what: result.what, unit: result.unit },
    ...{ bytes: result.bytes, items: result.items },
    programs: result.contenders.map(({ name, values }) => ({
      name,
      ...summarise(values),
      values,
    })),
    targets: result.targets.map((target) => ({
      target: target.text,
      ...verdictOf(target, result),
    })),
  }));
  return { ...circumstances, rows, leftOut, failed };
}

export type Section = "table" | "growth";

/** Puts text between the markers of a section; all else stays as it is. */
export function replaceSection(document: string, section: Section, text: string): string {
  const [begin, end] = [`<!-- ${section}: begin -->`, `<!-- ${section}: end -->`];
  const from = document.indexOf(begin);
  const to = document.indexOf(end);
  if (from < 0 || to < from) {
    throw new Error(`docs/performance.md has lost its markers "${begin}" and "${end}"`);
  }
  return `${document.slice(0, from + begin.length)}\n\n${text}\n\n${document.slice(to)}`;
}
