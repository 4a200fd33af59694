/**
 * A file allocation table as FAT and exFAT have it: for each cluster the number of the next one in
 * its file. It may have gigabytes, so it is never held whole: chains lead through pages of entries
 * in a cache with a budget. How a page is read is the format's own affair.
 */

/** Clusters are numbered from 2: the first two entries of the table belong to none. */
export const FIRST_CLUSTER = 2;

/** Entries in memory: masked with `mask`, each is the number of the next cluster. */
export type ClusterPage = Uint16Array | Uint32Array;

/** Entry values with a meaning; 0 is a free cluster. */
export interface EntryValues {
  /** Bits of an entry that mean something. */
  readonly mask: number;
  /** Value of a cluster that cannot be used. */
  readonly bad: number;
  /** Values from here on end a chain. */
  readonly end: number;
}

/** Is this the number of a cluster that exists? */
export function isCluster(
  { clusterCount }: { readonly clusterCount: number },
  cluster: number,
): boolean {
  return cluster >= FIRST_CLUSTER && cluster < clusterCount + FIRST_CLUSTER;
}

export abstract class ClusterTable<Page extends ClusterPage = ClusterPage> {
  abstract readonly geometry: { readonly clusterCount: number };
  readonly values: EntryValues;
  readonly #pageEntries: number;
  readonly #pagesMax: number;
  /** In order of use, the oldest first. */
  readonly #pages = new Map<number, Page>();
  readonly #loading = new Map<number, Promise<Page>>();

  constructor(values: EntryValues, pageEntries: number, pagesMax: number) {
    this.values = values;
    this.#pageEntries = pageEntries;
    this.#pagesMax = pagesMax;
  }

  /** Reads a page; entries beyond the end of the device are not in it. Throws what reading throws. */
  protected abstract loadPage(pageIndex: number): Promise<Page>;

  /** Index of the page that holds a cluster's entry. */
  pageIndexOf(cluster: number): number {
    return Math.floor(cluster / this.#pageEntries);
  }

  /** Cluster whose entry is the first of a page. */
  firstClusterOf(pageIndex: number): number {
    return pageIndex * this.#pageEntries;
  }

  /**
   * A page of entries. Entries beyond the end of the volume may be in it; those beyond the end of
   * the device are not. Throws what reading throws.
   */
  async page(pageIndex: number): Promise<Page> {
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
    const value = page[cluster - this.firstClusterOf(pageIndex)];
    return value === undefined ? undefined : (value & this.values.mask) >>> 0;
  }

  async #load(pageIndex: number): Promise<Page> {
    const page = await this.loadPage(pageIndex);
    // One without entries is not worth a place.
    if (page.length > 0) this.#pages.set(pageIndex, page);
    while (this.#pages.size > this.#pagesMax) {
      const [oldest] = this.#pages.keys();
      if (oldest === undefined) break;
      this.#pages.delete(oldest);
    }
    return page;
  }
}
