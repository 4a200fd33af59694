/** What the benchmark is asked to do. */
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { parseSize } from "../../src/cli/sizes.ts";

export type VolumeKind = "ext4" | "fat32";

export interface Options {
  /** Bytes of all files together. */
  readonly sizeBytes: number;
  readonly files: number;
  readonly runs: number;
  /** Ids of the rows to measure; undefined: all. */
  readonly only: readonly string[] | undefined;
  /** Growth with files and size, instead of the table. */
  readonly growth: boolean;
  readonly filesMax: number;
  readonly seed: number;
  readonly volume: VolumeKind;
  readonly folder: string;
  readonly dropCaches: boolean;
  readonly install: boolean;
  /** Put the figures into docs/. */
  readonly write: boolean;
  readonly json: string | undefined;
}

const USUAL = { size: "1G", files: "20000", runs: "3" } as const;
const QUICK = { size: "192M", files: "4000", runs: "2" } as const;
const GROWTH_RUNS = "2";

const FILES_MAX = 10_000_000;
const RUNS_MAX = 1000;
const SEED_MAX = 2 ** 31;
/** Less, and there are no large files to speak of. */
const SIZE_MIN_BYTES = 16 * 1024 * 1024;

export function usage(ids: RowIds): string {
  return `scripts/bench [OPTIONS]

Measures ReelFS beside other programs on the same data, in turns, and prints medians with their
noise. What a figure is worth depends on the machine being otherwise idle.

  --size SIZE       of all files together (default: ${USUAL.size})
  --files NUMBER    how many files (default: ${USUAL.files})
  --runs NUMBER     of each program; the median counts (default: ${USUAL.runs})
  --quick           ${QUICK.size}, ${QUICK.files} files, ${QUICK.runs} runs: does it work at all?
  --only ROW,ROW    only these rows
  --growth          instead of the table: from 10,000 to 1,000,000 files, and from 1 GB to 10 TB
  --files-max N     of --growth: stop at so many files (default: 1000000)
  --volume KIND     ext4 or fat32 (default: ext4)
  --seed NUMBER     of the data (default: 1)
  --dir DIR         where to work; needs about nine times --size (default: ${tmpdir()})
  --drop-caches     as root: empty the caches of the kernel before each measurement
  --no-install      do not install the programs to compare with, leave them out
  --write           put table and figures into docs/performance.md and docs/performance.json;
                    so does a run of all rows without --quick
  --no-write        change no file of the checkout
  --json FILE       also write the figures to FILE
  --help            show this

Rows: ${ids.table.join(", ")}
Of --growth: ${ids.growth.join(", ")}
`;
}

export class UsageError extends Error {}

/** Ids of the rows that there are. */
export interface RowIds {
  readonly table: readonly string[];
  readonly growth: readonly string[];
}

/** Undefined when help is wanted. @throws UsageError, ReelError "invalid" for what makes no sense */
export function parseOptions(
  args: readonly string[],
  ids: RowIds,
  isRoot: boolean,
): Options | undefined {
  const values = parsed(args);
  if (values.help) return undefined;
  const usual = values.quick ? QUICK : USUAL;
  const runs = values.growth && !values.quick ? GROWTH_RUNS : usual.runs;
  if (values["drop-caches"] && !isRoot) throw new UsageError("--drop-caches is for root");
  if (values.write && values["no-write"]) throw new UsageError("--write or --no-write?");
  const sizeBytes = parseSize(values.size ?? usual.size, "--size");
  if (sizeBytes < SIZE_MIN_BYTES) throw new UsageError("--size must be 16M or more");
  const whole = values.only === undefined && !values.quick;
  return {
    sizeBytes,
    files: wholeNumber("--files", values.files ?? usual.files, 100, FILES_MAX),
    runs: wholeNumber("--runs", values.runs ?? runs, 1, RUNS_MAX),
    only: rowsOf(values.only, values.growth ? ids.growth : ids.table),
    growth: values.growth,
    filesMax: wholeNumber("--files-max", values["files-max"], 1, FILES_MAX),
    seed: wholeNumber("--seed", values.seed, 0, SEED_MAX),
    volume: volumeOf(values.volume),
    folder: values.dir,
    dropCaches: values["drop-caches"],
    install: !values["no-install"],
    write: values.write || (whole && !values["no-write"]),
    json: values.json,
  };
}

// The types of parseArgs follow from what it is given, so they are left to be found.
// eslint's rule on return types is for what is exported.
function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        size: { type: "string" },
        files: { type: "string" },
        runs: { type: "string" },
        only: { type: "string" },
        quick: { type: "boolean", default: false },
        growth: { type: "boolean", default: false },
        "files-max": { type: "string", default: "1000000" },
        volume: { type: "string", default: "ext4" },
        seed: { type: "string", default: "1" },
        dir: { type: "string", default: tmpdir() },
        "drop-caches": { type: "boolean", default: false },
        "no-install": { type: "boolean", default: false },
        write: { type: "boolean", default: false },
        "no-write": { type: "boolean", default: false },
        json: { type: "string" },
        help: { type: "boolean", default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= least && value <= most) return value;
  throw new UsageError(`${name}: "${text}" is no whole number from ${least} to ${most}`);
}

function rowsOf(text: string | undefined, ids: readonly string[]): readonly string[] | undefined {
  if (text === undefined) return undefined;
  const wanted = text.split(",").map((id) => id.trim());
  const unknown = wanted.find((id) => !ids.includes(id));
  if (unknown === undefined) return wanted;
  throw new UsageError(`--only: there is no row "${unknown}"; there are ${ids.join(", ")}`);
}

function volumeOf(text: string): VolumeKind {
  if (text === "ext4" || text === "fat32") return text;
  throw new UsageError(`--volume: "${text}" is neither ext4 nor fat32`);
}
