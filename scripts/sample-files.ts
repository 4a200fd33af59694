/**
 * Makes a folder of files for the demo and the benchmark: the same names and bytes for the same
 * numbers, on every machine. Some text, some that does not compress; nested folders, long names and
 * names from beyond ASCII; a few large files and many small ones.
 *
 *   tsx scripts/sample-files.ts FOLDER --files 3000 --bytes 200M [--large 4] [--large-share 0.5]
 */
import { mkdir, open, utimes } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseSize } from "../src/cli/sizes.ts";

const POOL_BYTES = 8 * 1024 * 1024;
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
function noisePool(): Buffer {
  const random = randomSource(20_240_309);
  const words = new Uint32Array(POOL_BYTES / 4);
  for (let i = 0; i < words.length; i++) words[i] = random();
  return Buffer.from(words.buffer);
}

/** Text that compresses to about a third. */
function textPool(): Buffer {
  const random = randomSource(7);
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

async function writeSample(
  folder: string,
  sample: Sample,
  index: number,
  pool: Buffer,
): Promise<void> {
  const path = join(folder, sample.path);
  await mkdir(join(path, ".."), { recursive: true });
  const file = await open(path, "w");
  try {
    let at = (index * 1_299_709) % (POOL_BYTES / 2);
    for (let written = 0; written < sample.sizeBytes;) {
      const part = Math.min(sample.sizeBytes - written, POOL_BYTES - at);
      await file.write(pool, at, part);
      written += part;
      at = (at + part + 4096 * (index + 1)) % (POOL_BYTES / 2);
    }
  } finally {
    await file.close();
  }
  const time = FIRST_TIME_S + index * 60;
  await utimes(path, time, time);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    files: { type: "string", default: "3000" },
    bytes: { type: "string", default: "200M" },
    large: { type: "string", default: "4" },
    "large-share": { type: "string", default: "0.5" },
  },
});
const [folder] = positionals;
if (folder === undefined) throw new Error("which folder?");
const noise = noisePool();
const text = textPool();
let index = 0;
for (const sample of samples(
  Number(values.files),
  parseSize(values.bytes, "--bytes"),
  Number(values.large),
  Number(values["large-share"]),
)) {
  await writeSample(folder, sample, index++, sample.text ? text : noise);
}
