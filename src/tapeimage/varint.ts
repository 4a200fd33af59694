/**
 * Unsigned LEB128 integers to 2^53, as used in run tables and the block map: seven bits a byte, low
 * bits first, the top bit set on all but the last byte.
 */
import { ReelError } from "../errors.ts";

export interface VarintCursor {
  readonly bytes: Uint8Array;
  at: number;
}

/** Longest encoding of a number below 2^53. */
export const VARINT_BYTES_MAX = 8;

export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

/** Writes at the cursor; the caller has made room. */
export function writeVarint(cursor: VarintCursor, value: number): void {
  let rest = value;
  while (rest >= 128) {
    cursor.bytes[cursor.at++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  cursor.bytes[cursor.at++] = rest;
}

/** @throws ReelError "damaged" when the number runs off the end or past 2^53. */
export function readVarint(cursor: VarintCursor, where: string): number {
  let value = 0;
  let scale = 1;
  for (let i = 0; i < VARINT_BYTES_MAX; i++) {
    const byte = cursor.bytes[cursor.at++];
    if (byte === undefined) break;
    value += (byte & 127) * scale;
    if (byte < 128) {
      if (value > Number.MAX_SAFE_INTEGER) break;
      return value;
    }
    scale *= 128;
  }
  throw new ReelError("damaged", `${where}: a number at byte ${cursor.at} is damaged`);
}
