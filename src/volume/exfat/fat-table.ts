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
import { ClusterTable } from "../cluster-table.ts";
import type { ExfatGeometry } from "./boot-region.ts";

export const PAGE_BYTES = 64 * 1024;
export const FAT_ENTRY_BYTES = 4;
const PAGE_ENTRIES = PAGE_BYTES / FAT_ENTRY_BYTES;
const CACHE_BYTES = 16 * 1024 * 1024;
const PAGES_MAX = CACHE_BYTES / PAGE_BYTES;
const HOST_IS_BIG_ENDIAN = endianness() === "BE";

/** Values of an entry with a meaning of their own (specification, section 4.1). */
export const FAT_VALUE = {
  mask: 0xffffffff,
  bad: 0xfffffff7,
  /** This and above: the last cluster of a chain. FFFFFFFF is what is written. */
  end: 0xfffffff8,
} as const;

export class FatTable extends ClusterTable<Uint32Array> {
  readonly geometry: ExfatGeometry;
  readonly #device: BlockDevice;

  constructor(device: BlockDevice, geometry: ExfatGeometry) {
    super(FAT_VALUE, PAGE_ENTRIES, PAGES_MAX);
    this.#device = device;
    this.geometry = geometry;
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

  protected async loadPage(pageIndex: number): Promise<Uint32Array> {
    const { offsetBytes, lengthBytes } = this.pagePlace(pageIndex);
    const bytes = new Uint8Array(lengthBytes - (lengthBytes % FAT_ENTRY_BYTES));
    if (bytes.length > 0) {
      try {
        await this.#device.read(offsetBytes, bytes);
      } catch (error) {
        throw fromSystem(error, `cannot read the FAT of ${this.#device.name}`);
      }
    }
    return entriesOf(bytes);
  }
}

/** FAT entries in place; `bytes` must begin at a multiple of 4 in its buffer. */
export function entriesOf(bytes: Uint8Array): Uint32Array {
  if (HOST_IS_BIG_ENDIAN) Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).swap32();
  return new Uint32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.byteLength / 4));
}
