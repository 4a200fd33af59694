/**
 * Update sequences: how NTFS notices a record that was written in part. The last two bytes of each
 * 512 bytes of a file record or index record are kept in an array in its header; in their place
 * stands the record's update sequence number, the same in all. Where one differs, some sectors are
 * from an older write: the record is torn, and nothing in it can be trusted.
 */

/** Windows calls it the sequence number stride; it does not change with the sector size. */
const STRIDE_BYTES = 512;
const HEADER = { signature: 0, arrayOffset: 4, arrayCount: 6 } as const;
const HEADER_BYTES = 8;

/**
 * Puts the true bytes back, in place, and says what is wrong if they cannot be.
 *
 * @param bytes holds the record from `start` on, `length` bytes, a multiple of 512
 * @param signature the record's first four bytes: "FILE", "INDX", "RSTR"
 */
export function applyFixups(
  bytes: Buffer,
  start: number,
  length: number,
  signature: string,
): string | undefined {
  const found = bytes.toString("latin1", start, start + signature.length);
  if (found === "BAAD") return "it is marked BAAD: a checker found it torn";
  if (found !== signature) return `it does not begin with ${signature}`;
  const arrayOffset = bytes.readUInt16LE(start + HEADER.arrayOffset);
  const arrayCount = bytes.readUInt16LE(start + HEADER.arrayCount);
  const strides = length / STRIDE_BYTES;
  if (arrayCount !== strides + 1) {
    return `its update sequence array has ${arrayCount} entries where ${strides + 1} belong`;
  }
  const isInside =
    arrayOffset >= HEADER_BYTES &&
    arrayOffset % 2 === 0 &&
    arrayOffset + 2 * arrayCount <= Math.min(length, STRIDE_BYTES) - 2;
  if (!isInside) return `its update sequence array would be at byte ${arrayOffset}`;
  const array = start + arrayOffset;
  const number = bytes.readUInt16LE(array);
  for (let i = 1; i <= strides; i++) {
    if (bytes.readUInt16LE(start + i * STRIDE_BYTES - 2) !== number) {
      return `it is torn: the update sequence number of its sector ${i - 1} differs`;
    }
  }
  for (let i = 1; i <= strides; i++) {
    bytes.writeUInt16LE(bytes.readUInt16LE(array + 2 * i), start + i * STRIDE_BYTES - 2);
  }
  return undefined;
}
