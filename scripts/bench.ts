/**
 * How fast, beside tools that do the same: one FAT32 volume, backed up and restored by ReelFS,
 * partclone and dd; the same files read through a ReelFS mount and through fuse2fs on ext4.
 *
 * What makes it fair: contenders take turns (A B A B), the median counts; what is read lies in the
 * page cache for all; what is written is written anew and synced within the time; every mount is
 * fresh, so that nothing comes from the kernel's cache of an earlier read.
 */
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, rm, stat, statfs, truncate, writeFile } from "node:fs/promises";
import { loadavg, cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { formatSize, parseSize } from "../src/cli/sizes.ts";
import { tableLines } from "../src/cli/table.ts";

const USAGE = `scripts/bench [--size 4G] [--bytes 1400M] [--files 20000] [--runs 3] [--json FILE] [--dir DIR]
  --size   of the volume          --runs  of each contender; the median counts
  --bytes  of files on it         --json  writes every sample to FILE
  --files  how many               --dir   where to work; needs about six times --bytes`;

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const MAIN = join(ROOT, "dist/cli/main.js");

interface Contender {
  readonly name: string;
  /** Not timed. */
  readonly prepare?: () => Promise<void>;
  readonly run: () => void;
  readonly tidy?: () => Promise<void>;
}

interface Measure {
  readonly what: string;
  /** The first is ReelFS; ratios are those of the others to it. */
  readonly contenders: readonly Contender[];
  readonly bytes: number;
}

interface Result {
  readonly what: string;
  readonly bytes: number;
  readonly contenders: readonly { readonly name: string; readonly seconds: readonly number[] }[];
}

interface Stage {
  readonly folder: string;
  readonly fat: string;
  readonly ext4: string;
  readonly tape: string;
  readonly partclone: string;
  readonly mountpoint: string;
  readonly sizeBytes: number;
  readonly usedBytes: number;
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

function shell(script: string, ...args: string[]): void {
  command("bash", "-c", `set -euo pipefail; ${script}`, "bench", ...args);
}

function reelfs(...args: string[]): void {
  command(process.execPath, MAIN, ...args);
}

function warm(...paths: string[]): void {
  shell('cat "$@" >/dev/null', ...paths);
}

async function makeStage(folder: string, options: Options): Promise<Stage> {
  const files = join(folder, "files");
  const stage = {
    folder,
    fat: join(folder, "volume.img"),
    ext4: join(folder, "ext4.img"),
    tape: join(folder, "volume.tap"),
    partclone: join(folder, "volume.partclone"),
    mountpoint: join(folder, "mnt"),
    sizeBytes: options.sizeBytes,
    usedBytes: options.bytes,
  };
  say(`making ${options.files} files of ${formatSize(options.bytes)} in all`);
  command(
    process.execPath,
    ...process.execArgv,
    ...[join(ROOT, "scripts/sample-files.ts"), files],
    ...["--files", String(options.files), "--bytes", String(options.bytes)],
  );
  const kib = String(options.sizeBytes / 1024);
  command(
    "mkfs.fat",
    "--invariant",
    "-F",
    "32",
    "-g",
    "64/32",
    "-n",
    "BENCH",
    "-C",
    stage.fat,
    kib,
  );
  shell('mcopy -s -m -Q -i "$1" "$2"/* ::/', stage.fat, files);
  command("mke2fs", "-q", "-t", "ext4", "-d", files, stage.ext4, `${kib}k`);
  await rm(files, { recursive: true });
  await mkdir(stage.mountpoint);
  return stage;
}

function backupMeasure(stage: Stage): Measure {
  const copy = join(stage.folder, "copy");
  const fresh = async (...paths: string[]): Promise<void> => {
    for (const path of paths) await rm(path, { force: true });
    warm(stage.fat);
  };
  return {
    what: "backup",
    bytes: stage.usedBytes,
    contenders: [
      {
        name: "reelfs backup",
        prepare: async () => fresh(stage.tape, `${stage.tape}.idx`),
        run: () => {
          reelfs("backup", "--quiet", stage.fat, stage.tape);
          command("sync", stage.tape);
        },
      },
      {
        name: "partclone.fat32 -c",
        prepare: async () => fresh(stage.partclone),
        run: () => {
          const log = join(stage.folder, "log");
          command("partclone.fat32", "-c", "-L", log, "-s", stage.fat, "-O", stage.partclone);
          command("sync", stage.partclone);
        },
      },
      {
        name: "dd, same amount",
        prepare: async () => fresh(copy),
        run: () => {
          const mib = Math.ceil(stage.usedBytes / 1024 ** 2);
          command("dd", `if=${stage.fat}`, `of=${copy}`, "bs=1M", `count=${mib}`, "conv=fsync");
        },
        tidy: async () => rm(copy),
      },
    ],
  };
}

function restoreMeasure(stage: Stage): Measure {
  const target = join(stage.folder, "restored.img");
  const remove = async (): Promise<void> => rm(target, { force: true });
  return {
    what: "restore image",
    bytes: stage.usedBytes,
    contenders: [
      {
        name: "reelfs restore-image",
        prepare: async () => {
          warm(stage.tape);
        },
        run: () => {
          reelfs("restore-image", "--quiet", stage.tape, target);
          command("sync", target);
        },
        tidy: remove,
      },
      {
        name: "partclone.restore",
        prepare: async () => {
          await writeFile(target, "");
          await truncate(target, stage.sizeBytes);
          warm(stage.partclone);
        },
        run: () => {
          const log = join(stage.folder, "log");
          command("partclone.restore", "-L", log, "-s", stage.partclone, "-O", target);
          command("sync", target);
        },
        tidy: remove,
      },
      {
        name: "dd, same amount",
        prepare: async () => {
          warm(stage.fat);
        },
        run: () => {
          const mib = Math.ceil(stage.usedBytes / 1024 ** 2);
          command("dd", `if=${stage.fat}`, `of=${target}`, "bs=1M", `count=${mib}`, "conv=fsync");
        },
        tidy: remove,
      },
    ],
  };
}

/** What is read through a mount: warm-up, then what is timed, with the mount point as $1. */
const READS = [
  {
    what: "sequential read",
    // The first large file warms up the daemons; the others count.
    before: 'cat "$1/Films/film 1.bin" >/dev/null',
    timed: 'cat "$1/Films/film 2.bin" "$1/Films/film 3.bin" "$1/Films/film 4.bin" >/dev/null',
  },
  {
    what: "all small files",
    before: "true",
    timed: 'find "$1" -name Films -prune -o -type f -print0 | xargs -0 cat >/dev/null',
  },
  { what: "walk", before: "true", timed: 'find "$1" -printf "%s %t %p\\n" >/dev/null' },
  { what: "mount and list", before: "true", timed: 'ls -l "$1" >/dev/null' },
] as const;

function mountMeasures(stage: Stage): Measure[] {
  const { mountpoint } = stage;
  const mountReelfs = (): void => {
    reelfs("mount", "--quiet", stage.tape, mountpoint);
  };
  const mountFuse2fs = (): void => {
    command("fuse2fs", "-o", "ro", stage.ext4, mountpoint);
  };
  return READS.map(({ what, before, timed }) => {
    const within = what === "mount and list";
    const contender = (
      name: string,
      backing: string,
      mount: () => void,
      unmount: () => void,
    ): Contender => ({
      name,
      prepare: async () => {
        warm(backing);
        if (!within) mount();
        if (!within) shell(before, mountpoint);
      },
      run: () => {
        if (within) mount();
        shell(timed, mountpoint);
      },
      tidy: async () => {
        unmount();
      },
    });
    return {
      what,
      bytes: 0,
      contenders: [
        contender("reelfs mount", stage.tape, mountReelfs, () => {
          reelfs("umount", mountpoint);
        }),
        contender("fuse2fs, ext4", stage.ext4, mountFuse2fs, () => {
          command("fusermount", "-u", mountpoint);
        }),
      ],
    };
  });
}

async function take(measure: Measure, runs: number): Promise<Result> {
  const seconds = measure.contenders.map((): number[] => []);
  for (let run = 0; run < runs; run++) {
    for (const [index, contender] of measure.contenders.entries()) {
      await contender.prepare?.();
      const startedMs = performance.now();
      try {
        contender.run();
      } finally {
        const took = (performance.now() - startedMs) / 1000;
        seconds[index]?.push(took);
        say(`${measure.what}: ${contender.name} ${took.toFixed(2)} s`);
        await contender.tidy?.();
      }
    }
  }
  const contenders = measure.contenders.map(({ name }, index) => ({
    name,
    seconds: seconds[index] ?? [],
  }));
  return { what: measure.what, bytes: measure.bytes, contenders };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

/** Largest distance from the median, as a share of it: how far the machine was from quiet. */
function noise(values: readonly number[]): number {
  const middle = median(values);
  return Math.max(...values.map((value) => Math.abs(value - middle))) / middle;
}

function report(results: readonly Result[]): string[] {
  const rows = results.flatMap(({ what, bytes, contenders }) => {
    const ours = median(contenders[0]?.seconds ?? []);
    return contenders.map(({ name, seconds }, index) => [
      index === 0 ? what : "",
      name,
      `${median(seconds).toFixed(2)} s`,
      bytes === 0 ? "" : `${formatSize(bytes / median(seconds))}/s`,
      index === 0 ? "" : `${(median(seconds) / ours).toFixed(2)}x`,
      `±${(noise(seconds) * 100).toFixed(0)}%`,
    ]);
  });
  const columns = [
    { title: "measure" },
    { title: "program" },
    { title: "median", right: true },
    { title: "rate", right: true },
    { title: "ReelFS is faster", right: true },
    { title: "noise", right: true },
  ];
  return tableLines(columns, rows);
}

interface Options {
  readonly sizeBytes: number;
  readonly bytes: number;
  readonly files: number;
  readonly runs: number;
  readonly json: string | undefined;
  readonly dir: string;
}

function parseOptions(): Options | undefined {
  const { values } = parseArgs({
    options: {
      size: { type: "string", default: "4G" },
      bytes: { type: "string", default: "1400M" },
      files: { type: "string", default: "20000" },
      runs: { type: "string", default: "3" },
      json: { type: "string" },
      dir: { type: "string", default: tmpdir() },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return undefined;
  return {
    sizeBytes: parseSize(values.size, "--size"),
    bytes: parseSize(values.bytes, "--bytes"),
    files: Number(values.files),
    runs: Number(values.runs),
    json: values.json,
    dir: values.dir,
  };
}

async function bench(options: Options): Promise<void> {
  const { bavail, bsize } = await statfs(options.dir);
  if (bavail * bsize < options.bytes * 6) {
    throw new Error(
      `${options.dir} has too little room: ${formatSize(options.bytes * 6)} are needed`,
    );
  }
  const folder = await mkdtemp(join(options.dir, "reelfs-bench-"));
  try {
    const loadBefore = loadavg()[0] ?? 0;
    const stage = await makeStage(folder, options);
    const results: Result[] = [];
    const measures = [backupMeasure(stage), restoreMeasure(stage), ...mountMeasures(stage)];
    for (const measure of measures) results.push(await take(measure, options.runs));
    const tapeBytes = (await stat(stage.tape)).size;
    const facts = {
      date: new Date().toISOString(),
      cpus: cpus().length,
      cpu: cpus()[0]?.model ?? "",
      node: process.version,
      loadBefore,
      ...{ sizeBytes: options.sizeBytes, bytes: options.bytes, files: options.files, tapeBytes },
      results,
    };
    if (options.json !== undefined) {
      await writeFile(options.json, `${JSON.stringify(facts, undefined, 2)}\n`);
    }
    const head = `${options.files} files, ${formatSize(options.bytes)}, on tape ${formatSize(tapeBytes)}; ${facts.cpus} CPUs, load before ${loadBefore.toFixed(1)}`;
    process.stdout.write(`${[head, "", ...report(results)].join("\n")}\n`);
  } finally {
    spawnSync("fusermount", ["-uqz", join(folder, "mnt")]);
    await rm(folder, { recursive: true, force: true });
  }
}

const options = parseOptions();
if (options === undefined) process.stdout.write(`${USAGE}\n`);
else await bench(options);
