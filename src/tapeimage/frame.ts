/**
 * The frame in front of every record of an image: what the record is, whose, where it belongs, how
 * long, which logical blocks it holds, and the checksums that prove it. A record is readable alone;
 * a tape whose header was lost is rebuilt from its frames. Layout: docs/formats/image.md.
 */
import { crc32c } from "@node-rs/crc32";
import { ReelError } from "../errors.ts";
import { FORMAT_MAJOR, FORMAT_MINOR } from "./header.ts";
import { readVarint, varintBytes, writeVarint, type VarintCursor } from "./varint.ts";

export const RECORD_KIND = {
  header: 1,
  map: 2,
  control: 3,
  data: 4,
  checksums: 5,
  trailer: 6,
} as const;
export type RecordKind = (typeof RECORD_KIND)[keyof typeof RECORD_KIND];

export const CODEC_ID = { none: 0, zstd: 1 } as const;

/** Length of the fixed part; the run table follows it, then the payload. */
export const FRAME_BYTES = 96;
/** Longest run table a reader accepts: 8,192 single-block runs of 9 + 5 bytes is below this. */
export const RUN_TABLE_BYTES_MAX = 256 * 1024;
/** Largest raw payload: the largest record size a writer may choose. */
export const RAW_BYTES_MAX = 4 * 1024 * 1024;
/** Longest record of an image. */
export const RECORD_BYTES_MAX = FRAME_BYTES + RUN_TABLE_BYTES_MAX + RAW_BYTES_MAX;

/** The first bytes of every frame. */
export const FRAME_MAGIC = Buffer.from("REELFS\r\n", "latin1");

/** Offsets of the fixed part; all integers little-endian. */
const AT = {
  magic: 0,
  major: 8,
  minor: 9,
  kind: 10,
  codec: 11,
  flags: 12,
  uuid: 16,
  record: 32,
  firstItem: 40,
  rawLength: 48,
  storedLength: 52,
  storedCrc: 56,
  rawCrc: 60,
  blockSize: 64,
  recordSize: 68,
  sizeBytes: 72,
  runCount: 80,
  runTableLength: 84,
  reserved: 88,
  frameCrc: 92,
} as const;

/** What is the same in every frame of an image. */
export interface FrameIdentity {
  /** 16 bytes. */
  readonly uuid: Uint8Array;
  readonly blockSizeBytes: number;
  readonly recordSizeBytes: number;
  /** Size of the image seen as a device. */
  readonly sizeBytes: number;
}

export interface Frame extends FrameIdentity {
  readonly kind: RecordKind;
  readonly codec: number;
  /** Number of this record within the image, from 0. */
  readonly record: number;
  /** control, data: packed number of the first block; map: index of the first entry; else 0. */
  readonly firstItem: number;
  readonly rawLength: number;
  readonly storedLength: number;
  readonly storedCrc: number;
  readonly rawCrc: number;
  readonly runCount: number;
  /** Bytes before the payload: fixed part and run table. */
  readonly frameLength: number;
}

/** The logical runs in a control or data record, in packed order. */
export type Runs = readonly (readonly [start: number, count: number])[];

/** Bytes that `runs` will take in a frame. */
export function runTableBytes(runs: Runs): number {
  let bytes = 0;
  let end = 0;
  for (const [start, count] of runs) {
    bytes += varintBytes(start - end) + varintBytes(count);
    end = start + count;
  }
  return bytes;
}

/**
 * Writes a frame with its run table at the start of `target`, everything but what `sealFrame` fills
 * in once the payload is known. Returns the frame's length.
 */
export function writeFrame(
  target: Buffer,
  identity: FrameIdentity,
  record: { kind: RecordKind; record: number; firstItem: number; rawLength: number; runs: Runs },
): number {
  target.fill(0, 0, FRAME_BYTES);
  FRAME_MAGIC.copy(target, AT.magic);
  target[AT.major] = FORMAT_MAJOR;
  target[AT.minor] = FORMAT_MINOR;
  target[AT.kind] = record.kind;
  target.set(identity.uuid, AT.uuid);
  target.writeBigUInt64LE(BigInt(record.record), AT.record);
  target.writeBigUInt64LE(BigInt(record.firstItem), AT.firstItem);
  target.writeUInt32LE(record.rawLength, AT.rawLength);
  target.writeUInt32LE(identity.blockSizeBytes, AT.blockSize);
  target.writeUInt32LE(identity.recordSizeBytes, AT.recordSize);
  target.writeBigUInt64LE(BigInt(identity.sizeBytes), AT.sizeBytes);
  const cursor: VarintCursor = { bytes: target, at: FRAME_BYTES };
  let end = 0;
  for (const [start, count] of record.runs) {
    writeVarint(cursor, start - end);
    writeVarint(cursor, count);
    end = start + count;
  }
  target.writeUInt32LE(record.runs.length, AT.runCount);
  target.writeUInt32LE(cursor.at - FRAME_BYTES, AT.runTableLength);
  return cursor.at;
}

/** Fills in what depends on the payload, and the frame's own checksum. */
export function sealFrame(
  frame: Buffer,
  frameLength: number,
  payload: Pick<Frame, "codec" | "storedLength" | "storedCrc" | "rawCrc">,
): void {
  frame[AT.codec] = payload.codec;
  frame.writeUInt32LE(payload.storedLength, AT.storedLength);
  frame.writeUInt32LE(payload.storedCrc, AT.storedCrc);
  frame.writeUInt32LE(payload.rawCrc, AT.rawCrc);
  frame.writeUInt32LE(frameChecksum(frame, frameLength), AT.frameCrc);
}

/** CRC-32C over the frame without its last field, then the run table. */
function frameChecksum(frame: Buffer, frameLength: number): number {
  const fixed = crc32c(frame.subarray(0, AT.frameCrc));
  if (frameLength === FRAME_BYTES) return fixed;
  return crc32c(frame.subarray(FRAME_BYTES, frameLength), fixed);
}

/** True when the bytes begin as a record of an image does, whatever its version or state. */
export function hasFrameMagic(bytes: Uint8Array): boolean {
  return bytes.length >= FRAME_BYTES && FRAME_MAGIC.equals(bytes.subarray(0, FRAME_MAGIC.length));
}

export interface FrameClaims extends Pick<Frame, "frameLength" | "kind" | "uuid"> {
  readonly recordLength: number;
}

/** What a frame says of itself before anything of it is checked; `bytes` has all its fixed part. */
export function frameClaims(bytes: Buffer): FrameClaims {
  const frameLength = FRAME_BYTES + bytes.readUInt32LE(AT.runTableLength);
  return {
    kind: (bytes[AT.kind] ?? 0) as RecordKind,
    uuid: Uint8Array.prototype.slice.call(bytes, AT.uuid, AT.uuid + 16),
    frameLength,
    recordLength: frameLength + bytes.readUInt32LE(AT.storedLength),
  };
}

/**
 * Decodes and checks the frame at the start of a tape record of `recordLength` bytes, of which
 * `bytes` holds at least the frame.
 *
 * @throws ReelError "damaged" when it is not a frame or its checksum fails; "unsupported" for a
 *   newer major version.
 */
export function readFrame(bytes: Buffer, recordLength: number, where: string): Frame {
  if (!hasFrameMagic(bytes)) {
    throw new ReelError("damaged", `${where}: not a record of a ReelFS image`);
  }
  const major = bytes[AT.major] ?? 0;
  if (major > FORMAT_MAJOR) {
    const minor = bytes[AT.minor] ?? 0;
    throw new ReelError(
      "unsupported",
      `${where}: the image has format version ${major}.${minor}; this program reads versions up to ` +
        `${FORMAT_MAJOR}.x: use a newer ReelFS`,
    );
  }
  const runTableLength = bytes.readUInt32LE(AT.runTableLength);
  const frameLength = FRAME_BYTES + runTableLength;
  if (runTableLength > RUN_TABLE_BYTES_MAX || frameLength > bytes.length) {
    throw new ReelError("damaged", `${where}: the frame's length is damaged`);
  }
  if (frameChecksum(bytes, frameLength) !== bytes.readUInt32LE(AT.frameCrc)) {
    throw new ReelError("damaged", `${where}: the frame's checksum does not match`);
  }
  const frame: Frame = {
    kind: (bytes[AT.kind] ?? 0) as RecordKind,
    codec: bytes[AT.codec] ?? 0,
    uuid: Uint8Array.prototype.slice.call(bytes, AT.uuid, AT.uuid + 16),
    record: readSafe(bytes, AT.record, where),
    firstItem: readSafe(bytes, AT.firstItem, where),
    rawLength: bytes.readUInt32LE(AT.rawLength),
    storedLength: bytes.readUInt32LE(AT.storedLength),
    storedCrc: bytes.readUInt32LE(AT.storedCrc),
    rawCrc: bytes.readUInt32LE(AT.rawCrc),
    blockSizeBytes: bytes.readUInt32LE(AT.blockSize),
    recordSizeBytes: bytes.readUInt32LE(AT.recordSize),
    sizeBytes: readSafe(bytes, AT.sizeBytes, where),
    runCount: bytes.readUInt32LE(AT.runCount),
    frameLength,
  };
  if (frame.rawLength > RAW_BYTES_MAX || frameLength + frame.storedLength !== recordLength) {
    throw new ReelError(
      "damaged",
      `${where}: the record is ${recordLength} bytes long, its frame says ` +
        `${frameLength + frame.storedLength}`,
    );
  }
  return frame;
}

/** The frame of a record that was verified, run table included, apart from its payload. */
export function copyOfFrame(bytes: Buffer): Buffer {
  const copy = Buffer.alloc(FRAME_BYTES + bytes.readUInt32LE(AT.runTableLength));
  bytes.copy(copy, 0, 0, copy.length);
  return copy;
}

/** The run table of a frame that `readFrame` accepted. */
export function readRuns(bytes: Buffer, frame: Frame, where: string): Runs {
  const cursor: VarintCursor = { bytes: bytes.subarray(0, frame.frameLength), at: FRAME_BYTES };
  const runs: [number, number][] = [];
  let end = 0;
  for (let i = 0; i < frame.runCount; i++) {
    const start = end + readVarint(cursor, where);
    const count = readVarint(cursor, where);
    end = start + count;
    if (count === 0 || end * frame.blockSizeBytes > frame.sizeBytes) {
      throw new ReelError("damaged", `${where}: the frame's run table is damaged`);
    }
    runs.push([start, count]);
  }
  return runs;
}

function readSafe(bytes: Buffer, at: number, where: string): number {
  const value = bytes.readBigUInt64LE(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new ReelError("damaged", `${where}: the frame's field at byte ${at} is out of range`);
  }
  return Number(value);
}

/** "6f1c…-…" of 16 bytes. */
export function uuidText(uuid: Uint8Array): string {
  const hex = Buffer.from(uuid).toString("hex");
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join("-");
}

/** 16 bytes of a UUID's text. */
export function uuidBytes(text: string): Buffer {
  return Buffer.from(text.replaceAll("-", ""), "hex");
}
