/**
 * How a codec thread reads records of a virtual tape: it blocks, and those that lie one behind the
 * other come with one read. Never for a thread that serves a mount.
 */
import { readSync } from "node:fs";
import { fromSystem, ReelError } from "../errors.ts";
import type { RecordExtent } from "../tape/tape-drive.ts";
import type { DecodeRequest } from "./codec-protocol.ts";
import type { ExtentReader } from "./codec-work.ts";
import { RECORD_BYTES_MAX } from "./frame.ts";

/** Bytes of tape in one read, but for a record that is longer. */
const READ_BYTES_MAX = 2 * 1024 * 1024;
/** Between the data of two records: the words and the padding of the container. */
const GAP_BYTES_MAX = 64;

/** What was read of the tape last: neighbours of a record are found in it. */
export class TapeWindow implements ExtentReader {
  #bytes = Buffer.alloc(0);
  #descriptor = -1;
  #startBytes = 0;
  #endBytes = 0;

  read(extent: RecordExtent, ahead: readonly DecodeRequest[], where: string): Buffer {
    const { descriptor, offsetBytes, lengthBytes } = extent;
    if (lengthBytes > RECORD_BYTES_MAX) {
      const length = `${lengthBytes} bytes long, more than a record can be`;
      throw new ReelError("damaged", `${where} is ${length}`);
    }
    const endBytes = offsetBytes + lengthBytes;
    if (!this.#holds(descriptor, offsetBytes, endBytes)) {
      this.#fill(descriptor, offsetBytes, endOfNeighbours(extent, ahead), where);
    }
    if (!this.#holds(descriptor, offsetBytes, endBytes)) {
      throw new ReelError("damaged", `${where}: the tape ends within it`);
    }
    return this.#bytes.subarray(offsetBytes - this.#startBytes, endBytes - this.#startBytes);
  }

  forget(): void {
    this.#descriptor = -1;
  }

  #holds(descriptor: number, startBytes: number, endBytes: number): boolean {
    return (
      descriptor === this.#descriptor &&
      startBytes >= this.#startBytes &&
      endBytes <= this.#endBytes
    );
  }

  #fill(descriptor: number, startBytes: number, endBytes: number, where: string): void {
    this.forget();
    const wanted = endBytes - startBytes;
    if (this.#bytes.length < wanted) this.#bytes = Buffer.alloc(Math.max(wanted, READ_BYTES_MAX));
    let done = 0;
    try {
      while (done < wanted) {
        const read = readSync(descriptor, this.#bytes, done, wanted - done, startBytes + done);
        if (read === 0) break;
        done += read;
      }
    } catch (error) {
      // What came before the failure may hold whole records; the first one not in it meets it again.
      if (done === 0) throw fromSystem(error, `cannot read ${where}`);
    }
    this.#descriptor = descriptor;
    this.#startBytes = startBytes;
    this.#endBytes = startBytes + done;
  }
}

/** Where the last of the records ends that follow one another closely enough for one read. */
function endOfNeighbours(first: RecordExtent, ahead: readonly DecodeRequest[]): number {
  const { descriptor, offsetBytes } = first;
  let endBytes = offsetBytes + first.lengthBytes;
  for (const { stored } of ahead) {
    if (!("descriptor" in stored) || stored.descriptor !== descriptor) break;
    const gapBytes = stored.offsetBytes - endBytes;
    const nextEnd = stored.offsetBytes + stored.lengthBytes;
    if (gapBytes < 0 || gapBytes > GAP_BYTES_MAX || nextEnd - offsetBytes > READ_BYTES_MAX) break;
    endBytes = nextEnd;
  }
  return endBytes;
}
