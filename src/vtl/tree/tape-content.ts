/**
 * A tape held open to be shown: a drive that reads its file, what describeTape said of it, and
 * readers of its tape files.
 *
 * A tape may be written to meanwhile, by another process. While it is, and only gets longer, what is
 * known is kept and only what is new is looked at: samples (the start of each of the last tape files,
 * the last known record) tell whether the tape is still the one that was known. They are no proof,
 * so as soon as the writer has let go of the tape it is looked at anew, as it is after any other
 * change.
 */
import { statSync } from "node:fs";
import { FoundOnce } from "../../device/found-once.ts";
import { ReelError, fromSystem } from "../../errors.ts";
import { readObjectRun } from "../../tape/object-run.ts";
import { FILEMARK_WORD, dataBytes } from "../../tape/simh-format.ts";
import { describeTape, type TapeContents } from "../../tape/tape-contents.ts";
import type { TapeDrive } from "../../tape/tape-drive.ts";
import { openTapeFile, type TapeFileReader } from "../../tape/tape-file-stream.ts";
import { hasLiveWriter } from "../../tape/tape-lock.ts";
import { findImages } from "../../tapeimage/find-image.ts";
import { uuidText } from "../../tapeimage/frame.ts";
import type { ImageHeader } from "../../tapeimage/header.ts";
import { openCartridge } from "../cartridge.ts";
import type { StoredTape } from "../slot-map.ts";
import type { Content } from "./content-cache.ts";

/** A tape by its file, wherever the robot has put it. */
export interface TapeFile {
  readonly path: string;
  readonly tape: StoredTape;
}

/** Which state of a file something was made from. */
export interface FileStamp {
  readonly inode: bigint;
  readonly sizeBytes: bigint;
  readonly modifiedNs: bigint;
}

/** One look at one file, which is in memory: short enough to be waited for. Undefined: no file. */
export function fileStamp(path: string): FileStamp | undefined {
  try {
    const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
    if (stats === undefined) return undefined;
    return { inode: stats.ino, sizeBytes: stats.size, modifiedNs: stats.mtimeNs };
  } catch (error) {
    throw fromSystem(error, `cannot look at ${path}`);
  }
}

export function isSameStamp(a: FileStamp | undefined, b: FileStamp | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.inode === b.inode && a.sizeBytes === b.sizeBytes && a.modifiedNs === b.modifiedNs;
}

export function modifiedMsOf({ modifiedNs }: FileStamp): number {
  return Number(modifiedNs / 1000n) / 1000;
}

/** Opens a tape to read it. */
export async function openToRead({ path, tape }: TapeFile): Promise<TapeDrive> {
  return (await openCartridge({ ...tape, writeProtected: true }, path)).drive;
}

/** An image as it was found on the tape. */
export interface FoundImageFacts {
  /** From 1, in the order of the tape. */
  readonly number: number;
  readonly uuid: string;
  readonly state: "complete" | "not complete" | "without header";
  readonly header: ImageHeader | undefined;
}

/** Images are looked for on tapes of so many files; on others nothing but what files begin with tells. */
const SEARCHED_FILES_MAX = 4096;
const IMAGES_MAX = 1000;
/** Readers of tape files kept, and what their indexes may take. */
const READERS_MAX = 16;
const READER_BYTES_MAX = 32 * 1024 * 1024;
const BYTES_PER_RECORD = 8;
const BYTES_PER_OBJECT = 16;
const BYTES_PER_FILE = 512;
const BASE_BYTES = 64 * 1024;
/** The index of a tape of so many objects is saved as soon as it is made. */
const SAVED_OBJECTS_MIN = 1000;
/** Samples of a tape that is being written. */
const SAMPLED_FILES = 16;
const SAMPLE_BYTES = 4096;
/** Of a tape of more objects, a description is used for several times as long as it took to make. */
const QUICK_OBJECTS = 50_000;
const SLOW_FACTOR = 5;

interface Sample {
  readonly object: number;
  readonly start: Uint8Array;
}

export class TapeContent implements Content {
  readonly drive: TapeDrive;
  readonly #file: TapeFile;
  readonly #signal: AbortSignal | undefined;
  #stamp: FileStamp;
  #contents: TapeContents;
  #samples: readonly Sample[] = [];
  #describedAtMs = 0;
  #describingMs = 0;
  #isGrown = false;
  readonly #texts = new Map<string, Uint8Array>();
  #images = this.#imagesOnce();
  /** Least recently used first. */
  readonly #readers = new Map<number, Promise<TapeFileReader>>();
  #readerBytes = 0;
  #record: { readonly object: number; readonly data: Uint8Array } | undefined;

  private constructor(
    file: TapeFile,
    drive: TapeDrive,
    known: { stamp: FileStamp; contents: TapeContents; signal: AbortSignal | undefined },
  ) {
    this.#file = file;
    this.drive = drive;
    this.#stamp = known.stamp;
    this.#contents = known.contents;
    this.#signal = known.signal;
  }

  /** Throws "not-found", and what opening and reading throw; damage is told in `contents`. */
  static async open(file: TapeFile, signal?: AbortSignal): Promise<TapeContent> {
    // First: what is written after it is noticed later.
    const stamp = fileStamp(file.path);
    if (stamp === undefined) {
      throw new ReelError("not-found", `cannot show ${file.tape.barcode}: ${file.path} is gone`);
    }
    let drive = await openToRead(file);
    try {
      const startedMs = performance.now();
      const contents = await describeTape(drive, { signal });
      if (contents.records + contents.filemarks >= SAVED_OBJECTS_MIN) {
        // Closing saves what the scan found, so that archives and images need none of their own.
        await drive.close();
        drive = await openToRead(file);
      }
      const content = new TapeContent(file, drive, { stamp, contents, signal });
      content.#noteDescription(startedMs);
      if (await hasLiveWriter(file.path)) await content.#takeSamples();
      return content;
    } catch (error) {
      await drive.close().catch(() => undefined);
      throw error;
    }
  }

  /** When the tape was last written, in milliseconds. */
  get modifiedMs(): number {
    return modifiedMsOf(this.#stamp);
  }

  get stamp(): FileStamp {
    return this.#stamp;
  }

  /** It was extended, and not looked at anew since. */
  get isGrown(): boolean {
    return this.#isGrown;
  }

  get contents(): TapeContents {
    return this.#contents;
  }

  get objects(): number {
    return this.#contents.records + this.#contents.filemarks;
  }

  get costBytes(): number {
    return (
      BASE_BYTES +
      this.objects * BYTES_PER_OBJECT +
      this.#contents.files.length * BYTES_PER_FILE +
      this.#readerBytes +
      (this.#record?.data.length ?? 0)
    );
  }

  // Being up to date ----------------------------------------------------------------------------

  /** False: the tape is another one now, or may be. At once where nothing has changed. */
  isCurrent(): boolean | Promise<boolean> {
    const stamp = fileStamp(this.#file.path);
    if (isSameStamp(stamp, this.#stamp)) {
      return this.#isGrown ? hasLiveWriter(this.#file.path) : true;
    }
    const isLonger = stamp?.inode === this.#stamp.inode && stamp.sizeBytes > this.#stamp.sizeBytes;
    return isLonger ? this.#hasGrown(stamp) : false;
  }

  async #hasGrown(stamp: FileStamp): Promise<boolean> {
    if (!(await hasLiveWriter(this.#file.path))) return false;
    const sinceMs = performance.now() - this.#describedAtMs;
    const isFresh = sinceMs < this.#describingMs * SLOW_FACTOR;
    if (isFresh && this.objects > QUICK_OBJECTS) return true;
    if (!(await this.#areSamplesThere())) return false;
    await this.#grow(stamp);
    return true;
  }

  async #grow(stamp: FileStamp): Promise<void> {
    const startedMs = performance.now();
    this.#contents = await describeTape(this.drive, { signal: this.#signal });
    this.#stamp = stamp;
    this.#isGrown = true;
    this.#images = this.#imagesOnce();
    this.#texts.clear();
    this.#noteDescription(startedMs);
    await this.#takeSamples();
  }

  #noteDescription(startedMs: number): void {
    this.#describedAtMs = performance.now();
    this.#describingMs = this.#describedAtMs - startedMs;
  }

  async #takeSamples(): Promise<void> {
    const firsts = this.#contents.files.filter(({ records }) => records > 0).slice(-SAMPLED_FILES);
    const objects = new Set([0, ...firsts.map(({ firstObject }) => firstObject), this.objects - 1]);
    const samples: Sample[] = [];
    for (const object of objects) {
      const start = await this.#startOf(object);
      if (start !== undefined) samples.push({ object, start });
    }
    this.#samples = samples;
  }

  async #areSamplesThere(): Promise<boolean> {
    for (const { object, start } of this.#samples) {
      const now = await this.#startOf(object);
      if (now === undefined || Buffer.compare(now, start) !== 0) return false;
    }
    return true;
  }

  /** The first bytes of a record; nothing of a filemark; undefined for what cannot be read. */
  async #startOf(object: number): Promise<Uint8Array | undefined> {
    if (object < 0) return undefined;
    const target = new Uint8Array(SAMPLE_BYTES);
    try {
      // Queued at once, so that nobody else moves the tape in between.
      const [, read] = await Promise.all([this.drive.locate(object), this.drive.read(target)]);
      if (read.kind === "filemark") return target.subarray(0, 0);
      if (read.kind !== "record") return undefined;
      return target.subarray(0, Math.min(read.lengthBytes, SAMPLE_BYTES));
    } catch {
      return undefined;
    }
  }

  // Tape files and records ----------------------------------------------------------------------

  /** Bytes of a tape file that is in `contents`. */
  async readFile(file: number, offsetBytes: number, target: Uint8Array): Promise<number> {
    const known = this.#contents.files[file];
    const reader = await this.#reader(file, known?.firstObject);
    if (known !== undefined && !reader.complete && reader.sizeBytes < known.bytes) {
      const before = reader.records;
      await reader.refresh();
      this.#readerBytes += (reader.records - before) * BYTES_PER_RECORD;
    }
    return reader.read(offsetBytes, target);
  }

  async #reader(file: number, firstObject: number | undefined): Promise<TapeFileReader> {
    const opening = this.#readers.get(file) ?? openTapeFile(this.drive, file, { firstObject });
    const isNew = !this.#readers.has(file);
    this.#readers.delete(file);
    this.#readers.set(file, opening);
    try {
      const reader = await opening;
      if (isNew) this.#readerBytes += reader.records * BYTES_PER_RECORD;
      await this.#dropReaders(file);
      return reader;
    } catch (error) {
      this.#readers.delete(file);
      throw error;
    }
  }

  async #dropReaders(kept: number): Promise<void> {
    for (const [file, opening] of this.#readers) {
      const isTooMuch = this.#readers.size > READERS_MAX || this.#readerBytes > READER_BYTES_MAX;
      if (!isTooMuch || file === kept) return;
      this.#readers.delete(file);
      const reader = await opening.catch(() => undefined);
      this.#readerBytes -= (reader?.records ?? 0) * BYTES_PER_RECORD;
    }
  }

  /** Length of the record that an object is; undefined where it is none. */
  async recordBytes(object: number): Promise<number | undefined> {
    const [word] = await this.recordWords(object);
    return word === undefined || word === FILEMARK_WORD ? undefined : dataBytes(word);
  }

  /** Words of the objects from `object` on, some of them; none at the end. */
  async recordWords(object: number): Promise<Uint32Array> {
    return object < this.objects ? readObjectRun(this.drive, object) : new Uint32Array(0);
  }

  async readRecord(object: number, offsetBytes: number, target: Uint8Array): Promise<number> {
    if (this.#record?.object !== object) {
      const lengthBytes = await this.recordBytes(object);
      if (lengthBytes === undefined) throw this.#noRecord(object);
      const data = new Uint8Array(lengthBytes);
      const [, read] = await Promise.all([this.drive.locate(object), this.drive.read(data)]);
      if (read.kind !== "record" || read.lengthBytes !== lengthBytes) throw this.#noRecord(object);
      this.#record = { object, data };
    }
    const part = this.#record.data.subarray(offsetBytes, offsetBytes + target.length);
    target.set(part);
    return part.length;
  }

  #noRecord(object: number): ReelError {
    return new ReelError("not-found", `object ${object} of ${this.drive.name} is no record now`);
  }

  // Texts and images --------------------------------------------------------------------------------------

  /** What `make` makes of the contents; made once. */
  async text(name: string, make: () => Promise<string>): Promise<Uint8Array> {
    const known = this.#texts.get(name);
    if (known !== undefined) return known;
    const contents = this.#contents;
    const text = Buffer.from(await make());
    if (contents === this.#contents) this.#texts.set(name, text);
    return text;
  }

  /** The images on the tape; looked for once. */
  async images(): Promise<readonly FoundImageFacts[]> {
    return this.#images.get();
  }

  #imagesOnce(): FoundOnce<readonly FoundImageFacts[]> {
    return new FoundOnce(async () => this.#findImages());
  }

  async #findImages(): Promise<readonly FoundImageFacts[]> {
    const { files } = this.#contents;
    const wanted =
      files.length <= SEARCHED_FILES_MAX ? ["reelfs-image", "unknown"] : ["reelfs-image"];
    if (!files.some(({ kind }) => wanted.includes(kind))) return [];
    // A drive of its own: the search goes from one position to the next.
    const drive = await openToRead(this.#file);
    try {
      const found: FoundImageFacts[] = [];
      for await (const { number, frame, header, trailer } of findImages(drive)) {
        const state =
          header === undefined
            ? "without header"
            : trailer === undefined
              ? "not complete"
              : "complete";
        found.push({ number, uuid: uuidText(frame.uuid), state, header });
        if (found.length >= IMAGES_MAX) break;
      }
      return found;
    } finally {
      await drive.close();
    }
  }

  async close(): Promise<void> {
    this.#readers.clear();
    await this.drive.close();
  }
}
