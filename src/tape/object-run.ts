/**
 * Lengths of the objects on a tape, many at a time: for listings and for finding a byte in a tape
 * file, where reading each record would take hours. A virtual tape has them in its index; of any
 * other drive the records are read, into nothing.
 *
 * They come as words of the SIMH format, which says all there is to say: FILEMARK_WORD, or a class
 * and a length (`dataBytes`, `isFlawed` of simh-format.ts).
 */
import { FILEMARK_WORD } from "./simh-format.ts";
import type { TapeDrive } from "./tape-drive.ts";

/** A drive that may know lengths without reading. */
export interface ObjectRunDrive extends TapeDrive {
  /**
   * Words of the objects from `object` on, as many as come cheaply; none at the end of the data or
   * of what can be read. Undefined where only reading tells. The position stays.
   */
  objectRun(object: number): Promise<Uint32Array | undefined>;
}

/** Class 8: read with errors when the tape was copied. */
const FLAWED_CLASS = 0x8000_0000;

/** Records read into nothing for one run; they queue up at the drive, so nothing waits between. */
const RUN_READS = 256;

function knowsLengths(drive: TapeDrive): drive is ObjectRunDrive {
  return "objectRun" in drive && typeof drive.objectRun === "function";
}

/**
 * Words of the objects from `object` on; empty at the end of the data. May move the drive.
 * @throws "damaged" where the very object cannot be read.
 */
export async function readObjectRun(drive: TapeDrive, object: number): Promise<Uint32Array> {
  if (knowsLengths(drive)) {
    const words = await drive.objectRun(object);
    // None may be the end, or damage: reading tells which.
    if (words !== undefined && words.length > 0) return words;
  }
  const nothing = new Uint8Array(0);
  const moved = drive.locate(object);
  const reads = Array.from({ length: RUN_READS }, async () => drive.read(nothing));
  const [first, ...results] = await Promise.allSettled([moved, ...reads]);
  if (first.status === "rejected") throw first.reason;
  const words = new Uint32Array(RUN_READS);
  let count = 0;
  for (const result of results) {
    if (result.status === "rejected") {
      if (count === 0) throw result.reason;
      break;
    }
    const read = result.value;
    if (read.kind === "filemark") words[count] = FILEMARK_WORD;
    else if (read.kind === "record") words[count] = wordOf(read.lengthBytes, read.flawed);
    else break;
    count += 1;
  }
  return words.subarray(0, count);
}

/** The word of a record. */
export function wordOf(lengthBytes: number, flawed: boolean): number {
  return (lengthBytes | (flawed ? FLAWED_CLASS : 0)) >>> 0;
}
