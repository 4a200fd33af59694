/**
 * A volume as it was at one moment, while it is written: what one backup reads.
 *
 * A block is held from that moment until the backup has passed it. What is written to a held block
 * either waits ("wait"), or its original is kept first, in a private temporary file with a budget
 * ("copy"); when that is full, writes wait after all.
 *
 *     held      nothing is known of what the backup will read: every block
 *               its plan is known: blocks of data and of the control set, each from where the
 *               backup stands in that section on
 *     copied    the original is in the store; the source has something newer
 *
 * The reader takes no lock. A block becomes "copied" before the write reaches the source; so it
 * reads the source first and then, over it, all that is copied by now. What was torn by a write
 * under way is in the store.
 */
import { PrivateFile } from "../cache/private-file.ts";
import type { BlockDevice } from "../device/block-device.ts";
import { CheckedDevice } from "../device/checked-device.ts";
import type { ExtentSet } from "../device/extents.ts";
import { isReelError } from "../errors.ts";

export type Freeze = "wait" | "copy";

/** Sections of an image that are read in rising order, each by itself. */
export type Section = "data" | "control";

export interface SnapshotOptions {
  readonly freeze: Freeze;
  readonly blockSizeBytes: number;
  /** What originals may take in the temporary file. */
  readonly cacheBytes: number;
}

/** Originals are read and stored in pieces of this. */
const PIECE_BYTES = 1 << 20;
/** Memory to find an original again, counted as part of the budget. */
const ENTRY_BYTES = 64;
/** 32 GiB of originals in blocks of 4 KiB: what a Map can hold is not much more. */
const ORIGINALS_MAX = 8 * 1024 * 1024;

export class Snapshot {
  readonly freeze: Freeze;
  readonly #base: BlockDevice;
  readonly #blockSizeBytes: number;
  readonly #originalsMax: number;
  readonly #store: PrivateFile | undefined;
  /** Block of the volume → block of the store. */
  readonly #copied = new Map<number, number>();
  #plan: Readonly<Record<Section, ExtentSet>> | undefined;
  readonly #passed: Record<Section, number> = { data: 0, control: 0 };
  #isFull = false;
  #lastTurn: Promise<unknown> = Promise.resolve();

  private constructor(base: BlockDevice, options: SnapshotOptions, store: PrivateFile | undefined) {
    this.freeze = options.freeze;
    this.#base = base;
    this.#blockSizeBytes = options.blockSizeBytes;
    this.#originalsMax = Math.min(
      ORIGINALS_MAX,
      Math.floor(options.cacheBytes / (options.blockSizeBytes + ENTRY_BYTES)),
    );
    this.#store = store;
  }

  static async open(base: BlockDevice, options: SnapshotOptions): Promise<Snapshot> {
    const store = options.freeze === "copy" ? await PrivateFile.open() : undefined;
    return new Snapshot(base, options, store);
  }

  /** Originals that are kept, and whether there is room for more. */
  get statistics(): {
    readonly freeze: Freeze;
    readonly originals: number;
    readonly full: boolean;
  } {
    return { freeze: this.freeze, originals: this.#copied.size, full: this.#isFull };
  }

  /** What the backup is going to read. Nothing else is held any more. */
  plan(sections: Readonly<Record<Section, ExtentSet>>): void {
    this.#plan = sections;
  }

  /** The backup has read all of a section before `block`. It never stands further back than it did. */
  passed(section: Section, block: number): void {
    this.#passed[section] = Math.max(this.#passed[section], block);
  }

  /** May a write to this range go on, once `keepOriginals` has done its work? */
  admits(offsetBytes: number, lengthBytes: number): boolean {
    if (this.freeze === "copy" && !this.#isFull) return true;
    const [first, end] = this.#blocksOf(offsetBytes, lengthBytes);
    for (let block = this.#nextHeld(first); block < end; block = this.#nextHeld(block + 1)) {
      if (!this.#copied.has(block)) return false;
    }
    return true;
  }

  /** Keeps the originals of all held blocks of a range. False: there is no room for them. */
  async keepOriginals(offsetBytes: number, lengthBytes: number): Promise<boolean> {
    const store = this.#store;
    const [first, end] = this.#blocksOf(offsetBytes, lengthBytes);
    if (store === undefined || this.#nextUncopied(first) >= end) return true;
    // One after another: a block must not be copied twice, nor after it was written.
    const turn = this.#lastTurn.then(async () => this.#copy(store, first, end));
    this.#lastTurn = turn.catch(() => undefined);
    return turn;
  }

  /** Fills `target` with what the volume held at the moment of the snapshot. */
  async read(offsetBytes: number, target: Uint8Array): Promise<void> {
    await this.#base.read(offsetBytes, target);
    if (this.#store === undefined || this.#copied.size === 0) return;
    const size = this.#blockSizeBytes;
    const [first, end] = this.#blocksOf(offsetBytes, target.length);
    for (let block = first; block < end; block++) {
      const stored = this.#copied.get(block);
      if (stored === undefined) continue;
      const from = Math.max(offsetBytes, block * size);
      const to = Math.min(offsetBytes + target.length, (block + 1) * size);
      const part = target.subarray(from - offsetBytes, to - offsetBytes);
      await this.#store.read(stored * size + (from - block * size), part);
    }
  }

  /** Frees the store. Nothing is held by a snapshot that is closed: the caller sees to that. */
  async close(): Promise<void> {
    await this.#store?.close();
  }

  async #copy(store: PrivateFile, first: number, end: number): Promise<boolean> {
    const size = this.#blockSizeBytes;
    try {
      for (let block = this.#nextUncopied(first); block < end;) {
        let next = block + 1;
        const most = Math.min(end, block + Math.max(1, Math.floor(PIECE_BYTES / size)));
        while (next < most && this.#nextUncopied(next) === next) next++;
        const stored = this.#copied.size;
        if (stored + (next - block) > this.#originalsMax) return this.#full();
        const length = Math.min(next * size, this.#base.sizeBytes) - block * size;
        const bytes = Buffer.allocUnsafe(length);
        await this.#base.read(block * size, bytes);
        await store.write(stored * size, bytes);
        for (let each = block; each < next; each++) this.#copied.set(each, stored + each - block);
        block = this.#nextUncopied(next);
      }
      return true;
    } catch (error) {
      // The backup has ended meanwhile, or the disk under the store is full.
      if (isReelError(error, "closed") || isReelError(error, "no-space")) return this.#full();
      throw error;
    }
  }

  #full(): boolean {
    this.#isFull = true;
    return false;
  }

  #blocksOf(offsetBytes: number, lengthBytes: number): [first: number, end: number] {
    const size = this.#blockSizeBytes;
    return [Math.floor(offsetBytes / size), Math.ceil((offsetBytes + lengthBytes) / size)];
  }

  #nextUncopied(from: number): number {
    let block = this.#nextHeld(from);
    while (this.#copied.has(block)) block = this.#nextHeld(block + 1);
    return block;
  }

  /** The first held block from `from` on; Infinity when there is none. */
  #nextHeld(from: number): number {
    if (this.#plan === undefined) return from;
    const { data, control } = this.#plan;
    return Math.min(
      nextIn(data, Math.max(from, this.#passed.data)),
      nextIn(control, Math.max(from, this.#passed.control)),
    );
  }
}

function nextIn(set: ExtentSet, from: number): number {
  const run = set.indexFrom(from);
  return run < set.length ? Math.max(from, set.startAt(run)) : Infinity;
}

/** A snapshot as a device, for as long as it is not closed. */
export class SnapshotDevice extends CheckedDevice {
  readonly #snapshot: Snapshot;

  constructor(snapshot: Snapshot, base: BlockDevice) {
    super({
      name: `${base.name} as it was when the backup began`,
      sizeBytes: base.sizeBytes,
      sectorSizeBytes: base.sectorSizeBytes,
    });
    this.#snapshot = snapshot;
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    await this.#snapshot.read(offsetBytes, target);
  }

  protected override async release(): Promise<void> {
    await this.#snapshot.close();
  }
}
