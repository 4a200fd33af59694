/** A look at the first objects of a file: could it be a tape of this format? */
import type { FileHandle } from "node:fs/promises";
import { readAll } from "../file-io.ts";
import {
  RECORD_BYTES_MAX,
  WORD_BYTES,
  dataBytes,
  hasTrailer,
  objectKind,
  objectSizeBytes,
} from "../simh-format.ts";
import { CHUNK_HEADER_BYTES, decodeChunkHeader } from "./aws-format.ts";
import { e11SizeBytes } from "./e11-container.ts";

/** Objects looked at. Records of odd length, which tell SIMH from E11, come early or hardly ever. */
const OBJECTS_MAX = 512;

export interface Probe {
  /** Records seen whole, with every word or link about them right. */
  readonly records: number;
  /** Nothing was wrong as far as it was looked at. */
  readonly holds: boolean;
}

async function bytesAt(handle: FileHandle, atBytes: number, buffer: Buffer): Promise<boolean> {
  return (await readAll(handle, [buffer], atBytes, buffer.length)) === buffer.length;
}

/** As a tape of words: every record has the same word before and behind it. */
export async function probeWords(
  handle: FileHandle,
  sizeBytes: number,
  format: "simh" | "e11",
): Promise<Probe> {
  const word = Buffer.alloc(WORD_BYTES);
  let records = 0;
  let atBytes = 0;
  for (let objects = 0; objects < OBJECTS_MAX && atBytes < sizeBytes; objects++) {
    if (!(await bytesAt(handle, atBytes, word))) return { records, holds: false };
    const opening = word.readUInt32LE(0);
    const kind = objectKind(opening);
    if (kind === "end-of-medium") break;
    if (kind === "illegal") return { records, holds: false };
    const endBytes = atBytes + (format === "e11" ? e11SizeBytes : objectSizeBytes)(opening);
    if (hasTrailer(opening)) {
      const fits = endBytes <= sizeBytes && dataBytes(opening) <= RECORD_BYTES_MAX;
      if (!fits || !(await bytesAt(handle, endBytes - WORD_BYTES, word))) {
        return { records, holds: false };
      }
      if (word.readUInt32LE(0) !== opening) return { records, holds: false };
      if (kind === "record") records += 1;
    }
    atBytes = endBytes;
  }
  return { records, holds: true };
}

/** As a tape of chunks: every header names the length of the chunk before it. */
export async function probeChunks(
  handle: FileHandle,
  sizeBytes: number,
): Promise<Probe & { readonly packed: boolean }> {
  const bytes = Buffer.alloc(CHUNK_HEADER_BYTES);
  let records = 0;
  let packed = false;
  let previousBytes = 0;
  let atBytes = 0;
  for (let chunks = 0; chunks < OBJECTS_MAX && atBytes < sizeBytes; chunks++) {
    const header = (await bytesAt(handle, atBytes, bytes)) ? decodeChunkHeader(bytes) : "cut";
    if (typeof header === "string" || header.previousBytes !== previousBytes) {
      return { records, packed, holds: false };
    }
    atBytes += CHUNK_HEADER_BYTES + header.lengthBytes;
    const isEmpty = header.kind === "data" && header.lengthBytes === 0;
    if (atBytes > sizeBytes || isEmpty) return { records, packed, holds: false };
    previousBytes = header.lengthBytes;
    if (header.compression !== "none") packed = true;
    if (header.kind === "data" && header.last) records += 1;
  }
  return { records, packed, holds: true };
}
