/**
 * Files whose pieces on the tape are damaged, of a volume that has its contents twice (a mirror):
 * when the pass is over they are read once more, by way of the other copy.
 */
import { ReelError, throwIfAborted } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { NodeId, Volume } from "../volume/volume.ts";
import type { Executor } from "./execute.ts";
import type { LayoutTable } from "./layouts.ts";
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

  /** The pass is over: restores those of the rows in `layouts` that wait. From now on none does. */
  async restore(
    layouts: LayoutTable,
    idOf: (row: number) => NodeId,
    executor: Executor,
    options: RunOptions,
  ): Promise<void> {
    this.#isOpen = false;
    if (this.#faults.size === 0) return;
    const files = new Map<number, number>();
    for (let file = 0; file < layouts.length; file++) {
      const row = layouts.rowOf(file);
      if (this.#faults.has(row)) files.set(row, file);
    }
    const make = async (row: number): Promise<boolean> => {
      const file = files.get(row) ?? 0;
      if (layouts.isEncoded(file)) throw this.#faultOf(row);
      await this.#stage(row, idOf(row), layouts.sizeOf(file), options.signal);
      return true;
    };
    await executor.restoreWithoutTape([...files.keys()], make, options);
  }

  /** What is wrong with the first copy. */
  #faultOf(row: number): ReelError {
    return this.#faults.get(row) ?? new ReelError("damaged", "it has no other copy");
  }

  /** Stages the whole file. Throws what is wrong with the first copy where there is no other. */
  async #stage(row: number, id: NodeId, sizeBytes: number, signal?: AbortSignal): Promise<void> {
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, sizeBytes));
    for (let offset = 0; offset < sizeBytes;) {
      throwIfAborted(signal, "restoring");
      const target = chunk.subarray(0, Math.min(chunk.length, sizeBytes - offset));
      const count = await this.#volume.readOtherCopy?.(id, offset, target);
      if (count === undefined || count < target.length) {
        throw this.#faultOf(row);
      }
      await this.#staged.writePart(row, target, offset);
      offset += count;
    }
    await this.#staged.finishParts(row, sizeBytes);
  }
}
