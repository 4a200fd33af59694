/** A stretch of a file by its layout, run by run: for what is small, or is seldom read this way. */
import type { BlockDevice } from "../device/block-device.ts";
import { ReelError } from "../errors.ts";
import type { FileLayout } from "./volume.ts";

/**
 * Fills `target` with a file's bytes from `offsetBytes` on, holes with zeros. Returns the bytes
 * read: fewer than asked only at the end of the file. Throws what the device throws.
 */
export async function readContents(
  device: BlockDevice,
  layout: FileLayout,
  offsetBytes: number,
  target: Uint8Array,
): Promise<number> {
  if (!Number.isSafeInteger(offsetBytes) || offsetBytes < 0) {
    throw new ReelError("invalid", `cannot read at offset ${offsetBytes} of a file`);
  }
  const end = Math.min(layout.sizeBytes, offsetBytes + target.length);
  const count = Math.max(0, end - offsetBytes);
  target.fill(0, 0, count);
  for (let i = 0; i < layout.length; i++) {
    const start = layout.fileOffsets[i] ?? 0;
    const from = Math.max(start, offsetBytes);
    const to = Math.min(start + (layout.lengths[i] ?? 0), end);
    if (from >= to) continue;
    const part = target.subarray(from - offsetBytes, to - offsetBytes);
    await device.read((layout.deviceOffsets[i] ?? 0) + from - start, part);
  }
  return count;
}
