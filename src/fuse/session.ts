/**
 * The one place where operations are answered: each exactly once, whatever happens.
 *
 * An operation that is never answered leaves somebody's process in uninterruptible sleep; a throw
 * that escapes ends the daemon. So everything goes through `serve`: a result, a rejection, a throw
 * and a timeout all end in one answer.
 *
 * An operation that has its result at hand is answered before its handler returns, without a
 * promise: that is what makes metadata fast. It is safe: the libfuse thread that is woken can only
 * post its next operation to the event loop, which is still here.
 */
import type { OperationName } from "./binding.ts";
import { EIO, errnoOf, errnoOfRead, type Errno, ETIMEDOUT } from "./errno.ts";
import type { Answer } from "./fuse-handlers.ts";

export interface SessionOptions {
  /** Answer ETIMEDOUT after so long; 0: wait for ever. */
  readonly timeoutMs: number;
  /** An operation failed in a way that is no ordinary answer: damage, an I/O error, a bug. */
  readonly onError: (operation: OperationName, error: unknown) => void;
}

export interface SessionStatistics {
  /** Operations by name. */
  readonly operations: Readonly<Partial<Record<OperationName, number>>>;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Operations that ended in EIO or ETIMEDOUT. */
  readonly failures: number;
}

export class Session {
  readonly #options: SessionOptions;
  readonly #counts = new Map<OperationName, number>();
  #bytesRead = 0;
  #bytesWritten = 0;
  #failures = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  statistics(): SessionStatistics {
    return {
      operations: Object.fromEntries(this.#counts),
      bytesRead: this.#bytesRead,
      bytesWritten: this.#bytesWritten,
      failures: this.#failures,
    };
  }

  /** Takes the result of a read or write: bytes, or an errno. */
  countBytes(direction: "read" | "written", result: number): void {
    if (result < 0) return;
    if (direction === "read") this.#bytesRead += result;
    else this.#bytesWritten += result;
  }

  /** Has `work` done and answers once, with its result, its errno, or ETIMEDOUT. */
  serve<T>(name: OperationName, work: () => Answer<T>, answer: (result: T | Errno) => void): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    let result: Answer<T>;
    try {
      result = work();
    } catch (error) {
      this.#answer(name, answer, this.#explain(name, error));
      return;
    }
    if (!(result instanceof Promise)) {
      this.#answer(name, answer, result);
      return;
    }
    let open = true;
    const once = (final: T | Errno): void => {
      if (!open) return;
      open = false;
      clearTimeout(timer);
      this.#answer(name, answer, final);
    };
    const { timeoutMs } = this.#options;
    const timer = timeoutMs > 0 ? setTimeout(once, timeoutMs, ETIMEDOUT) : undefined;
    result.then(once, (error: unknown) => {
      once(this.#explain(name, error));
    });
  }

  #answer<T>(name: OperationName, answer: (result: T | Errno) => void, result: T | Errno): void {
    if (result === EIO || result === ETIMEDOUT) this.#failures++;
    try {
      answer(result);
    } catch (error) {
      this.#report(name, error);
    }
  }

  #explain(name: OperationName, error: unknown): Errno {
    const errno = name === "read" ? errnoOfRead(error) : errnoOf(error);
    if (errno === EIO) this.#report(name, error);
    return errno;
  }

  #report(name: OperationName, error: unknown): void {
    try {
      this.#options.onError(name, error);
    } catch {
      // Whoever listens failed too; the operation must still be answered.
    }
  }

  /**
   * The kernel's memory itself, or, where a timeout may give it back while it is still in use,
   * memory of our own.
   */
  borrowed(memory: Buffer, length: number): Uint8Array {
    return this.#options.timeoutMs > 0 ? Buffer.allocUnsafe(length) : memory;
  }
}
