/**
 * The corpus: volumes and tapes that nobody in this project made. It is not part of the project;
 * it is looked for beside the checkout, or where REELFS_CORPUS says.
 */
import { createReadStream, existsSync, readFileSync } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createGunzip } from "node:zlib";

const ROOT = process.env["REELFS_CORPUS"] ?? join(import.meta.dirname, "../../../shared/corpus");
const BLOCK_BYTES = 64 * 1024;
const HEX_DUMP = /\.(xxd|fsck)$/;

export const NO_CORPUS = `no corpus at ${ROOT}; REELFS_CORPUS can name one`;

export interface CorpusFile {
  /** Relative to the corpus: "dosfstools+dosfstools/tests/referenceFAT16.xxd". */
  readonly path: string;
  /** What a throw-away parser made of it: "262144000 B: FAT16 bps=512 ...". A hint. */
  readonly what: string;
  /** What a checker said of it: "fsck.fat -n rc=0". */
  readonly oracle: string;
}

export function hasCorpus(): boolean {
  return existsSync(join(ROOT, "MANIFEST.md"));
}

/** The files in the corpus' table of contents; none when there is no corpus. */
export function corpusFiles(): CorpusFile[] {
  if (!hasCorpus()) return [];
  const files: CorpusFile[] = [];
  let folder = "";
  for (const line of readFileSync(join(ROOT, "MANIFEST.md"), "utf8").split("\n")) {
    if (line.startsWith("## ")) folder = line.slice(3).trim();
    const cells = line.split(" | ");
    const [first = "", size = "", , what = "", oracle = ""] = cells;
    if (!/^\d+$/.test(size)) continue;
    const path = join(folder, first.replace(/^\| /, ""));
    files.push({ path, what, oracle: oracle.replace(/ *\|$/, "") });
  }
  return files;
}

/**
 * Unpacks a corpus file (.gz, hex dumps .xxd and .fsck, others as they are) into a sparse file,
 * hands its path to `use`, and removes it afterwards.
 */
export async function withCorpusFile<T>(
  path: string,
  use: (path: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "reelfs-corpus-"));
  try {
    const target = join(folder, basename(path).replace(/\.gz$/, ""));
    const handle = await open(target, "w");
    try {
      if (HEX_DUMP.test(path)) await unpackHexDump(join(ROOT, path), handle);
      else await unpackBytes(join(ROOT, path), handle);
    } finally {
      await handle.close();
    }
    return await use(target);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** As `xxd -r`: each line's bytes go to the offset at its start; what is left out stays zero. */
async function unpackHexDump(source: string, target: FileHandle): Promise<void> {
  for (const line of readFileSync(source, "utf8").split("\n")) {
    const match = /^([0-9a-f]+): ((?:[0-9a-f]{2,4} )+)/.exec(line);
    if (match === null) continue;
    const [, offset = "0", digits = ""] = match;
    const bytes = Buffer.from(digits.replaceAll(" ", ""), "hex");
    await target.write(bytes, 0, bytes.length, Number.parseInt(offset, 16));
  }
}

async function unpackBytes(source: string, target: FileHandle): Promise<void> {
  const raw = createReadStream(source, { highWaterMark: BLOCK_BYTES });
  const contents = source.endsWith(".gz")
    ? raw.pipe(createGunzip({ chunkSize: BLOCK_BYTES }))
    : raw;
  const zeros = Buffer.alloc(BLOCK_BYTES);
  let offset = 0;
  for await (const chunk of contents as AsyncIterable<Buffer>) {
    const isZero = chunk.equals(zeros.subarray(0, chunk.length));
    if (!isZero) await target.write(chunk, 0, chunk.length, offset);
    offset += chunk.length;
  }
  await target.truncate(offset);
}
