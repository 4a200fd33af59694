/** `scripts/bench`: measures rows, prints them as a table, and puts them into docs/. */
import { readFile, statfs, writeFile } from "node:fs/promises";
import { cpus, loadavg, release, totalmem } from "node:os";
import { join } from "node:path";
import { format } from "prettier";
import { formatSize } from "../../src/cli/sizes.ts";
import { isReelError } from "../../src/errors.ts";
import { type Options, parseOptions, usage, UsageError } from "./options.ts";
import { findPeers } from "./peers.ts";
import { ROOT } from "./programs.ts";
import { asJson, markdown, replaceSection, type Report, type Section } from "./report.ts";
import { measure, type RowResult } from "./row.ts";
import type { Bench, RowMaker } from "./rows/bench.ts";
import { growthRows } from "./rows/growth.ts";
import { ROWS } from "./rows/index.ts";
import { Stage } from "./stage.ts";
import { formatValue } from "./text.ts";
import { Workshop } from "./workshop.ts";

const STATUS = { failed: 1, usage: 2, interrupted: 130 } as const;
/** Room for the files, the volume, and what everybody makes of them, as a multiple of the files. */
const ROOM_FACTOR = 9;
/** Of --growth, whose files are small. */
const GROWTH_ROOM_BYTES = 24 * 1024 ** 3;
const DOCUMENT = join(ROOT, "docs/performance.md");
const FIGURES = join(ROOT, "docs/performance.json");

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function checkRoom({ folder, growth, sizeBytes }: Options): Promise<void> {
  const needed = growth ? GROWTH_ROOM_BYTES : sizeBytes * ROOM_FACTOR;
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= needed) return;
  throw new UsageError(
    `${folder} has too little room: ${formatSize(needed)} are needed; --dir names another place`,
  );
}

/** A row that fails costs that row, and a peer that fails its part in it. */
async function measureAll(
  makers: readonly RowMaker[],
  bench: Bench,
  signal: AbortSignal,
): Promise<Pick<Report, "results" | "failed">> {
  const results: RowResult[] = [];
  const failed: string[] = [];
  const fail = (what: string, error: unknown): void => {
    signal.throwIfAborted();
    failed.push(`${what}: ${reasonOf(error)}`);
    say(`failed: ${what}: ${reasonOf(error)}`);
  };
  for (const { id, make } of makers) {
    try {
      const row = await make(bench);
      const measured = (name: string, value: number): void => {
        say(`${id}: ${name} ${formatValue(value, row.unit)}`);
      };
      const { runs } = bench.stage.options;
      results.push(
        await measure(row, runs, {
          measured,
          failed: (name, error) => {
            fail(`${id}, ${name}`, error);
          },
        }),
      );
    } catch (error) {
      fail(id, error);
    }
  }
  return { results, failed };
}

async function bench(options: Options, signal: AbortSignal): Promise<Report> {
  const startedMs = performance.now();
  const loadBefore = loadavg()[0] ?? 0;
  await checkRoom(options);
  const peers = await findPeers(options.install, say);
  const { folder, growth, only, dropCaches, seed, runs } = options;
  const workshop = await Workshop.open(folder, signal, dropCaches);
  try {
    const stage = new Stage(workshop, options, say);
    const all = growth ? growthRows(options.filesMax) : ROWS;
    const makers = all.filter(({ id }) => only?.includes(id) !== false);
    const measured = await measureAll(makers, { workshop, stage, peers }, signal);
    const circumstances = {
      date: new Date().toISOString(),
      ...{ cpu: cpus()[0]?.model ?? "CPU", cpus: cpus().length, memoryBytes: totalmem() },
      ...{ kernel: release(), node: process.version, loadBefore, seed, runs, dropCaches },
      ...(growth ? {} : { data: dataText(options) }),
      seconds: (performance.now() - startedMs) / 1000,
    };
    return { circumstances, ...measured, leftOut: peers.reasons() };
  } finally {
    await workshop.close();
  }
}

function dataText({ files, sizeBytes, volume }: Options): string {
  return `${files.toLocaleString("en")} files of ${formatSize(sizeBytes)} in all on ${volume}`;
}

async function writeDocuments(report: Report, section: Section): Promise<void> {
  const before = await readFile(DOCUMENT, "utf8");
  const text = replaceSection(before, section, markdown(report));
  await writeFile(DOCUMENT, await format(text, { parser: "markdown", printWidth: 100 }));
  const figures = JSON.parse(await readFile(FIGURES, "utf8").catch(() => "{}")) as object;
  const json = JSON.stringify({ ...figures, [section]: asJson(report) });
  await writeFile(FIGURES, await format(json, { parser: "json", printWidth: 100 }));
}

function idsOf(rows: readonly RowMaker[]): string[] {
  return rows.map(({ id }) => id);
}

async function main(signal: AbortSignal): Promise<number> {
  const ids = { table: idsOf(ROWS), growth: idsOf(growthRows(Infinity)) };
  const isRoot = process.getuid?.() === 0;
  const options = parseOptions(process.argv.slice(2), ids, isRoot);
  if (options === undefined) {
    process.stdout.write(usage(ids));
    return 0;
  }
  const report = await bench(options, signal);
  const text = await format(markdown(report), { parser: "markdown", printWidth: 100 });
  process.stdout.write(text);
  if (options.json !== undefined) {
    await writeFile(options.json, `${JSON.stringify(asJson(report), undefined, 2)}\n`);
  }
  if (options.write) await writeDocuments(report, options.growth ? "growth" : "table");
  return report.failed.length === 0 ? 0 : STATUS.failed;
}

const interruption = new AbortController();
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(name, () => {
    interruption.abort();
  });
}
try {
  process.exitCode = await main(interruption.signal);
} catch (error) {
  const stopped = interruption.signal.aborted;
  const misused = error instanceof UsageError || isReelError(error, "invalid");
  say(`scripts/bench: ${stopped ? "interrupted" : reasonOf(error)}`);
  process.exitCode = stopped ? STATUS.interrupted : misused ? STATUS.usage : STATUS.failed;
}
