/**
 * The low bytes of splitmix64's outputs, with which files of the corpus were filled. In two 32-bit
 * halves: BigInt would take seconds for a megabyte.
 */
export function splitmix64Bytes(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let high = Math.floor(seed / 2 ** 32) | 0;
  let low = seed | 0;
  for (let i = 0; i < length; i++) {
    const sum = (low >>> 0) + 0x7f4a7c15;
    low = sum | 0;
    high = (high + 0x9e3779b9 + (sum > 0xffffffff ? 1 : 0)) | 0;
    const one = multiply(shiftXor([high, low], 30), 0xbf58476d, 0x1ce4e5b9);
    const two = multiply(shiftXor(one, 27), 0x94d049bb, 0x133111eb);
    const [, last] = shiftXor(two, 31);
    bytes[i] = last & 0xff;
  }
  return bytes;
}

type Halves = readonly [high: number, low: number];

/** z ^ (z >>> count), count below 32. */
function shiftXor([high, low]: Halves, count: number): Halves {
  const shifted = (low >>> count) | (high << (32 - count));
  return [high ^ (high >>> count), low ^ shifted];
}

/** The low 64 bits of a product. */
function multiply([high, low]: Halves, otherHigh: number, otherLow: number): Halves {
  const [a, b] = [low & 0xffff, low >>> 16];
  const [c, d] = [otherLow & 0xffff, otherLow >>> 16];
  const middle = (a * c) / 65536;
  const carry = Math.floor(middle) + a * d;
  const cross = (carry % 65536) + b * c;
  const top = b * d + Math.floor(carry / 65536) + Math.floor(cross / 65536);
  const upper = (top + Math.imul(high, otherLow) + Math.imul(low, otherHigh)) | 0;
  return [upper, Math.imul(low, otherLow)];
}
