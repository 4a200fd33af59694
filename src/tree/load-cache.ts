/**
 * A cache of what is loaded by node id: least recently used out first, bounded by the sum of sizes
 * (in whatever unit the owner counts), with one load per id under way.
 *
 * A value larger than the whole budget is kept alone, until the next such value: otherwise every
 * lookup in one huge directory would read that directory again.
 */
import { LRUCache } from "lru-cache";
import type { NodeId } from "../volume/volume.ts";

export class LoadCache<V extends object> {
  readonly #kept: LRUCache<NodeId, V>;
  readonly #loading = new Map<NodeId, Promise<V>>();
  readonly #load: (id: NodeId) => Promise<V>;
  readonly #sizeOf: (value: V) => number;
  readonly #budget: number;
  #oversizedId: NodeId | undefined;
  #oversized: V | undefined;

  constructor(options: {
    budget: number;
    sizeOf: (value: V) => number;
    load: (id: NodeId) => Promise<V>;
  }) {
    this.#budget = Math.max(1, Math.floor(options.budget));
    this.#sizeOf = (value) => Math.max(1, Math.ceil(options.sizeOf(value)));
    this.#load = options.load;
    this.#kept = new LRUCache({ maxSize: this.#budget, sizeCalculation: this.#sizeOf });
  }

  /** The value, if it is here now. */
  peek(id: NodeId): V | undefined {
    return id === this.#oversizedId ? this.#oversized : this.#kept.get(id);
  }

  /** The value, loaded when it is not here. A failed load is not remembered. */
  async get(id: NodeId): Promise<V> {
    const kept = this.peek(id);
    if (kept !== undefined) return kept;
    // Between the miss above and the entry below nothing awaits: two callers share one load.
    let loading = this.#loading.get(id);
    if (loading === undefined) {
      loading = this.#start(id);
      this.#loading.set(id, loading);
    }
    return loading;
  }

  clear(): void {
    this.#kept.clear();
    this.#oversizedId = undefined;
    this.#oversized = undefined;
  }

  async #start(id: NodeId): Promise<V> {
    try {
      const value = await this.#load(id);
      if (this.#sizeOf(value) > this.#budget) {
        this.#oversizedId = id;
        this.#oversized = value;
      } else {
        this.#kept.set(id, value);
      }
      return value;
    } finally {
      this.#loading.delete(id);
    }
  }
}
