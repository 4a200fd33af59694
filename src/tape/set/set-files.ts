/**
 * Tape files that make a set: where the others are found when one was named. In the places the
 * caller names, where they were recorded, and beside the tape that was named; there under any name,
 * since each says itself which tape it is.
 */
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { isReelError } from "../../errors.ts";
import { openSimhTape } from "../simh-tape.ts";
import type { TapeDrive } from "../tape-drive.ts";
import { TapeSetDrive } from "../tape-set.ts";
import type { TapeRequest, TapeSource } from "./set-chain.ts";
import { readContinuation, readSetPlace } from "./set-place.ts";

/** Files of one folder that are looked at. */
const TAPES_OF_FOLDER_MAX = 4096;
/** Times that a person is asked for one tape. */
const ASKED_MAX = 5;

/** Asks a person for the file of a tape that is nowhere; undefined: there is none. */
export type AskForTape = (request: TapeRequest) => Promise<string | undefined>;

/**
 * Opens a tape file for reading: by itself, or, when it belongs to a set, the set. `places`: tapes,
 * and folders with tapes, to look for the others in.
 * @throws as openSimhTape.
 */
export async function openTapeForReading(
  path: string,
  places: readonly string[] = [],
  ask?: AskForTape,
): Promise<TapeDrive> {
  const drive = await openSimhTape(path, { mode: "read" });
  try {
    const { begins, ends } = await readSetPlace(drive);
    if (begins !== undefined || ends !== undefined) {
      const source = new TapeFiles(path, places, ask);
      return await TapeSetDrive.open(drive, { source, name: path });
    }
    await drive.rewind();
    return drive;
  } catch (error) {
    await drive.close().catch(() => undefined);
    throw error;
  }
}

/** Where one tape of a set was found. */
interface FoundTape {
  readonly path: string;
  readonly set: string;
  readonly sequence: number;
}

export class TapeFiles implements TapeSource {
  readonly #near: string;
  readonly #places: readonly string[];
  readonly #ask: AskForTape | undefined;
  #found: Promise<readonly FoundTape[]> | undefined;

  /** `near`: a tape of the set. */
  constructor(near: string, places: readonly string[] = [], ask?: AskForTape) {
    this.#near = resolve(near);
    this.#places = places;
    this.#ask = ask;
  }

  async *candidates(request: TapeRequest): AsyncGenerator<TapeDrive> {
    const { set, sequence, name } = request;
    const tried = new Set<string>();
    for (const path of [...(await this.#likely(name)), ...(await this.#told(set, sequence))]) {
      if (tried.has(resolve(path))) continue;
      tried.add(resolve(path));
      const drive = await openIfThere(path);
      if (drive !== undefined) yield drive;
    }
    // As long as what is brought is another tape, and not nothing.
    for (let times = 0; times < ASKED_MAX; times++) {
      const path = await this.#ask?.(request);
      if (path === undefined) return;
      const drive = await openIfThere(path);
      if (drive !== undefined) yield drive;
    }
  }

  async later(set: string, sequence: number): Promise<TapeDrive | undefined> {
    const found = await (this.#found ??= this.#look());
    const behind = found.filter((each) => each.set === set && each.sequence > sequence);
    const [nearest] = behind.sort((one, other) => one.sequence - other.sequence);
    return nearest === undefined ? undefined : openIfThere(nearest.path);
  }

  /** By its name: where the caller says, where it was, and beside the tape that is here. */
  async #likely(name: string): Promise<string[]> {
    const named = basename(name);
    const files = await this.#files();
    return [
      ...files
        .slice(0, -1)
        .flat()
        .filter((path) => basename(path) === named),
      name,
      join(dirname(this.#near), named),
    ];
  }

  /** By what they say of themselves. */
  async #told(set: string, sequence: number): Promise<string[]> {
    this.#found ??= this.#look();
    const found = await this.#found;
    const ours = found.filter((each) => each.set === set && each.sequence === sequence);
    // The first tape of a set does not say so where it begins.
    const first = sequence === 1 ? (await this.#files()).slice(0, -1).flat() : [];
    return [...ours.map(({ path }) => path), ...first];
  }

  /** Tapes of each place, and of the folder of the tape that is here. */
  async #files(): Promise<string[][]> {
    return Promise.all([...this.#places, dirname(this.#near)].map(filesAt));
  }

  async #look(): Promise<readonly FoundTape[]> {
    const found: FoundTape[] = [];
    for (const path of (await this.#files()).flat()) {
      const drive = await openIfThere(path);
      if (drive === undefined) continue;
      try {
        const begins = await readContinuation(drive);
        if (begins !== undefined) found.push({ path, set: begins.set, sequence: begins.sequence });
      } finally {
        await drive.close();
      }
    }
    return found;
  }
}

async function filesAt(place: string): Promise<string[]> {
  try {
    if (!(await stat(place)).isDirectory()) return [place];
    const names = (await readdir(place)).filter((name) => name.toLowerCase().endsWith(".tap"));
    return names
      .sort()
      .slice(0, TAPES_OF_FOLDER_MAX)
      .map((name) => join(place, name));
  } catch {
    // Not there, or not to be read: it holds no tapes for us.
    return [];
  }
}

async function openIfThere(path: string): Promise<TapeDrive | undefined> {
  try {
    return await openSimhTape(path, { mode: "read" });
  } catch (error) {
    if (isReelError(error)) return undefined;
    throw error;
  }
}
