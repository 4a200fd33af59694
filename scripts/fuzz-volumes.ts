/**
 * Damages volumes and reads them, for as long as it is told to: whatever a device holds, a format
 * must answer with what is there or with an error for that object, and never hang, crash, or ask for
 * absurd amounts of memory. Volumes come from the corpus, and from the files and folders named.
 *
 * A finding is printed with the line that repeats it.
 */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openFileDevice } from "../src/device/file-device.ts";
import { VOLUME_FORMATS } from "../src/volume/formats.ts";
import type { VolumeFormat } from "../src/volume/volume.ts";
import { corpusFiles, withCorpusFile } from "../test/support/corpus.ts";
import { exerciseDamaged } from "../test/support/volume-suite.ts";
import { seededRandom, type SeededRandom } from "../test/support/seeded-random.ts";

const USAGE = `npx tsx scripts/fuzz-volumes.ts [--minutes 1] [--format ext] [--round N] [FILE|FOLDER…]
  REELFS_SEED repeats a run; --round goes to the round of a finding at once`;
/** Larger volumes are cut: damage in their first part is what a parser meets. */
const VOLUME_BYTES_MAX = 16 * 1024 * 1024;
const FLIPS_MAX = 16;
/** Structure lies at the start of volumes more often than elsewhere. */
const HEAD_BYTES = 64 * 1024;
const SLOW_MS = 3000;

interface Specimen {
  readonly name: string;
  readonly format: VolumeFormat;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

async function specimenOf(path: string, name: string): Promise<Specimen[]> {
  await using device = await openFileDevice(path);
  const bytes = new Uint8Array(Math.min(device.sizeBytes, VOLUME_BYTES_MAX));
  await device.read(0, bytes);
  for (const format of VOLUME_FORMATS) {
    if (await format.probe(device)) return [{ name, format, bytes }];
  }
  return [];
}

async function collect(places: readonly string[]): Promise<Specimen[]> {
  const specimens: Specimen[] = [];
  for (const place of places) {
    const isFolder = (await stat(place)).isDirectory();
    const paths = isFolder ? (await readdir(place)).map((name) => join(place, name)) : [place];
    for (const path of paths) specimens.push(...(await specimenOf(path, path)));
  }
  for (const { path, what } of corpusFiles()) {
    if (!/: (?:FAT|exFAT|ext|NTFS|NetWare)/i.test(what) && !path.startsWith("netware")) continue;
    if (!/\.(?:gz|img|xxd|fsck|dd|raw|bin)$/.test(path) && !path.includes("testfs")) continue;
    const found = await withCorpusFile(path, async (file) => specimenOf(file, path)).catch(
      () => [],
    );
    specimens.push(...found);
  }
  return specimens;
}

/** Flips, cuts, copies of one part over another: what bad media and bad software leave. */
function damage({ bytes }: Specimen, random: SeededRandom): Uint8Array<ArrayBuffer> {
  const damaged = bytes.slice();
  const flips = 1 + random.below(FLIPS_MAX);
  for (let i = 0; i < flips; i++) {
    const within = random.below(2) === 0 ? Math.min(HEAD_BYTES, damaged.length) : damaged.length;
    const at = random.below(within);
    const values = [0, 0xff, damaged[at + 16] ?? 0, random.below(256)];
    damaged[at] = values[random.below(values.length)] ?? 0;
  }
  if (random.below(6) === 0) {
    const length = 1 + random.below(4096);
    damaged.copyWithin(random.below(damaged.length), random.below(damaged.length), length);
  }
  return random.below(10) === 0 ? damaged.slice(0, random.below(damaged.length)) : damaged;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: "string", default: "1" },
    format: { type: "string" },
    round: { type: "string" },
    help: { type: "boolean" },
  },
});
if (values.help === true) {
  process.stdout.write(`${USAGE}\n`);
} else {
  const all = await collect(positionals);
  const specimens = all.filter(
    ({ format }) => values.format === undefined || format.name === values.format,
  );
  const random = seededRandom();
  const endMs = performance.now() + Number(values.minutes) * 60_000;
  const only = values.round === undefined ? undefined : Number(values.round);
  process.stdout.write(`${specimens.length} volumes, ${random.seedNote}\n`);
  let findings = 0;
  let slowestMs = 0;
  let round = 0;
  for (; performance.now() < endMs && specimens.length > 0; round++) {
    const specimen = random.pick(specimens);
    const bytes = damage(specimen, random);
    if (only !== undefined && round < only) continue;
    const startedMs = performance.now();
    try {
      const { format, name } = specimen;
      const made = { format, bytes: specimen.bytes, expected: new Map(), structure: [] };
      await exerciseDamaged(made, bytes, `round ${round}, ${name}`);
    } catch (error) {
      findings++;
      const stack = error instanceof Error ? String((error.cause as Error | undefined)?.stack) : "";
      process.stdout.write(
        `FINDING ${random.seedNote} --round ${round}: ${String(error)}\n${stack}\n`,
      );
    }
    const tookMs = performance.now() - startedMs;
    slowestMs = Math.max(slowestMs, tookMs);
    if (tookMs > SLOW_MS) {
      process.stdout.write(
        `slow: round ${round} took ${tookMs.toFixed(0)} ms, ${specimen.name}, ${random.seedNote}\n`,
      );
    }
    if (only !== undefined) break;
  }
  const rss = process.resourceUsage().maxRSS / 1024;
  process.stdout.write(
    `${round} rounds, ${findings} findings, slowest ${slowestMs.toFixed(0)} ms, ${rss.toFixed(0)} MiB\n`,
  );
  process.exitCode = findings === 0 ? 0 : 1;
}
