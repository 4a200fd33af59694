/**
 * The images that an incremental image points into. Each is looked for when it is first needed: at
 * the object where it was last seen, on the tape of the image itself, on the tapes the caller names,
 * and where it was then; a tape on which other images were written meanwhile is searched. What is
 * found must carry the UUID that the chain names.
 *
 * Tapes are opened once, however many ancestors are on them.
 */
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { closeAll, isReelError, ReelError } from "../../errors.ts";
import { openTapeForReading, type AskForTape } from "../../tape/set/set-files.ts";
import type { TapeDrive } from "../../tape/tape-drive.ts";
import { DriveHead } from "../drive-head.ts";
import { findImages } from "../find-image.ts";
import { FRAME_BYTES, readFrame, uuidBytes, uuidText } from "../frame.ts";
import type { ImageHeader } from "../header.ts";
import { RecordReader } from "../record-reader.ts";
import { isLossOfRecord } from "../record-stream.ts";
import type { AncestorFacts } from "./ancestor-facts.ts";

/** Tapes of one folder that are looked at. */
const TAPES_OF_FOLDER_MAX = 4096;
/** A frame with a run table as long as they usually are. */
const PROBE_BYTES = FRAME_BYTES + 16 * 1024;

export interface AncestorOptions {
  /** Tapes, and folders with tapes, to look on before the places where they were last seen. */
  readonly places?: readonly string[] | undefined;
  /** Opens a tape by the name it was backed up under, which may be LOADER:BARCODE. */
  readonly openTape?: ((tape: string) => Promise<TapeDrive>) | undefined;
  /** Asked for tapes of a set that are not found. */
  readonly askForTape?: AskForTape | undefined;
}

/** The image whose ancestors they are. */
interface Child {
  readonly name: string;
  readonly tapePath: string;
  readonly head: DriveHead;
  readonly header: ImageHeader;
}

interface OpenTape {
  readonly path: string;
  readonly head: DriveHead;
}

export class Ancestors {
  readonly #child: Child;
  readonly #options: AncestorOptions;
  /** By what was asked for; a tape that cannot be opened stays so. */
  readonly #tapes = new Map<string, Promise<OpenTape | undefined>>();
  readonly #readers = new Map<number, Promise<RecordReader>>();
  readonly #opened = new Map<number, RecordReader>();
  readonly #own: OpenTape;

  constructor(child: Child, options: AncestorOptions = {}) {
    this.#child = child;
    this.#options = options;
    this.#own = { path: child.tapePath, head: child.head };
  }

  get count(): number {
    return this.#child.header.ancestors?.length ?? 0;
  }

  /**
   * The reader of image `index` of the chain, from 1.
   * @throws "not-found" naming the image and where it was last seen.
   */
  async reader(index: number): Promise<RecordReader> {
    const known = this.#readers.get(index);
    if (known !== undefined) return known;
    const reader = this.#open(index);
    this.#readers.set(index, reader);
    // A tape that is brought meanwhile is found at the next try.
    reader.catch(() => {
      this.#readers.delete(index);
      this.#tapes.clear();
    });
    return reader;
  }

  /** Looks for all of them. Returns what is wrong with each that cannot be had, by index. */
  async check(): Promise<Map<number, ReelError>> {
    const problems = new Map<number, ReelError>();
    for (let index = 1; index <= this.count; index++) {
      try {
        await this.reader(index);
      } catch (error) {
        if (!isReelError(error)) throw error;
        problems.set(index, error);
      }
    }
    return problems;
  }

  /** Readers of those that were found so far, by their index in the chain. */
  get opened(): ReadonlyMap<number, RecordReader> {
    return this.#opened;
  }

  /** Is the child, or an image that was found, on the tape at this path? */
  async usesTape(path: string): Promise<boolean> {
    const tapes = await Promise.all(this.#tapes.values());
    for (const tape of [this.#own, ...tapes]) {
      if (tape !== undefined && (await isSameFile(tape.path, path))) return true;
    }
    return false;
  }

  /** Closes the tapes that were opened here; that of the child stays open. */
  async close(): Promise<void> {
    const tapes = await Promise.all(this.#tapes.values());
    const heads = new Set(tapes.flatMap((tape) => (tape === undefined ? [] : [tape.head])));
    heads.delete(this.#own.head);
    await closeAll(...[...heads].map(({ drive }) => drive));
  }

  #facts(index: number): AncestorFacts {
    const facts = this.#child.header.ancestors?.[index - 1];
    if (facts !== undefined) return facts;
    throw new ReelError("damaged", `${this.#child.name} has no image ${index} in its chain`);
  }

  async #open(index: number): Promise<RecordReader> {
    const facts = this.#facts(index);
    for await (const tape of this.#candidates(facts)) {
      const place = await locate(tape.head, facts);
      if (place === undefined) continue;
      const reader = new RecordReader(tape.head, {
        name: `${tape.path}#${place.number}`,
        firstObject: place.firstObject,
        uuid: uuidBytes(facts.uuid),
        recordSizeBytes: this.#child.header.recordSizeBytes,
        endRecord: facts.records,
      });
      reader.data = { firstRecord: 0, records: facts.records };
      this.#opened.set(index, reader);
      return reader;
    }
    throw new ReelError(
      "not-found",
      `${this.#child.name} needs the image ${facts.uuid}, made ${facts.created}, last seen as ` +
        `image ${facts.number} on ${facts.tape}; bring that tape, or name it with --ancestors`,
    );
  }

  /** Where it may be, the likeliest first. */
  async *#candidates(facts: AncestorFacts): AsyncGenerator<OpenTape> {
    const own = this.#child.tapePath;
    if (basename(facts.tape) === basename(own)) yield this.#own;
    const seen = new Set<OpenTape>([this.#own]);
    for await (const path of this.#paths(facts)) {
      const tape = await this.#tape(path);
      if (tape === undefined || seen.has(tape)) continue;
      seen.add(tape);
      yield tape;
    }
    // Under a new name, perhaps.
    yield this.#own;
  }

  async *#paths(facts: AncestorFacts): AsyncGenerator<string> {
    const named = basename(facts.tape);
    const inPlaces: string[] = [];
    for (const place of this.#options.places ?? []) inPlaces.push(...(await tapesAt(place)));
    yield* inPlaces.filter((path) => basename(path) === named);
    yield facts.tape;
    yield join(dirname(this.#child.tapePath), named);
    yield* inPlaces;
  }

  async #tape(path: string): Promise<OpenTape | undefined> {
    const known = this.#tapes.get(path);
    if (known !== undefined) return known;
    const tape = this.#openTape(path);
    this.#tapes.set(path, tape);
    return tape;
  }

  async #openTape(path: string): Promise<OpenTape | undefined> {
    if (await isSameFile(path, this.#own.path)) return this.#own;
    try {
      const { openTape, places, askForTape } = this.#options;
      const drive = await (openTape?.(path) ?? openTapeForReading(path, places, askForTape));
      return { path, head: new DriveHead(drive) };
    } catch (error) {
      if (!isReelError(error)) throw error;
      return undefined;
    }
  }
}

/** A tape by itself; of a folder, all files that may be tapes. */
export async function tapesAt(place: string): Promise<string[]> {
  try {
    if (!(await stat(place)).isDirectory()) return [place];
    const names = (await readdir(place)).filter((name) => name.toLowerCase().endsWith(".tap"));
    return names
      .sort()
      .slice(0, TAPES_OF_FOLDER_MAX)
      .map((name) => join(place, name));
  } catch {
    // Not a path: perhaps the name of a loader's tape.
    return [place];
  }
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  try {
    const [a, b] = [await stat(one), await stat(other)];
    return a.dev === b.dev && a.ino === b.ino;
  } catch {
    return false;
  }
}

/** Where on the tape the image is: where it was, or wherever a search finds it. */
async function locate(
  head: DriveHead,
  facts: AncestorFacts,
): Promise<{ firstObject: number; number: number } | undefined> {
  return head.hold(async () => {
    if (await isThere(head, facts)) return facts;
    try {
      for await (const found of findImages(head.drive)) {
        if (uuidText(found.frame.uuid) === facts.uuid) return found;
      }
      return undefined;
    } catch (error) {
      if (isLossOfRecord(error)) return undefined;
      throw error;
    } finally {
      head.forgetPosition();
    }
  });
}

/** Does any of the first records, where it was, carry its UUID? */
async function isThere(head: DriveHead, facts: AncestorFacts): Promise<boolean> {
  const bytes = Buffer.alloc(PROBE_BYTES);
  for (const record of [0, facts.firstPacked]) {
    try {
      const read = await head.readAt(facts.firstObject + record, bytes);
      if (read.kind !== "record") return false;
      const frame = readFrame(bytes, read.lengthBytes, `object ${facts.firstObject + record}`);
      return frame.record === record && uuidText(frame.uuid) === facts.uuid;
    } catch (error) {
      head.forgetPosition();
      if (!isReelError(error)) throw error;
    }
  }
  return false;
}
