/** The writes of the writer that never stops, so that others can tell which have happened. */
export const TRACK_BLOCK = 4096;
/** The first eight bytes of a block are its number; before them is nothing else. */
const MAGIC = 0x5eed;

/** Which block write `number` goes to. Block 0 stays as it is. */
export function placeOf(number: number, seed: number, blocks: number): number {
  const mixed = Math.imul(number ^ (seed * 2654435761), 2246822519) >>> 0;
  return 1 + (((mixed ^ (mixed >>> 13)) >>> 0) % (blocks - 1));
}

export function blockOf(number: number): Buffer {
  const block = Buffer.alloc(TRACK_BLOCK, number & 0xff);
  block.writeUInt32LE(MAGIC, 0);
  block.writeUInt32LE(number, 4);
  return block;
}

/** The highest number that is found in a volume; 0: none. */
export function lastIn(volume: Buffer): number {
  let last = 0;
  for (let at = 0; at + TRACK_BLOCK <= volume.length; at += TRACK_BLOCK) {
    if (volume.readUInt32LE(at) === MAGIC) last = Math.max(last, volume.readUInt32LE(at + 4));
  }
  return last;
}

/** The volume after writes `first` to `last`. */
export function replay(
  volume: Buffer,
  writes: { readonly first: number; readonly last: number; readonly seed: number },
): Buffer {
  const after = Buffer.from(volume);
  const blocks = volume.length / TRACK_BLOCK;
  for (let number = writes.first; number <= writes.last; number++) {
    blockOf(number).copy(after, placeOf(number, writes.seed, blocks) * TRACK_BLOCK);
  }
  return after;
}
