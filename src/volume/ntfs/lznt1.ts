/**
 * LZNT1, the compression of NTFS: chunks that each hold 4096 bytes of contents, within them groups
 * of a flag byte and eight tokens, a literal byte or a 16-bit reference to bytes before it in the
 * chunk. How the 16 bits are divided into length and distance depends on how far into the chunk
 * the reference stands. Format: "[MS-XCA] 2.5 LZNT1 Algorithm Details".
 */
import { fault } from "./damage.ts";

export const CHUNK_BYTES = 4096;
const CHUNK_HEADER_BYTES = 2;
const SIZE_MASK = 0x0fff;
const FLAG_COMPRESSED = 0x8000;
const LENGTH_MIN = 3;
/** References at the start of a chunk have 12 bits of length and 4 of distance. */
const LENGTH_BITS_MAX = 12;
const DISTANCE_BITS_MIN = 4;

/** Decompresses into `target`; what the chunks do not fill is zeros. Throws a fault. */
export function decompressLznt1(source: Buffer, target: Buffer): void {
  let from = 0;
  let to = 0;
  while (to < target.length && from + CHUNK_HEADER_BYTES <= source.length) {
    const header = source.readUInt16LE(from);
    if (header === 0) break;
    const start = from + CHUNK_HEADER_BYTES;
    const end = start + (header & SIZE_MASK) + 1;
    if (end > source.length) throw fault(`its compressed chunk at byte ${from} is cut short`);
    const chunk = target.subarray(to, to + CHUNK_BYTES);
    if ((header & FLAG_COMPRESSED) === 0) {
      const copied = source.copy(chunk, 0, start, end);
      chunk.fill(0, copied);
    } else {
      decompressChunk(source, start, end, chunk);
    }
    from = end;
    to += CHUNK_BYTES;
  }
  if (to < target.length) target.fill(0, to);
}

/** One chunk; the end of it that the tokens leave out is zeros. */
function decompressChunk(source: Buffer, start: number, end: number, chunk: Buffer): void {
  let from = start;
  let to = 0;
  let lengthBits = LENGTH_BITS_MAX;
  /** Beyond this position a reference has one bit more of distance. */
  let reach = 1 << DISTANCE_BITS_MIN;
  while (from < end) {
    let flags = source[from++] ?? 0;
    for (let token = 0; token < 8 && from < end; token++, flags >>>= 1) {
      if ((flags & 1) === 0) {
        if (to >= chunk.length) throw overfull(start);
        chunk[to++] = source[from++] ?? 0;
        continue;
      }
      if (from + 2 > end) throw fault(`its compressed chunk at byte ${start} ends in a reference`);
      while (to > reach) {
        reach *= 2;
        lengthBits--;
      }
      const reference = (source[from] ?? 0) | ((source[from + 1] ?? 0) << 8);
      from += 2;
      const length = (reference & ((1 << lengthBits) - 1)) + LENGTH_MIN;
      const distance = (reference >>> lengthBits) + 1;
      if (distance > to) {
        throw fault(`its compressed chunk at byte ${start} refers to what is before it`);
      }
      if (to + length > chunk.length) throw overfull(start);
      // Byte by byte: the two stretches may overlap, and then the bytes repeat.
      for (const stop = to + length; to < stop; to++) chunk[to] = chunk[to - distance] ?? 0;
    }
  }
  chunk.fill(0, to);
}

function overfull(start: number): Error {
  return fault(`its compressed chunk at byte ${start} holds more than it can`);
}
