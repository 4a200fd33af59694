/**
 * A volume that is written through to its source, and of which is known what was written.
 *
 * A write is marked before it reaches the source, so a mark may be too many and never missing. A
 * backup begins between two writes: those under way are waited for, later ones wait, and in that
 * moment the bitmap is exchanged for an empty one and everything is held (snapshot.ts). The bitmap
 * of before is kept until the backup tells that its image is whole. When it fails, or is never heard
 * of again, both are joined, and nothing has been forgotten.
 *
 *     tracking ── begin ──► backup under way ── done ───► tracking, since the new image
 *                                            ── undone ─► tracking, since the old one
 */
import { CheckedWritableDevice } from "../device/checked-device.ts";
import { ReelError } from "../errors.ts";
import type { ChangedDevice } from "../expose/device-tree.ts";
import { DirtyBitmap } from "./dirty-bitmap.ts";
import { type Freeze, type Section, Snapshot, SnapshotDevice } from "./snapshot.ts";
import type { ExtentSet } from "../device/extents.ts";

/** What has changed, and since which image; without an image everything counts as changed. */
export interface Dirt {
  readonly bitmap: DirtyBitmap;
  readonly image: string | undefined;
}

export interface BeginOptions {
  readonly freeze: Freeze;
  readonly cacheBytes: number;
}

/** Written by `zero`; never written to. */
const ZEROS = new Uint8Array(1 << 20);

/** The moment of a backup, and what becomes of it. */
export class TrackedBackupState {
  /** What had changed when it began. */
  readonly dirt: Dirt;
  readonly device: SnapshotDevice;
  readonly snapshot: Snapshot;
  readonly #owner: { finish: (state: TrackedBackupState, image?: string) => Promise<void> };
  readonly #wake: () => void;

  constructor(
    parts: { readonly dirt: Dirt; readonly device: SnapshotDevice; readonly snapshot: Snapshot },
    owner: { finish: (state: TrackedBackupState, image?: string) => Promise<void> },
    wake: () => void,
  ) {
    this.dirt = parts.dirt;
    this.device = parts.device;
    this.snapshot = parts.snapshot;
    this.#owner = owner;
    this.#wake = wake;
  }

  /** What the backup is going to read, in blocks of the bitmap; the rest is let go. */
  plan(sections: Readonly<Record<Section, ExtentSet>>): void {
    this.snapshot.plan(sections);
    this.#wake();
  }

  passed(section: Section, block: number): void {
    this.snapshot.passed(section, block);
    this.#wake();
  }

  /** The image is whole: from its moment on is counted. */
  async done(image: string): Promise<void> {
    await this.#owner.finish(this, image);
  }

  /** There is no image: all is as if it had never begun. Also after the end, when it does nothing. */
  async undone(): Promise<void> {
    await this.#owner.finish(this);
  }
}

export class TrackedDevice extends CheckedWritableDevice {
  readonly #base: ChangedDevice;
  #bitmap: DirtyBitmap;
  #image: string | undefined;
  #backup: TrackedBackupState | undefined;
  #isBeginning = false;
  #isClosing = false;
  #writesUnderWay = 0;
  #waiting: (() => void)[] = [];
  #writesWaited = 0;

  /** The base is closed with it. */
  constructor(base: ChangedDevice, dirt: Dirt) {
    super(base);
    this.#base = base;
    this.#bitmap = dirt.bitmap;
    this.#image = dirt.image;
  }

  /** What has changed by now, a backup under way left out of account. */
  get dirt(): Dirt {
    return { bitmap: this.#bitmap, image: this.#image };
  }

  get statistics(): Readonly<Record<string, unknown>> {
    return {
      image: this.#image,
      blockSizeBytes: this.#bitmap.blockSizeBytes,
      blocks: this.#bitmap.blocks,
      blocksChanged: this.#bitmap.count,
      writesWaited: this.#writesWaited,
      backup: this.#backup?.snapshot.statistics,
    };
  }

  /** Bytes that can still be written, where the base says so. */
  async writableBytes(): Promise<number> {
    return (await this.#base.writableBytes?.()) ?? 0;
  }

  /**
   * Takes a snapshot between two writes.
   *
   * @throws ReelError "busy" while another backup is under way
   */
  async begin(options: BeginOptions): Promise<TrackedBackupState> {
    if (this.#isBeginning || this.#backup !== undefined) {
      throw new ReelError("busy", `cannot back up ${this.name}: another backup of it is under way`);
    }
    this.#isBeginning = true;
    try {
      const { blockSizeBytes } = this.#bitmap;
      const snapshot = await Snapshot.open(this.#base, { ...options, blockSizeBytes });
      while (this.#writesUnderWay > 0) await this.#change();
      if (this.#isClosing) {
        await snapshot.close();
        throw new ReelError("closed", `cannot back up ${this.name}: it is being closed`);
      }
      const dirt = this.dirt;
      this.#bitmap = new DirtyBitmap(this.sizeBytes);
      const device = new SnapshotDevice(snapshot, this.#base);
      const finish = async (state: TrackedBackupState, image?: string): Promise<void> =>
        this.#finish(state, image);
      this.#backup = new TrackedBackupState({ dirt, device, snapshot }, { finish }, () => {
        this.#wake();
      });
      return this.#backup;
    } finally {
      this.#isBeginning = false;
      this.#wake();
    }
  }

  async #finish(state: TrackedBackupState, image: string | undefined): Promise<void> {
    if (this.#backup === state) {
      if (image === undefined) this.#bitmap.merge(state.dirt.bitmap);
      else this.#image = image;
      this.#backup = undefined;
      this.#wake();
    } else if (image !== undefined) {
      throw new ReelError("closed", `the backup of ${this.name} was given up before it was done`);
    }
    await state.device.close();
  }

  /** Ends a backup under way, so that writes that wait for it can end, too. */
  override async close(): Promise<void> {
    this.#isClosing = true;
    const closing = super.close();
    await this.#backup?.undone();
    await closing;
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    await this.#base.read(offsetBytes, target);
  }

  protected override async writeRange(offsetBytes: number, source: Uint8Array): Promise<void> {
    for (;;) {
      while (!this.#admits(offsetBytes, source.length)) {
        this.#writesWaited++;
        await this.#change();
      }
      // From here to the first await nothing can begin: the mark is in the right bitmap.
      this.#writesUnderWay++;
      try {
        this.#bitmap.mark(offsetBytes, source.length);
        const snapshot = this.#backup?.snapshot;
        const isKept =
          snapshot === undefined || (await snapshot.keepOriginals(offsetBytes, source.length));
        if (isKept) {
          await this.#base.write(offsetBytes, source);
          return;
        }
      } finally {
        this.#writesUnderWay--;
        if (this.#writesUnderWay === 0) this.#wake();
      }
    }
  }

  protected override async zeroRange(offsetBytes: number, lengthBytes: number): Promise<void> {
    for (let done = 0; done < lengthBytes;) {
      const length = Math.min(lengthBytes - done, ZEROS.length);
      await this.writeRange(offsetBytes + done, ZEROS.subarray(0, length));
      done += length;
    }
  }

  protected override async sync(): Promise<void> {
    await this.#base.flush();
  }

  protected override async release(): Promise<void> {
    await this.#base.close();
  }

  #admits(offsetBytes: number, lengthBytes: number): boolean {
    if (this.#isBeginning) return false;
    return this.#backup?.snapshot.admits(offsetBytes, lengthBytes) !== false;
  }

  /** Resolves when something has changed that writes, or a beginning backup, may wait for. */
  async #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    const waiting = this.#waiting;
    if (waiting.length === 0) return;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
