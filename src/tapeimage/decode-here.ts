/**
 * Unpacking a record on the thread that asks, instead of a codec thread: for a record that somebody
 * waits for while nothing else is being read. Two threads that sleep would have to be woken, one
 * after the other, and where threads share few processors that takes longer than the 0.3 ms of the
 * work itself.
 *
 * The thread must not be held up by a slow disk. So a record is read here only while the tape is
 * known to answer at once: shortly after a record came quickly, from a codec thread or from here. The
 * first after a pause, when a disk may sleep, goes to a codec thread; so does the first after a slow
 * one.
 */
import { readSync } from "node:fs";
import type { RecordExtent } from "../tape/tape-drive.ts";
import { decodeRecord } from "./record-codec.ts";

/** Longer records take a few milliseconds: those are for other threads. */
const LENGTH_MAX_BYTES = 512 * 1024;
/** A record that took no longer came from memory, or from a disk as fast. */
const QUICK_MS = 3;
/** How long that is believed. */
const BELIEVED_MS = 500;

export interface HereRequest {
  readonly extent: RecordExtent;
  readonly uuid: Uint8Array;
  readonly record: number;
  readonly where: string;
  readonly target: Uint8Array;
}

export class HereDecoder {
  #staging = Buffer.alloc(0);
  #quickUntilMs = 0;

  /** A record was had, by whatever thread, in so long. */
  noteDuration(milliseconds: number): void {
    this.#quickUntilMs = milliseconds <= QUICK_MS ? performance.now() + BELIEVED_MS : 0;
  }

  /** Would a record of this length be had quickly here? */
  isQuick({ lengthBytes }: RecordExtent, target: Uint8Array): boolean {
    return (
      performance.now() < this.#quickUntilMs &&
      lengthBytes <= LENGTH_MAX_BYTES &&
      target.length <= LENGTH_MAX_BYTES
    );
  }

  /**
   * Fills `target` with the record's raw contents, verified, and returns their length; undefined,
   * whatever is wrong: then the usual way finds out what, and says so.
   */
  tryDecode({ extent, uuid, record, where, target }: HereRequest): number | undefined {
    const startedMs = performance.now();
    const { buffer, byteOffset, length } = target;
    try {
      const stored = this.#read(extent);
      const memory = Buffer.from(buffer, byteOffset, length);
      return decodeRecord(stored, { uuid, record }, memory, where).rawLength;
    } catch {
      return undefined;
    } finally {
      this.noteDuration(performance.now() - startedMs);
    }
  }

  /** What is missing at the end of the file is from an earlier record: its checksum tells. */
  #read({ descriptor, offsetBytes, lengthBytes }: RecordExtent): Buffer {
    if (this.#staging.length < lengthBytes) this.#staging = Buffer.alloc(lengthBytes + 4096);
    readSync(descriptor, this.#staging, 0, lengthBytes, offsetBytes);
    return this.#staging.subarray(0, lengthBytes);
  }
}
