/**
 * Puts batches of records on the tape: the part that writing a full and an incremental image share.
 *
 * A fixed ring of slots goes round: the source is read into a slot, a batch of records at a time; a
 * codec thread compresses and checksums them there; the result goes from the slot to the tape, with
 * few writes for many records, because each wakes a thread and that one this.
 * Reading and compressing run up to SLOTS batches ahead of the tape; each step keeps the order.
 *
 * A chunk of the trailer's checksums may begin in one batch and end in the next. Each slot therefore
 * has room in front of its raw bytes, where the unfinished chunk of the batch before is copied, so
 * that every chunk lies in one piece when it is hashed.
 */
import { crc32c } from "@node-rs/crc32";
import { createHash, type Hash } from "node:crypto";
import { HeaderCache } from "../cache/header-cache.ts";
import { ReelError, throwIfAborted } from "../errors.ts";
import type { TapeDrive } from "../tape/tape-drive.ts";
import { writeRecords } from "../tape/write-records.ts";
import { codecPool, sharedBuffer, sharedSpan } from "./codec-pool.ts";
import type { EncodedPart } from "./codec-protocol.ts";
import {
  CODEC_ID,
  FRAME_BYTES,
  RECORD_KIND,
  runTableBytes,
  sealFrame,
  uuidBytes,
  uuidText,
  writeFrame,
  type Frame,
  type FrameIdentity,
  type RecordKind,
  type Runs,
} from "./frame.ts";
import type { ImageHeader } from "./header.ts";
import { CHECKSUM_BYTES, hashChunk } from "./record-codec.ts";

/** Batches of records on their way from the source to the tape. */
const SLOTS = 4;
/** Raw bytes of control or data that travel together: one large read, one message to a thread. */
export const BATCH_BYTES = 2 * 1024 * 1024;
/** Checksums kept in memory; more of them wait in a private temporary file. */
export const CHECKSUM_MEMORY_BYTES = 16 * 1024 * 1024;

/** One record to be written. */
export interface RecordTask {
  readonly firstItem: number;
  readonly runs: Runs;
  readonly rawLength: number;
}

/** Consecutive records of one kind that travel together. */
export interface Batch {
  readonly kind: RecordKind;
  readonly records: readonly RecordTask[];
  /** Puts the raw contents of all of them in place, one after another. */
  fill(target: Buffer): Promise<void>;
}

interface Slot {
  /** Room for an unfinished chunk, then the raw bytes. */
  readonly memory: Buffer;
  readonly out: Buffer;
  readonly checksums: Buffer;
  /** Grows to the longest row of frames met. */
  frames: Buffer;
}

/** A record in its slot. */
interface Placed {
  readonly frame: Buffer;
  readonly raw: Buffer;
  readonly out: Buffer;
}

/** A record as it goes to the tape. */
interface StoredRecord {
  readonly rawLength: number;
  readonly parts: readonly [frame: Buffer, payload: Buffer];
}

interface InFlight {
  readonly slot: Slot;
  readonly batch: Batch;
  readonly placed: readonly Placed[];
  readonly checksumCount: number;
  readonly encoded: Promise<readonly EncodedPart[]>;
}

export interface RecordPumpOptions {
  /** Blocks under one checksum of the data; 0: none are computed here. */
  readonly chunkBlocks: number;
  readonly signal?: AbortSignal | undefined;
  /** Called with the raw bytes of control and data that reached the tape. */
  readonly onBlocks?: ((rawBytes: number) => void) | undefined;
}

export class RecordPump {
  /** Records written so far, and begun: the number of the next one. */
  records = 0;
  /** Raw bytes of control and data. */
  rawBytes = 0;
  /** Bytes on tape, frames included. */
  storedBytes = 0;
  /** Of all chunks that are finished. The caller closes it. */
  readonly checksums = new HeaderCache({ memoryBudgetBytes: CHECKSUM_MEMORY_BYTES });
  readonly #drive: TapeDrive;
  readonly #header: ImageHeader;
  readonly #identity: FrameIdentity;
  readonly #signal: AbortSignal | undefined;
  readonly #onBlocks: (rawBytes: number) => void;
  readonly #chunkBlocks: number;
  readonly #chunkBytesMax: number;
  readonly #hash: Hash = createHash("sha256");
  readonly #free: Slot[] = [];
  /** Bytes of the unfinished chunk at the end of the record dispatched last, and which chunk it is. */
  readonly #carry: Buffer;
  #carryLength = 0;
  #carryChunk = -1;

  constructor(drive: TapeDrive, header: ImageHeader, options: RecordPumpOptions) {
    this.#drive = drive;
    this.#header = header;
    this.#identity = {
      uuid: uuidBytes(header.uuid),
      blockSizeBytes: header.blockSizeBytes,
      recordSizeBytes: header.recordSizeBytes,
      sizeBytes: header.sizeBytes,
    };
    this.#signal = options.signal;
    this.#onBlocks = options.onBlocks ?? (() => undefined);
    this.#chunkBlocks = options.chunkBlocks;
    this.#chunkBytesMax = options.chunkBlocks * header.blockSizeBytes;
    this.#carry = Buffer.alloc(this.#chunkBytesMax);
  }

  /**
   * Writes one record whose payload is at hand in its stored form, described by the frame it had.
   * @throws ReelError "damaged" when the payload is not what that frame says.
   */
  async writeStored(
    record: RecordTask & { readonly kind: RecordKind },
    payload: Buffer,
    was: Frame,
  ): Promise<void> {
    throwIfAborted(this.#signal, `writing ${this.#drive.name}`);
    const room = Buffer.alloc(FRAME_BYTES + runTableBytes(record.runs));
    const length = writeFrame(room, this.#identity, { ...record, record: this.records });
    const frame = room.subarray(0, length);
    const { codec, rawCrc } = was;
    const [storedLength, storedCrc] = [payload.length, crc32c(payload)];
    if (storedLength !== was.storedLength || storedCrc !== was.storedCrc) {
      throw new ReelError(
        "damaged",
        `record ${was.record} of image ${uuidText(was.uuid)} is damaged: its checksum does not match`,
      );
    }
    sealFrame(frame, length, { codec, storedLength, storedCrc, rawCrc });
    this.records++;
    await this.#drive.write([frame, payload]);
    this.#hash.update(frame);
    this.storedBytes += frame.length + payload.length;
    if (record.kind !== RECORD_KIND.checksums) this.rawBytes += record.rawLength;
  }

  /** The last chunk of the data ends with the data. */
  async finishChunk(): Promise<void> {
    if (this.#carryChunk < 0) return;
    await this.checksums.append(hashChunk(this.#carry.subarray(0, this.#carryLength)));
    this.#carryChunk = -1;
  }

  /** SHA-256 over the frames of all records but the trailer. Can be called once, after them. */
  imageHash(): string {
    return this.#hash.digest("hex");
  }

  /** Runs batches through the ring and returns when the last one is on the tape. One call at a time. */
  async write(batches: Iterable<Batch> | AsyncIterable<Batch>): Promise<void> {
    const ring: Promise<InFlight>[] = [];
    let previous: Promise<unknown> = Promise.resolve();
    try {
      for await (const batch of batches) {
        if (ring.length === SLOTS) await this.#finish(ring);
        const started = this.#start(previous, batch);
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

  /** Reads a batch at once, and has it compressed when those before it have been given away. */
  async #start(previous: Promise<unknown>, batch: Batch): Promise<InFlight> {
    let rawLength = 0;
    for (const record of batch.records) rawLength += record.rawLength;
    const slot = this.#takeSlot(rawLength);
    const raw = slot.memory.subarray(this.#chunkBytesMax, this.#chunkBytesMax + rawLength);
    const firstRecord = this.records;
    this.records += batch.records.length;
    await Promise.all([previous, batch.fill(raw)]);
    const placed = this.#place(slot, batch, firstRecord);
    const hashed = this.#chunkBlocks > 0 && batch.kind === RECORD_KIND.data;
    const chunks = hashed ? this.#chunksOf(batch, slot, rawLength) : [];
    const encoded = codecPool().encode({
      records: placed.map(({ frame, raw, out }) => ({
        frame: sharedSpan(frame),
        raw: sharedSpan(raw),
        out: sharedSpan(out),
      })),
      codec: CODEC_ID[this.#codecOf(batch.kind)],
      level: this.#header.codecLevel,
      chunks,
      memory: sharedSpan(slot.memory),
      checksums: sharedSpan(slot.checksums),
    });
    encoded.catch(() => undefined);
    // In an object, so that awaiting the start does not wait for the compression.
    return { slot, batch, placed, checksumCount: chunks.length / 2, encoded };
  }

  /** Writes the frames of a batch, all but what depends on the compressed payload. */
  #place(slot: Slot, batch: Batch, firstRecord: number): Placed[] {
    let frameBytes = 0;
    for (const { runs } of batch.records) frameBytes += FRAME_BYTES + runTableBytes(runs);
    if (slot.frames.length < frameBytes) slot.frames = sharedBuffer(frameBytes * 2);
    let frameAt = 0;
    let rawAt = this.#chunkBytesMax;
    let outAt = 0;
    return batch.records.map((record, index) => {
      const room = slot.frames.subarray(frameAt);
      const length = writeFrame(room, this.#identity, {
        ...{ kind: batch.kind, record: firstRecord + index },
        ...record,
      });
      const outLength = outBytes(record.rawLength);
      const placed = {
        frame: room.subarray(0, length),
        raw: slot.memory.subarray(rawAt, rawAt + record.rawLength),
        out: slot.out.subarray(outAt, outAt + outLength),
      };
      frameAt += length;
      rawAt += record.rawLength;
      outAt += outLength;
      return placed;
    });
  }

  /** Header and trailer stay readable to a person with `strings`. */
  #codecOf(kind: RecordKind): "none" | "zstd" {
    const plain = kind === RECORD_KIND.header || kind === RECORD_KIND.trailer;
    return plain ? "none" : this.#header.codec;
  }

  /**
   * Offset and length, in the slot's memory, of every chunk that is finished by this batch; the
   * unfinished one is kept for the next.
   */
  #chunksOf(batch: Batch, slot: Slot, rawLength: number): number[] {
    const blockSize = this.#header.blockSizeBytes;
    const chunkBlocks = this.#chunkBlocks;
    const chunks: number[] = [];
    let from = this.#chunkBytesMax - this.#carryLength;
    this.#carry.copy(slot.memory, from, 0, this.#carryLength);
    let chunk = this.#carryChunk;
    let at = this.#chunkBytesMax;
    for (const [start, count] of batch.records.flatMap(({ runs }) => runs)) {
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
    this.#carryLength = this.#chunkBytesMax + rawLength - from;
    slot.memory.copy(this.#carry, 0, from, from + this.#carryLength);
    return chunks;
  }

  /** Waits for the oldest batch of the ring and writes it to the tape. */
  async #finish(ring: Promise<InFlight>[]): Promise<void> {
    throwIfAborted(this.#signal, `writing ${this.#drive.name}`);
    const oldest = ring[0];
    if (oldest === undefined) throw new ReelError("internal", "nothing is in flight");
    const { slot, batch, placed, checksumCount, encoded } = await oldest;
    const parts = await encoded;
    const records = placed.map(({ frame, raw, out }, index): StoredRecord => {
      const { codec, length } = parts[index] ?? { codec: CODEC_ID.none, length: raw.length };
      const payload = codec === CODEC_ID.none ? raw : out.subarray(0, length);
      return { rawLength: raw.length, parts: [frame, payload] };
    });
    await this.#put(batch.kind, records);
    if (checksumCount > 0) {
      const bytes = slot.checksums.subarray(0, checksumCount * CHECKSUM_BYTES);
      await this.checksums.append(bytes);
    }
    this.#free.push(slot);
    void ring.shift();
  }

  /** Writes records of one kind, together as far as the drive takes them so. */
  async #put(kind: RecordKind, records: readonly StoredRecord[]): Promise<void> {
    const isVolume = kind === RECORD_KIND.control || kind === RECORD_KIND.data;
    for (let done = 0; done < records.length;) {
      const left = records.slice(done).map(({ parts }) => parts);
      const { written } = await writeRecords(this.#drive, left);
      for (const { rawLength, parts } of records.slice(done, done + written)) {
        const [frame, payload] = parts;
        if (kind !== RECORD_KIND.trailer) this.#hash.update(frame);
        this.storedBytes += frame.length + payload.length;
        if (!isVolume) continue;
        this.rawBytes += rawLength;
        this.#onBlocks(rawLength);
      }
      done += written;
    }
  }

  #takeSlot(rawLength: number): Slot {
    const index = this.#free.findIndex(
      (slot) => slot.memory.length >= this.#chunkBytesMax + rawLength,
    );
    const [slot] = index < 0 ? [] : this.#free.splice(index, 1);
    if (slot !== undefined) return slot;
    const size = Math.max(rawLength, this.#header.recordSizeBytes, BATCH_BYTES);
    const sums = Math.ceil(size / this.#header.blockSizeBytes) + 1;
    const records = Math.ceil(size / this.#header.recordSizeBytes);
    return {
      memory: sharedBuffer(this.#chunkBytesMax + size),
      out: sharedBuffer(records * outBytes(this.#header.recordSizeBytes)),
      checksums: sharedBuffer(sums * CHECKSUM_BYTES),
      frames: sharedBuffer(4096),
    };
  }
}

/** zstd may need a little more than the raw length, even where the result is not kept. */
function outBytes(rawLength: number): number {
  return rawLength + (rawLength >>> 8) + 1024;
}

/** The records of the checksums, as far as they are finished. */
export function* checksumBatches(
  checksums: HeaderCache,
  recordSizeBytes: number,
): Generator<Batch> {
  const total = checksums.sizeBytes;
  for (let at = 0; at < total; at += recordSizeBytes) {
    const rawLength = Math.min(recordSizeBytes, total - at);
    yield {
      kind: RECORD_KIND.checksums,
      records: [{ firstItem: at / CHECKSUM_BYTES, runs: [], rawLength }],
      fill: async (target) => checksums.read(at, target),
    };
  }
}

/** A record of bytes that are there. */
export function bytesBatch(kind: RecordKind, firstItem: number, bytes: Uint8Array): Batch {
  return {
    kind,
    records: [{ firstItem, runs: [], rawLength: bytes.length }],
    fill: async (target) => {
      target.set(bytes);
    },
  };
}
