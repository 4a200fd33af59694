/**
 * One record, packed and unpacked: compression, checksums, frame. Pure and synchronous, so that a
 * worker thread and a test call the same code.
 */
import { crc32c } from "@node-rs/crc32";
import xxhash from "xxhash-addon";
import zstd from "zstd-napi/binding.js";
import { ReelError } from "../errors.ts";
import { CODEC_ID, readFrame, sealFrame, uuidText, type Frame } from "./frame.ts";

/** Length of a chunk checksum: XXH3, 128 bits, in its canonical big-endian form. */
export const CHECKSUM_BYTES = 16;

export interface EncodeJob {
  /** Frame as `writeFrame` left it. */
  readonly frame: Buffer;
  readonly raw: Buffer;
  /** Room for the compressed form; what does not fit is kept raw. */
  readonly out: Buffer;
  readonly codec: number;
  readonly level: number;
}

/**
 * Puts the checksum of each chunk into `checksums`, one after another; `chunks` are pairs of offset
 * and length in `memory`.
 */
export function hashChunks(memory: Buffer, chunks: readonly number[], checksums: Buffer): void {
  for (let i = 0; i < chunks.length; i += 2) {
    const at = chunks[i] ?? 0;
    const chunk = memory.subarray(at, at + (chunks[i + 1] ?? 0));
    hashChunk(chunk).copy(checksums, (i / 2) * CHECKSUM_BYTES);
  }
}

/** The checksum of a chunk. */
export function hashChunk(chunk: Buffer): Buffer {
  return xxhash.XXHash128.hash(chunk);
}

const compressors = new Map<number, zstd.CCtx>();
const decompressor = new zstd.DCtx();

function compressorOf(level: number): zstd.CCtx {
  let compressor = compressors.get(level);
  if (compressor === undefined) {
    compressor = new zstd.CCtx();
    compressor.setParameter(zstd.CParameter.compressionLevel, level);
    compressors.set(level, compressor);
  }
  return compressor;
}

/** Compresses where that helps, checksums and seals. Returns what to store: `out`'s head or `raw`. */
export function encodeRecord(job: EncodeJob): { codec: number; length: number } {
  const compressed = job.codec === CODEC_ID.zstd ? tryCompress(job) : 0;
  const codec = compressed > 0 ? job.codec : CODEC_ID.none;
  const stored = compressed > 0 ? job.out.subarray(0, compressed) : job.raw;
  const rawCrc = crc32c(job.raw);
  const storedCrc = compressed > 0 ? crc32c(stored) : rawCrc;
  const storedLength = stored.length;
  sealFrame(job.frame, job.frame.length, { codec, storedLength, storedCrc, rawCrc });
  return { codec, length: storedLength };
}

/** Compressed length, or 0 where compression does not make it smaller. */
function tryCompress(job: EncodeJob): number {
  if (job.raw.length === 0) return 0;
  const length = compressorOf(job.level).compress2(job.out, job.raw);
  return length < job.raw.length ? length : 0;
}

export interface RecordIdentity {
  readonly uuid: Uint8Array;
  readonly record: number;
}

/**
 * Verifies one record as it came from the tape and puts its raw contents into `target`.
 *
 * @param stored the whole record: frame and payload.
 * @returns the record's frame; `frame.rawLength` bytes of `target` are its contents.
 * @throws ReelError "damaged" when anything does not match; `target` may then hold anything.
 */
export function decodeRecord(
  stored: Buffer,
  expected: RecordIdentity | undefined,
  target: Buffer,
  where: string,
): Frame {
  const frame = readFrame(stored, stored.length, where);
  if (expected !== undefined) checkIdentity(frame, expected, where);
  if (frame.rawLength > target.length) {
    throw new ReelError(
      "damaged",
      `${where}: ${frame.rawLength} bytes are more than a record holds`,
    );
  }
  const payload = stored.subarray(frame.frameLength);
  unpack(frame, payload, target, where);
  if (crc32c(target.subarray(0, frame.rawLength)) !== frame.rawCrc) {
    throw new ReelError("damaged", `${where}: the checksum of its contents does not match`);
  }
  return frame;
}

function unpack(frame: Frame, payload: Buffer, target: Buffer, where: string): void {
  if (frame.codec === CODEC_ID.none) {
    if (payload.length !== frame.rawLength) {
      throw new ReelError("damaged", `${where}: stored and raw length differ`);
    }
    target.set(payload);
    return;
  }
  if (frame.codec !== CODEC_ID.zstd) {
    throw new ReelError("unsupported", `${where}: codec ${frame.codec} is not known`);
  }
  let length: number;
  try {
    length = decompressor.decompress(target.subarray(0, frame.rawLength), payload);
  } catch (error) {
    throw new ReelError("damaged", `${where}: it does not decompress`, { cause: error });
  }
  if (length !== frame.rawLength) {
    throw new ReelError("damaged", `${where}: it decompresses to ${length} bytes`);
  }
}

/** @throws ReelError "damaged" when the record belongs to another image or another place. */
export function checkIdentity(frame: Frame, expected: RecordIdentity, where: string): void {
  if (!Buffer.from(frame.uuid).equals(expected.uuid)) {
    throw new ReelError("damaged", `${where}: it belongs to image ${uuidText(frame.uuid)}`);
  }
  if (frame.record !== expected.record) {
    throw new ReelError("damaged", `${where}: record ${frame.record} lies in its place`);
  }
}
