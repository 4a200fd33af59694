/**
 * Writes an incremental image: header, changed data, control set, map, checksums, trailer.
 *
 * What has changed is known only when the source has been read, so the map follows the data, and the
 * trailer holds the header once more, with the numbers that were not known when it was written. The
 * control set is complete; a data block that has not changed is an entry of the map that points into
 * the parent, or where the parent's own entry points.
 */
import type { BlockDevice } from "../../device/block-device.ts";
import type { ExtentSet } from "../../device/extents.ts";
import type { TapeDrive } from "../../tape/tape-drive.ts";
import { BlockMapBuilder, type BlockMap } from "../block-map.ts";
import { blockBatches } from "../block-batches.ts";
import {
  exceptionMembers,
  type ImageExceptions,
  limitExceptions,
  NO_EXCEPTIONS,
} from "../exceptions.ts";
import { RECORD_KIND } from "../frame.ts";
import { encodeHeader, type ImageHeader } from "../header.ts";
import { chainSections, mergeMaps } from "../image-layout.ts";
import type { ImageWriterRun, WrittenImage } from "../image-writer.ts";
import { encodeMap } from "../map-codec.ts";
import { CHECKSUM_BYTES } from "../record-codec.ts";
import {
  BATCH_BYTES,
  bytesBatch,
  checksumBatches,
  RecordPump,
  type Batch,
  type RecordTask,
} from "../record-pump.ts";
import { encodeTrailer } from "../trailer.ts";
import {
  compareWithParent,
  planComparison,
  type ComparedChunk,
  type ComparedWindow,
} from "./changed-blocks.ts";
import type { Parent } from "./parent.ts";

export interface IncrementalSource {
  readonly device: BlockDevice;
  readonly control: ExtentSet;
  /** Without the control blocks. */
  readonly data: ExtentSet;
  readonly parent: Parent;
  /** All blocks that may have changed since the parent was made. Default: any may have. */
  readonly dirty?: ExtentSet | undefined;
}

export class IncrementalWriter {
  readonly #source: IncrementalSource;
  readonly #drive: TapeDrive;
  readonly #header: ImageHeader;
  readonly #run: ImageWriterRun;
  readonly #pump: RecordPump;
  readonly #blocksPerRecord: number;
  /** Entries of the data, rising. */
  readonly #dataMap = new BlockMapBuilder();
  /** Data blocks packed so far. */
  #packed = 0;
  #comparedBlocks = 0;

  /** `header.layout` is "data-first"; its sections are still without numbers. */
  constructor(
    source: IncrementalSource,
    drive: TapeDrive,
    header: ImageHeader,
    run: ImageWriterRun = {},
  ) {
    this.#source = source;
    this.#drive = drive;
    this.#header = header;
    this.#run = run;
    this.#blocksPerRecord = header.recordSizeBytes / header.blockSizeBytes;
    this.#pump = new RecordPump(drive, header, { chunkBlocks: 0, signal: run.signal });
  }

  /** Writes the whole image where the drive stands, and a filemark after it. Can be called once. */
  async write(): Promise<WrittenImage> {
    const { device, control } = this.#source;
    const header = this.#header;
    const pump = this.#pump;
    const { tracked } = this.#run;
    try {
      await tracked?.plan({ control, data: this.#dataToRead() }, header.blockSizeBytes);
      await pump.write([bytesBatch(RECORD_KIND.header, 0, encodeHeader(header))]);
      await pump.write(this.#changedData());
      const firstControl = Math.ceil(this.#packed / this.#blocksPerRecord) * this.#blocksPerRecord;
      await pump.write(
        blockBatches(device, control, header, {
          kind: RECORD_KIND.control,
          firstPacked: firstControl,
          passed: (offsetBytes) => {
            tracked?.passed("control", offsetBytes);
          },
        }),
      );
      const map = mergeMaps(control, firstControl, this.#dataMap.build(header.blockSizeBytes, []));
      const mapRecords = encodeMap(map, header.recordSizeBytes);
      await pump.write(
        mapRecords.map(({ firstEntry, payload }) =>
          bytesBatch(RECORD_KIND.map, firstEntry, payload),
        ),
      );
      await pump.write(checksumBatches(pump.checksums, header.recordSizeBytes));
      const imageHash = pump.imageHash();
      const sections = this.#sections(map, mapRecords.length);
      const exceptions = limitExceptions((await this.#run.beforeTrailer?.()) ?? NO_EXCEPTIONS);
      await pump.write([this.#trailer(imageHash, { ...header, sections }, exceptions)]);
      await this.#drive.writeFilemarks(1);
      const { records, rawBytes, storedBytes } = pump;
      return { records, rawBytes, storedBytes, imageHash, exceptions };
    } finally {
      await pump.checksums.close();
    }
  }

  #dataToRead(): ExtentSet {
    const { data, parent, dirty } = this.#source;
    const { checksumChunkBlocks: chunkBlocks } = this.#header;
    return planComparison(data, parent, { chunkBlocks, dirty }).read;
  }

  #sections(map: BlockMap, mapRecords: number): ImageHeader["sections"] {
    const { control } = this.#source;
    const checksums = this.#pump.checksums.sizeBytes / CHECKSUM_BYTES;
    const { recordSizeBytes } = this.#header;
    return chainSections([
      ["data", Math.ceil(this.#packed / this.#blocksPerRecord), this.#packed],
      ["control", Math.ceil(control.total / this.#blocksPerRecord), control.total],
      ["map", mapRecords, map.length],
      ["checksums", Math.ceil((checksums * CHECKSUM_BYTES) / recordSizeBytes), checksums],
      ["trailer", 1, 1],
    ]);
  }

  #trailer(imageHash: string, header: ImageHeader, exceptions: ImageExceptions): Batch {
    const { records, rawBytes, storedBytes } = this.#pump;
    const json = encodeTrailer({
      format: "reelfs-trailer",
      uuid: header.uuid,
      state: "complete",
      finished: (this.#run.now?.() ?? new Date()).toISOString(),
      records: records + 1,
      headerRecordsBack: records,
      ...{ rawBytes, storedBytes, imageHash, ...exceptionMembers(exceptions), header },
    });
    return bytesBatch(RECORD_KIND.trailer, 0, json);
  }

  /** Batches of the data that have changed; on the way, entries and checksums of all data. */
  async *#changedData(): AsyncGenerator<Batch> {
    const { device, data, parent, dirty } = this.#source;
    const { blockSizeBytes, recordSizeBytes, checksumChunkBlocks } = this.#header;
    const records = Math.max(1, Math.floor(BATCH_BYTES / recordSizeBytes));
    let gathered = new GatheredRecords(records, this.#blocksPerRecord, blockSizeBytes);
    const windows = compareWithParent(device, data, parent, {
      blockSizeBytes,
      chunkBlocks: checksumChunkBlocks,
      dirty,
      signal: this.#run.signal,
    });
    for await (const window of windows) {
      if (window.kind === "kept") {
        for (const [start, count] of window.runs) this.#keep(start, count);
        await this.#pump.checksums.append(window.checksums);
        this.#report(window.blocks);
        continue;
      }
      const [last, lastCount] = window.runs.at(-1) ?? [0, 0];
      this.#run.tracked?.passed("data", (last + lastCount) * blockSizeBytes);
      for (const piece of piecesOf(window)) {
        if (!piece.changed) {
          this.#keep(piece.start, piece.count);
          continue;
        }
        for (let done = 0; done < piece.count;) {
          const count = Math.min(piece.count - done, gathered.room);
          const from = (piece.at + done) * blockSizeBytes;
          const bytes = window.bytes.subarray(from, from + count * blockSizeBytes);
          gathered.add(piece.start + done, bytes, count);
          this.#dataMap.add(piece.start + done, count, this.#packed);
          this.#packed += count;
          done += count;
          if (gathered.room > 0) continue;
          yield gathered.batch(this.#packed);
          gathered = new GatheredRecords(records, this.#blocksPerRecord, blockSizeBytes);
        }
      }
      await this.#pump.checksums.append(Buffer.from(window.checksums));
      this.#report(window.bytes.length / blockSizeBytes);
    }
    if (gathered.blocks > 0) yield gathered.batch(this.#packed);
  }

  /** Entries for blocks that lie where the parent has them, one generation further on. */
  #keep(start: number, count: number): void {
    const { map } = this.#source.parent;
    const end = start + count;
    for (let index = map.indexFrom(start); index < map.length; index++) {
      const entry = map.entryAt(index);
      if (entry.start >= end) return;
      const from = Math.max(start, entry.start);
      const to = Math.min(end, entry.start + entry.count);
      this.#dataMap.add(from, to - from, entry.packed + (from - entry.start), entry.image + 1);
    }
  }

  #report(blocks: number): void {
    const { blockSizeBytes } = this.#header;
    this.#comparedBlocks += blocks;
    this.#run.progress?.({
      phase: "comparing with the parent",
      done: this.#comparedBlocks * blockSizeBytes,
      total: this.#source.data.total * blockSizeBytes,
    });
  }
}

/** Consecutive blocks of a window that share a fate. */
interface WindowPiece {
  readonly start: number;
  readonly count: number;
  /** Place of the first one in the window. */
  readonly at: number;
  readonly changed: boolean;
}

/** Runs cut where chunks of different fate meet. */
function* piecesOf({ runs, chunks }: ComparedWindow): Generator<WindowPiece> {
  let index = 0;
  let at = 0;
  for (const [first, total] of runs) {
    const end = at + total;
    while (at < end) {
      const from = at;
      const { changed } = chunkAt(chunks, index);
      while (index < chunks.length && chunkAt(chunks, index).changed === changed && at < end) {
        const { at: chunkStart, blocks } = chunkAt(chunks, index);
        at = Math.min(end, chunkStart + blocks);
        if (at === chunkStart + blocks) index++;
      }
      yield { start: first + total - (end - from), count: at - from, at: from, changed };
    }
  }
}

function chunkAt(chunks: readonly ComparedChunk[], index: number): ComparedChunk {
  return chunks[index] ?? { chunk: -1, at: 0, blocks: 0, changed: false };
}

/** Changed blocks on their way into a batch: copied, because the window they come from goes on. */
class GatheredRecords {
  blocks = 0;
  readonly #bytes: Buffer;
  readonly #blocksMax: number;
  readonly #blocksPerRecord: number;
  readonly #blockSizeBytes: number;
  readonly #runs: [start: number, count: number][][] = [[]];

  constructor(records: number, blocksPerRecord: number, blockSizeBytes: number) {
    this.#blocksMax = records * blocksPerRecord;
    this.#blocksPerRecord = blocksPerRecord;
    this.#blockSizeBytes = blockSizeBytes;
    this.#bytes = Buffer.allocUnsafe(this.#blocksMax * blockSizeBytes);
  }

  /** Blocks that it still takes. */
  get room(): number {
    return this.#blocksMax - this.blocks;
  }

  add(start: number, bytes: Buffer, count: number): void {
    bytes.copy(this.#bytes, this.blocks * this.#blockSizeBytes);
    for (let done = 0; done < count;) {
      const within = this.blocks % this.#blocksPerRecord;
      if (within === 0 && this.blocks > 0) this.#runs.push([]);
      const part = Math.min(count - done, this.#blocksPerRecord - within);
      const runs = this.#runs.at(-1) ?? [];
      const last = runs.at(-1);
      if (last !== undefined && last[0] + last[1] === start + done) last[1] += part;
      else runs.push([start + done, part]);
      this.blocks += part;
      done += part;
    }
  }

  /** `endPacked`: number of packed blocks when all of its own are counted. */
  batch(endPacked: number): Batch {
    let packed = endPacked - this.blocks;
    const records = this.#runs.map((runs): RecordTask => {
      const blocks = runs.reduce((sum, [, count]) => sum + count, 0);
      const firstItem = packed;
      packed += blocks;
      return { firstItem, runs, rawLength: blocks * this.#blockSizeBytes };
    });
    const bytes = this.#bytes.subarray(0, this.blocks * this.#blockSizeBytes);
    return {
      kind: RECORD_KIND.data,
      records,
      fill: async (target) => {
        bytes.copy(target);
      },
    };
  }
}
