/**
 * Synthetic fulls: a chain of images becomes one full image that reads just the same, without the
 * volume. Each tape is passed over once; records that are whole are copied as they are, proven by
 * their checksums but not compressed again.
 */
import { randomUUID } from "node:crypto";
import { ExtentSetBuilder, type ExtentSet } from "../../device/extents.ts";
import { ReelError } from "../../errors.ts";
import type { RunOptions } from "../../progress.ts";
import type { TapeDrive } from "../../tape/tape-drive.ts";
import { blockBatches } from "../block-batches.ts";
import { exceptionMembers, type ImageExceptions, NO_EXCEPTIONS } from "../exceptions.ts";
import { readFrame, RECORD_KIND, uuidBytes, type RecordKind } from "../frame.ts";
import { encodeHeader, type ImageHeader } from "../header.ts";
import type { ImageDevice } from "../image-device.ts";
import { chainSections, mergeMaps } from "../image-layout.ts";
import type { WrittenImage } from "../image-writer.ts";
import { range } from "../load-image.ts";
import { encodeMap } from "../map-codec.ts";
import { isControlRecord } from "../packing.ts";
import { checkIdentity, CHECKSUM_BYTES } from "../record-codec.ts";
import { bytesBatch, RecordPump, type Batch, type RecordTask } from "../record-pump.ts";
import { encodeTrailer } from "../trailer.ts";
import { IMAGE_RECORDS } from "./chain-reader.ts";
import { mapOfPlan, planConsolidation, type PlannedRecord } from "./consolidation-plan.ts";

export interface ConsolidateOptions {
  /** Number of the new image on its tape. */
  readonly number: number;
  /** For its header: "reelfs 1.2.3". */
  readonly tool: string;
}

export interface ConsolidatedImage extends Omit<WrittenImage, "exceptions"> {
  readonly uuid: string;
  /** Data records that were copied as they were, and those that were put together. */
  readonly recordsCopied: number;
  readonly recordsGathered: number;
}

/**
 * Writes the full image where `drive` stands, and a filemark after it. The image read from must not
 * be on the drive written to.
 *
 * @throws ReelError "unsupported" for an image that is not complete, "not-found" for a missing
 *   ancestor, "damaged" when a record is: nothing is left out of a full image in silence.
 */
export async function consolidateImage(
  image: ImageDevice,
  drive: TapeDrive,
  options: ConsolidateOptions,
  run: RunOptions = {},
): Promise<ConsolidatedImage> {
  if (image.state.state !== "complete") {
    throw new ReelError(
      "unsupported",
      `cannot consolidate ${image.name}: it is ${image.state.state}`,
    );
  }
  const order = await image.imagesInTapeOrder();
  return new Consolidation(image, order, drive, options, run).write();
}

class Consolidation {
  readonly #image: ImageDevice;
  readonly #order: readonly number[];
  readonly #drive: TapeDrive;
  readonly #options: ConsolidateOptions;
  readonly #run: RunOptions;
  #copied = 0;
  #gathered = 0;

  constructor(
    image: ImageDevice,
    order: readonly number[],
    drive: TapeDrive,
    options: ConsolidateOptions,
    run: RunOptions,
  ) {
    this.#image = image;
    this.#order = order;
    this.#drive = drive;
    this.#options = options;
    this.#run = run;
  }

  async write(): Promise<ConsolidatedImage> {
    const { map, header: from } = this.#image;
    const control = controlBlocks(this.#image);
    const perRecord = from.recordSizeBytes / from.blockSizeBytes;
    const controlRecords = Math.ceil(control.total / perRecord);
    const firstData = controlRecords * perRecord;
    const { dataMap, blocks } = mapOfPlan(this.#plan(), map, firstData);
    const newMap = mergeMaps(control, 0, dataMap);
    const mapRecords = encodeMap(newMap, from.recordSizeBytes);
    const { checksums } = from.sections;
    const header: ImageHeader = {
      ...withoutChain(from, this.#options),
      sections: chainSections([
        ["map", mapRecords.length, newMap.length],
        ["control", controlRecords, control.total],
        ["data", Math.ceil(blocks / perRecord), blocks],
        ["checksums", checksums.records, checksums.items],
        ["trailer", 1, 1],
      ]),
    };
    const pump = new RecordPump(this.#drive, header, { chunkBlocks: 0, signal: this.#run.signal });
    try {
      await pump.write([bytesBatch(RECORD_KIND.header, 0, encodeHeader(header))]);
      await pump.write(
        mapRecords.map((record) => bytesBatch(RECORD_KIND.map, record.firstEntry, record.payload)),
      );
      await pump.write(
        blockBatches(this.#image, control, header, { kind: RECORD_KIND.control, firstPacked: 0 }),
      );
      await this.#writeData(pump, firstData, blocks);
      await this.#copyChecksums(pump);
      const imageHash = pump.imageHash();
      await pump.write([trailer(pump, header, imageHash, this.#image.state.exceptions)]);
      await this.#drive.writeFilemarks(1);
      const { records, rawBytes, storedBytes } = pump;
      const counts = { recordsCopied: this.#copied, recordsGathered: this.#gathered };
      return { uuid: header.uuid, records, rawBytes, storedBytes, imageHash, ...counts };
    } finally {
      await pump.checksums.close();
    }
  }

  #plan(): Generator<PlannedRecord> {
    return planConsolidation(this.#image.map, this.#image.header, this.#order);
  }

  async #writeData(pump: RecordPump, firstData: number, blocks: number): Promise<void> {
    const { blockSizeBytes } = this.#image.header;
    let packed = firstData;
    for (const planned of this.#plan()) {
      if (planned.kind === "copy") {
        const { record, runs } = planned;
        await this.#copy(pump, record, { kind: RECORD_KIND.data, firstItem: packed, runs });
        this.#copied++;
      } else {
        await pump.write([this.#gather(planned, packed)]);
        this.#gathered++;
      }
      packed += planned.blocks;
      this.#run.progress?.({
        phase: "consolidating",
        done: (packed - firstData) * blockSizeBytes,
        total: blocks * blockSizeBytes,
      });
    }
  }

  async #copy(
    pump: RecordPump,
    record: number,
    as: Pick<RecordTask, "firstItem" | "runs"> & { readonly kind: RecordKind },
  ): Promise<void> {
    const { header, name } = this.#image;
    const image = Math.floor(record / IMAGE_RECORDS);
    const where = `record ${record % IMAGE_RECORDS} of image ${header.chain[image] ?? name}`;
    const stored = await this.#image.readStored(record);
    const frame = readFrame(stored, stored.length, where);
    const uuid = uuidBytes(header.chain[image] ?? "");
    checkIdentity(frame, { uuid, record: record % IMAGE_RECORDS }, where);
    const payload = stored.subarray(frame.frameLength);
    await pump.writeStored({ ...as, rawLength: frame.rawLength }, payload, frame);
  }

  #gather(planned: PlannedRecord & { readonly kind: "gather" }, firstItem: number): Batch {
    const { blockSizeBytes } = this.#image.header;
    const { pieces, runs, blocks } = planned;
    return {
      kind: RECORD_KIND.data,
      records: [{ firstItem, runs, rawLength: blocks * blockSizeBytes }],
      // Through the record cache: the pieces of one source record follow one another closely.
      fill: async (target) => {
        let at = 0;
        const reads = pieces.map(async ({ start, count }) => {
          const part = target.subarray(at, at + count * blockSizeBytes);
          at += part.length;
          await this.#image.read(start * blockSizeBytes, part);
        });
        await Promise.all(reads);
      },
    };
  }

  /** Those of the newest image cover all data, wherever they lie. */
  async #copyChecksums(pump: RecordPump): Promise<void> {
    const { firstRecord, records } = this.#image.header.sections.checksums;
    const perRecord = this.#image.header.recordSizeBytes / CHECKSUM_BYTES;
    for (const record of range(firstRecord, records)) {
      const firstItem = (record - firstRecord) * perRecord;
      await this.#copy(pump, record, { kind: RECORD_KIND.checksums, firstItem, runs: [] });
    }
  }
}

/** The control set of the newest image. */
export function controlBlocks({ map, header }: ImageDevice): ExtentSet {
  const control = new ExtentSetBuilder();
  for (let index = 0; index < map.length; index++) {
    const { start, count } = map.entryAt(index);
    map.visitPieces(start, count, (piece) => {
      const isOwn = piece.record >= 0 && piece.record < IMAGE_RECORDS;
      if (isOwn && isControlRecord(header, piece.record)) control.add(piece.block, piece.count);
    });
  }
  return control.build();
}

/** It is of the same moment as the image it is made from, and needs no other. */
function withoutChain(from: ImageHeader, options: ConsolidateOptions): ImageHeader {
  const uuid = randomUUID();
  const { number, tool } = options;
  return { ...from, uuid, number, tool, chain: [uuid], ancestors: undefined, layout: undefined };
}

/** The volume is as the newest image of the chain found it, and so are the files that were in use. */
function trailer(
  pump: RecordPump,
  header: ImageHeader,
  imageHash: string,
  exceptions: ImageExceptions = NO_EXCEPTIONS,
): Batch {
  const { records, rawBytes, storedBytes } = pump;
  const json = encodeTrailer({
    format: "reelfs-trailer",
    uuid: header.uuid,
    state: "complete",
    finished: new Date().toISOString(),
    records: records + 1,
    headerRecordsBack: records,
    ...{ rawBytes, storedBytes, imageHash, ...exceptionMembers(exceptions) },
  });
  return bytesBatch(RECORD_KIND.trailer, 0, json);
}
