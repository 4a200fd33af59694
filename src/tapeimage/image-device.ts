/**
 * An opened image as a BlockDevice. A read is cut into pieces by the block map; each piece is copied
 * from the header cache (control blocks), from the record cache or, failing that, from the tape
 * (data blocks), straight into the caller's buffer.
 */
import { RecordCache } from "../cache/record-cache.ts";
import { checkRange } from "../device/checked-device.ts";
import { closeAll, ReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { TapeDrive } from "../tape/tape-drive.ts";
import type { BlockPiece, BlockMap } from "./block-map.ts";
import type { ImageHeader } from "./header.ts";
import type { LoadedImage } from "./load-image.ts";
import type { RecordReader } from "./record-reader.ts";
import type { ImageState, ImageStatistics, RecordVisitor, TapeImage } from "./tape-image.ts";

export interface ImageDeviceParts {
  readonly name: string;
  readonly tapePath: string;
  readonly number: number;
  readonly drive: TapeDrive;
  readonly reader: RecordReader;
  readonly loaded: LoadedImage;
  readonly state: ImageState;
  readonly cacheBytes: number;
  readonly readAheadRecords: number;
}

export class ImageDevice implements TapeImage {
  readonly name: string;
  readonly tapePath: string;
  readonly number: number;
  readonly header: ImageHeader;
  readonly map: BlockMap;
  readonly state: ImageState;
  readonly firstObject: number;
  readonly recordCount: number;
  readonly sizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly #parts: ImageDeviceParts;
  readonly #records: RecordCache;
  readonly #firstData: number;
  readonly #underWay = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;

  constructor(parts: ImageDeviceParts) {
    this.#parts = parts;
    this.name = parts.name;
    this.tapePath = parts.tapePath;
    this.number = parts.number;
    this.header = parts.loaded.header;
    this.map = parts.loaded.map;
    this.state = parts.state;
    this.firstObject = parts.reader.firstObject;
    this.recordCount = parts.reader.endRecord;
    this.sizeBytes = this.header.sizeBytes;
    this.sectorSizeBytes = this.header.blockSizeBytes;
    const { control, data } = this.header.sections;
    this.#firstData = data.firstRecord;
    const source = parts.reader.source(
      control.firstRecord,
      Math.min(data.firstRecord + data.records, parts.reader.endRecord),
    );
    this.#records = new RecordCache(source, {
      budgetBytes: parts.cacheBytes,
      readAheadRecords: parts.readAheadRecords,
    });
  }

  async read(offsetBytes: number, target: Uint8Array): Promise<void> {
    this.#checkOpen();
    const length = target.length;
    checkRange(this.name, this.sizeBytes, offsetBytes, length);
    if (length === 0) return;
    const blockSize = this.header.blockSizeBytes;
    const first = Math.floor(offsetBytes / blockSize);
    const end = Math.ceil((offsetBytes + length) / blockSize);
    let waits: Promise<void>[] | undefined;
    this.map.visitPieces(first, end - first, (piece) => {
      // The first and the last piece may be cut inside a block.
      const pieceStart = piece.block * blockSize;
      const from = Math.max(pieceStart, offsetBytes);
      const to = Math.min(pieceStart + piece.count * blockSize, offsetBytes + length);
      const part = target.subarray(from - offsetBytes, to - offsetBytes);
      const wait = this.#readPiece(
        piece,
        piece.blockInRecord * blockSize + from - pieceStart,
        part,
      );
      if (wait !== undefined) (waits ??= []).push(wait);
    });
    if (waits !== undefined) await this.#track(Promise.all(waits));
  }

  async readRecords(
    records: Iterable<number>,
    visit: RecordVisitor,
    options?: RunOptions,
  ): Promise<void> {
    this.#checkOpen();
    await this.#track(this.#parts.reader.stream(records, visit, options));
  }

  async recordOffsetBytes(record: number): Promise<number> {
    const { drive } = this.#parts;
    const object = this.firstObject + record;
    const known = await drive.objectOffsetBytes?.(object);
    return known ?? object * this.header.recordSizeBytes;
  }

  statistics(): ImageStatistics {
    const { counts } = this.#parts.reader;
    const cache = this.#records.statistics();
    const control = this.#parts.loaded.control.statistics();
    return {
      recordsRead: counts.recordsRead,
      dataRecordsRead: counts.dataRecordsRead,
      bytesRead: counts.bytesRead,
      locates: counts.locates,
      cacheHits: cache.hits,
      cacheMisses: cache.misses,
      cacheBytes: cache.bytes,
      headerCacheBytes: control.memoryBytes,
      headerSpillBytes: control.spillBytes,
    };
  }

  async close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    await Promise.allSettled(this.#underWay);
    const { loaded, drive } = this.#parts;
    await closeAll(this.#records, loaded.control, drive);
  }

  /** Undefined when the bytes are already in place. */
  #readPiece(
    piece: Readonly<BlockPiece>,
    offsetInRecord: number,
    part: Uint8Array,
  ): Promise<void> | undefined {
    if (piece.record < 0) return this.#readUnmapped(piece.block, part);
    if (piece.record >= this.recordCount) return Promise.reject(this.#missing(piece.record));
    if (piece.record >= this.#firstData) {
      if (this.#records.tryRead(piece.record, offsetInRecord, part)) return undefined;
      return this.#records.read(piece.record, offsetInRecord, part);
    }
    return this.#readControl(piece.record, offsetInRecord, part);
  }

  #readUnmapped(block: number, part: Uint8Array): Promise<void> | undefined {
    if (!this.#parts.loaded.unmappedIsLost) {
      part.fill(0);
      return undefined;
    }
    return Promise.reject(
      new ReelError("damaged", `block ${block} of ${this.name} was in a record that is lost`),
    );
  }

  #readControl(record: number, offset: number, part: Uint8Array): Promise<void> | undefined {
    const { control, lostControl } = this.#parts.loaded;
    const ordinal = record - this.header.sections.control.firstRecord;
    const at = ordinal * this.header.recordSizeBytes + offset;
    const lost = lostControl.get(record);
    if (lost !== undefined) return Promise.reject(lost);
    if (control.tryRead(at, part)) return undefined;
    return control.read(at, part);
  }

  #missing(record: number): ReelError {
    return new ReelError(
      "damaged",
      `${this.#parts.reader.where(record)} is not on the tape: the image ends before it`,
    );
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) {
      throw new ReelError("closed", `cannot read ${this.name}: it was closed`);
    }
  }

  async #track<T>(work: Promise<T>): Promise<T> {
    this.#underWay.add(work);
    try {
      return await work;
    } finally {
      this.#underWay.delete(work);
    }
  }
}
