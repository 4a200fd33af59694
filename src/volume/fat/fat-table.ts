/**
 * The file allocation table: for each cluster the number of the next one in its file.
 *
 * A FAT32 volume may have a FAT of a gigabyte, so it is never held whole. Chains are followed
 * through pages of 64 Ki entries in a cache with a budget; whatever needs every entry (used
 * clusters, free space) streams through the table in large reads and keeps nothing. A page is a
 * typed array of entries as they are on disk; FAT12, whose entries are a byte and a half, is at
 * most 6 KiB and is unpacked into a page of its own.
 */
import { endianness } from "node:os";
import type { BlockDevice } from "../../device/block-device.ts";
import { fromSystem } from "../../errors.ts";
import { ClusterTable, FIRST_CLUSTER } from "../cluster-table.ts";
import type { ClusterPage, EntryValues } from "../cluster-table.ts";
import type { FatBits, FatGeometry } from "./geometry.ts";

const PAGE_ENTRIES = 64 * 1024;
const STREAM_BYTES = 1024 * 1024;
export const CACHE_DEFAULT_BYTES = 16 * 1024 * 1024;
const HOST_IS_BIG_ENDIAN = endianness() === "BE";

/** A stretch of the table: `entries[0]` is the entry of cluster `firstCluster`. */
export interface FatStretch {
  readonly firstCluster: number;
  readonly entries: ClusterPage;
  /** Where they lie in the FAT. */
  readonly offsetBytes: number;
}

/** Entry values with a meaning; the bits above 28 of a FAT32 entry have none and are masked off. */
const VALUES: Readonly<Record<FatBits, EntryValues>> = {
  12: { mask: 0xfff, bad: 0xff7, end: 0xff8 },
  16: { mask: 0xffff, bad: 0xfff7, end: 0xfff8 },
  32: { mask: 0x0fffffff, bad: 0x0ffffff7, end: 0x0ffffff8 },
};

export class FatTable extends ClusterTable {
  readonly geometry: FatGeometry;
  readonly #device: BlockDevice;

  constructor(device: BlockDevice, geometry: FatGeometry, cacheBytes: number) {
    const pageBytes = PAGE_ENTRIES * (geometry.bits === 32 ? 4 : 2);
    const pagesMax = Math.max(2, Math.floor(cacheBytes / pageBytes));
    super(VALUES[geometry.bits], PAGE_ENTRIES, pagesMax);
    this.geometry = geometry;
    this.#device = device;
  }

  /** Clusters whose FAT entry is on the device: all of them, unless the device is cut short. */
  get clustersReadable(): number {
    return Math.max(0, this.#entriesReadable - FIRST_CLUSTER);
  }

  /** Entries on the device, with the two at the start that belong to no cluster. */
  get #entriesReadable(): number {
    const { activeFat, bits, clusterCount } = this.geometry;
    const onDevice = Math.floor((this.#bytesReadable(activeFat) * 8) / bits);
    return Math.min(clusterCount + FIRST_CLUSTER, onDevice);
  }

  /** Entries in a stretch of `stream`, but for the last. */
  get entriesPerStretch(): number {
    return Math.min(this.#entriesReadable, (STREAM_BYTES * 8) / this.geometry.bits);
  }

  /**
   * All entries in order, from the two that belong to no cluster to the last one on the device,
   * read a stretch ahead. A stretch is valid until the next one is asked for.
   */
  async *stream(): AsyncGenerator<FatStretch> {
    const { bits } = this.geometry;
    const entriesEnd = this.#entriesReadable;
    const perStretch = this.entriesPerStretch;
    const buffers = [newBuffer(perStretch, bits), newBuffer(perStretch, bits)] as const;
    const start = async (first: number, turn: number) => {
      const count = Math.min(perStretch, entriesEnd - first);
      if (count <= 0) return undefined;
      return this.#readEntries(first, count, buffers[turn & 1] ?? buffers[0]);
    };
    let next = start(0, 0);
    try {
      for (let turn = 1; ; turn++) {
        const stretch = await next;
        if (stretch === undefined) return;
        next = start(stretch.firstCluster + stretch.entries.length, turn);
        yield stretch;
      }
    } finally {
      await next.catch(() => undefined);
    }
  }

  /**
   * The same stretch of another copy of the FAT, in `buffer`; undefined when it is not on the
   * device.
   */
  async mirrorOf(
    stretch: FatStretch,
    fatIndex: number,
    buffer: ArrayBuffer,
  ): Promise<ClusterPage | undefined> {
    const { offsetBytes, entries } = stretch;
    const lengthBytes = Math.ceil((entries.length * this.geometry.bits) / 8);
    if (offsetBytes + lengthBytes > this.#bytesReadable(fatIndex)) return undefined;
    const bytes = new Uint8Array(buffer, 0, lengthBytes);
    await this.#device.read(this.#fatOffset(fatIndex) + offsetBytes, bytes);
    return entriesOf(bytes, entries.length, this.geometry.bits);
  }

  protected async loadPage(pageIndex: number): Promise<ClusterPage> {
    const { bits } = this.geometry;
    const first = this.firstClusterOf(pageIndex);
    const count = Math.min(PAGE_ENTRIES, this.#entriesReadable - first);
    if (count <= 0) return new Uint16Array(0);
    const { entries } = await this.#readEntries(first, count, newBuffer(count, bits));
    return entries;
  }

  async #readEntries(first: number, count: number, buffer: ArrayBuffer): Promise<FatStretch> {
    const { bits, activeFat } = this.geometry;
    const offsetBytes = Math.floor((first * bits) / 8);
    const lengthBytes = Math.ceil((count * bits) / 8);
    const bytes = new Uint8Array(buffer, 0, lengthBytes);
    try {
      await this.#device.read(this.#fatOffset(activeFat) + offsetBytes, bytes);
    } catch (error) {
      throw fromSystem(error, `cannot read FAT ${activeFat + 1} of ${this.#device.name}`);
    }
    return { firstCluster: first, entries: entriesOf(bytes, count, bits), offsetBytes };
  }

  #fatOffset(fatIndex: number): number {
    const { reservedSectors, sectorsPerFat, bytesPerSector } = this.geometry;
    return (reservedSectors + fatIndex * sectorsPerFat) * bytesPerSector;
  }

  #bytesReadable(fatIndex: number): number {
    const { sectorsPerFat, bytesPerSector } = this.geometry;
    const onDevice = this.#device.sizeBytes - this.#fatOffset(fatIndex);
    return Math.max(0, Math.min(sectorsPerFat * bytesPerSector, onDevice));
  }
}

function newBuffer(entries: number, bits: FatBits): ArrayBuffer {
  return new ArrayBuffer(Math.ceil((entries * bits) / 8));
}

function entriesOf(bytes: Uint8Array<ArrayBuffer>, count: number, bits: FatBits): ClusterPage {
  if (bits === 12) return unpack12(bytes, count);
  if (bits === 16) {
    if (HOST_IS_BIG_ENDIAN) Buffer.from(bytes.buffer, 0, count * 2).swap16();
    return new Uint16Array(bytes.buffer, 0, count);
  }
  if (HOST_IS_BIG_ENDIAN) Buffer.from(bytes.buffer, 0, count * 4).swap32();
  return new Uint32Array(bytes.buffer, 0, count);
}

/** Two entries in three bytes, the low nibbles first: `AB CD EF` is 0xDAB and 0xEFC. */
function unpack12(bytes: Uint8Array, count: number): Uint16Array {
  const entries = new Uint16Array(count);
  for (let i = 0; i < count; i++) {
    const at = i + (i >>> 1);
    const pair = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
    entries[i] = (i & 1) === 0 ? pair & 0xfff : pair >>> 4;
  }
  return entries;
}
