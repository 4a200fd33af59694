/** Reading a file through its layout: few device reads, straight into the caller's buffer. */
import type { BlockDevice } from "../device/block-device.ts";
import { settleAll } from "../device/settle-all.ts";
import { fromSystem, ReelError } from "../errors.ts";
import type { FileLayout } from "../volume/volume.ts";

/** A file in small fragments keeps the device busy, without a million promises for a huge read. */
const READS_MAX = 64;

/** Reads of one call that are under way together. */
export class ReadBatch {
  #reads: Promise<void>[] = [];

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
    await settleAll(reads);
  }
}

/** A stretch of the device, and where its bytes go. */
interface Part {
  readonly deviceOffset: number;
  readonly target: Uint8Array;
}

/**
 * Fills `target` from `offsetBytes` of the file on, holes with zeros, and returns the bytes read:
 * fewer than asked only at the end of the file. Runs that are neighbours both in the file and on the
 * device are one read. The result comes at once, without a promise, where the device has all bytes
 * in memory (`readOrWait`).
 */
export function readRuns(
  device: BlockDevice,
  layout: FileLayout,
  offsetBytes: number,
  target: Uint8Array,
): number | Promise<number> {
  if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0) {
    throw new ReelError("invalid", `cannot read at offset ${offsetBytes} of a file`);
  }
  const count = Math.max(0, Math.min(target.length, layout.sizeBytes - offsetBytes));
  const parts = partsOf(layout, offsetBytes, target.subarray(0, count));
  const waits = startReads(device, parts, 0);
  if (parts.length > READS_MAX) return readRest(device, parts, waits).then(() => count);
  const [wait] = waits;
  if (wait === undefined) return count;
  // Nearly always the only read.
  return (waits.length === 1 ? wait : settleAll(waits)).then(() => count);
}

/** Starts the reads of up to READS_MAX parts; returns those that are not done. */
function startReads(device: BlockDevice, parts: readonly Part[], from: number): Promise<void>[] {
  const waits: Promise<void>[] = [];
  const end = Math.min(parts.length, from + READS_MAX);
  for (let index = from; index < end; index++) {
    const part = parts[index];
    if (part === undefined) continue;
    const wait = startRead(device, part);
    if (wait !== undefined) waits.push(wait);
  }
  return waits;
}

/** A read that throws fails like one that rejects: others into the same memory are under way. */
function startRead(device: BlockDevice, { deviceOffset, target }: Part): Promise<void> | undefined {
  try {
    if (device.readOrWait === undefined) return device.read(deviceOffset, target);
    return device.readOrWait(deviceOffset, target);
  } catch (error) {
    return Promise.reject(fromSystem(error, `cannot read ${device.name}`));
  }
}

/** Waits for the first reads, then has the others done. */
async function readRest(
  device: BlockDevice,
  parts: readonly Part[],
  first: readonly Promise<void>[],
): Promise<void> {
  await settleAll(first);
  for (let from = READS_MAX; from < parts.length; from += READS_MAX) {
    await settleAll(startReads(device, parts, from));
  }
}

/** Which stretches of the device fill `target`; what lies in holes is filled here. */
function partsOf(layout: FileLayout, offsetBytes: number, target: Uint8Array): Part[] {
  const parts: Part[] = [];
  const end = offsetBytes + target.length;
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
    parts.push({ deviceOffset, target: target.subarray(at - offsetBytes, readEnd - offsetBytes) });
    at = readEnd;
  }
  return parts;
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
