/**
 * Files whose pieces on the tape are damaged, of a volume that has its contents twice (a mirror):
 * when the pass is over they are read once more, by way of the other copy.
 */
import { ReelError, throwIfAborted } from "../errors.ts";
import type { NodeId, Volume } from "../volume/volume.ts";
import type { StagedFiles } from "./staged-files.ts";

const CHUNK_BYTES = 1 << 20;

/** Rows that wait for another copy, with what is wrong with the first one. */
export class OtherCopies {
  readonly #volume: Volume;
  readonly #staged: StagedFiles;
  readonly #faults = new Map<number, ReelError>();
  #isOpen = true;

  constructor(volume: Volume, staged: StagedFiles) {
    this.#volume = volume;
    this.#staged = staged;
  }

  /** False: there is no other copy to wait for, and the file is lost. */
  note(row: number, error: ReelError | undefined): boolean {
    const mayHelp = this.#isOpen && this.#volume.readOtherCopy !== undefined;
    if (!mayHelp || error?.code !== "damaged") return false;
    this.#faults.set(row, error);
    return true;
  }

  has(row: number): boolean {
    return this.#faults.has(row);
  }

  /** What is wrong with the first copy. */
  faultOf(row: number): ReelError {
    return this.#faults.get(row) ?? new ReelError("damaged", "it has no other copy");
  }

  /** From now on no row waits any more. */
  close(): void {
    this.#isOpen = false;
  }

  /** Stages the whole file. Throws what is wrong with the first copy where there is no other. */
  async stage(row: number, id: NodeId, sizeBytes: number, signal?: AbortSignal): Promise<void> {
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, sizeBytes));
    for (let offset = 0; offset < sizeBytes;) {
      throwIfAborted(signal, "restoring");
      const target = chunk.subarray(0, Math.min(chunk.length, sizeBytes - offset));
      const count = await this.#volume.readOtherCopy?.(id, offset, target);
      if (count === undefined || count < target.length) {
        throw this.faultOf(row);
      }
      await this.#staged.writePart(row, target, offset);
      offset += count;
    }
    await this.#staged.finishParts(row, sizeBytes);
  }
}
