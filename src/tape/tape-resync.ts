/**
 * What to do about a record whose two words differ: one of them is usually right, and then it tells
 * where the record ends, so that one bad word costs one record and not the rest of the tape.
 *
 * If the trailing word is right, there is a place behind the record where a word stands whose length
 * leads back to exactly where the record began. Of long ways a chance hit is one in four thousand
 * million, but small numbers are in every record: the nearest of those words counts behind which a
 * whole object (or the end of the tape) follows. If the leading word is right, that follows where it
 * says.
 */
import type { FileHandle } from "node:fs/promises";
import { fromSystem } from "../errors.ts";
import { readAll } from "./file-io.ts";
import {
  FILEMARK_WORD,
  RECORD_BYTES_MAX,
  WORD_BYTES,
  dataBytes,
  hasTrailer,
  objectKind,
  objectSizeBytes,
  recordSizeBytes,
} from "./simh-format.ts";

const CHUNK_BYTES = 256 * 1024;
/** Filemarks in a row that are looked behind for a record. */
const FILEMARKS_MAX = 8;
/** Words leading back behind which is looked: a record may be full of them. */
const CANDIDATES_MAX = 64;

export class Resync {
  readonly #handle: FileHandle;
  readonly #name: string;

  constructor(handle: FileHandle, name: string) {
    this.#handle = handle;
    this.#name = name;
  }

  /**
   * The word that the record at `startBytes` should have had, or undefined if nothing tells. Where
   * the tape may end within the record, a word in it proves nothing unless more of the tape follows.
   */
  async trueWord(
    startBytes: number,
    sizeBytes: number,
    hints: { readonly leadingWord?: number; readonly mayBeTorn?: boolean },
  ): Promise<number | undefined> {
    const { leadingWord, mayBeTorn = false } = hints;
    const trailing = await this.#trailingWord(startBytes, sizeBytes, mayBeTorn);
    if (trailing !== undefined) return trailing;
    if (leadingWord === undefined || objectKind(leadingWord) !== "record") return undefined;
    const endBytes = startBytes + objectSizeBytes(leadingWord);
    return (await this.#holdsFrom(endBytes, sizeBytes)) ? leadingWord : undefined;
  }

  /** True where a whole object with this word lies at `startBytes`. */
  async isObjectAt(startBytes: number, word: number, sizeBytes: number): Promise<boolean> {
    const endBytes = startBytes + objectSizeBytes(word);
    if (endBytes > sizeBytes || (await this.wordAt(startBytes)) !== word) return false;
    return !hasTrailer(word) || (await this.wordAt(endBytes - WORD_BYTES)) === word;
  }

  /** True where the file ends in a record (and filemarks) that begins at `fromBytes` or later. */
  async endsInWholeRecord(fromBytes: number, sizeBytes: number): Promise<boolean> {
    let endBytes = sizeBytes;
    for (let marks = 0; marks <= FILEMARKS_MAX && endBytes - WORD_BYTES >= fromBytes; marks++) {
      const word = await this.wordAt(endBytes - WORD_BYTES);
      if (word !== FILEMARK_WORD) {
        const startBytes = endBytes - objectSizeBytes(word);
        if (objectKind(word) !== "record" || startBytes < fromBytes) return false;
        return (await this.wordAt(startBytes)) === word;
      }
      endBytes -= WORD_BYTES;
    }
    return false;
  }

  /** True where the tape ends at `startBytes`, or a whole record follows, perhaps after filemarks. */
  async #holdsFrom(startBytes: number, sizeBytes: number): Promise<boolean> {
    let atBytes = startBytes;
    for (let marks = 0; marks <= FILEMARKS_MAX; marks++) {
      if (atBytes === sizeBytes) return true;
      if (atBytes + WORD_BYTES > sizeBytes) return false;
      const word = await this.wordAt(atBytes);
      if (word !== FILEMARK_WORD) {
        return objectKind(word) === "record" && this.isObjectAt(atBytes, word, sizeBytes);
      }
      atBytes += WORD_BYTES;
    }
    return false;
  }

  /**
   * The nearest word behind `startBytes` that leads back to it and has an object behind it; if none
   * has, the nearest, unless `mustHold`. Records are of even length in the file, so every second
   * byte is looked at; a filemark never leads back, its length is no record's.
   */
  async #trailingWord(
    startBytes: number,
    sizeBytes: number,
    mustHold: boolean,
  ): Promise<number | undefined> {
    const endBytes = Math.min(sizeBytes, startBytes + recordSizeBytes(RECORD_BYTES_MAX));
    const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, Math.max(0, endBytes - startBytes)));
    let nearest: number | undefined;
    let candidates = 0;
    let atBytes = startBytes + recordSizeBytes(1) - WORD_BYTES;
    while (atBytes + WORD_BYTES <= endBytes) {
      const part = chunk.subarray(0, Math.min(chunk.length, endBytes - atBytes));
      const arrivedBytes = await this.#readAt(part, atBytes);
      if (arrivedBytes < WORD_BYTES) break;
      const spanBytes = atBytes + WORD_BYTES - startBytes;
      for (const word of wordsLeadingBack(part.subarray(0, arrivedBytes), spanBytes)) {
        if (await this.#holdsFrom(startBytes + objectSizeBytes(word), sizeBytes)) return word;
        nearest ??= word;
        candidates += 1;
        if (candidates === CANDIDATES_MAX) return mustHold ? undefined : nearest;
      }
      atBytes += (arrivedBytes - WORD_BYTES + 2) & ~1;
    }
    return mustHold ? undefined : nearest;
  }

  /** The word at an offset inside the file. */
  async wordAt(atBytes: number): Promise<number> {
    const word = Buffer.alloc(WORD_BYTES);
    await this.#readAt(word, atBytes);
    return word.readUInt32LE(0);
  }

  async #readAt(buffer: Buffer, atBytes: number): Promise<number> {
    try {
      return await readAll(this.#handle, [buffer], atBytes, buffer.length);
    } catch (error) {
      throw fromSystem(error, `cannot read ${this.#name} at byte ${atBytes}`);
    }
  }
}

/** Words in `bytes` whose object is as long as the way back; `spanBytes` is the first way. */
function* wordsLeadingBack(bytes: Buffer, spanBytes: number): Generator<number> {
  for (let at = 0; at + WORD_BYTES <= bytes.length; at += 2) {
    const word = bytes.readUInt32LE(at);
    if (
      word !== FILEMARK_WORD &&
      objectKind(word) === "record" &&
      dataBytes(word) > 0 &&
      objectSizeBytes(word) === spanBytes + at
    ) {
      yield word;
    }
  }
}
