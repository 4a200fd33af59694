/** Reading a file through its layout: few device reads, straight into the caller's buffer. */
import type { BlockDevice } from "../device/block-device.ts";
import { ReelError } from "../errors.ts";
import type { FileLayout } from "../volume/volume.ts";

/** A file in small fragments keeps the device busy, without a million promises for a huge read. */
const READS_MAX = 64;

/** Reads of one call that are under way together. */
export class ReadBatch {
  #reads: Promise<void>[] = [];

  get isEmpty(): boolean {
    return this.#reads.length === 0;
  }

  get isFull(): boolean {
    return this.#reads.length >= READS_MAX;
  }

  add(read: Promise<void>): void {
    this.#reads.push(read);
  }

  /** Waits for all, also when one fails: nothing may write into the target after we return. */
  async finish(): Promise<void> {
    const reads = this.#reads;
    this.#reads = [];
    for (const result of await Promise.allSettled(reads)) {
      if (result.status === "rejected") throw result.reason;
    }
  }
}

/**
 * Fills `target` from `offsetBytes` of the file on, holes with zeros, and returns the bytes read:
 * fewer than asked only at the end of the file. Runs that are neighbours both in the file and on the
 * device are one read.
 */
export async function readRuns(
  device: BlockDevice,
  layout: FileLayout,
  offsetBytes: number,
  target: Uint8Array,
): Promise<number> {
  if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0) {
    throw new ReelError("invalid", `cannot read at offset ${offsetBytes} of a file`);
  }
  const count = Math.max(0, Math.min(target.length, layout.sizeBytes - offsetBytes));
  const end = offsetBytes + count;
  const batch = new ReadBatch();
  let at = offsetBytes;
  let run = firstRunEndingAfter(layout, offsetBytes);
  while (at < end) {
    const start = run < layout.length ? (layout.fileOffsets[run] ?? end) : end;
    if (start > at) {
      const holeEnd = Math.min(start, end);
      target.fill(0, at - offsetBytes, holeEnd - offsetBytes);
      at = holeEnd;
      continue;
    }
    const deviceOffset = (layout.deviceOffsets[run] ?? 0) + (at - start);
    let runEnd = start + (layout.lengths[run] ?? 0);
    for (run++; runEnd < end && continues(layout, run); run++) {
      runEnd += layout.lengths[run] ?? 0;
    }
    const readEnd = Math.min(runEnd, end);
    const part = target.subarray(at - offsetBytes, readEnd - offsetBytes);
    at = readEnd;
    if (at === end && batch.isEmpty) {
      // Nearly always the only read.
      await device.read(deviceOffset, part);
      return count;
    }
    batch.add(device.read(deviceOffset, part));
    if (batch.isFull) await batch.finish();
  }
  await batch.finish();
  return count;
}

/** Does run `index` go on where the one before it ended, in the file and on the device? */
function continues(layout: FileLayout, index: number): boolean {
  if (index >= layout.length) return false;
  const { fileOffsets, deviceOffsets, lengths } = layout;
  const length = lengths[index - 1] ?? 0;
  return (
    fileOffsets[index] === (fileOffsets[index - 1] ?? 0) + length &&
    deviceOffsets[index] === (deviceOffsets[index - 1] ?? 0) + length
  );
}

/** Index of the first run that ends after `offsetBytes`; `length` when there is none. */
function firstRunEndingAfter(layout: FileLayout, offsetBytes: number): number {
  const { fileOffsets, lengths } = layout;
  let low = 0;
  let high = layout.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((fileOffsets[middle] ?? 0) + (lengths[middle] ?? 0) > offsetBytes) high = middle;
    else low = middle + 1;
  }
  return low;
}
