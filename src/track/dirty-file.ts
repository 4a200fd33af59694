/**
 * The bitmap between two runs of the tracker: a file that is read and removed when the tracker
 * starts, and written when it stops cleanly. So the file is there only while nobody tracks, and says
 * what has changed since an image was made only as long as nobody else has written to the source:
 * size, inode and times of the source are kept with it.
 *
 *     header, 128 bytes   see AT; all numbers little-endian
 *     bits                a bit a block, the lowest first; whole words of four bytes
 *     CRC-32C             of all before it, 4 bytes
 *
 * Whatever is not as it should be is a doubt, and a doubt means that everything has changed. A
 * block device has no times that its writes would change, so nothing can be known of it.
 */
import { constants } from "node:fs";
import { open, rename, rm, stat, unlink } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { crc32c } from "@node-rs/crc32";
import { syncDirectory } from "../device/sync-directory.ts";
import { fromSystem, isReelError, ReelError } from "../errors.ts";
import { DirtyBitmap } from "./dirty-bitmap.ts";

const MAGIC = "REELDIRT";
const VERSION = 1;
const HEADER_BYTES = 128;
const CRC_BYTES = 4;
const AT = {
  magic: 0,
  version: 8,
  blockSize: 12,
  volumeSize: 16,
  image: 24,
  savedMs: 40,
  sourceInode: 48,
  sourceSize: 56,
  sourceModifiedNs: 64,
  sourceChangedNs: 72,
} as const;
const UUID_BYTES = 16;
const PRIVATE_MODE = 0o600;
/** File times advance in steps: a change within one step of another does not show. */
const TIME_STEP_MS = 20;

/** By which a source is known to be as it was left. */
export interface SourceFacts {
  readonly isBlockDevice: boolean;
  readonly inode: bigint;
  readonly sizeBytes: bigint;
  readonly modifiedNs: bigint;
  readonly changedNs: bigint;
}

export interface SavedDirt {
  readonly bitmap: DirtyBitmap;
  /** UUID of the image since which the blocks have changed. */
  readonly image: string;
  readonly savedMs: number;
}

/** @throws ReelError as stat(2) */
export async function sourceFacts(path: string): Promise<SourceFacts> {
  try {
    const found = await stat(path, { bigint: true });
    return {
      isBlockDevice: found.isBlockDevice(),
      inode: found.ino,
      sizeBytes: found.size,
      modifiedNs: found.mtimeNs,
      changedNs: found.ctimeNs,
    };
  } catch (error) {
    throw fromSystem(error, `cannot look at ${path}`);
  }
}

/** The facts when a change after them is sure to show in the times. */
async function settledFacts(path: string): Promise<SourceFacts> {
  for (;;) {
    const facts = await sourceFacts(path);
    const ageMs = Date.now() - Number(facts.changedNs / 1_000_000n);
    // A time in the future is a clock that was set back: waiting for it would help nobody.
    if (ageMs > TIME_STEP_MS || ageMs < 0) return facts;
    await delay(TIME_STEP_MS);
  }
}

/**
 * Reads what was saved for a source, and removes it, lastingly: from now on it would be wrong.
 *
 * @returns what was saved, or in words why it cannot be trusted
 * @throws ReelError when the file is there and cannot be removed
 */
export async function takeDirt(
  path: string,
  volumeBytes: number,
  source: SourceFacts,
): Promise<SavedDirt | { readonly doubt: string }> {
  const bytes = await readBounded(path, volumeBytes);
  if (bytes === undefined) return { doubt: "nothing was saved by an earlier run" };
  try {
    await unlink(path);
    await syncDirectory(dirname(path));
  } catch (error) {
    throw fromSystem(error, `cannot remove ${path}, which would be wrong from now on`);
  }
  try {
    return decodeDirt(bytes, volumeBytes, source);
  } catch (error) {
    if (!isReelError(error, "damaged")) throw error;
    return { doubt: `${path} ${error.message}` };
  }
}

/** Undefined when there is no file; empty when it cannot be what we wrote. */
async function readBounded(path: string, volumeBytes: number): Promise<Buffer | undefined> {
  const expectedBytes = HEADER_BYTES + new DirtyBitmap(volumeBytes).bytes.length + CRC_BYTES;
  try {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    await using file = await open(path, flags);
    const found = await file.stat();
    if (!found.isFile() || found.size !== expectedBytes) return Buffer.alloc(0);
    return await file.readFile();
  } catch (error) {
    const reason = fromSystem(error, `cannot read ${path}`);
    if (reason.code === "not-found") return undefined;
    throw reason;
  }
}

function decodeDirt(bytes: Buffer, volumeBytes: number, source: SourceFacts): SavedDirt {
  const doubt = (why: string): ReelError => new ReelError("damaged", why);
  if (bytes.length < HEADER_BYTES + CRC_BYTES) throw doubt("has another size than it should");
  const end = bytes.length - CRC_BYTES;
  if (bytes.toString("latin1", AT.magic, AT.version) !== MAGIC) throw doubt("is no saved bitmap");
  if (crc32c(bytes.subarray(0, end)) !== bytes.readUInt32LE(end)) throw doubt("is damaged");
  if (bytes.readUInt32LE(AT.version) !== VERSION) throw doubt("is of another version");
  const bitmap = new DirtyBitmap(volumeBytes);
  if (
    bytes.readBigUInt64LE(AT.volumeSize) !== BigInt(volumeBytes) ||
    bytes.readUInt32LE(AT.blockSize) !== bitmap.blockSizeBytes
  ) {
    throw doubt("is of a volume of another size");
  }
  if (source.isBlockDevice) throw doubt("is of a device, which may have been written meanwhile");
  if (
    bytes.readBigUInt64LE(AT.sourceInode) !== source.inode ||
    bytes.readBigUInt64LE(AT.sourceSize) !== source.sizeBytes ||
    bytes.readBigUInt64LE(AT.sourceModifiedNs) !== source.modifiedNs ||
    bytes.readBigUInt64LE(AT.sourceChangedNs) !== source.changedNs
  ) {
    throw doubt("is of another state of the volume: it was changed while nobody tracked it");
  }
  bytes.copy(bitmap.bytes, 0, HEADER_BYTES, end);
  return {
    bitmap,
    image: uuidOf(bytes.subarray(AT.image, AT.image + UUID_BYTES)),
    savedMs: Number(bytes.readBigUInt64LE(AT.savedMs)),
  };
}

/**
 * Saves a bitmap for a source that was flushed and closed: written beside, synced, renamed.
 *
 * @throws ReelError when it cannot be written; nothing is there then
 */
export async function saveDirt(
  path: string,
  sourcePath: string,
  dirt: { readonly bitmap: DirtyBitmap; readonly image: string },
): Promise<void> {
  const source = await settledFacts(sourcePath);
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MAGIC, AT.magic, "latin1");
  header.writeUInt32LE(VERSION, AT.version);
  header.writeUInt32LE(dirt.bitmap.blockSizeBytes, AT.blockSize);
  header.writeBigUInt64LE(BigInt(dirt.bitmap.volumeBytes), AT.volumeSize);
  Buffer.from(dirt.image.replaceAll("-", ""), "hex").copy(header, AT.image, 0, UUID_BYTES);
  header.writeBigUInt64LE(BigInt(Date.now()), AT.savedMs);
  header.writeBigUInt64LE(source.inode, AT.sourceInode);
  header.writeBigUInt64LE(source.sizeBytes, AT.sourceSize);
  header.writeBigUInt64LE(source.modifiedNs, AT.sourceModifiedNs);
  header.writeBigUInt64LE(source.changedNs, AT.sourceChangedNs);
  const bits = dirt.bitmap.bytes;
  const crc = Buffer.alloc(CRC_BYTES);
  crc.writeUInt32LE(crc32c(bits, crc32c(header)));
  const draft = `${path}.${process.pid}`;
  try {
    await rm(draft, { force: true });
    {
      await using file = await open(draft, "wx", PRIVATE_MODE);
      for (const part of [header, bits, crc]) await file.writeFile(part);
      await file.sync();
    }
    await rename(draft, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    await rm(draft, { force: true }).catch(() => undefined);
    throw fromSystem(error, `cannot save which blocks have changed in ${path}`);
  }
}

function uuidOf(bytes: Buffer): string {
  const hex = bytes.toString("hex");
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join("-");
}
