/**
 * A set of clusters: one bit for each, in chunks that exist only where a cluster is in the set, and
 * only once for chunks that are full. So the set of a 2 TB volume that is empty, or full of large
 * files, costs next to nothing. Bits are numbered as in the allocation bitmap: bit 0 is cluster 2.
 */
import { FIRST_CLUSTER } from "../cluster-table.ts";

export const CHUNK_BYTES = 64 * 1024;
const CHUNK_BITS = CHUNK_BYTES * 8;
/** Shared by all full chunks; nothing is ever added to it, since all is there. */
const FULL = new Uint8Array(CHUNK_BYTES).fill(0xff);

export class ClusterSet {
  readonly #chunks: (Uint8Array | undefined)[] = [];

  has(cluster: number): boolean {
    const bit = cluster - FIRST_CLUSTER;
    const chunk = this.#chunks[Math.floor(bit / CHUNK_BITS)];
    if (chunk === undefined) return false;
    const inChunk = bit % CHUNK_BITS;
    return ((chunk[inChunk >>> 3] ?? 0) & (1 << (inChunk & 7))) !== 0;
  }

  set(cluster: number): void {
    this.addRun(cluster, 1);
  }

  /**
   * Adds clusters from `start` on, up to the first one that is in the set already; returns how
   * many were added. All runs together so cost no more than one step for each cluster there is.
   */
  addRun(start: number, count: number): number {
    const startBit = start - FIRST_CLUSTER;
    const endBit = startBit + count;
    for (let bit = startBit; bit < endBit;) {
      const index = Math.floor(bit / CHUNK_BITS);
      const from = bit - index * CHUNK_BITS;
      const to = Math.min(CHUNK_BITS, endBit - index * CHUNK_BITS);
      if (from === 0 && to === CHUNK_BITS && this.#chunks[index] === undefined) {
        this.#chunks[index] = FULL;
      } else {
        const reached = fill((this.#chunks[index] ??= new Uint8Array(CHUNK_BYTES)), from, to);
        if (reached < to) return index * CHUNK_BITS + reached - startBit;
      }
      bit = index * CHUNK_BITS + to;
    }
    return count;
  }

  /** The bits from `index * CHUNK_BYTES` bytes on, laid out as in the bitmap; undefined: none. */
  chunk(index: number): Uint8Array | undefined {
    return this.#chunks[index];
  }
}

/** Sets bits up to the first that is set; returns that one, or `to`. */
function fill(chunk: Uint8Array, from: number, to: number): number {
  for (let bit = from; bit < to;) {
    const at = bit >>> 3;
    const byte = chunk[at] ?? 0;
    if (byte === 0 && (bit & 7) === 0 && to - bit >= 8) {
      chunk[at] = 0xff;
      bit += 8;
      continue;
    }
    const mask = 1 << (bit & 7);
    if ((byte & mask) !== 0) return bit;
    chunk[at] = byte | mask;
    bit++;
  }
  return to;
}
