/**
 * Makes what is written durable, and begins with it early: every so often the system is asked to
 * store what it has while more is being written, so that at the end there is little to wait for.
 */
import { fromSystem, type ReelError } from "../errors.ts";

/** Bytes written after which storing them begins. */
const EARLY_SYNC_BYTES = 64 * 1024 * 1024;

export class EarlySync {
  readonly #store: () => Promise<void>;
  readonly #name: string;
  #unsyncedBytes = 0;
  #underWay: Promise<void> | undefined;
  /** The system tells of a failure once, and forgets: it is kept for all who ask. */
  #failure: ReelError | undefined;

  /** `store` returns when all that was written before is on stable storage; `name` is for messages. */
  constructor(store: () => Promise<void>, name: string) {
    this.#store = store;
    this.#name = name;
  }

  /** Throws what kept earlier bytes from being stored: what is written after them has no hold. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Tells that so many bytes more were written. */
  wrote(bytes: number): void {
    this.#unsyncedBytes += bytes;
    if (this.#unsyncedBytes < EARLY_SYNC_BYTES || this.#underWay !== undefined) return;
    this.#underWay = this.#run().finally(() => {
      this.#underWay = undefined;
    });
  }

  /** Returns when all that was written is on stable storage. */
  async sync(): Promise<void> {
    await this.settle();
    await this.#run();
    this.check();
  }

  /** Returns when nothing is under way; to be called before what is written to is closed. */
  async settle(): Promise<void> {
    await this.#underWay;
  }

  async #run(): Promise<void> {
    this.#unsyncedBytes = 0;
    try {
      await this.#store();
    } catch (error) {
      this.#failure ??= fromSystem(error, `cannot make ${this.#name} durable`);
    }
  }
}
