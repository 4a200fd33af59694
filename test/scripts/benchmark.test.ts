import { expect } from "chai";
import { format } from "prettier";
import { parseOptions, usage, UsageError } from "../../scripts/benchmark/options.ts";
import { findPeers } from "../../scripts/benchmark/peers.ts";
import {
  asJson,
  type Circumstances,
  markdown,
  replaceSection,
} from "../../scripts/benchmark/report.ts";
import { type Contender, measure, type RowResult } from "../../scripts/benchmark/row.ts";
import { growthRows } from "../../scripts/benchmark/rows/growth.ts";
import { ROWS } from "../../scripts/benchmark/rows/index.ts";
import { median, pickSome, randomNumbers, summarise } from "../../scripts/benchmark/statistics.ts";
import {
  atMost,
  memoryTargets,
  timesAsFastAs,
  timesBestPeer,
  verdictOf,
} from "../../scripts/benchmark/targets.ts";
import { formatBytes, formatSeconds } from "../../scripts/benchmark/text.ts";
import { ReelError } from "../../src/errors.ts";

const IDS = { table: ["backup", "walk"], growth: ["files-10000-walk"] };

function parse(...args: string[]): ReturnType<typeof parseOptions> {
  return parseOptions(args, IDS, false);
}

describe("scripts/bench: options", () => {
  it("measures all rows and keeps the figures when nothing is said", () => {
    expect(parse()).to.include({ sizeBytes: 2 ** 30, files: 20_000, runs: 3, write: true });
    expect(parse()?.only).to.equal(undefined);
  });

  it("takes less data, and writes nothing into the checkout, when it should be quick", () => {
    const quick = parse("--quick");
    expect(quick?.write).to.equal(false);
    expect(quick?.sizeBytes).to.be.lessThan(2 ** 30);
    expect(parse("--quick", "--runs", "7")?.runs).to.equal(7);
    expect(parse("--quick", "--write")?.write).to.equal(true);
  });

  it("keeps the figures of some rows to itself: they would replace the table", () => {
    const some = parse("--only", "walk, backup", "--size", "1.5G");
    expect(some).to.include({ write: false, sizeBytes: 1.5 * 2 ** 30 });
    expect(some?.only).to.deep.equal(["walk", "backup"]);
  });

  it("knows other rows when it measures growth", () => {
    expect(parse("--growth", "--only", "files-10000-walk")?.only).to.have.length(1);
    expect(() => parse("--growth", "--only", "walk")).to.throw(UsageError, "files-10000-walk");
  });

  it("names what makes no sense", () => {
    expect(() => parse("--only", "wlak")).to.throw(UsageError, 'no row "wlak"');
    expect(() => parse("--runs", "0")).to.throw(UsageError, "--runs");
    expect(() => parse("--files", "many")).to.throw(UsageError, '"many"');
    expect(() => parse("--volume", "ntfs")).to.throw(UsageError, "ext4");
    expect(() => parse("--frobnicate")).to.throw(UsageError, "--frobnicate");
    expect(() => parse("--size", "1K")).to.throw(UsageError, "16M");
    expect(() => parse("--drop-caches")).to.throw(UsageError, "root");
    expect(() => parse("--size", "big")).to.throw(ReelError, "--size");
  });

  it("shows every row in its help, and each row once", () => {
    expect(parse("--help")).to.equal(undefined);
    const ids = [...ROWS, ...growthRows(Infinity)].map(({ id }) => id);
    expect(new Set(ids).size).to.equal(ids.length);
    const text = usage({ table: ids, growth: [] });
    for (const id of ids) expect(text).to.contain(id);
  });
});

describe("scripts/bench: statistics", () => {
  it("takes the middle, and the mean of two middles", () => {
    expect(median([3, 1, 2])).to.equal(2);
    expect(median([4, 1, 2, 3])).to.equal(2.5);
    expect(median([])).to.be.NaN;
  });

  it("tells noise without being led astray by one bad run", () => {
    const summary = summarise([10, 11, 9, 10, 100]);
    expect(summary).to.deep.equal({ median: 10, least: 9, most: 100, deviation: 1 });
  });

  it("gives the same numbers for the same seed, and others for another", () => {
    const draw = (seed: number): number[] => {
      const random = randomNumbers(seed);
      return Array.from({ length: 20 }, () => random(1000));
    };
    expect(draw(1)).to.deep.equal(draw(1)).and.not.to.deep.equal(draw(2));
    expect(Math.max(...draw(3))).to.be.within(0, 999);
    const items = Array.from({ length: 100 }, (_, index) => index);
    const some = pickSome(items, 10, 1);
    expect(new Set(some).size).to.equal(10);
    expect(some).to.deep.equal(pickSome(items, 10, 1));
    expect(pickSome([1, 2], 10, 1)).to.have.members([1, 2]);
  });
});

describe("scripts/bench: a row", () => {
  const contender = (name: string, values: number[], log: string[]): Contender => ({
    name,
    prepare: async () => void log.push(`prepare ${name}`),
    run: async () => values.shift(),
    tidy: async () => void log.push(`tidy ${name}`),
  });
  const failed = (name: string): void => expect.fail(`${name} failed`);
  const quiet = { measured: (): void => undefined, failed };
  const row = { id: "r", what: "work", unit: "seconds", targets: [] } as const;

  it("lets the programs take turns", async () => {
    const log: string[] = [];
    const contenders = [contender("a", [1, 2], log), contender("b", [5, 6], log)];
    const order: string[] = [];
    const measured = (name: string): void => void order.push(name);
    const result = await measure({ ...row, contenders }, 2, { measured, failed });
    expect(order).to.deep.equal(["a", "b", "a", "b"]);
    expect(result.contenders.map(({ values }) => values)).to.deep.equal([
      [1, 2],
      [5, 6],
    ]);
    expect(log.slice(0, 4)).to.deep.equal(["prepare a", "tidy a", "prepare b", "tidy b"]);
  });

  it("takes the time where no value is given, and tidies up behind a program that fails", async () => {
    const timed = { name: "timed", run: async () => undefined };
    const result = await measure({ ...row, contenders: [timed] }, 1, quiet);
    expect(result.contenders[0]?.values[0]).to.be.within(0, 1);
    const log: string[] = [];
    const failing = {
      ...contender("c", [], log),
      run: async () => Promise.reject(new Error("no")),
    };
    const failure = await measure({ ...row, contenders: [failing] }, 1, quiet).catch(
      (error: unknown) => error,
    );
    expect(failure).to.have.property("message", "no");
    expect(log).to.deep.equal(["prepare c", "tidy c"]);
  });

  it("goes on without a peer that fails, and says so", async () => {
    const failures: string[] = [];
    const broken = { name: "b", run: async () => Promise.reject(new Error("no")) };
    const contenders = [contender("a", [1, 2], []), broken];
    const result = await measure({ ...row, contenders }, 2, {
      ...quiet,
      failed: (name) => failures.push(name),
    });
    expect(failures).to.deep.equal(["b"]);
    expect(result.contenders).to.deep.equal([{ name: "a", values: [1, 2] }]);
  });
});

function resultOf(values: Readonly<Record<string, number[]>>): RowResult {
  const contenders = Object.entries(values).map(([name, each]) => ({ name, values: each }));
  return { id: "r", what: "some work", unit: "seconds", contenders, targets: [] };
}

describe("scripts/bench: targets", () => {
  const result = resultOf({ reelfs: [2], partclone: [3], other: [10] });

  it("are met at their border and missed beyond it", () => {
    expect(verdictOf(timesAsFastAs("partclone", 1.5), result)?.met).to.equal(true);
    expect(verdictOf(timesAsFastAs("partclone", 1.6), result)?.met).to.equal(false);
    expect(verdictOf(timesBestPeer(0.7), result)).to.deep.equal({ figure: "0.67 ×", met: true });
    expect(verdictOf(timesBestPeer(0.6), result)?.met).to.equal(false);
    expect(verdictOf(atMost(2, "2 s", formatSeconds), result)).to.deep.equal({
      figure: "2.00 s",
      met: true,
    });
    expect(verdictOf(atMost(1.9, "1.9 s", formatSeconds), result)?.met).to.equal(false);
  });

  it("are not judged without the one to compare with, or with less than they speak of", () => {
    expect(verdictOf(timesAsFastAs("borg", 2), result)).to.equal(undefined);
    expect(verdictOf(timesBestPeer(1), resultOf({ reelfs: [1] }))).to.equal(undefined);
    expect(memoryTargets(999_999)).to.have.length(0);
    expect(memoryTargets(1_000_000)).to.have.length(1);
  });
});

describe("scripts/bench: the table", () => {
  const circumstances: Circumstances = {
    ...{ date: "2026-01-02T03:04:05.000Z", cpu: "A CPU", cpus: 2, memoryBytes: 2 ** 32 },
    ...{ kernel: "6.1", node: "v20.19.0", loadBefore: 0.26, seed: 7, runs: 3, dropCaches: false },
    ...{ data: "10 files", seconds: 120 },
  };
  const results: RowResult[] = [
    {
      ...resultOf({ "reelfs backup": [2, 2.1, 1.9], partclone: [3, 3, 3] }),
      bytes: 2 ** 30,
      targets: [timesAsFastAs("partclone", 2)],
    },
    { ...resultOf({ "reelfs | walk": [0.5] }), items: { count: 1000, noun: "files" } },
  ];
  const report = { circumstances, results, leftOut: ["borg: not installed"], failed: [] };

  it("shows medians, rates, noise, ratios and targets", () => {
    const lines = markdown(report).split("\n");
    expect(lines[0]).to.contain("seed 7, 3 runs").and.contain("2 minutes");
    expect(lines).to.include(
      "| some work, 1 GiB | reelfs backup | 2.00 s | 512 MiB/s | ±5 % | 1.90 s … 2.10 s |  | at least 2 × as fast as partclone: 1.50 ×, **not met** |",
    );
    expect(lines).to.include(
      "|  | partclone | 3.00 s | 341 MiB/s | ±0 % | 3.00 s … 3.00 s | 1.50 × |  |",
    );
    expect(lines).to.include(
      "| some work, 1,000 files | reelfs \\| walk | 500 ms | 2,000 files/s | ±0 % | 500 ms … 500 ms |  |  |",
    );
    expect(lines.at(-1)).to.equal("Left out: borg: not installed.");
  });

  it("goes between its markers, leaves the rest alone, and replaces itself", async () => {
    const document =
      "# Head\n\n<!-- table: begin -->\n\nold\n\n<!-- table: end -->\n\n<!-- growth: begin -->\n\nkept\n\n<!-- growth: end -->\n\nTail\n";
    const once = replaceSection(document, "table", markdown(report));
    expect(once)
      .to.match(/^# Head\n/)
      .and.to.contain("kept")
      .and.not.to.contain("old");
    const pretty = await format(once, { parser: "markdown", printWidth: 100 });
    const twice = replaceSection(pretty, "table", markdown(report));
    expect(await format(twice, { parser: "markdown", printWidth: 100 })).to.equal(pretty);
    expect(() => replaceSection("# Head\n", "table", "")).to.throw("markers");
  });

  it("keeps each value for programs", () => {
    const json = JSON.parse(JSON.stringify(asJson(report))) as {
      seed: number;
      rows: { programs: { values: number[] }[]; targets: { met: boolean }[] }[];
    };
    expect(json.seed).to.equal(7);
    expect(json.rows[0]?.programs[0]?.values).to.deep.equal([2, 2.1, 1.9]);
    expect(json.rows[0]?.targets[0]?.met).to.equal(false);
  });

  it("shows figures in the unit that suits", () => {
    expect([12.34, 0.85, 0.00035, 3.5e-7, 0].map(formatSeconds)).to.deep.equal([
      ...["12.3 s", "850 ms", "350 µs", "350 ns", "0 s"],
    ]);
    expect([24, 1536, 157_286_400].map(formatBytes)).to.deep.equal([
      "24.0 B",
      "1.5 KiB",
      "150 MiB",
    ]);
  });
});

describe("scripts/bench: programs to compare with", () => {
  it("are left out with the package that has them, and are not installed unasked", async () => {
    const there = (program: string): boolean => program !== "borg" && program !== "ratarmount";
    const peers = await findPeers(false, () => expect.fail("it installs"), there);
    expect(peers.has("restic")).to.equal(true);
    expect(peers.has("borg")).to.equal(false);
    expect(peers.reasons().join("\n"))
      .to.match(/^borg: .*apt-get install borgbackup/m)
      .and.match(/^ratarmount: .*not in Debian/m);
  });
});
