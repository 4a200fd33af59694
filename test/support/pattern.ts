/** Bytes that differ from place to place, so that a byte read from a wrong offset shows. */
export function patternBytes(length: number, salt = 0): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    const mixed = Math.imul((i >>> 2) + salt * 0x9e37 + 1, 0x85ebca6b);
    bytes[i] = (mixed >>> ((i & 3) * 8)) ^ (mixed >>> 13);
  }
  return bytes;
}
