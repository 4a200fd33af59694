/**
 * The records of an image and of those it points into, as one space of numbers: record r of image i
 * of the chain is i * IMAGE_RECORDS + r. So whoever plans, caches or reads records need not know how
 * many images there are.
 */
import type { RecordSource } from "../../cache/record-cache.ts";
import type { RunOptions } from "../../progress.ts";
import { TapeSetDrive } from "../../tape/tape-set.ts";
import type { ImagePacking } from "../block-map.ts";
import type { LoadedRecord } from "../codec-protocol.ts";
import type { DriveHead } from "../drive-head.ts";
import type { ImageHeader } from "../header.ts";
import { packingOf } from "../packing.ts";
import type { ReadCounts, RecordReader } from "../record-reader.ts";
import { streamRecords } from "../record-stream.ts";
import type { RecordVisitor } from "../tape-image.ts";
import type { Ancestors } from "./ancestors.ts";

/** More records than an image can have. */
export const IMAGE_RECORDS = 2 ** 32;

/** Index in the chain of the image that a record of that space is in. */
export function imageOfRecord(record: number): number {
  return Math.floor(record / IMAGE_RECORDS);
}

/** How packed blocks of each image of the chain become numbers of that space. */
export function chainPackings(header: ImageHeader): ImagePacking[] {
  const own = packingOf(header);
  const ancestors = (header.ancestors ?? []).map(({ firstPacked }, index) => ({
    firstRecord: (index + 1) * IMAGE_RECORDS + firstPacked,
    blocksPerRecord: own.blocksPerRecord,
  }));
  return [own, ...ancestors];
}

export class ChainReader {
  readonly name: string;
  readonly recordSizeBytes: number;
  readonly own: RecordReader;
  readonly #ancestors: Ancestors;
  /** By the number given to each. */
  readonly #tapes: DriveHead[] = [];

  constructor(own: RecordReader, ancestors: Ancestors) {
    this.own = own;
    this.name = own.name;
    this.recordSizeBytes = own.recordSizeBytes;
    this.#ancestors = ancestors;
  }

  /** What the record cache fills itself from. */
  source(): RecordSource {
    const chained = (this.#ancestors.count + 1) * IMAGE_RECORDS;
    return {
      recordSizeBytes: this.recordSizeBytes,
      firstRecord: 0,
      endRecord: this.#ancestors.count === 0 ? this.own.endRecord : chained,
      load: async (record, target) => {
        const reader = await this.#reader(record);
        return reader.load(record % IMAGE_RECORDS, target);
      },
    };
  }

  async loadWithFrame(record: number, target: Uint8Array): Promise<LoadedRecord> {
    const reader = await this.#reader(record);
    return reader.loadWithFrame(record % IMAGE_RECORDS, target);
  }

  /** See TapeImage.readRecords. */
  async stream(
    records: Iterable<number>,
    visit: RecordVisitor,
    options?: RunOptions,
  ): Promise<void> {
    return streamRecords(this, records, visit, options);
  }

  /** Of all images together. */
  counts(): ReadCounts {
    const sum: ReadCounts = { ...this.own.counts };
    for (const { counts } of this.#ancestors.opened.values()) {
      sum.recordsRead += counts.recordsRead;
      sum.dataRecordsRead += counts.dataRecordsRead;
      sum.bytesRead += counts.bytesRead;
      sum.locates += counts.locates;
    }
    return sum;
  }

  /** See RecordReader.readStored. */
  async readStored(record: number): Promise<Buffer> {
    const reader = await this.#reader(record);
    return reader.readStored(record % IMAGE_RECORDS);
  }

  /** See TapeImage.recordOffsetBytes. */
  async offsetBytes(record: number): Promise<number> {
    const reader = await this.#reader(record);
    return reader.offsetBytes(record % IMAGE_RECORDS);
  }

  /** See TapeImage.imagesInTapeOrder. */
  async imagesInTapeOrder(): Promise<number[]> {
    const places: { image: number; tape: number; reader: RecordReader }[] = [];
    const tapes: DriveHead[] = [];
    for (let image = this.#ancestors.count; image >= 0; image--) {
      const reader = image === 0 ? this.own : await this.#ancestors.reader(image);
      if (!tapes.includes(reader.head)) tapes.push(reader.head);
      places.push({ image, tape: tapes.indexOf(reader.head), reader });
    }
    places.sort((a, b) => a.tape - b.tape || a.reader.firstObject - b.reader.firstObject);
    return places.map(({ image }) => image);
  }

  /** See TapeImage.tapeOf. */
  async tapeOf(image: number): Promise<number | undefined> {
    const { head } = await this.#reader(image * IMAGE_RECORDS);
    if (head.drive instanceof TapeSetDrive && head.drive.tapes.length > 1) return undefined;
    if (!this.#tapes.includes(head)) this.#tapes.push(head);
    return this.#tapes.indexOf(head);
  }

  async #reader(record: number): Promise<RecordReader> {
    if (record < IMAGE_RECORDS) return this.own;
    return this.#ancestors.reader(imageOfRecord(record));
  }
}
