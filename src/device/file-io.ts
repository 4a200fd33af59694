/** Reading and writing whole ranges of an open file: the system may do less than it was asked to. */
import type { FileHandle } from "node:fs/promises";
import { ReelError, fromSystem } from "../errors.ts";

/** Bytes asked of the system in one call; Linux itself stops just short of 2 GiB. */
const TRANSFER_MAX_BYTES = 1 << 30;

/**
 * Fills `target` from `offsetBytes` on. A file that ends before is an "io" error which names the
 * offset: it was longer when it was opened.
 */
export async function readFully(
  handle: FileHandle,
  name: string,
  offsetBytes: number,
  target: Uint8Array,
): Promise<void> {
  let done = 0;
  while (done < target.length) {
    const length = Math.min(TRANSFER_MAX_BYTES, target.length - done);
    const at = offsetBytes + done;
    let bytesRead: number;
    try {
      ({ bytesRead } = await handle.read(target, done, length, at));
    } catch (error) {
      throw fromSystem(error, `cannot read ${length} bytes at offset ${at} of ${name}`);
    }
    if (bytesRead === 0) {
      throw new ReelError(
        "io",
        `cannot read ${length} bytes at offset ${at} of ${name}: it ends there, and was longer when it was opened`,
      );
    }
    done += bytesRead;
  }
}

/** Writes all of `source` at `offsetBytes`. */
export async function writeFully(
  handle: FileHandle,
  name: string,
  offsetBytes: number,
  source: Uint8Array,
): Promise<void> {
  let done = 0;
  while (done < source.length) {
    const length = Math.min(TRANSFER_MAX_BYTES, source.length - done);
    const at = offsetBytes + done;
    let bytesWritten: number;
    try {
      ({ bytesWritten } = await handle.write(source, done, length, at));
    } catch (error) {
      throw fromSystem(error, `cannot write ${length} bytes at offset ${at} of ${name}`);
    }
    if (bytesWritten === 0) {
      throw new ReelError(
        "io",
        `cannot write at offset ${at} of ${name}: nothing is accepted there`,
      );
    }
    done += bytesWritten;
  }
}
