/**
 * Makes what is written to a file durable, and begins with it early: every so often the system is
 * asked to store what it has while more is being written, so that at the end there is little left
 * to wait for.
 */
import type { FileHandle } from "node:fs/promises";
import { fromSystem, type ReelError } from "../errors.ts";

/** Bytes written after which storing them begins. */
const EARLY_SYNC_BYTES = 64 * 1024 * 1024;

export class EarlySync {
  readonly #handle: FileHandle;
  readonly #name: string;
  #unsyncedBytes = 0;
  #underWay: Promise<void> | undefined;
  /** The system tells of a failure once, and forgets: it is kept for all who ask. */
  #failure: ReelError | undefined;

  /** `name` is the file's, for messages. */
  constructor(handle: FileHandle, name: string) {
    this.#handle = handle;
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
    this.#underWay = this.#sync().finally(() => {
      this.#underWay = undefined;
    });
  }

  /** Returns when all that was written is on stable storage. */
  async sync(): Promise<void> {
    await this.settle();
    await this.#sync();
    this.check();
  }

  /** Returns when nothing is under way; to be called before the file is closed. */
  async settle(): Promise<void> {
    await this.#underWay;
  }

  async #sync(): Promise<void> {
    this.#unsyncedBytes = 0;
    try {
      await this.#handle.datasync();
    } catch (error) {
      this.#failure ??= fromSystem(error, `cannot make ${this.#name} durable`);
    }
  }
}
