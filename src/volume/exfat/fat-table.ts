/**
 * The file allocation table: for each cluster the number of the next one in its file.
 *
 * The FAT of a large volume has gigabytes, and most of it means nothing: files in one piece do not
 * use it. So it is read in pages, and only those that a chain leads through. The pages are also
 * the unit in which the FAT becomes part of the control set: a reader that has the pages of all
 * chains never asks for another byte of the FAT.
 */
import { endianness } from "node:os";
import type { BlockDevice } from "../../device/block-device.ts";
import { fromSystem } from "../../errors.ts";
import type { ExfatGeometry } from "./boot-region.ts";

export const PAGE_BYTES = 64 * 1024;
export const FAT_ENTRY_BYTES = 4;
const PAGE_ENTRIES = PAGE_BYTES / FAT_ENTRY_BYTES;
const CACHE_BYTES = 16 * 1024 * 1024;
const PAGES_MAX = CACHE_BYTES / PAGE_BYTES;
const HOST_IS_BIG_ENDIAN = endianness() === "BE";

/** Values of an entry with a meaning of their own (specification, section 4.1). */
export const FAT_VALUE = {
  free: 0,
  bad: 0xfffffff7,
  /** This and above: the last cluster of a chain. FFFFFFFF is what is written. */
  end: 0xfffffff8,
} as const;

export class FatTable {
  readonly geometry: ExfatGeometry;
  readonly #device: BlockDevice;
  /** In order of use, the oldest first. */
  readonly #pages = new Map<number, Uint32Array>();
  readonly #loading = new Map<number, Promise<Uint32Array>>();

  constructor(device: BlockDevice, geometry: ExfatGeometry) {
    this.#device = device;
    this.geometry = geometry;
  }

  /** Index of the page that holds a cluster's entry. */
  pageIndexOf(cluster: number): number {
    return Math.floor(cluster / PAGE_ENTRIES);
  }

  /** Cluster whose entry is the first of a page. */
  firstClusterOf(pageIndex: number): number {
    return pageIndex * PAGE_ENTRIES;
  }

  /** Where a FAT begins on the device. */
  offsetOf(fatIndex: number): number {
    const { fatOffsetBytes, fatBytes } = this.geometry;
    return fatOffsetBytes + fatIndex * fatBytes;
  }

  /** Where a page of the active FAT lies, as far as the FAT is on the device. */
  pagePlace(pageIndex: number): { offsetBytes: number; lengthBytes: number } {
    const { activeFat, fatBytes } = this.geometry;
    const offsetBytes = this.offsetOf(activeFat) + pageIndex * PAGE_BYTES;
    const inFat = fatBytes - pageIndex * PAGE_BYTES;
    const onDevice = this.#device.sizeBytes - offsetBytes;
    return { offsetBytes, lengthBytes: Math.max(0, Math.min(PAGE_BYTES, inFat, onDevice)) };
  }

  /** A page of entries; those beyond the end of the device are missing. Throws what reading throws. */
  async page(pageIndex: number): Promise<Uint32Array> {
    const cached = this.#pages.get(pageIndex);
    if (cached !== undefined) {
      this.#pages.delete(pageIndex);
      this.#pages.set(pageIndex, cached);
      return cached;
    }
    let loading = this.#loading.get(pageIndex);
    if (loading === undefined) {
      loading = this.#load(pageIndex).finally(() => this.#loading.delete(pageIndex));
      this.#loading.set(pageIndex, loading);
    }
    return loading;
  }

  /** The entry of one cluster; undefined when it lies beyond the end of the device. */
  async entry(cluster: number): Promise<number | undefined> {
    const pageIndex = this.pageIndexOf(cluster);
    const page = await this.page(pageIndex);
    return page[cluster - this.firstClusterOf(pageIndex)];
  }

  async #load(pageIndex: number): Promise<Uint32Array> {
    const { offsetBytes, lengthBytes } = this.pagePlace(pageIndex);
    const bytes = new Uint8Array(lengthBytes - (lengthBytes % FAT_ENTRY_BYTES));
    if (bytes.length > 0) {
      try {
        await this.#device.read(offsetBytes, bytes);
      } catch (error) {
        throw fromSystem(error, `cannot read the FAT of ${this.#device.name}`);
      }
    }
    const entries = entriesOf(bytes);
    this.#pages.set(pageIndex, entries);
    if (this.#pages.size > PAGES_MAX) {
      const [oldest] = this.#pages.keys();
      if (oldest !== undefined) this.#pages.delete(oldest);
    }
    return entries;
  }
}

/** FAT entries in place; `bytes` must begin at a multiple of 4 in its buffer. */
export function entriesOf(bytes: Uint8Array): Uint32Array {
  if (HOST_IS_BIG_ENDIAN) Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).swap32();
  return new Uint32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.byteLength / 4));
}
