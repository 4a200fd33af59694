/**
 * The checksums of ext4's structures. CRC-32C runs from structure to structure without the usual
 * inversions, so that one sum is the seed of the next: volume, then inode, then block.
 */
import { crc32c } from "@node-rs/crc32";

const CRC16_POLYNOMIAL = 0xa001;
const CRC16_TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit++)
    sum = (sum & 1) !== 0 ? (sum >>> 1) ^ CRC16_POLYNOMIAL : sum >>> 1;
  return sum;
});

/** The seed of sums that have none. */
export const NO_SEED = 0xffffffff;

/** Raw CRC-32C of `bytes`, continued from `seed`. */
export function extCrc32c(seed: number, bytes: Uint8Array): number {
  const buffer =
    bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return ~crc32c(buffer, ~seed >>> 0) >>> 0;
}

const NUMBER = Buffer.alloc(8);

/** Continues a sum with a 32-bit number. */
export function crcOfUint32(seed: number, value: number): number {
  NUMBER.writeUInt32LE(value >>> 0, 0);
  return extCrc32c(seed, NUMBER.subarray(0, 4));
}

/** Continues a sum with a block number, as 64 bits. */
export function crcOfBlockNumber(seed: number, block: number): number {
  NUMBER.writeBigUInt64LE(BigInt(block), 0);
  return extCrc32c(seed, NUMBER);
}

/** CRC-16 (ANSI) of `bytes`, continued from `seed`: group descriptors before metadata_csum. */
export function crc16(seed: number, bytes: Uint8Array): number {
  let sum = seed;
  for (const byte of bytes) sum = (sum >>> 8) ^ (CRC16_TABLE[(sum ^ byte) & 0xff] ?? 0);
  return sum;
}
