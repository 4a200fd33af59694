/**
 * An opened image as a BlockDevice. A read is cut into pieces by the block map; each piece is copied
 * from the header cache (control blocks), from the record cache or, failing that, from the tape
 * (data blocks), straight into the caller's buffer.
 */
import { RecordCache } from "../cache/record-cache.ts";
import { checkRange } from "../device/checked-device.ts";
import { settleAll } from "../device/settle-all.ts";
import { closeAll, ReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { TapeDrive } from "../tape/tape-drive.ts";
import type { BlockPiece, BlockMap } from "./block-map.ts";
import type { ImageHeader } from "./header.ts";
import type { Ancestors } from "./incremental/ancestors.ts";
import { IMAGE_RECORDS, type ChainReader } from "./incremental/chain-reader.ts";
import type { LoadedImage } from "./load-image.ts";
import { isControlRecord } from "./packing.ts";
import type { ImageState, ImageStatistics, RecordVisitor, TapeImage } from "./tape-image.ts";

export interface ImageDeviceParts {
  readonly name: string;
  readonly tapePath: string;
  readonly number: number;
  readonly drive: TapeDrive;
  readonly records: ChainReader;
  readonly ancestors: Ancestors;
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
    this.firstObject = parts.records.own.firstObject;
    this.recordCount = parts.records.own.endRecord;
    this.sizeBytes = this.header.sizeBytes;
    this.sectorSizeBytes = this.header.blockSizeBytes;
    this.#records = new RecordCache(parts.records.source(), {
      budgetBytes: parts.cacheBytes,
      readAheadRecords: parts.readAheadRecords,
    });
  }

  async read(offsetBytes: number, target: Uint8Array): Promise<void> {
    return this.readOrWait(offsetBytes, target);
  }

  readOrWait(offsetBytes: number, target: Uint8Array): Promise<void> | undefined {
    this.#checkOpen();
    const length = target.length;
    checkRange(this.name, this.sizeBytes, offsetBytes, length);
    if (length === 0) return undefined;
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
    if (waits === undefined) return undefined;
    const [wait] = waits;
    return this.#track(waits.length === 1 && wait !== undefined ? wait : settleAll(waits));
  }

  async readRecords(
    records: Iterable<number>,
    visit: RecordVisitor,
    options?: RunOptions,
  ): Promise<void> {
    this.#checkOpen();
    await this.#track(this.#parts.records.stream(records, visit, options));
  }

  /** Is the image, or one of the ancestors that were found, on this tape? */
  async usesTape(path: string): Promise<boolean> {
    return this.#parts.ancestors.usesTape(path);
  }

  /** The record as it is on the tape, frame and payload, nothing verified but whose it is. */
  async readStored(record: number): Promise<Buffer> {
    this.#checkOpen();
    return this.#track(this.#parts.records.readStored(record));
  }

  async recordOffsetBytes(record: number): Promise<number> {
    return this.#parts.records.offsetBytes(record);
  }

  async imagesInTapeOrder(): Promise<readonly number[]> {
    this.#checkOpen();
    return this.#track(this.#parts.records.imagesInTapeOrder());
  }

  async tapeOf(image: number): Promise<number | undefined> {
    this.#checkOpen();
    return this.#track(this.#parts.records.tapeOf(image));
  }

  async missingAncestors(): Promise<ReadonlyMap<number, ReelError>> {
    this.#checkOpen();
    return this.#track(this.#parts.ancestors.check());
  }

  statistics(): ImageStatistics {
    const counts = this.#parts.records.counts();
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
    const { ancestors, loaded, drive } = this.#parts;
    await closeAll(this.#records, loaded.control, ancestors, drive);
  }

  /** Undefined when the bytes are already in place. */
  #readPiece(
    piece: Readonly<BlockPiece>,
    offsetInRecord: number,
    part: Uint8Array,
  ): Promise<void> | undefined {
    if (piece.record < 0) return this.#readUnmapped(piece.block, part);
    const isOwn = piece.record < IMAGE_RECORDS;
    if (isOwn && piece.record >= this.recordCount) {
      return Promise.reject(this.#missing(piece.record));
    }
    if (isOwn && isControlRecord(this.header, piece.record)) {
      return this.#readControl(piece.record, offsetInRecord, part);
    }
    if (this.#records.tryRead(piece.record, offsetInRecord, part)) return undefined;
    return this.#records.read(piece.record, offsetInRecord, part);
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
      `${this.#parts.records.own.where(record)} is not on the tape: the image ends before it`,
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
