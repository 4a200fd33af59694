/**
 * A volume as it is after the replay: where the journal has a newer copy of a block, the copy is
 * read in its place. Nothing is kept in memory but where the copies are.
 *
 * A read is served by one read of the volume (none, where all its blocks are replaced) and one for
 * each group of copies that lie close together in the journal, whatever their order on the volume:
 * the kernel writes a transaction's blocks in the order in which they were changed.
 */
import type { BlockDevice } from "../../../device/block-device.ts";
import { CheckedDevice } from "../../../device/checked-device.ts";
import { lowerBound } from "./copy-table.ts";
import { JOURNAL_MAGIC } from "./layout.ts";

/** Copies that are no further apart than this are read at once. */
const GAP_BYTES_MAX = 64 * 1024;
/** And no more than this in one read. */
const GROUP_BYTES_MAX = 1024 * 1024;

/** Where the newest copies are: columns, in the order of the volume's blocks. */
export interface ReplacedBlocks {
  readonly blocks: Float64Array;
  /** Block of the device that holds the copy. */
  readonly physicalBlocks: Float64Array;
  /** 1 where the copy begins with zeros in the place of the journal's magic number. */
  readonly escaped: Uint8Array;
}

export class ReplayedDevice extends CheckedDevice {
  readonly #base: BlockDevice;
  readonly #blockSizeBytes: number;
  readonly #replaced: ReplacedBlocks;

  constructor(base: BlockDevice, blockSizeBytes: number, replaced: ReplacedBlocks) {
    const { name, sizeBytes, sectorSizeBytes } = base;
    super({ name, sizeBytes, sectorSizeBytes });
    this.#base = base;
    this.#blockSizeBytes = blockSizeBytes;
    this.#replaced = replaced;
  }

  protected override async readRange(offsetBytes: number, target: Uint8Array): Promise<void> {
    const { blocks } = this.#replaced;
    const first = Math.floor(offsetBytes / this.#blockSizeBytes);
    const end = Math.ceil((offsetBytes + target.length) / this.#blockSizeBytes);
    const from = lowerBound(blocks, first);
    if ((blocks[from] ?? end) >= end) return this.#base.read(offsetBytes, target);
    const to = lowerBound(blocks, end);
    if (to - from < end - first) await this.#base.read(offsetBytes, target);
    // One after the other: a group may take far more memory than what is wanted of it.
    for (const group of this.#groups(from, to)) await this.#readGroup(group, offsetBytes, target);
  }

  /** Releases nothing: the device below belongs to whoever opened it. */
  protected override async release(): Promise<void> {
    // Nothing is held.
  }

  /** Entries [from, to) in the order of their copies, cut where copies lie far apart. */
  #groups(from: number, to: number): Uint32Array[] {
    const { physicalBlocks } = this.#replaced;
    const place = (entry: number): number => physicalBlocks[entry] ?? 0;
    const entries = Uint32Array.from({ length: to - from }, (_, i) => from + i);
    entries.sort((a, b) => place(a) - place(b));
    const gapMax = GAP_BYTES_MAX / this.#blockSizeBytes;
    const groupMax = GROUP_BYTES_MAX / this.#blockSizeBytes;
    const groups: Uint32Array[] = [];
    let start = 0;
    for (let i = 1; i <= entries.length; i++) {
      const here = place(entries[i] ?? 0);
      const joins =
        i < entries.length &&
        here - place(entries[i - 1] ?? 0) <= gapMax &&
        here - place(entries[start] ?? 0) < groupMax;
      if (joins) continue;
      groups.push(entries.subarray(start, i));
      start = i;
    }
    return groups;
  }

  async #readGroup(group: Uint32Array, offsetBytes: number, target: Uint8Array): Promise<void> {
    const { physicalBlocks } = this.#replaced;
    const size = this.#blockSizeBytes;
    const first = physicalBlocks[group[0] ?? 0] ?? 0;
    const last = physicalBlocks[group[group.length - 1] ?? 0] ?? 0;
    const copies = new Uint8Array((last - first + 1) * size);
    await this.#base.read(first * size, copies);
    for (const entry of group) {
      const at = ((physicalBlocks[entry] ?? 0) - first) * size;
      this.#place(entry, copies.subarray(at, at + size), offsetBytes, target);
    }
  }

  /** Puts the part of a copy that was asked for where it belongs in the target. */
  #place(entry: number, copy: Uint8Array, offsetBytes: number, target: Uint8Array): void {
    const { blocks, escaped } = this.#replaced;
    if (escaped[entry] === 1) {
      new DataView(copy.buffer, copy.byteOffset).setUint32(0, JOURNAL_MAGIC);
    }
    const blockOffset = (blocks[entry] ?? 0) * this.#blockSizeBytes;
    const start = Math.max(blockOffset, offsetBytes);
    const end = Math.min(blockOffset + copy.length, offsetBytes + target.length);
    target.set(copy.subarray(start - blockOffset, end - blockOffset), start - offsetBytes);
  }
}
