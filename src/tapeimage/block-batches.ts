/** Blocks of a device as batches of full records, in rising order. */
import type { BlockDevice } from "../device/block-device.ts";
import type { ExtentSet } from "../device/extents.ts";
import type { RecordKind } from "./frame.ts";
import type { ImageHeader } from "./header.ts";
import { cutIntoRecords } from "./image-layout.ts";
import { BATCH_BYTES, type Batch, type RecordTask } from "./record-pump.ts";
import { readRunsFrom } from "./source-reader.ts";

/** The blocks of `set`, packed from `firstPacked` on. */
export function* blockBatches(
  device: BlockDevice,
  set: ExtentSet,
  { blockSizeBytes, recordSizeBytes }: Pick<ImageHeader, "blockSizeBytes" | "recordSizeBytes">,
  { kind, firstPacked }: { readonly kind: RecordKind; readonly firstPacked: number },
): Generator<Batch> {
  const batchRecords = Math.max(1, BATCH_BYTES / recordSizeBytes);
  let packed = firstPacked;
  let records: RecordTask[] = [];
  const batch = (): Batch => {
    const runs = records.flatMap((record) => record.runs);
    const fill = async (target: Buffer) => readRunsFrom(device, runs, blockSizeBytes, target);
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
