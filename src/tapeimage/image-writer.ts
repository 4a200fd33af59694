/**
 * Writes an image: header, map, control set, data, checksums, trailer, in one pass over source and
 * tape. Memory does not depend on the volume's size beyond its extents.
 *
 * A fixed ring of slots goes round: the source is read into a slot, a codec thread compresses and
 * checksums it there, the result goes from the slot to the tape. Reading and compressing run up to
 * SLOTS records ahead of the tape; each step keeps the order of the records.
 *
 * A chunk of the trailer's checksums may begin in one record and end in the next. Each slot
 * therefore has room in front of its raw bytes, where the unfinished chunk of the record before is
 * copied, so that every chunk lies in one piece when it is hashed.
 */
import { createHash, type Hash } from "node:crypto";
import { HeaderCache } from "../cache/header-cache.ts";
import type { BlockDevice } from "../device/block-device.ts";
import { ReelError, throwIfAborted } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { TapeDrive } from "../tape/tape-drive.ts";
import { codecPool, sharedBuffer, sharedSpan, type CodecReply } from "./codec-pool.ts";
import {
  CODEC_ID,
  FRAME_BYTES,
  RECORD_KIND,
  runTableBytes,
  uuidBytes,
  writeFrame,
  type FrameIdentity,
  type RecordKind,
  type Runs,
} from "./frame.ts";
import { encodeHeader, type ImageHeader } from "./header.ts";
import { cutIntoRecords, type ImageLayout } from "./image-layout.ts";
import { CHECKSUM_BYTES, hashChunk } from "./record-codec.ts";
import { readRunsFrom } from "./source-reader.ts";
import { encodeTrailer } from "./trailer.ts";

/** Records on their way from the source to the tape. */
const SLOTS = 8;
/** Checksums kept in memory; more of them wait in a private temporary file. */
const CHECKSUM_MEMORY_BYTES = 16 * 1024 * 1024;

/** One record to be written. */
interface Task {
  readonly kind: RecordKind;
  readonly firstItem: number;
  readonly runs: Runs;
  readonly rawLength: number;
  /** Puts the raw contents in place. */
  fill(target: Buffer): Promise<void>;
}

interface Slot {
  readonly memory: Buffer;
  readonly out: Buffer;
  readonly checksums: Buffer;
  /** Grows to the longest frame met. */
  frame: Buffer;
}

interface InFlight {
  readonly slot: Slot;
  readonly task: Task;
  readonly frameLength: number;
  readonly raw: Buffer;
  readonly checksumCount: number;
  readonly reply: Promise<CodecReply>;
}

export interface WrittenImage {
  readonly records: number;
  /** Raw bytes of control and data. */
  readonly rawBytes: number;
  /** Bytes on tape, frames included. */
  readonly storedBytes: number;
  /** SHA-256 over the frames of all records before the trailer. */
  readonly imageHash: string;
}

export class ImageWriter {
  readonly #device: BlockDevice;
  readonly #drive: TapeDrive;
  readonly #header: ImageHeader;
  readonly #layout: ImageLayout;
  readonly #run: RunOptions & { readonly now?: () => Date };
  readonly #pool = codecPool();
  readonly #identity: FrameIdentity;
  readonly #chunkBytesMax: number;
  readonly #checksums = new HeaderCache({ memoryBudgetBytes: CHECKSUM_MEMORY_BYTES });
  readonly #hash: Hash = createHash("sha256");
  readonly #free: Slot[] = [];
  /** Bytes of the unfinished chunk at the end of the record dispatched last, and which chunk it is. */
  readonly #carry: Buffer;
  #carryLength = 0;
  #carryChunk = -1;
  #nextRecord = 0;
  #rawBytes = 0;
  #storedBytes = 0;
  #doneBytes = 0;

  constructor(
    device: BlockDevice,
    drive: TapeDrive,
    header: ImageHeader,
    layout: ImageLayout,
    run: RunOptions & { readonly now?: () => Date },
  ) {
    this.#device = device;
    this.#drive = drive;
    this.#header = header;
    this.#layout = layout;
    this.#run = run;
    this.#identity = {
      uuid: uuidBytes(header.uuid),
      blockSizeBytes: header.blockSizeBytes,
      recordSizeBytes: header.recordSizeBytes,
      sizeBytes: header.sizeBytes,
    };
    this.#chunkBytesMax = layout.chunkBlocks * header.blockSizeBytes;
    this.#carry = Buffer.alloc(this.#chunkBytesMax);
  }

  /** Writes the whole image where the drive stands, and a filemark after it. Can be called once. */
  async write(): Promise<WrittenImage> {
    try {
      await this.#pump(this.#bodyTasks());
      await this.#finishChunk();
      await this.#pump(this.#checksumTasks());
      const imageHash = this.#hash.digest("hex");
      await this.#pump([this.#trailerTask(imageHash)]);
      await this.#drive.writeFilemarks(1);
      return {
        records: this.#nextRecord,
        rawBytes: this.#rawBytes,
        storedBytes: this.#storedBytes,
        imageHash,
      };
    } finally {
      await this.#checksums.close();
    }
  }

  *#bodyTasks(): Generator<Task> {
    const device = this.#device;
    const layout = this.#layout;
    yield bytesTask(RECORD_KIND.header, 0, encodeHeader(this.#header));
    for (const record of layout.mapRecords) {
      yield bytesTask(RECORD_KIND.map, record.firstEntry, record.payload);
    }
    const blockSize = this.#header.blockSizeBytes;
    const sections = [
      [RECORD_KIND.control, layout.control, 0],
      [RECORD_KIND.data, layout.data, layout.sections.control.records * layout.blocksPerRecord],
    ] as const;
    for (const [kind, set, firstPacked] of sections) {
      let packed = firstPacked;
      for (const runs of cutIntoRecords(set, layout.blocksPerRecord)) {
        let blocks = 0;
        for (const [, count] of runs) blocks += count;
        yield {
          kind,
          firstItem: packed,
          runs,
          rawLength: blocks * blockSize,
          fill: async (target) => readRunsFrom(device, runs, blockSize, target),
        };
        packed += blocks;
      }
    }
  }

  *#checksumTasks(): Generator<Task> {
    const total = this.#checksums.sizeBytes;
    const size = this.#header.recordSizeBytes;
    for (let at = 0; at < total; at += size) {
      const length = Math.min(size, total - at);
      yield {
        kind: RECORD_KIND.checksums,
        firstItem: at / CHECKSUM_BYTES,
        runs: [],
        rawLength: length,
        fill: async (target) => this.#checksums.read(at, target),
      };
    }
  }

  #trailerTask(imageHash: string): Task {
    const json = encodeTrailer({
      format: "reelfs-trailer",
      uuid: this.#header.uuid,
      state: "complete",
      finished: (this.#run.now?.() ?? new Date()).toISOString(),
      records: this.#nextRecord + 1,
      headerRecordsBack: this.#nextRecord,
      rawBytes: this.#rawBytes,
      storedBytes: this.#storedBytes,
      imageHash,
      exceptions: [],
    });
    return bytesTask(RECORD_KIND.trailer, 0, json);
  }

  /** Runs tasks through the ring and returns when the last one is on the tape. */
  async #pump(tasks: Iterable<Task>): Promise<void> {
    const ring: Promise<InFlight>[] = [];
    let previous: Promise<unknown> = Promise.resolve();
    try {
      for (const task of tasks) {
        throwIfAborted(this.#run.signal, `backing up ${this.#device.name}`);
        if (ring.length === SLOTS) await this.#finish(ring);
        const slot = this.#takeSlot(task.rawLength);
        const raw = slot.memory.subarray(this.#chunkBytesMax, this.#chunkBytesMax + task.rawLength);
        const filled = task.fill(raw);
        const record = this.#nextRecord++;
        const started = this.#start(previous, filled, { slot, task, raw, record });
        // Whoever awaits the ring meets the failure; nothing may be left unhandled until then.
        started.catch(() => undefined);
        ring.push(started);
        previous = started;
      }
      while (ring.length > 0) await this.#finish(ring);
    } finally {
      await Promise.allSettled(ring);
    }
  }

  async #start(
    previous: Promise<unknown>,
    filled: Promise<void>,
    item: { slot: Slot; task: Task; raw: Buffer; record: number },
  ): Promise<InFlight> {
    await Promise.all([previous, filled]);
    const { slot, task, raw } = item;
    const frameBytes = FRAME_BYTES + runTableBytes(task.runs);
    if (slot.frame.length < frameBytes) slot.frame = sharedBuffer(frameBytes * 2);
    const frameLength = writeFrame(slot.frame, this.#identity, { ...task, record: item.record });
    const chunks = task.kind === RECORD_KIND.data ? this.#chunksOf(task, slot, raw) : [];
    const codec = this.#codecOf(task.kind);
    const reply = this.#pool.encode({
      frame: sharedSpan(slot.frame.subarray(0, frameLength)),
      raw: sharedSpan(raw),
      out: sharedSpan(slot.out),
      codec: CODEC_ID[codec],
      level: this.#header.codecLevel,
      chunks,
      chunkBytes: sharedSpan(slot.memory),
      checksums: sharedSpan(slot.checksums),
    });
    reply.catch(() => undefined);
    // In an object, so that awaiting the start does not wait for the compression.
    return { slot, task, frameLength, raw, checksumCount: chunks.length / 2, reply };
  }

  /** Header and trailer stay readable to a person with `strings`. */
  #codecOf(kind: RecordKind): "none" | "zstd" {
    const plain = kind === RECORD_KIND.header || kind === RECORD_KIND.trailer;
    return plain ? "none" : this.#header.codec;
  }

  /**
   * Offset and length, in the slot's memory, of every chunk that is finished by this record; the
   * unfinished one is kept for the next.
   */
  #chunksOf(task: Task, slot: Slot, raw: Buffer): number[] {
    const blockSize = this.#header.blockSizeBytes;
    const { chunkBlocks } = this.#layout;
    const chunks: number[] = [];
    let from = this.#chunkBytesMax - this.#carryLength;
    this.#carry.copy(slot.memory, from, 0, this.#carryLength);
    let chunk = this.#carryChunk;
    let at = this.#chunkBytesMax;
    for (const [start, count] of task.runs) {
      for (let block = start; block < start + count;) {
        const here = Math.floor(block / chunkBlocks);
        if (here !== chunk) {
          if (chunk >= 0) chunks.push(from, at - from);
          chunk = here;
          from = at;
        }
        const blocks = Math.min(start + count, (here + 1) * chunkBlocks) - block;
        at += blocks * blockSize;
        block += blocks;
      }
    }
    this.#carryChunk = chunk;
    this.#carryLength = this.#chunkBytesMax + raw.length - from;
    slot.memory.copy(this.#carry, 0, from, from + this.#carryLength);
    return chunks;
  }

  /** The last chunk of the data ends with the data. */
  async #finishChunk(): Promise<void> {
    if (this.#carryChunk < 0) return;
    await this.#checksums.append(hashChunk(this.#carry.subarray(0, this.#carryLength)));
  }

  /** Waits for the oldest record of the ring and writes it to the tape. */
  async #finish(ring: Promise<InFlight>[]): Promise<void> {
    const oldest = ring[0];
    if (oldest === undefined) throw new ReelError("internal", "nothing is in flight");
    const { slot, task, frameLength, raw, checksumCount, reply } = await oldest;
    const { codec, length } = await reply;
    const frame = slot.frame.subarray(0, frameLength);
    const payload = codec === CODEC_ID.none ? raw : slot.out.subarray(0, length);
    await this.#drive.write([frame, payload]);
    if (task.kind !== RECORD_KIND.trailer) this.#hash.update(frame);
    if (checksumCount > 0) {
      const bytes = slot.checksums.subarray(0, checksumCount * CHECKSUM_BYTES);
      await this.#checksums.append(bytes);
    }
    this.#storedBytes += frameLength + length;
    if (task.kind === RECORD_KIND.control || task.kind === RECORD_KIND.data) {
      this.#rawBytes += raw.length;
      this.#report(raw.length);
    }
    this.#free.push(slot);
    void ring.shift();
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

  #takeSlot(rawLength: number): Slot {
    const slot = this.#free.pop();
    if (slot !== undefined && slot.out.length >= rawLength) return slot;
    const size = Math.max(rawLength, this.#header.recordSizeBytes);
    const sums = Math.ceil(size / this.#header.blockSizeBytes) + 1;
    return {
      memory: sharedBuffer(this.#chunkBytesMax + size),
      // zstd may need a little more than the raw length even where the result is not kept.
      out: sharedBuffer(size + (size >>> 8) + 1024),
      checksums: sharedBuffer(sums * CHECKSUM_BYTES),
      frame: sharedBuffer(4096),
    };
  }
}

function bytesTask(kind: RecordKind, firstItem: number, bytes: Uint8Array): Task {
  return {
    kind,
    firstItem,
    runs: [],
    rawLength: bytes.length,
    fill: async (target) => {
      target.set(bytes);
    },
  };
}
