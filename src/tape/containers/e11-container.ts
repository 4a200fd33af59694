/**
 * Ersatz-11's tapes (docs/formats/e11.md): the words of SIMH without the pad byte behind records of
 * odd length. Everything else is as in simh-format.ts, so all but the length of a record comes from
 * there.
 */
import { ReelError } from "../../errors.ts";
import {
  FILEMARK_WORD,
  FRAME_BYTES,
  RECORD_BYTES_MAX,
  WORD_BYTES,
  dataBytes,
  hasTrailer,
  isFlawed,
  objectKind,
  objectSizeBytes,
  wordText,
} from "../simh-format.ts";
import { damageText, mismatchText, type ScanStop } from "../tape-scanner.ts";
import type { FetchedObject } from "./container.ts";
import { ScannedContainer } from "./scanned-container.ts";

/** Bytes that the object takes in the file: a record has no pad byte here. */
export function e11SizeBytes(word: number): number {
  return hasTrailer(word) ? FRAME_BYTES + dataBytes(word) : objectSizeBytes(word);
}

export class E11Container extends ScannedContainer {
  /** Where the next object begins. */
  #atBytes = 0;

  protected async step(): Promise<ScanStop | undefined> {
    const startBytes = this.#atBytes;
    const leftBytes = this.file.sizeBytes - startBytes;
    if (leftBytes === 0) return { kind: "end-of-file", message: "end of the file" };
    if (leftBytes < WORD_BYTES) return this.#wrong("torn", "the tape was cut within a word");
    const word = this.file.peek(startBytes, WORD_BYTES) ?? (await this.#load(startBytes));
    const opening = word.readUInt32LE(0);
    const kind = objectKind(opening);
    if (kind === "end-of-medium") return { kind, message: "end of medium" };
    if (kind === "illegal") {
      return this.#wrong("damaged", `its first word ${wordText(opening)} means nothing`);
    }
    const endBytes = startBytes + e11SizeBytes(opening);
    if (endBytes > this.file.sizeBytes) return this.#wrong("torn", this.#cutText(endBytes));
    if (hasTrailer(opening)) {
      const trailerBytes = endBytes - WORD_BYTES;
      const last = this.file.peek(trailerBytes, WORD_BYTES) ?? (await this.#load(trailerBytes));
      const closing = last.readUInt32LE(0);
      if (closing !== opening) return this.#wrong("damaged", mismatchText(opening, closing));
    }
    if (kind !== "skip") {
      if (dataBytes(opening) > RECORD_BYTES_MAX) {
        return this.#wrong("damaged", `${dataBytes(opening)} bytes are more than a record has`);
      }
      this.index.append(opening, startBytes, endBytes);
    }
    this.#atBytes = endBytes;
    return undefined;
  }

  async #load(offsetBytes: number): Promise<Buffer> {
    return this.file.load(offsetBytes, WORD_BYTES);
  }

  #cutText(endBytes: number): string {
    return `it would end at byte ${endBytes}, but the tape ends at byte ${this.file.sizeBytes}`;
  }

  #wrong(kind: "torn" | "damaged", what: string): ScanStop {
    const { name } = this.file;
    const message = damageText(name, this.index.count, this.#atBytes, what, false);
    return { kind, message };
  }

  async fetch(object: number, target: Uint8Array): Promise<FetchedObject> {
    const word = this.index.word(object);
    const offsetBytes = this.index.offsetBytes(object);
    const opening = Buffer.alloc(WORD_BYTES);
    const isRecord = word !== FILEMARK_WORD;
    const data = target.subarray(0, isRecord ? dataBytes(word) : 0);
    const isWhole = isRecord && data.length === dataBytes(word);
    const closing = Buffer.alloc(isRecord ? WORD_BYTES : 0);
    const parts = [opening, data, ...(isWhole ? [closing] : [])].filter((each) => each.length > 0);
    const neededBytes = parts.reduce((bytes, part) => bytes + part.length, 0);
    await this.file.read(parts, offsetBytes, neededBytes);
    if (isRecord && !isWhole) {
      const closingAt = offsetBytes + e11SizeBytes(word) - WORD_BYTES;
      await this.file.read([closing], closingAt, WORD_BYTES);
    }
    const first = opening.readUInt32LE(0);
    const last = isRecord ? closing.readUInt32LE(0) : first;
    if (first !== word || last !== word) {
      const { name } = this.file;
      const what = mismatchText(first, last);
      throw new ReelError("damaged", damageText(name, object, offsetBytes, what, false));
    }
    if (!isRecord) return { kind: "filemark" };
    return { kind: "record", lengthBytes: dataBytes(word), flawed: isFlawed(word) };
  }
}
