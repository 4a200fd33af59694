/** What becomes of each piece that a pass over the tape brings, and what is still to come. */
import { ReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { EncodedFiles } from "./encoded-files.ts";
import type { Piece } from "./piece-cursor.ts";
import type { RestorePlan } from "./plan.ts";
import type { StagedFiles } from "./staged-files.ts";

export interface TapePassParts {
  readonly staged: StagedFiles;
  readonly encoded: EncodedFiles;
  readonly plan: RestorePlan;
  readonly progress: RunOptions["progress"];
}

export class TapePass {
  readonly #parts: TapePassParts;
  /** By file: bytes still to come; -1 once the file is lost. */
  readonly #missing: Float64Array;
  #doneBytes = 0;

  constructor(parts: TapePassParts) {
    this.#parts = parts;
    this.#missing = parts.plan.bytesOfFile.slice();
  }

  /** Takes a piece of a file; true when that made the file whole. Throws when the file is lost. */
  async take(row: number, piece: Piece, content: Uint8Array | ReelError): Promise<boolean> {
    const { encoded, plan } = this.#parts;
    const { file, length } = piece;
    this.#doneBytes += length;
    if ((this.#missing[file] ?? -1) < 0) return false;
    try {
      const bytes = bytesOf(piece, content);
      return plan.layouts.isEncoded(file)
        ? await this.#takeEncoded(row, piece, bytes)
        : await this.#takeDirect(row, piece, bytes);
    } catch (error) {
      this.#missing[file] = -1;
      await encoded.discard(file);
      throw error;
    }
  }

  tellProgress(): void {
    const { progress, plan } = this.#parts;
    progress?.({ phase: "restoring", done: this.#doneBytes, total: plan.bytes });
  }

  async #takeDirect(
    row: number,
    { file, fileOffset, length }: Piece,
    bytes: Uint8Array,
  ): Promise<boolean> {
    const { staged, plan } = this.#parts;
    if (length === plan.bytesOfFile[file]) {
      this.#missing[file] = 0;
      await staged.writeWhole(row, bytes, fileOffset, plan.layouts.sizeOf(file));
      return true;
    }
    await staged.writePart(row, bytes, fileOffset);
    if (!this.#isLast(file, length)) return false;
    await staged.finishParts(row, plan.layouts.sizeOf(file));
    return true;
  }

  async #takeEncoded(
    row: number,
    { file, fileOffset, length }: Piece,
    bytes: Uint8Array,
  ): Promise<boolean> {
    const { encoded, plan } = this.#parts;
    if (length === plan.bytesOfFile[file]) {
      this.#missing[file] = 0;
      await encoded.decodeWhole(row, file, bytes, fileOffset);
      return true;
    }
    await encoded.keep(file, bytes, fileOffset);
    if (!this.#isLast(file, length)) {
      if ((this.#missing[file] ?? -1) < 0) await encoded.discard(file);
      return false;
    }
    await encoded.decodeKept(row, file);
    return true;
  }

  /** Counts a piece that is in place. */
  #isLast(file: number, length: number): boolean {
    const missing = this.#missing[file] ?? -1;
    // Another piece of the same record may have lost the file meanwhile.
    if (missing < 0) return false;
    this.#missing[file] = missing - length;
    return missing <= length;
  }
}

function bytesOf({ offsetInRecord, length }: Piece, content: Uint8Array | ReelError): Uint8Array {
  // Whatever kept the record from being read: to the file it is damage, not a failing target.
  if (content instanceof ReelError) {
    throw new ReelError("damaged", content.message, { cause: content });
  }
  const end = offsetInRecord + length;
  if (end > content.length) {
    throw new ReelError("damaged", `its record on the tape ends at ${content.length}, not ${end}`);
  }
  return content.subarray(offsetInRecord, end);
}
