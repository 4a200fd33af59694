/**
 * Writes what comes from an image to a restore target: behind the reader, in few large writes. Blocks
 * of one record seldom go to one place, but what follows in the next record often goes right behind.
 */
import type { WritableBlockDevice } from "../device/block-device.ts";
import { EarlySync } from "../device/early-sync.ts";
import { settleAll } from "../device/settle-all.ts";
import { fromSystem, type ReelError } from "../errors.ts";

/** Bytes that are gathered, then written while more are gathered. */
const BATCH_BYTES = 2 * 1024 * 1024;
const BATCHES_IN_FLIGHT_MAX = 3;
/** Ranges of a batch written at once. */
const WRITES_IN_FLIGHT_MAX = 8;

interface WriteBatch {
  readonly buffer: Buffer;
  usedBytes: number;
  /** Where on the target what lies one behind the other in the buffer belongs. */
  readonly ranges: { readonly offsetBytes: number; lengthBytes: number }[];
}

export class RestoreWriter {
  /** That have reached the target, though perhaps not its stable storage. */
  bytesWritten = 0;
  readonly #target: WritableBlockDevice;
  readonly #sync: EarlySync;
  readonly #writing = new Set<Promise<void>>();
  readonly #free: Buffer[] = [];
  #batch: WriteBatch;
  #failure: ReelError | undefined;

  constructor(target: WritableBlockDevice) {
    this.#target = target;
    this.#sync = new EarlySync(async () => target.flush(), target.name);
    this.#batch = this.#newBatch();
  }

  /**
   * Takes a copy of `bytes`, to be written at `offsetBytes`.
   * @throws ReelError why something that was taken earlier could not be written.
   */
  async write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      if (this.#batch.usedBytes === BATCH_BYTES) await this.#send();
      const { buffer, usedBytes } = this.#batch;
      const part = bytes.subarray(done, done + BATCH_BYTES - usedBytes);
      buffer.set(part, usedBytes);
      this.#place(offsetBytes + done, part.length);
      done += part.length;
    }
  }

  /** Returns when all is written; it is stored with the target's `flush`. Throws as `write`. */
  async finish(): Promise<void> {
    await this.#send();
    await this.settle();
    if (this.#failure !== undefined) throw this.#failure;
    this.#sync.check();
  }

  /** Returns when nothing is being written any more, whatever became of it. */
  async settle(): Promise<void> {
    await Promise.all(this.#writing);
    await this.#sync.settle();
  }

  #newBatch(): WriteBatch {
    return { buffer: this.#free.pop() ?? Buffer.alloc(BATCH_BYTES), usedBytes: 0, ranges: [] };
  }

  #place(offsetBytes: number, lengthBytes: number): void {
    const { ranges } = this.#batch;
    const last = ranges.at(-1);
    if (last !== undefined && last.offsetBytes + last.lengthBytes === offsetBytes) {
      last.lengthBytes += lengthBytes;
    } else ranges.push({ offsetBytes, lengthBytes });
    this.#batch.usedBytes += lengthBytes;
  }

  /** Has the batch written in the background, and begins the next. */
  async #send(): Promise<void> {
    if (this.#writing.size === BATCHES_IN_FLIGHT_MAX) await Promise.race(this.#writing);
    if (this.#failure !== undefined) throw this.#failure;
    this.#sync.check();
    const batch = this.#batch;
    const written = this.#writeBatch(batch)
      .catch((error: unknown) => {
        this.#failure ??= fromSystem(error, `cannot write ${this.#target.name}`);
      })
      .finally(() => {
        this.#writing.delete(written);
        this.#free.push(batch.buffer);
      });
    this.#writing.add(written);
    this.#batch = this.#newBatch();
  }

  async #writeBatch({ buffer, ranges }: WriteBatch): Promise<void> {
    let at = 0;
    for (let first = 0; first < ranges.length; first += WRITES_IN_FLIGHT_MAX) {
      const writes = ranges
        .slice(first, first + WRITES_IN_FLIGHT_MAX)
        .map(async ({ offsetBytes, lengthBytes }) => {
          const bytes = buffer.subarray(at, at + lengthBytes);
          at += lengthBytes;
          await this.#target.write(offsetBytes, bytes);
          this.bytesWritten += lengthBytes;
          this.#sync.wrote(lengthBytes);
        });
      await settleAll(writes);
    }
  }
}
