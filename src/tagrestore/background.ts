/** Work that goes on while the next thing is begun: a bounded number at a time, no failure lost. */
export class BackgroundWork {
  readonly #limit: number;
  readonly #underWay = new Set<Promise<void>>();
  readonly #failures: unknown[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Begins `work` as soon as there is room for it. Throws what earlier work has thrown. */
  async begin(work: () => Promise<void>): Promise<void> {
    while (this.#underWay.size >= this.#limit) await Promise.race(this.#underWay);
    this.#throwFailure();
    const running = work()
      .catch((error: unknown) => {
        this.#failures.push(error);
      })
      .finally(() => this.#underWay.delete(running));
    this.#underWay.add(running);
  }

  /** Waits for all that was begun. Throws the first failure. */
  async end(): Promise<void> {
    await this.settle();
    this.#throwFailure();
  }

  /** Waits for all that was begun, however it ends. */
  async settle(): Promise<void> {
    await Promise.all(this.#underWay);
  }

  #throwFailure(): void {
    if (this.#failures.length > 0) throw this.#failures[0];
  }
}
