/**
 * Keeps the names of one file together, where the kernel takes each for a file of its own.
 *
 * Of a file with several names, attributes that were shown under one may be remembered by the
 * kernel, for SHARED_ATTRIBUTES_MS, while the file is changed through another. libfuse gives no way
 * to take them back. So the answer to the change waits until they are forgotten: whoever made the
 * change, and looks afterwards, sees it under every name. Files with one name never wait.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { NodeId, NodeStat } from "../tree/file-tree.ts";

/** The kernel counts in ticks, of which a second has 100 to 1000. */
const TICK_MS = 10;
const SWEEP_SIZE = 1024;

export class SharedNodes {
  readonly #rememberedMs: number;
  readonly #nowMs: () => number;
  /** When the kernel has forgotten what it was shown of a node. */
  readonly #forgotten = new Map<NodeId, number>();
  #sweepSize = SWEEP_SIZE;

  /** `rememberedMs` 0: nobody is waited for. */
  constructor(rememberedMs: number, nowMs: () => number = () => performance.now()) {
    this.#rememberedMs = rememberedMs;
    this.#nowMs = nowMs;
  }

  /** Attributes are about to be shown. */
  shown(stat: NodeStat): void {
    if (stat.linkCount < 2 || stat.kind === "directory" || this.#rememberedMs === 0) return;
    const nowMs = this.#nowMs();
    this.#forgotten.set(stat.id, nowMs + this.#rememberedMs + TICK_MS);
    if (this.#forgotten.size > this.#sweepSize) this.#sweep(nowMs);
  }

  /** To be awaited after a change to a node, before it is answered. */
  async changed(id: NodeId): Promise<void> {
    const waitMs = (this.#forgotten.get(id) ?? 0) - this.#nowMs();
    if (waitMs > 0) await delay(waitMs);
  }

  #sweep(nowMs: number): void {
    for (const [id, forgottenMs] of this.#forgotten) {
      if (forgottenMs <= nowMs) this.#forgotten.delete(id);
    }
    this.#sweepSize = Math.max(SWEEP_SIZE, 2 * this.#forgotten.size);
  }
}
