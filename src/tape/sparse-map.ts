/**
 * Where the data of a file with holes belongs. An archive stores such a file's parts one behind the
 * other ("packed"), and a map that says where in the file each begins and how long it is. What no
 * part covers is zeros.
 *
 * Parts rise in the file and do not overlap, so two numbers a part suffice, and a read of any range
 * needs one run of packed bytes.
 */
import { ReelError } from "../errors.ts";
import { NumberList } from "./tape-index.ts";

/** Parts of one file, empty ones included. */
export const SPARSE_PARTS_MAX = 1_000_000;
/** What a part takes in memory. */
export const BYTES_PER_PART = 16;

/** Fills all of `target` with packed bytes from `offsetBytes` on. */
export type ReadPacked = (offsetBytes: number, target: Uint8Array) => Promise<void>;

export class SparseMap {
  readonly sizeBytes: number;
  readonly #starts = new NumberList();
  /** Where each part begins in the packed bytes. */
  readonly #packedStarts = new NumberList();
  #packedBytes = 0;
  #endBytes = 0;
  #added = 0;

  /** `sizeBytes`: of the file, holes included. */
  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
  }

  /** Parts that are not empty. */
  get parts(): number {
    return this.#starts.length;
  }

  get packedBytes(): number {
    return this.#packedBytes;
  }

  /** Adds the next part. @throws "damaged" for one that cannot be; the message has no subject. */
  add(startBytes: number, lengthBytes: number): void {
    this.#added += 1;
    if (this.#added > SPARSE_PARTS_MAX) throw damaged(`it has more than ${SPARSE_PARTS_MAX} parts`);
    if (startBytes < this.#endBytes) {
      throw damaged(
        `part ${this.#added} begins at byte ${startBytes}, before the end of the part in front of it`,
      );
    }
    if (startBytes + lengthBytes > this.sizeBytes) {
      throw damaged(`part ${this.#added} lies beyond the ${this.sizeBytes} bytes of the file`);
    }
    this.#endBytes = startBytes + lengthBytes;
    if (lengthBytes === 0) return;
    this.#starts.push(startBytes);
    this.#packedStarts.push(this.#packedBytes);
    this.#packedBytes += lengthBytes;
  }

  /** Reads from `offsetBytes` of the file on; returns how many bytes, fewer only at its end. */
  async read(offsetBytes: number, target: Uint8Array, readPacked: ReadPacked): Promise<number> {
    const lengthBytes = Math.max(0, Math.min(target.length, this.sizeBytes - offsetBytes));
    const wanted = target.subarray(0, lengthBytes);
    const first = this.#firstPartAfter(offsetBytes);
    const behindLast = this.#starts.countBelow(offsetBytes + lengthBytes);
    if (first >= behindLast) {
      wanted.fill(0);
      return lengthBytes;
    }
    const fromBytes = this.#packedAt(first, offsetBytes);
    const toBytes = this.#packedAt(behindLast - 1, offsetBytes + lengthBytes);
    // To the end of the target: each part then moves towards the front, over what has moved already.
    const packed = wanted.subarray(lengthBytes - (toBytes - fromBytes));
    await readPacked(fromBytes, packed);
    this.#spread(wanted, packed.length, offsetBytes, first, behindLast);
    return lengthBytes;
  }

  /** Moves packed bytes at the end of `wanted` to where they belong, and makes zeros of the rest. */
  #spread(
    wanted: Uint8Array,
    packedBytes: number,
    offsetBytes: number,
    first: number,
    behindLast: number,
  ): void {
    let source = wanted.length - packedBytes;
    let done = 0;
    for (let part = first; part < behindLast; part++) {
      const from = Math.max(this.#starts.at(part) - offsetBytes, 0);
      const to = Math.min(this.#endOf(part) - offsetBytes, wanted.length);
      wanted.fill(0, done, from);
      wanted.copyWithin(from, source, source + to - from);
      source += to - from;
      done = to;
    }
    wanted.fill(0, done);
  }

  #endOf(part: number): number {
    return this.#starts.at(part) + this.#packedEnd(part) - this.#packedStarts.at(part);
  }

  #packedEnd(part: number): number {
    return part + 1 < this.parts ? this.#packedStarts.at(part + 1) : this.#packedBytes;
  }

  /** The first part that ends behind a byte of the file. */
  #firstPartAfter(offsetBytes: number): number {
    const part = this.#starts.countBelow(offsetBytes + 1) - 1;
    return part >= 0 && this.#endOf(part) > offsetBytes ? part : part + 1;
  }

  /** The place in the packed bytes of a byte of the file: in a part, or the nearer end of it. */
  #packedAt(part: number, offsetBytes: number): number {
    const intoBytes = Math.max(0, offsetBytes - this.#starts.at(part));
    return Math.min(this.#packedStarts.at(part) + intoBytes, this.#packedEnd(part));
  }
}

function damaged(what: string): ReelError {
  return new ReelError("damaged", what);
}
