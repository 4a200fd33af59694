/**
 * The image that the volume of a restore is opened on: it is the image, and over it, while a file is
 * being decoded, lie the bytes of that file that the pass over the tape has brought already. So a
 * volume that decodes a file moves no tape.
 */
import { checkRange } from "../device/checked-device.ts";
import type { ReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { BlockMap } from "../tapeimage/block-map.ts";
import type { ImageHeader } from "../tapeimage/header.ts";
import type {
  ImageState,
  ImageStatistics,
  RecordVisitor,
  TapeImage,
} from "../tapeimage/tape-image.ts";

/** Bytes of the device at hand: runs of it, rising and disjoint. */
export interface BytesAtHand {
  /** The first run that ends after `deviceOffset`; undefined when there is none. */
  runFrom(deviceOffset: number): { readonly start: number; readonly end: number } | undefined;
  /** Fills `target` from within one run. */
  read(deviceOffset: number, target: Uint8Array): Promise<void>;
}

export class StagedImage implements TapeImage {
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
  readonly #image: TapeImage;
  #atHand: BytesAtHand | undefined;

  /** `close` closes the image. */
  constructor(image: TapeImage) {
    this.#image = image;
    this.name = image.name;
    this.tapePath = image.tapePath;
    this.number = image.number;
    this.header = image.header;
    this.map = image.map;
    this.state = image.state;
    this.firstObject = image.firstObject;
    this.recordCount = image.recordCount;
    this.sizeBytes = image.sizeBytes;
    this.sectorSizeBytes = image.sectorSizeBytes;
  }

  /** Runs `work` with the bytes laid over the image; one such call at a time. */
  async with<T>(bytes: BytesAtHand, work: () => Promise<T>): Promise<T> {
    this.#atHand = bytes;
    try {
      return await work();
    } finally {
      this.#atHand = undefined;
    }
  }

  async read(offsetBytes: number, target: Uint8Array): Promise<void> {
    const atHand = this.#atHand;
    if (atHand === undefined) return this.#image.read(offsetBytes, target);
    checkRange(this.name, this.sizeBytes, offsetBytes, target.length);
    const end = offsetBytes + target.length;
    for (let at = offsetBytes; at < end;) {
      const run = atHand.runFrom(at);
      const isHere = run !== undefined && run.start <= at;
      const next = Math.min(end, (isHere ? run.end : run?.start) ?? end);
      const part = target.subarray(at - offsetBytes, next - offsetBytes);
      if (isHere) await atHand.read(at, part);
      else await this.#image.read(at, part);
      at = next;
    }
  }

  async readRecords(
    records: Iterable<number>,
    visit: RecordVisitor,
    options?: RunOptions,
  ): Promise<void> {
    return this.#image.readRecords(records, visit, options);
  }

  async recordOffsetBytes(record: number): Promise<number> {
    return this.#image.recordOffsetBytes(record);
  }

  async imagesInTapeOrder(): Promise<readonly number[]> {
    return this.#image.imagesInTapeOrder();
  }

  async tapeOf(image: number): Promise<number | undefined> {
    return this.#image.tapeOf(image);
  }

  async missingAncestors(): Promise<ReadonlyMap<number, ReelError>> {
    return this.#image.missingAncestors();
  }

  statistics(): ImageStatistics {
    return this.#image.statistics();
  }

  async close(): Promise<void> {
    return this.#image.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
