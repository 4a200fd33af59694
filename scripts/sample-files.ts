/**
 * Makes a folder of files for the demo and the benchmark: the same names and bytes for the same
 * numbers, on every machine. Some text, some that does not compress; nested folders, long names and
 * names from beyond ASCII; a few large files and many small ones.
 *
 * Files are put together of short pieces of two pools in random order: no long stretch is there
 * twice, which programs that store equal stretches once would find.
 *
 *   tsx scripts/sample-files.ts FOLDER --files 3000 --bytes 200M [--large 4] [--large-share 0.5]
 *                                      [--seed 0]
 */
import { closeSync, mkdirSync, openSync, utimesSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { parseSize } from "../src/cli/sizes.ts";

const POOL_BYTES = 8 * 1024 * 1024;
const PIECE_BYTES = 16 * 1024;
const WRITE_BYTES = 1024 * 1024;
const FILES_PER_FOLDER = 64;
/** 2024-03-09 12:00 UTC: an even second, as FAT keeps them. */
const FIRST_TIME_S = 1_709_985_600;

const FOLDERS = ["Photos", "Letters", "Projekte – Entwürfe", "音楽", "Archive of the years before"];
const WORDS =
  "the tape moves only when a file is read and every record says what it is so that nothing is lost".split(
    " ",
  );

/** Marsaglia's xorshift32: short, fast, and the same everywhere. */
function randomSource(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>>= 0);
  };
}

/** Bytes that do not compress. */
function noisePool(seed: number): Buffer {
  const random = randomSource(20_240_309 + seed);
  const words = new Uint32Array(POOL_BYTES / 4);
  for (let i = 0; i < words.length; i++) words[i] = random();
  return Buffer.from(words.buffer);
}

/** Text that compresses to about a third. */
function textPool(seed: number): Buffer {
  const random = randomSource(7 + seed);
  const parts: string[] = [];
  for (let length = 0; length < POOL_BYTES;) {
    const line = `${random()} ${WORDS[random() % WORDS.length] ?? ""} ${WORDS[random() % WORDS.length] ?? ""}\n`;
    parts.push(line);
    length += line.length;
  }
  return Buffer.from(parts.join("")).subarray(0, POOL_BYTES);
}

interface Sample {
  readonly path: string;
  readonly sizeBytes: number;
  readonly text: boolean;
}

function* samples(
  files: number,
  bytes: number,
  large: number,
  largeShare: number,
): Generator<Sample> {
  const random = randomSource(files);
  for (let i = 0; i < large; i++) {
    const sizeBytes = Math.floor((bytes * largeShare) / large) + i * 4099;
    yield { path: join("Films", `film ${i + 1}.bin`), sizeBytes, text: i % 2 === 1 };
  }
  const average = (bytes * (1 - largeShare)) / Math.max(1, files - large);
  for (let i = large; i < files; i++) {
    const number = Math.floor(i / FILES_PER_FOLDER);
    const top = FOLDERS[number % FOLDERS.length] ?? "";
    const folder = join(top, `${2000 + (number % 25)}`, `part ${Math.floor(number / 125) + 1}`);
    const kind = i % 3;
    const name =
      kind === 0
        ? `IMG_${String(i).padStart(5, "0")}.JPG`
        : kind === 1
          ? `A letter with a rather long name, number ${i}.txt`
          : `Lied №${i} – für Oma.ogg`;
    // From nothing to twice the average, with every sixteenth file empty or tiny.
    const scale = i % 16 === 0 ? random() % 3 : (random() % 2000) / 1000;
    const sizeBytes = i % 16 === 0 ? scale * 7 : Math.floor(average * scale);
    yield { path: join(folder, name), sizeBytes, text: kind === 1 };
  }
}

const buffer = Buffer.alloc(WRITE_BYTES);

/** Fills the start of the buffer with pieces of the pool. */
function fill(length: number, pool: Buffer, random: () => number): void {
  for (let at = 0; at < length; at += PIECE_BYTES) {
    const from = random() % (POOL_BYTES - PIECE_BYTES);
    pool.copy(buffer, at, from, from + Math.min(PIECE_BYTES, length - at));
  }
}

function writeSample(path: string, sizeBytes: number, pool: Buffer, random: () => number): void {
  const file = openSync(path, "w");
  try {
    for (let rest = sizeBytes; rest > 0;) {
      const length = Math.min(rest, WRITE_BYTES);
      fill(length, pool, random);
      rest -= writeSync(file, buffer, 0, length);
    }
  } finally {
    closeSync(file);
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    files: { type: "string", default: "3000" },
    bytes: { type: "string", default: "200M" },
    large: { type: "string", default: "4" },
    "large-share": { type: "string", default: "0.5" },
    seed: { type: "string", default: "0" },
  },
});
const [folder] = positionals;
if (folder === undefined) throw new Error("which folder?");
const seed = Number(values.seed);
const noise = noisePool(seed);
const text = textPool(seed);
const random = randomSource(seed + 1);
let made: string | undefined;
let index = 0;
for (const { path, sizeBytes, text: isText } of samples(
  Number(values.files),
  parseSize(values.bytes, "--bytes"),
  Number(values.large),
  Number(values["large-share"]),
)) {
  const place = join(folder, path);
  const parent = dirname(place);
  if (parent !== made) mkdirSync(parent, { recursive: true });
  made = parent;
  writeSample(place, sizeBytes, isText ? text : noise, random);
  const time = FIRST_TIME_S + index++ * 60;
  utimesSync(place, time, time);
}
