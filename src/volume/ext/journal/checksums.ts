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

/** CRC-32 of v1: most significant bit first, start value given, not inverted at the end. */
export function crc32MsbFirst(start: number, bytes: Uint8Array): number {
  let crc = start;
  for (const byte of bytes) crc = (crc << 8) ^ (MSB_FIRST_TABLE[(crc >>> 24) ^ byte] ?? 0);
  return crc >>> 0;
}

const ZEROS = new Uint8Array(4);

const MSB_FIRST_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24;
  for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc < 0 ? CRC32_POLYNOMIAL : 0);
  return crc >>> 0;
});

function readU32(bytes: Uint8Array, at: number): number {
  return asBuffer(bytes).readUInt32BE(at);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
