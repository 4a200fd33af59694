/** Closing that waits: how many calls are under way, and whether more may start. */
import { ReelError } from "../errors.ts";

export class OpenState {
  readonly #what: string;
  #active = 0;
  #closing: Promise<void> | undefined;
  #idle: (() => void) | undefined;

  /** `what` is named in the "closed" error: "the tree of photos.tap#2". */
  constructor(what: string) {
    this.#what = what;
  }

  /** Throws "closed" after `close` was called. */
  check(): void {
    if (this.#closing !== undefined) throw new ReelError("closed", `${this.#what} is closed`);
  }

  /** Before a call; `leave` must follow. */
  enter(): void {
    this.check();
    this.#active++;
  }

  leave(): void {
    this.#active--;
    if (this.#active === 0) this.#idle?.();
  }

  async run<T>(call: () => Promise<T>): Promise<T> {
    this.enter();
    try {
      return await call();
    } finally {
      this.leave();
    }
  }

  /** Refuses further calls, waits for those under way, then runs `finish`, once. */
  async close(finish: () => Promise<void>): Promise<void> {
    this.#closing ??= this.#drain().then(finish);
    await this.#closing;
  }

  async #drain(): Promise<void> {
    if (this.#active === 0) return;
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
  }
}
