/**
 * Files inside WIM images that wimlib made: compressed in the very form that Windows gives files
 * (chunk table and chunks), by an implementation that is not ours.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

export const NO_WIMLIB = "wimlib-imagex (package wimtools) is not installed";

export function hasWimlib(): boolean {
  const folders = (process.env["PATH"] ?? "").split(":");
  return folders.some((folder) => existsSync(join(folder, "wimlib-imagex")));
}

const HEADER = { lookupTable: 48 } as const;
/** A resource: its size in the WIM (7 bytes), flags, its place, its uncompressed size. */
const RESOURCE = { sizeBytes: 0, flags: 7, offset: 8, originalBytes: 16 } as const;
const ENTRY_BYTES = 50;
const ENTRY_SHA1 = 30;
const SHA1_BYTES = 20;
const FLAG_COMPRESSED = 4;

export interface WimOptions {
  /** "XPRESS", "LZX", with ":level" if wanted. */
  readonly compress: string;
  readonly chunkBytes: number;
}

/** Compresses each of `contents`; undefined for those that wimlib stores as they are. */
export async function compressWithWimlib(
  folder: string,
  contents: readonly Uint8Array[],
  { compress, chunkBytes }: WimOptions,
): Promise<(Uint8Array | undefined)[]> {
  const source = join(folder, "source");
  const wim = join(folder, "image.wim");
  await mkdir(source, { recursive: true });
  for (const [i, bytes] of contents.entries()) await writeFile(join(source, `file${i}`), bytes);
  const args = [`--compress=${compress}`, `--chunk-size=${chunkBytes}`, "--no-acls"];
  execFileSync("wimlib-imagex", ["capture", source, wim, ...args], { stdio: "ignore" });
  return resourcesOf(await readFile(wim), contents);
}

function resourcesOf(wim: Buffer, contents: readonly Uint8Array[]): (Uint8Array | undefined)[] {
  const table = resourceAt(wim, HEADER.lookupTable);
  const byHash = new Map<string, Uint8Array | undefined>();
  for (let at = 0; at + ENTRY_BYTES <= table.bytes.length; at += ENTRY_BYTES) {
    const { bytes, isCompressed } = resourceAt(wim, table.offset + at);
    const hash = table.bytes.subarray(at + ENTRY_SHA1, at + ENTRY_SHA1 + SHA1_BYTES);
    byHash.set(hash.toString("hex"), isCompressed ? bytes : undefined);
  }
  return contents.map((bytes) => byHash.get(createHash("sha1").update(bytes).digest("hex")));
}

function resourceAt(
  wim: Buffer,
  at: number,
): { offset: number; bytes: Buffer; isCompressed: boolean } {
  const sizeBytes = wim.readUIntLE(at + RESOURCE.sizeBytes, 6);
  const offset = Number(wim.readBigUInt64LE(at + RESOURCE.offset));
  const isCompressed = (wim.readUInt8(at + RESOURCE.flags) & FLAG_COMPRESSED) !== 0;
  return { offset, bytes: wim.subarray(offset, offset + sizeBytes), isCompressed };
}
