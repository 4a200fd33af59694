/**
 * One thing at a time: the queue in front of a drive. Calls run in the order made; after `close`
 * every new call is refused, and `close` itself waits for what was queued before it. A call on an
 * idle queue begins at once.
 */
import { ReelError } from "../errors.ts";

/** Nothing is waited for, and an exception becomes the promise's. */
async function startNow<T>(operation: () => T | Promise<T>): Promise<T> {
  return operation();
}

export class OperationQueue {
  readonly #name: string;
  #tail: Promise<unknown> = Promise.resolve();
  /** Operations that have not finished. */
  #unfinished = 0;
  #closing: Promise<void> | undefined;
  readonly #finished = (): void => {
    this.#unfinished -= 1;
  };

  constructor(name: string) {
    this.#name = name;
  }

  /** Runs `operation` when everything queued before it has finished, failed or not. */
  async run<T>(operation: () => T | Promise<T>): Promise<T> {
    if (this.#closing !== undefined) {
      throw new ReelError("closed", `cannot use ${this.#name}: the drive was closed`);
    }
    return this.#append(operation);
  }

  /** Runs `finish` last of all; later calls get the same promise. */
  async close(finish: () => void | Promise<void>): Promise<void> {
    this.#closing ??= this.#append(finish);
    return this.#closing;
  }

  async #append<T>(operation: () => T | Promise<T>): Promise<T> {
    const before = this.#unfinished === 0 ? undefined : this.#tail;
    this.#unfinished += 1;
    const result = before === undefined ? startNow(operation) : before.then(operation);
    this.#tail = result.then(this.#finished, this.#finished);
    return result;
  }
}
