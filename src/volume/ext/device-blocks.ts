/** Blocks of a volume, and the few of them that are worth keeping: trees, directories, attributes. */
import type { BlockDevice } from "../../device/block-device.ts";
import { ReelError } from "../../errors.ts";

const CACHE_BYTES = 8 * 1024 * 1024;
/** Blocks that lie side by side are read together, up to this. */
export const READ_BYTES_MAX = 1024 * 1024;

export class DeviceBlocks {
  readonly device: BlockDevice;
  readonly blockSizeBytes: number;
  /** Blocks that the volume says it has. */
  readonly blockCount: number;
  readonly #cache = new Map<number, Uint8Array>();
  readonly #cachedMax: number;

  constructor(device: BlockDevice, blockSizeBytes: number, blockCount: number) {
    this.device = device;
    this.blockSizeBytes = blockSizeBytes;
    this.blockCount = blockCount;
    this.#cachedMax = CACHE_BYTES / blockSizeBytes;
  }

  /** Blocks of the volume that are on the device. */
  get blocksOnDevice(): number {
    return Math.min(this.blockCount, Math.floor(this.device.sizeBytes / this.blockSizeBytes));
  }

  /** What is wrong with a run of blocks that a structure names; undefined when nothing is. */
  faultOf(start: number, count: number): string | undefined {
    if (start >= 1 && start + count <= this.blocksOnDevice) return undefined;
    const blocks = count === 1 ? `block ${start}` : `blocks ${start} to ${start + count - 1}`;
    if (start >= 1 && start + count <= this.blockCount) {
      return `${blocks} lies beyond the end of the device`;
    }
    return `${blocks} is outside the volume, which has ${this.blockCount}`;
  }

  /** One block, kept for the next time. Throws "damaged", as `what`, where there is no such block. */
  async read(block: number, what: string): Promise<Uint8Array> {
    const kept = this.peek(block);
    if (kept !== undefined) return kept;
    this.check(block, 1, what);
    const bytes = new Uint8Array(this.blockSizeBytes);
    await this.device.read(block * this.blockSizeBytes, bytes);
    this.#keep(block, bytes);
    return bytes;
  }

  /** A block that is in the cache. */
  peek(block: number): Uint8Array | undefined {
    return this.#cache.get(block);
  }

  /** A run of blocks, past the cache, in reads of a sensible size. Throws "damaged" as `read`. */
  async readRun(start: number, count: number, target: Uint8Array, what: string): Promise<void> {
    this.check(start, count, what);
    const offset = start * this.blockSizeBytes;
    for (let at = 0; at < target.length; at += READ_BYTES_MAX) {
      await this.device.read(offset + at, target.subarray(at, at + READ_BYTES_MAX));
    }
  }

  /** Brings blocks into the cache, neighbours with one read; those that cannot be are left out. */
  async prefetch(blocks: Float64Array): Promise<void> {
    const wanted = blocks
      .filter((block) => this.faultOf(block, 1) === undefined && !this.#cache.has(block))
      .sort();
    const runMax = READ_BYTES_MAX / this.blockSizeBytes;
    for (let from = 0; from < wanted.length;) {
      const start = wanted[from] ?? 0;
      let end = from;
      let count = 0;
      for (; end < wanted.length && count <= runMax; end++) {
        const block = wanted[end] ?? 0;
        if (block !== start + count && block !== start + count - 1) break;
        count = block - start + 1;
      }
      await this.#readInto(start, count);
      from = end;
    }
  }

  async #readInto(start: number, count: number): Promise<void> {
    const bytes = new Uint8Array(count * this.blockSizeBytes);
    try {
      await this.device.read(start * this.blockSizeBytes, bytes);
    } catch (error) {
      // Whoever needs the bad block will meet the error; its neighbours must not.
      if (error instanceof ReelError && error.code === "io") return;
      throw error;
    }
    for (let i = 0; i < count; i++) {
      const from = i * this.blockSizeBytes;
      this.#keep(start + i, bytes.subarray(from, from + this.blockSizeBytes));
    }
  }

  check(start: number, count: number, what: string): void {
    const fault = this.faultOf(start, count);
    if (fault === undefined) return;
    throw new ReelError("damaged", `cannot read ${what} of ${this.device.name}: ${fault}`);
  }

  clear(): void {
    this.#cache.clear();
  }

  /** The oldest goes first: what is read again is read again soon. */
  #keep(block: number, bytes: Uint8Array): void {
    if (this.#cache.size >= this.#cachedMax) {
      for (const oldest of this.#cache.keys()) {
        this.#cache.delete(oldest);
        break;
      }
    }
    this.#cache.set(block, bytes);
  }
}
