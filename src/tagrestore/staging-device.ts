/**
 * The device that the volume of a restore reads: the image, and over it, while a file is being
 * decoded, the bytes of that file that the pass over the tape has brought already. So a volume that
 * decodes a file moves no tape.
 */
import type { BlockDevice } from "../device/block-device.ts";
import { checkRange } from "../device/checked-device.ts";

/** Bytes of the device at hand: runs of it, rising and disjoint. */
export interface BytesAtHand {
  /** The first run that ends after `deviceOffset`; undefined when there is none. */
  runFrom(deviceOffset: number): { readonly start: number; readonly end: number } | undefined;
  /** Fills `target` from within one run. */
  read(deviceOffset: number, target: Uint8Array): Promise<void>;
}

export class StagingDevice implements BlockDevice {
  readonly name: string;
  readonly sizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly #image: BlockDevice;
  #atHand: BytesAtHand | undefined;

  /** The image stays the caller's: `close` does not close it. */
  constructor(image: BlockDevice) {
    this.#image = image;
    this.name = image.name;
    this.sizeBytes = image.sizeBytes;
    this.sectorSizeBytes = image.sectorSizeBytes;
  }

  /** Runs `work` with the bytes laid over the image; one such call at a time. */
  async with<T>(bytes: BytesAtHand, work: () => Promise<T>): Promise<T> {
    this.#atHand = bytes;
    try {
      return await work();
    } finally {
      this.#atHand = undefined;
    }
  }

  async read(offsetBytes: number, target: Uint8Array): Promise<void> {
    const atHand = this.#atHand;
    if (atHand === undefined) return this.#image.read(offsetBytes, target);
    checkRange(this.name, this.sizeBytes, offsetBytes, target.length);
    const end = offsetBytes + target.length;
    for (let at = offsetBytes; at < end;) {
      const run = atHand.runFrom(at);
      const isHere = run !== undefined && run.start <= at;
      const next = Math.min(end, (isHere ? run.end : run?.start) ?? end);
      const part = target.subarray(at - offsetBytes, next - offsetBytes);
      if (isHere) await atHand.read(at, part);
      else await this.#image.read(at, part);
      at = next;
    }
  }

  async close(): Promise<void> {
    return Promise.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
