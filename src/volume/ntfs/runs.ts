/**
 * Runs: where the clusters of a non-resident attribute lie. On disk they are "mapping pairs", each
 * a byte with two lengths, a count of clusters, and the distance of the first cluster from that of
 * the run before; a run without a distance is a hole. Layout: "Data Runs" of the Linux-NTFS
 * documentation.
 */
import { fault } from "./damage.ts";

/** Runs of one attribute; a hundred bytes of memory hold four. Real files stay below a million. */
export const RUNS_MAX = 4 * 1024 * 1024;
/** Cluster counts and numbers have up to 8 bytes; a number needs no more than 6 of them. */
const FIELD_MAX_BYTES = 8;
/** `lcnAt` of a run that is a hole. */
export const HOLE = -1;

/** The runs of an attribute in order, without gaps: run i + 1 begins where run i ends. */
export class RunList {
  readonly #starts: Float64Array;
  readonly #clusters: Float64Array;
  readonly length: number;
  /** Clusters of the attribute, holes included. */
  readonly clusterCount: number;

  /** `starts[i]`: the first cluster of run i within the attribute; `clusters[i]`: on the volume. */
  constructor(starts: Float64Array, clusters: Float64Array, clusterCount: number) {
    this.#starts = starts;
    this.#clusters = clusters;
    this.length = clusters.length;
    this.clusterCount = clusterCount;
  }

  /** First cluster of a run within the attribute. */
  startAt(index: number): number {
    return this.#starts[index] ?? this.clusterCount;
  }

  countAt(index: number): number {
    return this.startAt(index + 1) - this.startAt(index);
  }

  /** First cluster of a run on the volume, or HOLE. */
  clusterAt(index: number): number {
    return this.#clusters[index] ?? HOLE;
  }

  /** Index of the run that holds a cluster of the attribute; `length` beyond the last. */
  indexOf(start: number): number {
    if (start >= this.clusterCount) return this.length;
    let low = 0;
    let high = this.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.startAt(middle) <= start) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** Decodes the mapping pairs of an attribute, which may be spread over several records. */
export class RunListBuilder {
  readonly #volumeClusters: number;
  #starts = new Float64Array(8);
  #clusters = new Float64Array(8);
  #length = 0;
  #end: number;

  /**
   * `volumeClusters`: no run may lie beyond them. `first`: the cluster of the attribute at which
   * its part begins, where a part alone is wanted.
   */
  constructor(volumeClusters: number, first = 0) {
    this.#volumeClusters = volumeClusters;
    this.#end = first;
  }

  /** Clusters of the attribute that are known so far. */
  get clusterCount(): number {
    return this.#end;
  }

  /**
   * Adds the mapping pairs of the part that begins at cluster `first` of the attribute and ends
   * with cluster `last`. Throws a fault.
   */
  add(pairs: Buffer, first: number, last: number): void {
    if (first !== this.#end) {
      throw fault(`its runs go on at cluster ${first}, where cluster ${this.#end} is missing`);
    }
    let at = 0;
    let cluster = 0;
    for (;;) {
      const header = pairs[at] ?? 0;
      if (header === 0) break;
      const countBytes = header & 0x0f;
      const distanceBytes = header >>> 4;
      const end = at + 1 + countBytes + distanceBytes;
      const isSane = countBytes > 0 && countBytes <= FIELD_MAX_BYTES;
      if (!isSane || distanceBytes > FIELD_MAX_BYTES || end > pairs.length) {
        throw fault(`its run ${this.#length} is coded wrongly (byte ${at} of the mapping pairs)`);
      }
      const count = signed(pairs, at + 1, countBytes);
      if (distanceBytes > 0) cluster += signed(pairs, at + 1 + countBytes, distanceBytes);
      // NT 3.51 coded a hole as a run at cluster -1.
      const isHole = distanceBytes === 0 || cluster === HOLE;
      this.#push(count, isHole ? HOLE : cluster);
      at = end;
    }
    if (this.#end !== last + 1) {
      throw fault(`its runs end at cluster ${this.#end} instead of ${last + 1}`);
    }
  }

  #push(count: number, cluster: number): void {
    if (!(count > 0) || !Number.isSafeInteger(this.#end + count)) {
      throw fault(`its run ${this.#length} has ${count} clusters`);
    }
    if (cluster !== HOLE && !(cluster >= 0 && cluster + count <= this.#volumeClusters)) {
      throw fault(
        `its run ${this.#length} is ${count} clusters at cluster ${cluster}; ` +
          `the volume has ${this.#volumeClusters}`,
      );
    }
    if (this.#length >= RUNS_MAX) throw fault(`it has more than ${RUNS_MAX} runs`);
    if (!this.#joins(cluster)) {
      if (this.#length === this.#starts.length) this.#grow();
      this.#starts[this.#length] = this.#end;
      this.#clusters[this.#length] = cluster;
      this.#length++;
    }
    this.#end += count;
  }

  /** Does the last run go on at `cluster`? */
  #joins(cluster: number): boolean {
    if (this.#length === 0) return false;
    const lastCluster = this.#clusters[this.#length - 1] ?? HOLE;
    if (lastCluster === HOLE || cluster === HOLE) return lastCluster === cluster;
    return lastCluster + (this.#end - (this.#starts[this.#length - 1] ?? 0)) === cluster;
  }

  #grow(): void {
    const starts = new Float64Array(this.#starts.length * 2);
    starts.set(this.#starts);
    this.#starts = starts;
    const clusters = new Float64Array(this.#clusters.length * 2);
    clusters.set(this.#clusters);
    this.#clusters = clusters;
  }

  build(): RunList {
    return new RunList(
      this.#starts.slice(0, this.#length),
      this.#clusters.slice(0, this.#length),
      this.#end,
    );
  }
}

/** A little-endian number in two's complement of 1 to 8 bytes. */
function signed(bytes: Buffer, offset: number, length: number): number {
  if (length <= 6) return bytes.readIntLE(offset, length);
  const low = bytes.readUIntLE(offset, 4);
  return bytes.readIntLE(offset + 4, length - 4) * 2 ** 32 + low;
}
