/**
 * `NAME.tap.idx`: the index of a tape beside it, a cache and nothing more. It counts only for the
 * very file it was made from (size and time of change), with its checksum right and its last object
 * where it says; else it is as if it were not there. Layout in docs/formats/tap.md.
 */
import { crc32c } from "@node-rs/crc32";
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { open, rename, rm, type FileHandle } from "node:fs/promises";
import { readAll, writeAll } from "./file-io.ts";
import { FRAME_BYTES, WORD_BYTES, hasTrailer, objectKind, objectSizeBytes } from "./simh-format.ts";
import { NumberList, type TapeIndex } from "./tape-index.ts";

/** Little-endian, all of it. */
const HEADER = {
  magic: 0,
  version: 8,
  headerCrc: 12,
  tapeSizeBytes: 16,
  tapeModifiedNs: 24,
  objects: 32,
  skips: 40,
  endBytes: 48,
  bodyCrc: 56,
} as const;
const HEADER_BYTES = 64;
const MAGIC = Buffer.from("REELTIDX", "latin1");
const VERSION = 1;
/** A skip: object number and bytes, 64 bits each. */
const SKIP_BYTES = 16;
/**
 * A tape of fewer records is scanned faster than its index is read. What looks like filemarks does
 * not count: any file that begins with zeros does, and need be no tape.
 */
const RECORDS_MIN = 64;
/** Read and summed at once, so that the event loop is never held up. */
const CHUNK_BYTES = 256 * 1024;
const SKIPS_PER_CHUNK = CHUNK_BYTES / SKIP_BYTES;

/** Which state of a tape file an index describes. */
export interface TapeStamp {
  readonly sizeBytes: bigint;
  readonly modifiedNs: bigint;
}

export async function stampOf(tape: FileHandle): Promise<TapeStamp> {
  const stats = await tape.stat({ bigint: true });
  return { sizeBytes: stats.size, modifiedNs: stats.mtimeNs };
}

function indexPath(tapePath: string): string {
  return `${tapePath}.idx`;
}

/** Fills `index` from the file beside the tape; false (and an empty index) where it cannot. */
export async function loadIndexFile(
  tapePath: string,
  tape: FileHandle,
  index: TapeIndex,
): Promise<boolean> {
  try {
    // Not blocking, so that a pipe in its place is not waited for.
    const flags = constants.O_RDONLY | constants.O_NONBLOCK;
    await using file = await open(indexPath(tapePath), flags);
    if (await load(file, tape, index)) return true;
  } catch {
    // Missing, unreadable or nonsense: the tape itself is scanned.
  }
  index.truncate(0);
  return false;
}

/** Writes the index beside the tape. That it cannot be written harms nobody. */
export async function saveIndexFile(
  tapePath: string,
  stamp: TapeStamp,
  index: TapeIndex,
): Promise<void> {
  if (index.count - index.filemarkCount < RECORDS_MIN) return;
  const path = indexPath(tapePath);
  const draft = `${path}.${process.pid}.${randomBytes(4).toString("hex")}`;
  try {
    await using file = await open(draft, "wx");
    await save(file, stamp, index);
    await file.datasync();
    await rename(draft, path);
  } catch {
    await rm(draft, { force: true }).catch(() => undefined);
  }
}

/** The tape is about to change: its index is of no more use. */
export async function removeIndexFile(tapePath: string): Promise<void> {
  await rm(indexPath(tapePath), { force: true }).catch(() => undefined);
}

async function save(file: FileHandle, stamp: TapeStamp, index: TapeIndex): Promise<void> {
  let bodyCrc = 0;
  let atBytes = HEADER_BYTES;
  const put = async (chunk: Uint8Array): Promise<void> => {
    bodyCrc = crc32c(chunk, bodyCrc);
    await writeAll(file, [chunk], atBytes);
    atBytes += chunk.length;
  };
  for (let first = 0; first < index.skipCount; first += SKIPS_PER_CHUNK) {
    const count = Math.min(SKIPS_PER_CHUNK, index.skipCount - first);
    const chunk = Buffer.alloc(count * SKIP_BYTES);
    for (let each = 0; each < count; each++) {
      const [object, bytes] = index.skipAt(first + each);
      chunk.writeBigUInt64LE(BigInt(object), each * SKIP_BYTES);
      chunk.writeBigUInt64LE(BigInt(bytes), each * SKIP_BYTES + 8);
    }
    await put(chunk);
  }
  for (let object = 0; object < index.count;) {
    const words = index.wordRun(object);
    const chunk = Buffer.alloc(words.length * WORD_BYTES);
    words.forEach((word, each) => chunk.writeUInt32LE(word, each * WORD_BYTES));
    await put(chunk);
    object += words.length;
  }
  await writeAll(file, [encodeHeader(stamp, index, bodyCrc)], 0);
}

function encodeHeader(stamp: TapeStamp, index: TapeIndex, bodyCrc: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header, HEADER.magic);
  header.writeUInt32LE(VERSION, HEADER.version);
  header.writeBigUInt64LE(stamp.sizeBytes, HEADER.tapeSizeBytes);
  header.writeBigInt64LE(stamp.modifiedNs, HEADER.tapeModifiedNs);
  header.writeBigUInt64LE(BigInt(index.count), HEADER.objects);
  header.writeBigUInt64LE(BigInt(index.skipCount), HEADER.skips);
  header.writeBigUInt64LE(BigInt(index.endBytes), HEADER.endBytes);
  header.writeUInt32LE(bodyCrc, HEADER.bodyCrc);
  header.writeUInt32LE(crc32c(header), HEADER.headerCrc);
  return header;
}

/** True where the header is whole and made for this very tape. */
function headerIsFor(header: Buffer, stamp: TapeStamp): boolean {
  const crc = header.readUInt32LE(HEADER.headerCrc);
  const summed = Buffer.from(header);
  summed.writeUInt32LE(0, HEADER.headerCrc);
  return (
    header.subarray(0, MAGIC.length).equals(MAGIC) &&
    header.readUInt32LE(HEADER.version) === VERSION &&
    crc32c(summed) === crc &&
    header.readBigUInt64LE(HEADER.tapeSizeBytes) === stamp.sizeBytes &&
    header.readBigInt64LE(HEADER.tapeModifiedNs) === stamp.modifiedNs
  );
}

async function load(file: FileHandle, tape: FileHandle, index: TapeIndex): Promise<boolean> {
  const stamp = await stampOf(tape);
  const header = Buffer.alloc(HEADER_BYTES);
  if ((await readAll(file, [header], 0, HEADER_BYTES)) < HEADER_BYTES) return false;
  if (!headerIsFor(header, stamp)) return false;
  const objects = Number(header.readBigUInt64LE(HEADER.objects));
  const skips = Number(header.readBigUInt64LE(HEADER.skips));
  const wordsAt = HEADER_BYTES + skips * SKIP_BYTES;
  const endAt = wordsAt + objects * WORD_BYTES;
  const { size } = await file.stat();
  if (objects === 0 || size !== endAt) return false;
  let bodyCrc = 0;
  const pending = new SkipList();
  for await (const chunk of chunks(file, HEADER_BYTES, wordsAt)) {
    bodyCrc = crc32c(chunk, bodyCrc);
    if (!pending.add(chunk)) return false;
  }
  for await (const chunk of chunks(file, wordsAt, endAt)) {
    bodyCrc = crc32c(chunk, bodyCrc);
    if (!appendWords(index, chunk, pending)) return false;
  }
  return (
    bodyCrc === header.readUInt32LE(HEADER.bodyCrc) &&
    index.skipCount === skips &&
    BigInt(index.endBytes) === header.readBigUInt64LE(HEADER.endBytes) &&
    BigInt(index.endBytes) <= stamp.sizeBytes &&
    (await lastObjectIsThere(tape, index))
  );
}

/** The bytes of [from, to), in chunks that are reused. */
async function* chunks(
  file: FileHandle,
  fromBytes: number,
  toBytes: number,
): AsyncGenerator<Buffer> {
  const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, toBytes - fromBytes));
  for (let atBytes = fromBytes; atBytes < toBytes; atBytes += chunk.length) {
    const part = chunk.subarray(0, Math.min(chunk.length, toBytes - atBytes));
    if ((await readAll(file, [part], atBytes, part.length)) < part.length) return;
    yield part;
  }
}

/** The skips of an index file, handed out as their objects come along. */
class SkipList {
  readonly #objects = new NumberList();
  readonly #bytes = new NumberList();
  #next = 0;

  add(chunk: Buffer): boolean {
    for (let at = 0; at < chunk.length; at += SKIP_BYTES) {
      const bytes = chunk.readBigUInt64LE(at + 8);
      if (bytes === 0n || bytes > BigInt(Number.MAX_SAFE_INTEGER)) return false;
      this.#objects.push(Number(chunk.readBigUInt64LE(at)));
      this.#bytes.push(Number(bytes));
    }
    return true;
  }

  /** Uncounted bytes in front of the object. */
  take(object: number): number {
    if (this.#next === this.#objects.length || this.#objects.at(this.#next) !== object) return 0;
    this.#next += 1;
    return this.#bytes.at(this.#next - 1);
  }
}

function appendWords(index: TapeIndex, chunk: Buffer, skips: SkipList): boolean {
  for (let at = 0; at < chunk.length; at += WORD_BYTES) {
    const word = chunk.readUInt32LE(at);
    const kind = objectKind(word);
    if (kind !== "record" && kind !== "filemark") return false;
    index.append(word, skips.take(index.count));
  }
  return true;
}

async function lastObjectIsThere(tape: FileHandle, index: TapeIndex): Promise<boolean> {
  const word = index.word(index.count - 1);
  const sizeBytes = objectSizeBytes(word);
  const words = Buffer.alloc(FRAME_BYTES);
  const first = words.subarray(0, WORD_BYTES);
  const last = words.subarray(WORD_BYTES);
  const startBytes = index.endBytes - sizeBytes;
  const read =
    (await readAll(tape, [first], startBytes, WORD_BYTES)) +
    (await readAll(tape, [last], index.endBytes - WORD_BYTES, WORD_BYTES));
  if (read < FRAME_BYTES || first.readUInt32LE(0) !== word) return false;
  return !hasTrailer(word) || last.readUInt32LE(0) === word;
}
