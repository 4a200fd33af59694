/** Lets the event loop run during long work that never waits for anything outside memory. */
import { setImmediate as nextTurn } from "node:timers/promises";

import { throwIfAborted } from "../errors.ts";

const TURN_MS = 4;

export class Pacer {
  readonly #signal: AbortSignal | undefined;
  readonly #doing: string;
  #turnStartMs = performance.now();

  constructor(doing: string, signal: AbortSignal | undefined) {
    this.#signal = signal;
    this.#doing = doing;
  }

  /** Call often: gives up the turn when it has lasted long enough. Throws "aborted". */
  async breathe(): Promise<void> {
    if (performance.now() - this.#turnStartMs < TURN_MS) return;
    await nextTurn();
    throwIfAborted(this.#signal, this.#doing);
    this.#turnStartMs = performance.now();
  }
}
