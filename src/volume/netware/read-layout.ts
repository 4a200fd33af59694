/** All bytes of something small, by its layout. */
import type { BlockDevice } from "../../device/block-device.ts";
import { settleAll } from "../../device/settle-all.ts";
import type { FileLayout } from "../volume.ts";

/** Returns the contents, holes as zeros. The caller has checked the size. Throws what the device throws. */
export async function readLayout(device: BlockDevice, layout: FileLayout): Promise<Uint8Array> {
  const contents = new Uint8Array(layout.sizeBytes);
  const reads: Promise<void>[] = [];
  for (let i = 0; i < layout.length; i++) {
    const from = layout.fileOffsets[i] ?? 0;
    const target = contents.subarray(from, from + (layout.lengths[i] ?? 0));
    reads.push(device.read(layout.deviceOffsets[i] ?? 0, target));
  }
  await settleAll(reads);
  return contents;
}
