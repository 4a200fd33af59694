/** `.tap` files put together byte by byte, not by the code under test. */
import { patternBytes } from "../support/pattern.ts";

export const FILEMARK = word(0);
export const ERASE_GAP = word(0xffff_fffe);
export const END_OF_MEDIUM = word(0xffff_ffff);
/** What is left of an erase gap whose first half was overwritten. */
export const HALF_GAP = Buffer.from([0xff, 0xff]);
export const PRIVATE_MARKER = word(0x7000_0001);
export const RESERVED_MARKER = word(0xf000_0001);

export function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** A record of any class: 0 good, 8 bad, 1-6 private, 9-13 reserved, 14 description. */
export function record(data: Uint8Array, objectClass = 0): Buffer {
  const opening = word(((objectClass << 28) | data.length) >>> 0);
  return Buffer.concat([opening, data, Buffer.alloc(data.length & 1), opening]);
}

/** A good record of so many bytes. */
export function good(lengthBytes: number, salt = 0): Buffer {
  return record(patternBytes(lengthBytes, salt));
}
