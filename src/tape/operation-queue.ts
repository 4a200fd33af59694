/**
 * One thing at a time: the queue in front of a drive. Calls run in the order made; after `close`
 * every new call is refused, and `close` itself waits for what was queued before it.
 */
import { ReelError } from "../errors.ts";

export class OperationQueue {
  readonly #name: string;
  #tail: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;

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
    const result = this.#tail.then(operation);
    this.#tail = result.catch(() => undefined);
    return result;
  }
}
