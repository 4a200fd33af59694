/**
 * Records of a tape image in memory: one load per record under way, a budget in bytes, the least
 * recently used record making room, and sequential readers served ahead of time.
 *
 * Memory is a fixed set of slots of one record each, made when first needed and used again and
 * again. They are shared memory, so that a worker thread can decompress straight into one. Because
 * a slot gets a new record later, its bytes are never handed out: they are copied to the caller
 * here, and always in the same turn of the event loop in which the record is known to be in the
 * slot. A load that completes serves all who wait for it in that turn, so nothing can take the slot
 * away between the two.
 *
 * A slot is in exactly one of three places:
 *
 *     #free      ──► a load takes it ──► #loads     the source is writing into it
 *     #present   ──► evicted by a load ──► #loads
 *     #loads     ──► complete ──► #present          ──► failed ──► #free
 */
import { LRUCache } from "lru-cache";
import { CallGate } from "../device/checked-device.ts";
import { ReelError, fromSystem } from "../errors.ts";
import { ReadAhead } from "./read-ahead.ts";

/** Where records come from. */
export interface RecordSource {
  /** Raw bytes in a full record; no record is longer. */
  readonly recordSizeBytes: number;
  readonly firstRecord: number;
  /** The record after the last one; may rise while the cache is open. */
  readonly endRecord: number;
  /**
   * Fills `target` (of recordSizeBytes) with the record's raw contents, verified; resolves to their
   * length. Must settle, and must not write to `target` any more once it has.
   */
  load(record: number, target: Uint8Array): Promise<number>;
}

export interface RecordCacheOptions {
  /** Memory for records. The cache never has fewer than 2 slots and one for each record read ahead. */
  readonly budgetBytes: number;
  /** Records to fetch ahead of a sequential reader, at most; 0 turns that off. */
  readonly readAheadRecords?: number;
}

export interface RecordCacheStatistics {
  /** Reads that found their record in memory. */
  readonly hits: number;
  /** Reads that had to wait for a load. */
  readonly misses: number;
  /** Loads started before anybody asked, and those of them that somebody asked for later. */
  readonly readAhead: number;
  readonly readAheadUsed: number;
  readonly evictions: number;
  /** Memory held by slots, and the most it will be. */
  readonly bytes: number;
  readonly budgetBytes: number;
}

interface Slot {
  readonly bytes: Uint8Array;
  /** Bytes of the record in it; what lies beyond is from earlier records. */
  lengthBytes: number;
  /** Read ahead, and not asked for yet. */
  isUnused: boolean;
  /** Was passed over once when a record had to make room. */
  wasSpared: boolean;
}

interface Waiter {
  readonly offsetBytes: number;
  readonly target: Uint8Array;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

interface Load {
  readonly record: number;
  readonly waiters: Waiter[];
  readonly isReadAhead: boolean;
}

const READ_AHEAD_DEFAULT_RECORDS = 4;
/** Loads that the source is asked for at the same time, and how many of those may be read-ahead. */
const LOADS_MAX = 8;
const READ_AHEAD_LOADS_MAX = 4;
/** Slots at most, whatever the budget: 16 GiB of records of 256 KiB. */
const SLOTS_MAX = 1 << 16;
/** Slots that reading ahead leaves to those who wait. */
const DEMAND_SLOTS_MIN = 2;

export class RecordCache {
  readonly #source: RecordSource;
  readonly #slotsMax: number;
  readonly #gate = new CallGate("record cache");
  readonly #readAhead: ReadAhead;
  readonly #present: LRUCache<number, Slot>;
  readonly #free: Slot[] = [];
  #slotCount = 0;
  /** By record: under way, or in the queue for a slot. */
  readonly #loads = new Map<number, Load>();
  /** Loads that somebody waits for and that have no slot yet, first come first served. */
  readonly #queue: Load[] = [];
  #loadsUnderWay = 0;
  #readAheadUnderWay = 0;
  #isClosed = false;
  readonly #counts = { hits: 0, misses: 0, readAhead: 0, readAheadUsed: 0, evictions: 0 };

  constructor(source: RecordSource, options: RecordCacheOptions) {
    const { budgetBytes, readAheadRecords = READ_AHEAD_DEFAULT_RECORDS } = options;
    this.#source = source;
    const slots = Math.min(SLOTS_MAX, Math.floor(budgetBytes / source.recordSizeBytes));
    this.#slotsMax = Math.max(DEMAND_SLOTS_MIN + readAheadRecords, slots);
    this.#readAhead = new ReadAhead(readAheadRecords);
    this.#present = new LRUCache({ max: this.#slotsMax });
  }

  /**
   * Fills `target` with the record's bytes from `offsetBytes` on, loading the record if need be.
   * Throws "out-of-range" for bytes that the record does not have, "closed", or what the source
   * threw; a failure is not remembered, so the next read tries again.
   */
  async read(record: number, offsetBytes: number, target: Uint8Array): Promise<void> {
    if (this.tryRead(record, offsetBytes, target)) return;
    this.#counts.misses++;
    // Single flight: from the look into #present (in tryRead) to the entry in #loads nothing
    // awaits, so no second reader of this record can come between and start a load of its own.
    const done = new Promise<void>((resolve, reject) => {
      const waiter: Waiter = { offsetBytes, target, resolve, reject };
      const load = this.#loads.get(record);
      if (load === undefined) this.#enqueue(record, waiter);
      else this.#join(load, waiter);
    });
    this.#readAhead.touch(record);
    this.#startLoads();
    return done;
  }

  /**
   * Fills `target` now and returns true when the record is in memory; false otherwise. Throws
   * "out-of-range" and "closed" as `read` does.
   */
  tryRead(record: number, offsetBytes: number, target: Uint8Array): boolean {
    this.#gate.check();
    this.#checkPlace(record, offsetBytes, target.length);
    const slot = this.#present.get(record);
    if (slot === undefined) return false;
    copyOut(slot, record, offsetBytes, target);
    this.#counts.hits++;
    if (slot.isUnused) {
      slot.isUnused = false;
      this.#counts.readAheadUsed++;
    }
    this.#readAhead.touch(record);
    this.#startLoads();
    return true;
  }

  statistics(): RecordCacheStatistics {
    const { recordSizeBytes } = this.#source;
    return {
      ...this.#counts,
      bytes: this.#slotCount * recordSizeBytes,
      budgetBytes: this.#slotsMax * recordSizeBytes,
    };
  }

  /** Those who wait get "closed" at once; resolves when the source is done with every slot. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#queue.length = 0;
    for (const load of this.#loads.values()) {
      const closed = new ReelError("closed", `cannot read record ${load.record}: closed meanwhile`);
      for (const waiter of load.waiters.splice(0)) waiter.reject(closed);
    }
    return this.#gate.close(async () => {
      this.#loads.clear();
      this.#present.clear();
      this.#free.length = 0;
      this.#slotCount = 0;
    });
  }

  #checkPlace(record: number, offsetBytes: number, lengthBytes: number): void {
    const { firstRecord, endRecord, recordSizeBytes } = this.#source;
    if (!Number.isInteger(record) || record < firstRecord || record >= endRecord) {
      throw new ReelError(
        "out-of-range",
        `cannot read record ${record}: there are records ${firstRecord} to ${endRecord - 1}`,
      );
    }
    if (!isWithin(offsetBytes, lengthBytes, recordSizeBytes)) {
      throw beyondRecord(record, offsetBytes, lengthBytes, recordSizeBytes);
    }
  }

  #enqueue(record: number, waiter: Waiter): void {
    const load: Load = { record, waiters: [waiter], isReadAhead: false };
    this.#loads.set(record, load);
    this.#queue.push(load);
  }

  #join(load: Load, waiter: Waiter): void {
    if (load.isReadAhead && load.waiters.length === 0) this.#counts.readAheadUsed++;
    load.waiters.push(waiter);
  }

  /** Starts what can be started: first for those who wait, then ahead of time. */
  #startLoads(): void {
    if (this.#isClosed) return;
    while (this.#loadsUnderWay < LOADS_MAX) {
      const [load] = this.#queue;
      if (load === undefined) break;
      const slot = this.#takeSlot();
      // Every slot is being loaded into; the first load to complete comes back here.
      if (slot === undefined) return;
      this.#queue.shift();
      this.#start(load, slot);
    }
    this.#readAhead.plan(this.#source.endRecord, (record) => this.#startReadAhead(record));
  }

  /** False: no room for it now. */
  #startReadAhead(record: number): boolean {
    if (this.#present.has(record) || this.#loads.has(record)) return true;
    const underWayMax = Math.min(READ_AHEAD_LOADS_MAX, this.#slotsMax - DEMAND_SLOTS_MIN);
    if (this.#readAheadUnderWay >= underWayMax || this.#loadsUnderWay >= LOADS_MAX) return false;
    const slot = this.#takeSlotForReadAhead();
    if (slot === undefined) return false;
    const load: Load = { record, waiters: [], isReadAhead: true };
    this.#loads.set(record, load);
    this.#counts.readAhead++;
    this.#start(load, slot);
    return true;
  }

  /** A slot to load into; undefined while all of them are being loaded into. */
  #takeSlot(): Slot | undefined {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#slotCount < this.#slotsMax) return this.#makeSlot();
    return this.#evict();
  }

  /**
   * The record used least recently makes room, but what was read ahead and not used yet is passed
   * over once: a sequential reader is done with what it has read, and comes for this next.
   */
  #evict(): Slot | undefined {
    for (;;) {
      const oldest = this.#present.rkeys().next();
      if (oldest.done === true) return undefined;
      const slot = this.#present.get(oldest.value);
      if (slot?.isUnused === true && !slot.wasSpared) {
        // The look-up has made it the youngest.
        slot.wasSpared = true;
        continue;
      }
      this.#present.delete(oldest.value);
      this.#counts.evictions++;
      if (slot?.isUnused === true) this.#readAhead.shrink();
      return slot;
    }
  }

  /** As above, but what was read ahead and is still to be used makes no room for more of it. */
  #takeSlotForReadAhead(): Slot | undefined {
    if (this.#free.length === 0 && this.#slotCount === this.#slotsMax) {
      const oldest = this.#present.rkeys().next();
      if (oldest.done === true || this.#present.peek(oldest.value)?.isUnused === true) {
        return undefined;
      }
    }
    return this.#takeSlot();
  }

  #makeSlot(): Slot {
    this.#slotCount++;
    const bytes = Buffer.from(new SharedArrayBuffer(this.#source.recordSizeBytes));
    return { bytes, lengthBytes: 0, isUnused: false, wasSpared: false };
  }

  #start(load: Load, slot: Slot): void {
    this.#loadsUnderWay++;
    if (load.isReadAhead) this.#readAheadUnderWay++;
    void this.#gate.run(async () => this.#run(load, slot));
  }

  /** Never rejects: a failure goes to those who wait for the load, if anybody does. */
  async #run(load: Load, slot: Slot): Promise<void> {
    let failure: unknown;
    try {
      slot.lengthBytes = await this.#source.load(load.record, slot.bytes);
      this.#checkLength(load.record, slot.lengthBytes);
    } catch (error) {
      failure = fromSystem(error, `cannot load record ${load.record}`);
    }
    this.#loadsUnderWay--;
    if (load.isReadAhead) this.#readAheadUnderWay--;
    this.#loads.delete(load.record);
    if (failure === undefined) {
      slot.isUnused = load.waiters.length === 0;
      slot.wasSpared = false;
      this.#present.set(load.record, slot);
      for (const waiter of load.waiters) serve(waiter, slot, load.record);
    } else {
      this.#free.push(slot);
      for (const waiter of load.waiters) waiter.reject(failure);
    }
    this.#startLoads();
  }

  #checkLength(record: number, lengthBytes: number): void {
    if (isWithin(0, lengthBytes, this.#source.recordSizeBytes)) return;
    throw new ReelError("internal", `record ${record} was loaded with ${lengthBytes} bytes`);
  }
}

function serve(waiter: Waiter, slot: Slot, record: number): void {
  try {
    copyOut(slot, record, waiter.offsetBytes, waiter.target);
  } catch (error) {
    waiter.reject(error);
    return;
  }
  waiter.resolve();
}

function copyOut(slot: Slot, record: number, offsetBytes: number, target: Uint8Array): void {
  if (!isWithin(offsetBytes, target.length, slot.lengthBytes)) {
    throw beyondRecord(record, offsetBytes, target.length, slot.lengthBytes);
  }
  target.set(slot.bytes.subarray(offsetBytes, offsetBytes + target.length));
}

function isWithin(offsetBytes: number, lengthBytes: number, sizeBytes: number): boolean {
  return (
    Number.isInteger(offsetBytes) &&
    Number.isInteger(lengthBytes) &&
    offsetBytes >= 0 &&
    lengthBytes >= 0 &&
    offsetBytes + lengthBytes <= sizeBytes
  );
}

function beyondRecord(
  record: number,
  offsetBytes: number,
  lengthBytes: number,
  sizeBytes: number,
): ReelError {
  return new ReelError(
    "out-of-range",
    `cannot read ${lengthBytes} bytes at offset ${offsetBytes} of record ${record}: it holds ${sizeBytes} bytes`,
  );
}
