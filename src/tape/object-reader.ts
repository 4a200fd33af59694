/**
 * Reads objects of a `.tap` file by their number: where an object lies is known from the index or
 * found by the scanner, its bytes come through the framed reader, and its words decide whether the
 * two agree.
 */
import type { FileHandle } from "node:fs/promises";
import { ReelError } from "../errors.ts";
import { FramedReader, type FramedRead } from "./framed-reader.ts";
import { FILEMARK_WORD, dataBytes, isFlawed } from "./simh-format.ts";
import type { TapeRead } from "./tape-drive.ts";
import type { TapeIndex } from "./tape-index.ts";
import { damageText, type FoundObject, type TapeScanner } from "./tape-scanner.ts";

export class ObjectReader {
  readonly #name: string;
  readonly #index: TapeIndex;
  readonly #scanner: TapeScanner;
  readonly #framed: FramedReader;

  constructor(handle: FileHandle, name: string, index: TapeIndex, scanner: TapeScanner) {
    this.#name = name;
    this.#index = index;
    this.#scanner = scanner;
    this.#framed = new FramedReader(handle, name);
  }

  /** The tape is about to be written: what was read ahead is old. */
  forget(): void {
    this.#framed.forget();
  }

  /**
   * Fills `target` with what fits of the object; undefined where the scan ends before it. Where its
   * words are not as the index says, either the record is damaged (then the objects around it are
   * where they should be) or the index is of another tape (then the tape is scanned again, and the
   * object read where it lies now).
   */
  async read(object: number, target: Uint8Array): Promise<TapeRead | undefined> {
    const found = await this.#scanner.find(object);
    if (found === undefined) return undefined;
    const wasKnown = object < this.#index.count;
    const read = await this.#framed.read(found, target);
    if (read.wrong === undefined) return this.#accept(object, found, read);
    if (!wasKnown) {
      // The scan finds the same, and goes on behind it where it can.
      await this.#scanner.scanTo(object);
    } else if (!(await this.#scanner.holdsAfter(object))) {
      this.#framed.forget();
      await this.#scanner.refresh();
      this.#scanner.restart();
      return this.#readAgain(object, target);
    }
    throw this.#damaged(object, found, read.wrong);
  }

  async #readAgain(object: number, target: Uint8Array): Promise<TapeRead | undefined> {
    const found = await this.#scanner.find(object);
    if (found === undefined) return undefined;
    const read = await this.#framed.read(found, target);
    if (read.wrong === undefined) return this.#accept(object, found, read);
    throw this.#damaged(object, found, read.wrong);
  }

  #accept(object: number, found: FoundObject, read: FramedRead): TapeRead {
    this.#scanner.accept(object, found);
    if (read.nextWord !== undefined) this.#scanner.remember(read.endBytes, read.nextWord);
    const { word } = found;
    if (word === FILEMARK_WORD) return { kind: "filemark" };
    return { kind: "record", lengthBytes: dataBytes(word), flawed: isFlawed(word) };
  }

  #damaged(object: number, found: FoundObject, wrong: string): ReelError {
    const goesOn = object + 1 < this.#index.count;
    return new ReelError(
      "damaged",
      damageText(this.#name, object, found.offsetBytes, wrong, goesOn),
    );
  }
}
