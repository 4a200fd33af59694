/**
 * Reads the records of one image from a drive: locate, read, verify, decompress. The drive has one
 * position, so locate and read go together under a queue; verification and decompression happen in
 * the codec threads and overlap with the next tape read.
 */
import { isReelError, ReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { RecordExtent } from "../tape/tape-drive.ts";
import { codecPool, sharedBuffer, sharedSpan } from "./codec-pool.ts";
import type { LoadedRecord, SharedSpan } from "./codec-protocol.ts";
import type { DriveHead } from "./drive-head.ts";
import { FRAME_BYTES, RUN_TABLE_BYTES_MAX } from "./frame.ts";
import { streamRecords, streamSlots } from "./record-stream.ts";
import type { RecordVisitor } from "./tape-image.ts";

/** A frame without its run table, and room for the few runs a record usually has. */
const USUAL_FRAME_BYTES = FRAME_BYTES + 4096;
const NO_RECORDS = { firstRecord: 0, records: 0 };

export interface ReadCounts {
  recordsRead: number;
  /** Of them, how many the caller called data: see `data`. */
  dataRecordsRead: number;
  bytesRead: number;
  locates: number;
}

export class RecordReader {
  readonly name: string;
  readonly head: DriveHead;
  readonly firstObject: number;
  readonly uuid: Uint8Array;
  readonly recordSizeBytes: number;
  /** Records that can be there: the image's length as far as the tape goes. */
  readonly endRecord: number;
  readonly counts: ReadCounts = {
    recordsRead: 0,
    dataRecordsRead: 0,
    bytesRead: 0,
    locates: 0,
  };
  /** The records whose reading counts as reading file data; all of an ancestor's do. */
  data: { readonly firstRecord: number; readonly records: number } = NO_RECORDS;
  readonly #pool = codecPool();
  readonly #staging: Buffer[] = [];
  #lastCounted = -1;

  constructor(
    head: DriveHead,
    image: {
      name: string;
      firstObject: number;
      uuid: Uint8Array;
      recordSizeBytes: number;
      endRecord: number;
    },
  ) {
    this.head = head;
    this.name = image.name;
    this.firstObject = image.firstObject;
    this.uuid = image.uuid;
    this.recordSizeBytes = image.recordSizeBytes;
    this.endRecord = image.endRecord;
  }

  /** Bytes of tape before the record; an estimate from raw sizes where the drive cannot tell. */
  async offsetBytes(record: number): Promise<number> {
    const object = this.firstObject + record;
    const known = await this.head.drive.objectOffsetBytes?.(object);
    return known ?? object * this.recordSizeBytes;
  }

  /**
   * Puts the verified raw contents of a record into `target` (shared memory) and resolves to their
   * length.
   *
   * @throws ReelError "damaged" when the record is not there or not what it must be.
   */
  async load(record: number, target: Uint8Array): Promise<number> {
    return (await this.#load(record, target, false)).length;
  }

  /** A virtual tape is read by the codec thread itself, if there is one; what fails there is left to the drive. */
  async #load(record: number, target: Uint8Array, wantFrame: boolean): Promise<LoadedRecord> {
    this.#checkThere(record);
    const object = this.firstObject + record;
    const extent = this.#pool.hasThreads ? await this.head.drive.recordExtent?.(object) : undefined;
    if (extent === undefined) return this.#loadFromDrive(record, target, wantFrame);
    this.#count(record, extent.lengthBytes);
    try {
      return await this.#decode(record, extent, target, wantFrame);
    } catch (error) {
      if (!isReelError(error, "damaged")) throw error;
      return await this.#loadFromDrive(record, target, wantFrame);
    }
  }

  async #loadFromDrive(
    record: number,
    target: Uint8Array,
    wantFrame: boolean,
  ): Promise<LoadedRecord> {
    const staging = this.#staging.pop() ?? sharedBuffer(this.recordSizeBytes + USUAL_FRAME_BYTES);
    let held: Buffer = staging;
    try {
      const read = await this.#queueRead(record, staging);
      held = read.bytes;
      const stored = sharedSpan(held.subarray(0, read.length));
      return await this.#decode(record, stored, target, wantFrame);
    } finally {
      if (this.#staging.length < streamSlots(this.recordSizeBytes)) this.#staging.push(held);
    }
  }

  async #decode(
    record: number,
    stored: SharedSpan | RecordExtent,
    target: Uint8Array,
    wantFrame: boolean,
  ): Promise<LoadedRecord> {
    const where = this.where(record);
    const { uuid } = this;
    return this.#pool.decode({
      stored,
      target: sharedSpan(target),
      uuid,
      record,
      where,
      wantFrame,
    });
  }

  /** For messages. */
  where(record: number): string {
    return `record ${record} of ${this.name} (tape object ${this.firstObject + record})`;
  }

  /** As `load`, with the record's frame. */
  async loadWithFrame(record: number, target: Uint8Array): Promise<LoadedRecord> {
    return this.#load(record, target, true);
  }

  /** See TapeImage.readRecords. */
  async stream(
    records: Iterable<number>,
    visit: RecordVisitor,
    options?: RunOptions,
  ): Promise<void> {
    return streamRecords(this, records, visit, options);
  }

  /** Reads the stored form of a record: its frame and payload, nothing verified. */
  async readStored(record: number): Promise<Buffer> {
    this.#checkThere(record);
    const target = Buffer.alloc(this.recordSizeBytes + USUAL_FRAME_BYTES);
    const { bytes, length } = await this.#queueRead(record, target);
    return bytes.subarray(0, length);
  }

  #checkThere(record: number): void {
    if (record >= 0 && record < this.endRecord) return;
    throw new ReelError(
      "damaged",
      `${this.where(record)} is not on the tape: the image ends after record ${this.endRecord - 1}`,
    );
  }

  async #queueRead(record: number, target: Buffer): Promise<{ bytes: Buffer; length: number }> {
    return this.head.hold(async () => this.#readNow(record, target));
  }

  async #readNow(record: number, target: Buffer): Promise<{ bytes: Buffer; length: number }> {
    const object = this.firstObject + record;
    let bytes = target;
    let read = await this.head.readAt(object, bytes);
    if (read.kind === "record" && read.lengthBytes > bytes.length) {
      // A frame with a long run table, or damage; the longest possible record settles it.
      const longest = FRAME_BYTES + RUN_TABLE_BYTES_MAX + this.recordSizeBytes;
      if (read.lengthBytes > longest) {
        throw new ReelError(
          "damaged",
          `${this.where(record)} is ${read.lengthBytes} bytes long, more than a record can be`,
        );
      }
      bytes = sharedBuffer(longest);
      read = await this.head.readAt(object, bytes);
    }
    if (read.kind !== "record") {
      throw new ReelError("damaged", `${this.where(record)}: there is a ${read.kind} in its place`);
    }
    this.#count(record, read.lengthBytes);
    return { bytes, length: read.lengthBytes };
  }

  #count(record: number, lengthBytes: number): void {
    this.counts.recordsRead++;
    const { firstRecord, records } = this.data;
    if (record >= firstRecord && record < firstRecord + records) this.counts.dataRecordsRead++;
    this.counts.bytesRead += lengthBytes;
    // Where the tape is not moved by us, what it would have to do is counted all the same.
    if (record !== this.#lastCounted + 1) this.counts.locates++;
    this.#lastCounted = record;
  }
}
