/** Blocks of a device as batches of full records, in rising order. */
import type { BlockDevice } from "../device/block-device.ts";
import type { ExtentSet } from "../device/extents.ts";
import type { RecordKind } from "./frame.ts";
import type { ImageHeader } from "./header.ts";
import { cutIntoRecords } from "./image-layout.ts";
import { BATCH_BYTES, type Batch, type RecordTask } from "./record-pump.ts";
import { readRunsFrom } from "./source-reader.ts";
import { ReadPrefix } from "./tracked-volume.ts";

interface BatchesOptions {
  readonly kind: RecordKind;
  readonly firstPacked: number;
  /** Called when all blocks before that byte of the device have been read. */
  readonly passed?: ((offsetBytes: number) => void) | undefined;
}

/** The blocks of `set`, packed from `firstPacked` on. */
export function* blockBatches(
  device: BlockDevice,
  set: ExtentSet,
  { blockSizeBytes, recordSizeBytes }: Pick<ImageHeader, "blockSizeBytes" | "recordSizeBytes">,
  { kind, firstPacked, passed }: BatchesOptions,
): Generator<Batch> {
  const reads = passed === undefined ? undefined : new ReadPrefix(passed);
  const batchRecords = Math.max(1, BATCH_BYTES / recordSizeBytes);
  let packed = firstPacked;
  let records: RecordTask[] = [];
  const batch = (): Batch => {
    const runs = records.flatMap((record) => record.runs);
    const [last, count] = runs.at(-1) ?? [0, 0];
    const ended = reads?.begin((last + count) * blockSizeBytes);
    const fill = async (target: Buffer): Promise<void> => {
      await readRunsFrom(device, runs, blockSizeBytes, target);
      ended?.();
    };
    return { kind, records, fill };
  };
  for (const runs of cutIntoRecords(set, recordSizeBytes / blockSizeBytes)) {
    let blocks = 0;
    for (const [, count] of runs) blocks += count;
    records.push({ firstItem: packed, runs, rawLength: blocks * blockSizeBytes });
    packed += blocks;
    if (records.length === batchRecords) {
      yield batch();
      records = [];
    }
  }
  if (records.length > 0) yield batch();
}
