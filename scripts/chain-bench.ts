/**
 * What a long chain costs: a FAT volume changes and is backed up incrementally, generation after
 * generation; then the newest image is mounted, beside a full image of the same state. Measured are
 * mounting alone, mounting and walking the whole tree, and mounting and reading all files: wall time,
 * CPU time of command and daemon, and the daemon's peak memory.
 *
 * What makes it fair: both take turns (A B A B), the medians count, every mount is fresh, and all
 * that is read lies in the page cache. It needs dosfstools and mtools, and a built dist.
 */
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { formatSize, parseSize } from "../src/cli/sizes.ts";
import { tableLines } from "../src/cli/table.ts";
import { backupVolume } from "../src/tapeimage/backup.ts";

const USAGE = `scripts/chain-bench.ts [--size 400M] [--bytes 200M] [--files 4000] [--generations 50] [--changes 20] [--apart] [--runs 7] [--read-runs 1] [--json FILE] [--dir DIR]
  --size         of the volume               --generations  images of the chain, the full one included
  --bytes        of files on it at first     --changes      files that a generation changes
  --files        how many at first           --apart        each image on a tape of its own
  --runs         of mounting and of walking; the median counts
  --read-runs    of reading all files        --json         writes every sample to FILE
  --dir          where to work; needs about four times --bytes
  --main         the program to measure (dist/command/main.js)`;

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** CPU times in /proc are in hundredths of a second. */
const TICKS_PER_SECOND = 100;
/** Fields of /proc/PID/stat, counted from after the ")" that ends the second. */
const STAT_FIELD = { utime: 14 - 3, stime: 15 - 3, cutime: 16 - 3, cstime: 17 - 3 } as const;
const CHANGED_BYTES = 40_000;
const APPEARANCE = { full: "one full image", chain: "end of the chain" } as const;

interface Options {
  readonly sizeBytes: number;
  readonly bytes: number;
  readonly files: number;
  readonly generations: number;
  readonly changes: number;
  readonly apart: boolean;
  readonly runs: number;
  readonly readRuns: number;
  readonly json: string | undefined;
  readonly directory: string;
  readonly main: string;
}

interface Stage {
  readonly full: string;
  readonly chain: string;
  readonly mountpoint: string;
  readonly main: string;
}

interface Sample {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

interface Measure {
  readonly what: string;
  readonly full: readonly Sample[];
  readonly chain: readonly Sample[];
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Runs a program to its end; throws with what it said when it fails. */
function command(program: string, ...args: string[]): string {
  const env = { ...process.env, LC_ALL: "C.UTF-8", TZ: "UTC", MTOOLS_SKIP_CHECK: "1" };
  const done = spawnSync(program, args, { env, maxBuffer: 1 << 28 });
  if (done.error !== undefined) throw done.error;
  if (done.status !== 0) {
    throw new Error(`${program} ${args.join(" ")}: ${done.stderr.toString().slice(-500)}`);
  }
  return done.stdout.toString();
}

/** The chain, and a full image of the state at its end. */
async function makeStage(folder: string, options: Options): Promise<Stage> {
  const volume = join(folder, "volume.img");
  const files = join(folder, "files");
  const mountpoint = join(folder, "mnt");
  await mkdir(mountpoint);
  say(`making ${options.files} files of ${formatSize(options.bytes)} in all`);
  command(
    ...([process.execPath, ...process.execArgv] as [string]),
    ...[join(ROOT, "scripts/sample-files.ts"), files],
    ...["--files", String(options.files), "--bytes", String(options.bytes)],
  );
  const kib = String(options.sizeBytes / 1024);
  command("mkfs.fat", ...["--invariant", "-F", "32", "-n", "CHAIN", "-C", volume, kib]);
  command("bash", "-c", 'mcopy -s -m -Q -i "$0" "$1"/* ::/', volume, files);
  command("mmd", "-i", volume, "::/changed");
  await rm(files, { recursive: true });

  say(`making ${options.generations} generations`);
  const tapeOf = (generation: number): string =>
    join(folder, options.apart ? `chain-${generation}.tap` : "chain.tap");
  let image = "";
  for (let generation = 0; generation < options.generations; generation++) {
    if (generation > 0) await change(folder, volume, generation, options);
    const parent = generation > 0 ? image : undefined;
    const made = await backupVolume({ sourcePath: volume, tapePath: tapeOf(generation), parent });
    image = made.image;
  }
  const full = await backupVolume({ sourcePath: volume, tapePath: join(folder, "full.tap") });
  return { full: full.image, chain: image, mountpoint, main: options.main };
}

/** Some files new, some written anew: all of them differ in every generation. */
async function change(
  folder: string,
  volume: string,
  generation: number,
  { changes }: Options,
): Promise<void> {
  const changed = join(folder, "changed");
  await mkdir(changed);
  const paths: string[] = [];
  for (let file = 0; file < changes; file++) {
    const isNew = file % 2 === 0;
    const path = join(changed, isNew ? `new-${generation}-${file}.txt` : `again-${file}.txt`);
    const line = `generation ${generation}, file ${file}\n`;
    await writeFile(path, line.repeat(Math.ceil(CHANGED_BYTES / line.length)));
    paths.push(path);
  }
  command("mcopy", ...["-o", "-m", "-i", volume, ...paths, "::/changed"]);
  await rm(changed, { recursive: true });
}

/** Mounts an image, does `use` with the mount, and takes the time of both. */
async function sample(
  image: string,
  { mountpoint, main }: Stage,
  use: () => void,
): Promise<Sample> {
  const startedMs = performance.now();
  const cpuBefore = (await cpuSeconds(process.pid)).ofChildren;
  const mounted: unknown = JSON.parse(
    command(process.execPath, main, "mount", "--json", image, mountpoint),
  );
  const cpuOfMount = (await cpuSeconds(process.pid)).ofChildren - cpuBefore;
  try {
    use();
    const seconds = (performance.now() - startedMs) / 1000;
    const pid = pidIn(mounted);
    const cpuOfDaemon = (await cpuSeconds(pid)).own;
    const peakBytes = await peakMemory(pid);
    return { seconds, cpuSeconds: cpuOfMount + cpuOfDaemon, peakBytes };
  } finally {
    command(process.execPath, main, "umount", mountpoint);
  }
}

function pidIn(mounted: unknown): number {
  const isObject = typeof mounted === "object" && mounted !== null && "pid" in mounted;
  if (!isObject || typeof mounted.pid !== "number") throw new Error("mount --json gave no pid");
  return mounted.pid;
}

async function cpuSeconds(pid: number): Promise<{ own: number; ofChildren: number }> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const seconds = (name: keyof typeof STAT_FIELD): number =>
    Number(fields[STAT_FIELD[name]]) / TICKS_PER_SECOND;
  return {
    own: seconds("utime") + seconds("stime"),
    ofChildren: seconds("cutime") + seconds("cstime"),
  };
}

async function peakMemory(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}

async function measure(
  what: string,
  stage: Stage,
  runs: number,
  use: () => void,
): Promise<Measure> {
  const samples = { full: [] as Sample[], chain: [] as Sample[] };
  for (let run = 0; run < runs; run++) {
    say(`${what}, run ${run + 1} of ${runs}`);
    for (const each of ["full", "chain"] as const) {
      samples[each].push(await sample(stage[each], stage, use));
    }
  }
  return { what, ...samples };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

function report(measures: readonly Measure[]): string {
  const rows = measures.flatMap(({ what, ...samples }) => {
    const of = (each: "full" | "chain", value: (sample: Sample) => number): number =>
      median(samples[each].map(value));
    return (["full", "chain"] as const).map((each) => {
      const ratio = (value: (sample: Sample) => number): string =>
        each === "full" ? "" : (of("chain", value) / of("full", value)).toFixed(2);
      return [
        ...(each === "full" ? [what] : [""]),
        APPEARANCE[each],
        of(each, ({ seconds }) => seconds).toFixed(2),
        ratio(({ seconds }) => seconds),
        of(each, (sample) => sample.cpuSeconds).toFixed(2),
        ratio((sample) => sample.cpuSeconds),
        formatSize(of(each, ({ peakBytes }) => peakBytes)),
        ratio(({ peakBytes }) => peakBytes),
      ];
    });
  });
  const columns = ["", "", "s", "ratio", "CPU s", "ratio", "peak", "ratio"];
  return tableLines(
    columns.map((title, index) => ({ title, right: index > 1 })),
    rows,
  ).join("\n");
}

function readOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      size: { type: "string", default: "400M" },
      bytes: { type: "string", default: "200M" },
      files: { type: "string", default: "4000" },
      generations: { type: "string", default: "50" },
      changes: { type: "string", default: "20" },
      apart: { type: "boolean", default: false },
      runs: { type: "string", default: "7" },
      "read-runs": { type: "string", default: "1" },
      json: { type: "string" },
      main: { type: "string", default: join(ROOT, "dist/command/main.js") },
      dir: { type: "string", default: tmpdir() },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return undefined;
  return {
    sizeBytes: parseSize(values.size, "--size"),
    bytes: parseSize(values.bytes, "--bytes"),
    files: Number(values.files),
    generations: Number(values.generations),
    changes: Number(values.changes),
    apart: values.apart,
    runs: Number(values.runs),
    readRuns: Number(values["read-runs"]),
    json: values.json,
    directory: values.dir,
    main: values.main,
  };
}

async function main(): Promise<void> {
  const options = readOptions();
  if (options === undefined) {
    say(USAGE);
    return;
  }
  const folder = await mkdtemp(join(options.directory, "reelfs-chain-bench-"));
  try {
    const stage = await makeStage(folder, options);
    const walk = (): unknown => command("find", stage.mountpoint, "-size", "-1");
    const read = (): unknown =>
      command("bash", "-c", 'find "$0" -type f -exec cat {} + > /dev/null', stage.mountpoint);
    const measures = [
      await measure("mounting", stage, options.runs, () => undefined),
      await measure("and walking the tree", stage, options.runs, walk),
      await measure("and reading all files", stage, options.readRuns, read),
    ];
    if (options.json !== undefined) {
      await writeFile(options.json, `${JSON.stringify({ options, measures }, null, 2)}\n`);
    }
    process.stdout.write(`${report(measures)}\n`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

await main();
