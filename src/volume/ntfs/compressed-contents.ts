/**
 * Contents of a compressed stream. They are cut into units, usually of 16 clusters, that are
 * compressed alone: a unit with all its clusters is stored as it is, one with none is zeros, and
 * one with some has compressed data in those and a hole in place of what was saved.
 */
import { readClusters } from "./cluster-reader.ts";
import { fault, naming } from "./damage.ts";
import { decompressLznt1 } from "./lznt1.ts";
import type { Mft } from "./mft.ts";
import { ATTRIBUTE_FLAG } from "./record.ts";
import { HOLE } from "./runs.ts";
import type { RunList } from "./runs.ts";
import type { Contents, Stream } from "./stream.ts";

/** Windows compresses up to clusters of 4 KiB, in units of 64 KiB. */
const UNIT_MAX_BYTES = 1024 * 1024;
/** Decoded units kept of one file: a reader's next request often begins where the last ended. */
const CACHE_BYTES = 256 * 1024;
/** Units read together. */
const UNITS_TOGETHER = 8;
const METHOD_LZNT1 = 1;

/** Bytes of a compression unit. Throws a fault. */
export function unitBytesOf(stream: Stream, clusterBytes: number): number {
  const { extent, flags } = stream.attribute;
  const method = flags & ATTRIBUTE_FLAG.compressed;
  if (method !== METHOD_LZNT1) throw fault(`its compression method is ${method}, which none is`);
  const unitBytes = clusterBytes * 2 ** (extent?.compressionUnit ?? 0);
  if (unitBytes <= clusterBytes || unitBytes > UNIT_MAX_BYTES) {
    throw fault(`its compression units would have ${unitBytes} bytes`);
  }
  return unitBytes;
}

export class CompressedContents implements Contents {
  readonly sizeBytes: number;
  readonly #mft: Mft;
  readonly #stream: Stream;
  readonly #runs: RunList;
  readonly #unitBytes: number;
  readonly #unitClusters: number;
  /** Decoded units, the one used last at the end. */
  readonly #cache = new Map<number, Promise<Buffer>>();

  /** Throws a fault. */
  constructor(mft: Mft, stream: Stream, runs: RunList) {
    this.sizeBytes = stream.sizeBytes;
    this.#mft = mft;
    this.#stream = stream;
    this.#runs = runs;
    this.#unitBytes = unitBytesOf(stream, mft.geometry.clusterBytes);
    this.#unitClusters = this.#unitBytes / mft.geometry.clusterBytes;
  }

  async read(offsetBytes: number, target: Buffer): Promise<void> {
    const { initializedBytes } = this.#stream;
    const end = Math.min(offsetBytes + target.length, initializedBytes);
    target.fill(0, Math.max(0, end - offsetBytes));
    const units: number[] = [];
    for (let at = offsetBytes; at < end;) {
      const unit = Math.floor(at / this.#unitBytes);
      units.push(unit);
      at = (unit + 1) * this.#unitBytes;
    }
    try {
      for (let i = 0; i < units.length; i += UNITS_TOGETHER) {
        await this.#copyUnits(units.slice(i, i + UNITS_TOGETHER), offsetBytes, end, target);
      }
    } catch (error) {
      throw naming(this.#stream.what, error);
    }
  }

  async #copyUnits(
    units: readonly number[],
    offsetBytes: number,
    end: number,
    target: Buffer,
  ): Promise<void> {
    const decoded = await Promise.all(units.map(async (unit) => this.#unit(unit)));
    for (const [i, unit] of units.entries()) {
      const start = unit * this.#unitBytes;
      const from = Math.max(0, offsetBytes - start);
      const to = Math.min(this.#unitBytes, end - start);
      decoded[i]?.copy(target, start + from - offsetBytes, from, to);
    }
  }

  async #unit(unit: number): Promise<Buffer> {
    const loading = this.#cache.get(unit) ?? this.#readUnit(unit);
    this.#cache.delete(unit);
    this.#cache.set(unit, loading);
    if (this.#cache.size * this.#unitBytes > CACHE_BYTES) this.#dropOldest(unit);
    try {
      return await loading;
    } catch (error) {
      if (this.#cache.get(unit) === loading) this.#cache.delete(unit);
      throw error;
    }
  }

  /** The unit in use stays, however large units are. */
  #dropOldest(inUse: number): void {
    for (const unit of this.#cache.keys()) {
      if (unit !== inUse) this.#cache.delete(unit);
      return;
    }
  }

  async #readUnit(unit: number): Promise<Buffer> {
    const contents = Buffer.allocUnsafe(this.#unitBytes);
    const stored = this.#storedClusters(unit);
    if (stored === 0) return contents.fill(0);
    const { device, geometry } = this.#mft;
    const start = unit * this.#unitBytes;
    const isRaw = stored === this.#unitClusters;
    const bytes = isRaw ? contents : Buffer.allocUnsafe(stored * geometry.clusterBytes);
    await readClusters(device, geometry, this.#runs, start, bytes);
    if (isRaw) return contents;
    try {
      decompressLznt1(bytes, contents);
    } catch (error) {
      throw naming(`its compression unit ${unit}`, error);
    }
    return contents;
  }

  /** Clusters of a unit that are on the volume: they come before the hole. */
  #storedClusters(unit: number): number {
    const first = unit * this.#unitClusters;
    const end = first + this.#unitClusters;
    let stored = 0;
    let run = this.#runs.indexOf(first);
    for (let at = first; at < end && run < this.#runs.length; run++) {
      const next = Math.min(end, this.#runs.startAt(run + 1));
      if (this.#runs.clusterAt(run) !== HOLE) {
        if (stored !== at - first) throw fault(`its compression unit ${unit} begins with a hole`);
        stored += next - at;
      }
      at = next;
    }
    return stored;
  }
}
