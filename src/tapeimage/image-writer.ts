/**
 * Writes a full image: header, map, control set, data, checksums, trailer, in one pass over source
 * and tape. Memory does not depend on the volume's size beyond its extents.
 */
import type { BlockDevice } from "../device/block-device.ts";
import type { ExtentSet } from "../device/extents.ts";
import type { RunOptions } from "../progress.ts";
import type { TapeDrive } from "../tape/tape-drive.ts";
import { blockBatches } from "./block-batches.ts";
import { RECORD_KIND } from "./frame.ts";
import {
  exceptionMembers,
  type ImageExceptions,
  limitExceptions,
  NO_EXCEPTIONS,
} from "./exceptions.ts";
import { encodeHeader, type ImageHeader } from "./header.ts";
import type { ImageLayout } from "./image-layout.ts";
import { bytesBatch, checksumBatches, RecordPump, type Batch } from "./record-pump.ts";
import type { ReadSection, TrackedVolume } from "./tracked-volume.ts";
import { encodeTrailer } from "./trailer.ts";

export interface WrittenImage {
  readonly records: number;
  /** Raw bytes of control and data. */
  readonly rawBytes: number;
  /** Bytes on tape, frames included. */
  readonly storedBytes: number;
  /** SHA-256 over the frames of all records before the trailer. */
  readonly imageHash: string;
  /** What the trailer says was open for writing. */
  readonly exceptions: ImageExceptions;
}

export interface ImageWriterRun extends RunOptions {
  readonly now?: (() => Date) | undefined;
  /** Is told what is read, and how far reading is. */
  readonly tracked?: TrackedVolume | undefined;
  /** Is told that all has been read, and may still refuse to have the image called whole. */
  readonly beforeTrailer?: (() => Promise<ImageExceptions>) | undefined;
}

export class ImageWriter {
  readonly #device: BlockDevice;
  readonly #drive: TapeDrive;
  readonly #header: ImageHeader;
  readonly #layout: ImageLayout;
  readonly #run: ImageWriterRun;
  readonly #pump: RecordPump;
  #doneBytes = 0;

  constructor(
    device: BlockDevice,
    drive: TapeDrive,
    header: ImageHeader,
    layout: ImageLayout,
    run: ImageWriterRun,
  ) {
    this.#device = device;
    this.#drive = drive;
    this.#header = header;
    this.#layout = layout;
    this.#run = run;
    this.#pump = new RecordPump(drive, header, {
      chunkBlocks: layout.chunkBlocks,
      signal: run.signal,
      onBlocks: (rawBytes) => {
        this.#report(rawBytes);
      },
    });
  }

  /** Writes the whole image where the drive stands, and a filemark after it. Can be called once. */
  async write(): Promise<WrittenImage> {
    const pump = this.#pump;
    const { control, data } = this.#layout;
    try {
      await this.#run.tracked?.plan({ control, data }, this.#header.blockSizeBytes);
      await pump.write(this.#body());
      await pump.finishChunk();
      await pump.write(checksumBatches(pump.checksums, this.#header.recordSizeBytes));
      const imageHash = pump.imageHash();
      const exceptions = limitExceptions((await this.#run.beforeTrailer?.()) ?? NO_EXCEPTIONS);
      await pump.write([this.#trailer(imageHash, exceptions)]);
      await this.#drive.writeFilemarks(1);
      const { records, rawBytes, storedBytes } = pump;
      return { records, rawBytes, storedBytes, imageHash, exceptions };
    } finally {
      await pump.checksums.close();
    }
  }

  *#body(): Generator<Batch> {
    const layout = this.#layout;
    yield bytesBatch(RECORD_KIND.header, 0, encodeHeader(this.#header));
    for (const record of layout.mapRecords) {
      yield bytesBatch(RECORD_KIND.map, record.firstEntry, record.payload);
    }
    const firstData = layout.sections.control.records * layout.blocksPerRecord;
    const { tracked } = this.#run;
    const passedIn = (section: ReadSection) => (offsetBytes: number) => {
      tracked?.passed(section, offsetBytes);
    };
    yield* this.#blocks(layout.control, {
      ...{ kind: RECORD_KIND.control, firstPacked: 0, passed: passedIn("control") },
    });
    yield* this.#blocks(layout.data, {
      ...{ kind: RECORD_KIND.data, firstPacked: firstData, passed: passedIn("data") },
    });
  }

  #blocks(set: ExtentSet, as: Parameters<typeof blockBatches>[3]): Iterable<Batch> {
    return blockBatches(this.#device, set, this.#header, as);
  }

  #trailer(imageHash: string, exceptions: ImageExceptions): Batch {
    const { records, rawBytes, storedBytes } = this.#pump;
    const json = encodeTrailer({
      format: "reelfs-trailer",
      uuid: this.#header.uuid,
      state: "complete",
      finished: (this.#run.now?.() ?? new Date()).toISOString(),
      records: records + 1,
      headerRecordsBack: records,
      rawBytes,
      storedBytes,
      imageHash,
      ...exceptionMembers(exceptions),
    });
    return bytesBatch(RECORD_KIND.trailer, 0, json);
  }

  #report(bytes: number): void {
    this.#doneBytes += bytes;
    const { control, data } = this.#layout.sections;
    this.#run.progress?.({
      phase: "writing image",
      done: this.#doneBytes,
      total: (control.items + data.items) * this.#header.blockSizeBytes,
    });
  }
}
