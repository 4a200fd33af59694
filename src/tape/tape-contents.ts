/**
 * What is on a tape, in one pass: for each tape file how many records and bytes it has, its labels,
 * and what it seems to be. Lengths come many at a time (object-run.ts); of the records only the first
 * of a file, and those that may be labels, are read. Memory is a few numbers for each tape file,
 * however many records it has.
 */
import { isReelError, throwIfAborted } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import { decodeLabelRecord, type LabelRecord } from "./label-records.ts";
import { LABEL_BYTES, type VolumeLabel } from "./labels.ts";
import { readObjectRun } from "./object-run.ts";
import { KIND_BYTES, recordKind, type TapeFileKind } from "./record-kind.ts";
import { FILEMARK_WORD, dataBytes, isFlawed } from "./simh-format.ts";
import type { TapeDrive } from "./tape-drive.ts";

export type { TapeFileKind } from "./record-kind.ts";

export interface TapeFileContents {
  /** Number of the tape file, from 0. */
  readonly file: number;
  /** Object number of its first record, or of the filemark that ends it. */
  readonly firstObject: number;
  readonly records: number;
  readonly bytes: number;
  /** Lengths in bytes of the shortest and the longest record; 0 without records. */
  readonly recordBytesMin: number;
  readonly recordBytesMax: number;
  /** Records marked as read with errors when the tape was copied. */
  readonly flawed: number;
  /** Label records at its beginning. */
  readonly labels: readonly LabelRecord[];
  readonly kind: TapeFileKind;
  readonly endedBy: "filemark" | "end-of-data" | "damage";
}

export interface TapeContents {
  readonly name: string;
  /** The volume label, where the tape has one. */
  readonly volume: VolumeLabel | undefined;
  readonly files: readonly TapeFileContents[];
  /** Tape files after the last one listed: TAPE_FILES_MAX is all that is listed. */
  readonly filesLeftOut: number;
  /** Of the whole tape, files left out included. */
  readonly records: number;
  readonly filemarks: number;
  readonly bytes: number;
  /** Why the tape cannot be read further, in a sentence. */
  readonly problem: string | undefined;
}

/** Tape files listed; a tape of filemarks alone could have millions. */
export const TAPE_FILES_MAX = 65_536;
/** Label records read of one tape file, and of a whole tape: one that is nothing else fits memory. */
const LABELS_MAX = 32;
const LABELS_OF_TAPE_MAX = 65_536;

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

interface OpenFile extends Writable<Omit<TapeFileContents, "labels" | "kind" | "endedBy">> {
  labels: LabelRecord[];
  /** Of the first record that is no label. */
  kind: TapeFileKind | undefined;
}

type Totals = Writable<Pick<TapeContents, "filesLeftOut" | "records" | "filemarks" | "bytes">>;

/**
 * Lists what is on a tape, from its beginning to the end of the data. The drive ends up anywhere.
 * Damage ends the listing and is told in `problem`.
 * @throws "aborted", and what the drive throws but "damaged".
 */
export async function describeTape(
  drive: TapeDrive,
  options: RunOptions = {},
): Promise<TapeContents> {
  const listing = new Listing(drive);
  let problem: string | undefined;
  try {
    await listing.run(options);
  } catch (error) {
    if (!isReelError(error, "damaged")) throw error;
    problem = error.message;
  }
  return listing.contents(problem);
}

class Listing {
  readonly #drive: TapeDrive;
  readonly #files: TapeFileContents[] = [];
  readonly #totals: Totals = { filesLeftOut: 0, records: 0, filemarks: 0, bytes: 0 };
  readonly #start = new Uint8Array(KIND_BYTES);
  #labels = 0;
  #file = newFile(0, 0);

  constructor(drive: TapeDrive) {
    this.#drive = drive;
  }

  contents(problem: string | undefined): TapeContents {
    const endedBy = problem === undefined ? "end-of-data" : "damage";
    // Behind the last filemark there is a file only if something is there.
    if (this.#file.records > 0 || problem !== undefined) this.#endFile(endedBy);
    const volume = this.#files[0]?.labels.find((label) => label.volume !== undefined)?.volume;
    return { name: this.#drive.name, volume, files: this.#files, problem, ...this.#totals };
  }

  async run({ progress, signal }: RunOptions): Promise<void> {
    for (let object = 0; ;) {
      throwIfAborted(signal, `cannot list ${this.#drive.name}`);
      const words = await readObjectRun(this.#drive, object);
      if (words.length === 0) return;
      for (const [each, word] of words.entries()) {
        if (word === FILEMARK_WORD) {
          this.#totals.filemarks += 1;
          this.#endFile("filemark");
          this.#file = newFile(this.#totals.filemarks, object + each + 1);
          continue;
        }
        if (this.#file.kind === undefined) await this.#look(object + each, dataBytes(word));
        this.#count(word);
      }
      object += words.length;
      progress?.({ phase: "listing", done: this.#totals.records, unit: "records" });
    }
  }

  /** Reads the start of a record: is it a label, or what is it? */
  async #look(object: number, lengthBytes: number): Promise<void> {
    const target = this.#start.subarray(0, Math.min(lengthBytes, KIND_BYTES));
    // Queued at once, so that nobody else moves the tape in between.
    await Promise.all([this.#drive.locate(object), this.#drive.read(target)]);
    const file = this.#file;
    const label = lengthBytes === LABEL_BYTES ? decodeLabelRecord(target) : undefined;
    if (label === undefined) file.kind = recordKind(target);
    else if (file.labels.length === LABELS_MAX || this.#labels === LABELS_OF_TAPE_MAX) {
      file.kind = "labels";
    } else {
      this.#labels += 1;
      file.labels.push(label);
    }
  }

  #count(word: number): void {
    const file = this.#file;
    const lengthBytes = dataBytes(word);
    file.recordBytesMin =
      file.records === 0 ? lengthBytes : Math.min(file.recordBytesMin, lengthBytes);
    file.recordBytesMax = Math.max(file.recordBytesMax, lengthBytes);
    file.records += 1;
    file.bytes += lengthBytes;
    if (isFlawed(word)) file.flawed += 1;
    this.#totals.records += 1;
    this.#totals.bytes += lengthBytes;
  }

  #endFile(endedBy: TapeFileContents["endedBy"]): void {
    if (this.#files.length >= TAPE_FILES_MAX) {
      this.#totals.filesLeftOut += 1;
      return;
    }
    const file = this.#file;
    const kind = file.kind ?? (file.records > 0 ? "labels" : "empty");
    this.#files.push({ ...file, kind, endedBy });
  }
}

function newFile(file: number, firstObject: number): OpenFile {
  return {
    file,
    firstObject,
    records: 0,
    bytes: 0,
    recordBytesMin: 0,
    recordBytesMax: 0,
    flawed: 0,
    labels: [],
    kind: undefined,
  };
}
