/**
 * A lock that many may share or one may hold alone, granted in the order asked for, so that neither
 * readers nor writers starve. Taking a free lock awaits nothing.
 */
export class SharedLock {
  #sharers = 0;
  #heldAlone = false;
  readonly #waiting: { readonly alone: boolean; readonly start: () => void }[] = [];

  /** Runs `work` together with other sharers. */
  async shared<T>(work: () => Promise<T>): Promise<T> {
    return this.#run(false, work);
  }

  /** Runs `work` while nobody else holds the lock. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#run(true, work);
  }

  async #run<T>(alone: boolean, work: () => Promise<T>): Promise<T> {
    if (this.#waiting.length > 0 || !this.#isFree(alone)) {
      // Whoever wakes us has granted the lock already: nobody can slip in between.
      await new Promise<void>((start) => this.#waiting.push({ alone, start }));
    } else {
      this.#grant(alone);
    }
    try {
      return await work();
    } finally {
      if (alone) this.#heldAlone = false;
      else this.#sharers--;
      this.#wake();
    }
  }

  #isFree(alone: boolean): boolean {
    return !this.#heldAlone && (!alone || this.#sharers === 0);
  }

  #grant(alone: boolean): void {
    if (alone) this.#heldAlone = true;
    else this.#sharers++;
  }

  #wake(): void {
    for (;;) {
      const next = this.#waiting[0];
      if (next === undefined || !this.#isFree(next.alone)) return;
      this.#waiting.shift();
      this.#grant(next.alone);
      next.start();
    }
  }
}
