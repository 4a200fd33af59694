/**
 * Verifies the structure of a tape: every object is read going forward (a record whole where it is
 * packed, else the words or links around it), and again going backward; both ways must tell the same.
 */
import { ReelError, isReelError, throwIfAborted } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import { wordOf } from "./object-run.ts";
import { FILEMARK_WORD } from "./simh-format.ts";
import { stepOver } from "./tape-dump.ts";
import type { TapeDrive, TapeRead } from "./tape-drive.ts";

export interface TapeProblem {
  /** Logical object number, and where it begins in the container where the drive tells. */
  readonly object: number;
  readonly offsetBytes: number | undefined;
  readonly message: string;
}

export interface TapeCheck {
  readonly records: number;
  readonly filemarks: number;
  /** Bytes of the records. */
  readonly bytes: number;
  readonly flawed: number;
  /** Objects that cannot be read, or tell different things in the two directions. */
  readonly problems: number;
  readonly firstProblem: TapeProblem | undefined;
  /** The tape was read to the end of its data. */
  readonly complete: boolean;
}

/** Problems looked past before the check gives up. */
const PROBLEMS_MAX = 1000;
/** For an object that could not be read: no record has this word. */
const UNREADABLE_WORD = 0xffff_ffff;
const NOTHING = new Uint8Array(0);

/**
 * Checks a tape from its beginning. The drive ends up anywhere.
 * @throws "aborted", and what the drive throws but "damaged".
 */
export async function checkTape(drive: TapeDrive, options: RunOptions = {}): Promise<TapeCheck> {
  const check = new Check(drive, options);
  await check.forward();
  if (drive.capabilities.reverse) await check.backward();
  return check.result();
}

class Check {
  readonly #drive: TapeDrive;
  readonly #options: RunOptions;
  /** What each object is: a word, four bytes. */
  #words = new Uint32Array(1024);
  #objects = 0;
  #records = 0;
  #filemarks = 0;
  #bytes = 0;
  #flawed = 0;
  #problems = 0;
  #firstProblem: TapeProblem | undefined;
  #complete = false;

  constructor(drive: TapeDrive, options: RunOptions) {
    this.#drive = drive;
    this.#options = options;
  }

  result(): TapeCheck {
    return {
      records: this.#records,
      filemarks: this.#filemarks,
      bytes: this.#bytes,
      flawed: this.#flawed,
      problems: this.#problems,
      firstProblem: this.#firstProblem,
      complete: this.#complete,
    };
  }

  async forward(): Promise<void> {
    await this.#drive.rewind();
    for (;;) {
      const read = await this.#read(false, "checking forward");
      if (read instanceof ReelError) {
        await this.#note(this.#objects, read.message);
        const goesOn = this.#problems < PROBLEMS_MAX;
        if (!goesOn || !(await stepOver(this.#drive, this.#objects))) return;
        this.#push(UNREADABLE_WORD);
        continue;
      }
      if (read.kind === "end-of-data") break;
      this.#push(wordOfRead(read));
      if (read.kind === "filemark") this.#filemarks += 1;
      if (read.kind === "record") {
        this.#records += 1;
        this.#bytes += read.lengthBytes;
        if (read.flawed) this.#flawed += 1;
      }
    }
    this.#complete = true;
  }

  async backward(): Promise<void> {
    await this.#drive.locate(this.#objects);
    for (let object = this.#objects - 1; object >= 0; object--) {
      const read = await this.#read(true, "checking backward");
      const expected = this.#words[object];
      if (read instanceof ReelError) {
        if (expected !== UNREADABLE_WORD) await this.#note(object, read.message);
        await this.#drive.locate(object);
      } else if (expected !== wordOfRead(read)) {
        await this.#note(object, "it is not the same read forward and backward");
      }
    }
  }

  /** Reads an object into nothing; the error where it is damaged. */
  async #read(reverse: boolean, phase: string): Promise<TapeRead | ReelError> {
    throwIfAborted(this.#options.signal, `cannot check ${this.#drive.name}`);
    this.#options.progress?.({ phase, done: this.#bytes });
    try {
      return await this.#drive.read(NOTHING, { reverse });
    } catch (error) {
      if (isReelError(error, "damaged")) return error;
      throw error;
    }
  }

  #push(word: number): void {
    if (this.#objects === this.#words.length) {
      const grown = new Uint32Array(this.#words.length * 2);
      grown.set(this.#words);
      this.#words = grown;
    }
    this.#words[this.#objects] = word;
    this.#objects += 1;
  }

  async #note(object: number, message: string): Promise<void> {
    this.#problems += 1;
    if (this.#firstProblem !== undefined) return;
    const offsetBytes = await this.#drive.objectOffsetBytes?.(object);
    this.#firstProblem = { object, offsetBytes, message };
  }
}

function wordOfRead(read: TapeRead): number {
  if (read.kind === "record") return wordOf(read.lengthBytes, read.flawed);
  return read.kind === "filemark" ? FILEMARK_WORD : UNREADABLE_WORD;
}
