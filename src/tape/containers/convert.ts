/** Copies a tape from any container to any other. */
import { ReelError, isReelError, throwIfAborted } from "../../errors.ts";
import type { RunOptions } from "../../progress.ts";
import { RecordBuffer } from "../record-buffer.ts";
import type { TapeDrive } from "../tape-drive.ts";
import type { TapeSink } from "./tape-sink.ts";

export interface ConvertOptions extends RunOptions {
  /** Only the records of this tape file, counted from 0. Whole tapes without it. */
  readonly file?: number | undefined;
}

export interface ConvertResult {
  readonly records: number;
  readonly filemarks: number;
  /** Bytes of the records. */
  readonly bytes: number;
  /** Records read with errors when the tape was copied; `sink.marksFlawed`: still marked as such. */
  readonly flawed: number;
}

type Counts = { -readonly [Key in keyof ConvertResult]: number };

/**
 * Copies the tape in `from`, from its beginning, and finishes `to`; where that fails, abandons it.
 * A sink without filemarks (a plain file) takes one tape file: name it, unless only one has records.
 * @throws "damaged" (the source), "invalid" (several tape files for a plain one), "not-found" (no
 *   such tape file), "aborted", and what writing refuses.
 */
export async function convertTape(
  from: TapeDrive,
  to: TapeSink,
  options: ConvertOptions = {},
): Promise<ConvertResult> {
  try {
    const result = await copy(from, to, options);
    await to.finish();
    return result;
  } catch (error) {
    await to.abandon();
    throw error;
  }
}

async function copy(
  from: TapeDrive,
  to: TapeSink,
  options: ConvertOptions,
): Promise<ConvertResult> {
  const counts: Counts = { records: 0, filemarks: 0, bytes: 0, flawed: 0 };
  // A record is read while the one before is written.
  const buffers = [new RecordBuffer(), new RecordBuffer()] as const;
  let writing: Promise<void> = Promise.resolve();
  await goToFile(from, options.file);
  try {
    for (let turn = 0; ; turn ^= 1) {
      throwIfAborted(options.signal, `cannot convert ${from.name}`);
      const read = await buffers[turn === 0 ? 0 : 1].read(from);
      await writing;
      if (read.kind === "record") {
        if (!to.keepsFilemarks && counts.filemarks > 0) throw severalFiles(from, to);
        counts.records += 1;
        counts.bytes += read.data.length;
        if (read.flawed) counts.flawed += 1;
        writing = to.writeRecord(read.data, read.flawed);
        // Whoever awaits it next gets the failure; meanwhile it is not unhandled.
        writing.catch(() => undefined);
        options.progress?.({ phase: "converting", done: counts.bytes });
        continue;
      }
      if (read.kind !== "filemark" || options.file !== undefined) return counts;
      // Without filemarks, those in front of the first record are nothing to tell apart.
      if (to.keepsFilemarks || counts.records > 0) counts.filemarks += 1;
      await to.writeFilemark();
    }
  } finally {
    await writing;
  }
}

async function goToFile(from: TapeDrive, file: number | undefined): Promise<void> {
  await from.rewind();
  if (file === undefined || file === 0) return;
  const noSuchFile = new ReelError(
    "not-found",
    `cannot convert tape file ${file} of ${from.name}: there is no such tape file`,
  );
  const space = await from.space("filemarks", file).catch((error: unknown) => {
    throw isReelError(error, "invalid") ? noSuchFile : error;
  });
  if (space.passed < file || file < 0) throw noSuchFile;
}

function severalFiles(from: TapeDrive, to: TapeSink): ReelError {
  return new ReelError(
    "invalid",
    `cannot convert ${from.name} to ${to.name}: a plain file holds one tape file, ` +
      `and the tape has several; say which`,
  );
}
