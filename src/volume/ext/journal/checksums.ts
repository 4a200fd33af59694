/**
 * The checksums of a journal. v1 is one CRC-32 over a transaction's descriptor blocks and copies,
 * in its commit block; v2 and v3 are CRC-32C of each block by itself, seeded with the journal's
 * UUID (Documentation/filesystems/ext4/journal.rst).
 */
import { crc32c as standardCrc32c } from "@node-rs/crc32";
import { COMMIT, COMMIT_BYTES, TAIL_BYTES } from "./layout.ts";

const CRC32_POLYNOMIAL = 0x04c11db7;
const ALL_ONES = 0xffffffff;

/** CRC-32C as the kernel computes it: neither the start value nor the result is inverted. */
export function crc32c(seed: number, bytes: Uint8Array): number {
  return ~standardCrc32c(asBuffer(bytes), ~seed >>> 0) >>> 0;
}

export function seedOf(uuid: Uint8Array): number {
  return crc32c(ALL_ONES, uuid);
}

/** CRC-32C of `block` with the four bytes at `fieldAt` taken as zeros. */
export function crc32cWithoutField(seed: number, block: Uint8Array, fieldAt: number): number {
  const before = crc32c(seed, block.subarray(0, fieldAt));
  return crc32c(crc32c(before, ZEROS), block.subarray(fieldAt + ZEROS.length));
}

/** The checksum at the end of a descriptor or revoke block (v2 and v3). */
export function hasSoundTail(seed: number, block: Uint8Array): boolean {
  const at = block.length - TAIL_BYTES;
  return readU32(block, at) === crc32cWithoutField(seed, block, at);
}

/**
 * The checksum in a commit block (v2 and v3). A block of which only the first sectors reached the
 * disk is good too, as it is for the kernel: what should follow there is zeros.
 */
export function hasSoundCommit(seed: number, block: Uint8Array): boolean {
  const expected = readU32(block, COMMIT.checksum);
  if (expected === crc32cWithoutField(seed, block, COMMIT.checksum)) return true;
  const torn = new Uint8Array(block.length);
  torn.set(block.subarray(0, COMMIT_BYTES));
  return expected === crc32cWithoutField(seed, torn, COMMIT.checksum);
}

/** The checksum of a copy, as its tag has it: of the transaction's number and the block. */
export function checksumOfCopy(seed: number, sequence: number, block: Uint8Array): number {
  const number = new Uint8Array(4);
  new DataView(number.buffer).setUint32(0, sequence);
  return crc32c(crc32c(seed, number), block);
}

/**
 * CRC-32 of v1: most significant bit first, start value given, not inverted at the end. No library
 * has it in this order; four bytes at a time make it three times as fast as one.
 */
export function crc32MsbFirst(start: number, bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wholeBytes = bytes.length - (bytes.length % 4);
  let crc = start;
  for (let at = 0; at < wholeBytes; at += 4) {
    const next = crc ^ view.getUint32(at);
    crc =
      tableValue(3, next >>> 24) ^
      tableValue(2, (next >>> 16) & 0xff) ^
      tableValue(1, (next >>> 8) & 0xff) ^
      tableValue(0, next & 0xff);
  }
  for (let at = wholeBytes; at < bytes.length; at++) {
    crc = (crc << 8) ^ tableValue(0, (crc >>> 24) ^ (bytes[at] ?? 0));
  }
  return crc >>> 0;
}

function tableValue(zerosAfter: number, byte: number): number {
  return MSB_FIRST_TABLES[zerosAfter * 256 + byte] ?? 0;
}

const ZEROS = new Uint8Array(4);

/** CRC of each byte when 0, 1, 2 or 3 zero bytes follow it: four tables one after the other. */
const MSB_FIRST_TABLES = Uint32Array.from({ length: 4 * 256 }, (_, i) => {
  let crc = (i & 0xff) << 24;
  const bits = 8 * (1 + (i >>> 8));
  for (let bit = 0; bit < bits; bit++) crc = (crc << 1) ^ (crc < 0 ? CRC32_POLYNOMIAL : 0);
  return crc >>> 0;
});

function readU32(bytes: Uint8Array, at: number): number {
  return asBuffer(bytes).readUInt32BE(at);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
