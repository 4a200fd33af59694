/**
 * Many records one after another: loading runs ahead of the visitor, who gets them in order.
 *
 * Records are asked for half a ring at a time, since those that are asked for together are read and
 * unpacked together; the other half is with the visitor meanwhile.
 */
import { isReelError, type ReelError, throwIfAborted } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import { sharedBuffer } from "./codec-pool.ts";
import type { LoadedRecord } from "./codec-protocol.ts";
import type { RecordVisitor } from "./tape-image.ts";

/** Raw bytes on their way from the tape to a visitor. */
const RING_BYTES = 8 * 1024 * 1024;
/** Records on their way, where they are large, and where they are small. */
const SLOTS_MIN = 4;
const SLOTS_MAX = 32;

/** How many records of that size are on their way at once: an even number. */
export function streamSlots(recordSizeBytes: number): number {
  const slots = Math.floor(RING_BYTES / recordSizeBytes / 2) * 2;
  return Math.max(SLOTS_MIN, Math.min(SLOTS_MAX, slots));
}

export interface RecordLoader {
  readonly name: string;
  readonly recordSizeBytes: number;
  /** Puts the verified contents and, in the answer, the frame of a record into `target`. */
  loadWithFrame(record: number, target: Uint8Array): Promise<LoadedRecord>;
}

/** See TapeImage.readRecords. */
export async function streamRecords(
  loader: RecordLoader,
  records: Iterable<number>,
  visit: RecordVisitor,
  options: RunOptions = {},
): Promise<void> {
  const slots = streamSlots(loader.recordSizeBytes);
  const ring: { record: number; slot: Buffer; loaded: Promise<LoadedRecord> }[] = [];
  const free: Buffer[] = [];
  const deliver = async (): Promise<void> => {
    throwIfAborted(options.signal, `reading ${loader.name}`);
    const next = ring.shift();
    if (next === undefined) return;
    let content: Uint8Array | ReelError;
    let frame: Uint8Array | undefined;
    try {
      const loaded = await next.loaded;
      content = next.slot.subarray(0, loaded.length);
      frame = loaded.frame;
    } catch (error) {
      if (!isLossOfRecord(error)) throw error;
      content = error;
    }
    await visit(next.record, content, frame);
    free.push(next.slot);
  };
  try {
    for (const record of records) {
      if (ring.length === slots) while (ring.length > slots / 2) await deliver();
      const slot = free.pop() ?? sharedBuffer(loader.recordSizeBytes);
      const loaded = loader.loadWithFrame(record, slot);
      loaded.catch(() => undefined);
      ring.push({ record, slot, loaded });
    }
    while (ring.length > 0) await deliver();
  } finally {
    await Promise.allSettled(ring.map(async ({ loaded }) => loaded));
  }
}

/** What costs one record and not the rest; "not-found": the tape that it is on is not there. */
export function isLossOfRecord(error: unknown): error is ReelError {
  return (
    isReelError(error, "damaged") || isReelError(error, "io") || isReelError(error, "not-found")
  );
}
