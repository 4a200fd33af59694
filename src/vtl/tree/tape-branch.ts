/**
 * What is on one tape: `tapes/REEL0001/`.
 *
 *     label.txt  contents.txt
 *     files/01.bin             data of tape file 1
 *     files/01/                the tree of a tar, where several tape files are one
 *     records/000017.bin       the record that is object 17 of the tape
 *     tar/                     the tree of the tar, where it is the only one
 *     image/  image/2/         the volume of the only image, or of each
 *     problem.txt              why the tape cannot be shown
 *
 * Nothing is opened before it is asked for. Archives and images are branches of their own; they stay
 * as long as the tape is the same (tape-content.ts says what that means), and are gone with all
 * their nodes when it is another.
 */
import { ReelError, isReelError } from "../../errors.ts";
import { FILEMARK_WORD, dataBytes } from "../../tape/simh-format.ts";
import type { TapeFileContents } from "../../tape/tape-contents.ts";
import {
  madeStat,
  readText,
  type Branch,
  type BranchStat,
  type Found,
  type Key,
} from "./branch.ts";
import type { ContentSource } from "./content-cache.ts";
import { ImageBranch } from "./image-branch.ts";
import { TarBranch } from "./tar-branch.ts";
import type { OwningTape, TreeContext } from "./tree-context.ts";
import {
  TapeContent,
  fileStamp,
  isSameStamp,
  modifiedMsOf,
  type FileStamp,
  type TapeFile,
} from "./tape-content.ts";
import { contentsText, labelText } from "./tape-text.ts";

const KEY = {
  root: 0,
  label: 1,
  contents: 2,
  files: 3,
  records: 4,
  images: 5,
  problem: 6,
} as const;
const PROBLEM_NAME = "problem.txt";
const ROOT_NAMES = ["label.txt", "contents.txt", "files", "records", "tar", "image", PROBLEM_NAME];
const FILE_KEYS = 2 ** 40;
const RECORD_KEYS = 2 ** 41;
const KEYS_END = 2 ** 42;
const FILE_DIGITS = 2;
const RECORD_DIGITS = 6;
/** Records that are listed; any other is there too, by its name. */
export const RECORDS_LISTED_MAX = 50_000;

function numberedName(number: number, digits: number): string {
  return String(number).padStart(digits, "0");
}

/** The number in a name such as `01.bin`, which must be written just so. */
function numberIn(name: string, digits: number, extension: string): number | undefined {
  const number = Number(/^(\d{1,15})(?:\.bin)?$/.exec(name)?.[1] ?? NaN);
  return numberedName(number, digits) + extension === name ? number : undefined;
}

export class TapeBranch implements Branch, ContentSource<TapeContent>, OwningTape {
  readonly file: TapeFile;
  readonly #context: TreeContext;
  /** The tape for which the branches below were made. */
  #known: { readonly stamp: FileStamp; readonly isGrown: boolean } | undefined;
  readonly #tars = new Map<number, TarBranch>();
  readonly #images = new Map<number, ImageBranch>();
  /** Both of them. */
  readonly #below = new Set<Branch>();

  constructor(file: TapeFile, context: TreeContext) {
    this.file = file;
    this.#context = context;
  }

  // Being up to date ----------------------------------------------------------------------------

  async open(): Promise<TapeContent> {
    const content = await TapeContent.open(this.file, this.#context.signal);
    const isKnown = this.#known?.isGrown === false && isSameStamp(this.#known.stamp, content.stamp);
    if (!isKnown) this.#forgetBranches();
    this.#note(content);
    return content;
  }

  isCurrent(content: TapeContent): boolean | Promise<boolean> {
    const isCurrent = content.isCurrent();
    if (!(isCurrent instanceof Promise)) return isCurrent;
    return isCurrent.then((answer) => {
      if (answer) this.#note(content);
      return answer;
    });
  }

  #note({ stamp, isGrown }: TapeContent): void {
    this.#known = { stamp, isGrown };
  }

  #forgetBranches(): void {
    for (const branch of this.#below) {
      this.#context.cache.drop(branch);
      this.#context.forget(branch);
    }
    this.#tars.clear();
    this.#images.clear();
    this.#below.clear();
  }

  /** The tape is in the loader no more. */
  dispose(): void {
    this.#forgetBranches();
    this.#context.cache.drop(this);
    this.#context.forget(this);
  }

  /** Throws "not-found" when the tape is not the one any more that the branch was made for. */
  async check(branch: Branch): Promise<void> {
    const isSame =
      this.#known?.isGrown === false && isSameStamp(this.#known.stamp, fileStamp(this.file.path));
    if (!isSame) await this.#use(() => undefined);
    if (!this.#below.has(branch)) throw this.#gone();
  }

  async #use<T>(body: (content: TapeContent) => T | Promise<T>): Promise<T> {
    return this.#context.cache.use(this, body);
  }

  /** When the tape was last written, in milliseconds; now for one that is not there. */
  #modifiedMs(): number {
    const stamp = fileStamp(this.file.path);
    return stamp === undefined ? Date.now() : modifiedMsOf(stamp);
  }

  #gone(): ReelError {
    return new ReelError("not-found", `there is no such thing on ${this.file.tape.barcode} now`);
  }

  // Nodes ---------------------------------------------------------------------------------------

  #found(name: string, key: Key, stat: BranchStat): Found {
    return { name, branch: this, key, stat };
  }

  #directory(name: string, branch: Branch, key: Key, { modifiedMs }: TapeContent): Found {
    return { name, branch, key, stat: madeStat("directory", modifiedMs) };
  }

  async stat(key: Key): Promise<BranchStat> {
    if (key === KEY.problem) {
      return madeStat("file", this.#modifiedMs(), (await this.#problemText()).length);
    }
    const isText = key === KEY.label || key === KEY.contents;
    if (key < FILE_KEYS && !isText) return madeStat("directory", this.#modifiedMs());
    return this.#use(async (content) => {
      if (isText) return this.#textStat(content, key);
      if (key < RECORD_KEYS) return fileStat(content, this.#fileIn(content, key));
      const sizeBytes = await content.recordBytes(key - RECORD_KEYS);
      if (sizeBytes === undefined) throw this.#gone();
      return madeStat("file", content.modifiedMs, sizeBytes);
    });
  }

  async #textStat(content: TapeContent, key: Key): Promise<BranchStat> {
    const { length } = await this.#text(content, key);
    return madeStat("file", content.modifiedMs, length);
  }

  #fileIn({ contents }: TapeContent, key: Key): TapeFileContents {
    const file = contents.files[key - FILE_KEYS];
    if (file === undefined) throw this.#gone();
    return file;
  }

  async #text(content: TapeContent, key: Key): Promise<Uint8Array> {
    if (key === KEY.label) {
      return content.text("label", () => Promise.resolve(labelText(content.contents)));
    }
    return content.text("contents", async () => {
      const images = await content.images().catch((error: unknown) => asError(error));
      return contentsText(content.contents, images);
    });
  }

  async #problemText(): Promise<Uint8Array> {
    const problem = await this.#use(() => undefined).catch((error: unknown) => asError(error));
    if (problem === undefined) throw this.#gone();
    return Buffer.from(`${problem.message}\n`);
  }

  async lookup(key: Key, name: string): Promise<Found | undefined> {
    if (key === KEY.root) return this.#lookupRoot(name);
    if (key === KEY.files) return this.#lookupFile(name);
    if (key === KEY.images) {
      return this.#use(async (content) =>
        (await this.#imagesOf(content)).find((each) => each.name === name),
      );
    }
    const object = numberIn(name, RECORD_DIGITS, ".bin");
    if (object === undefined || object >= KEYS_END - RECORD_KEYS) return undefined;
    return this.#use(async (content) => {
      const sizeBytes = await content.recordBytes(object);
      if (sizeBytes === undefined) return undefined;
      const stat = madeStat("file", content.modifiedMs, sizeBytes);
      return this.#found(name, RECORD_KEYS + object, stat);
    });
  }

  async #lookupRoot(name: string): Promise<Found | undefined> {
    if (!ROOT_NAMES.includes(name)) return undefined;
    if (name === PROBLEM_NAME) return (await this.#listRoot()).find((each) => each.name === name);
    return this.#showing((content) => this.#inRoot(content, name));
  }

  async #lookupFile(name: string): Promise<Found | undefined> {
    const isDirectory = !name.endsWith(".bin");
    const number = numberIn(name, FILE_DIGITS, isDirectory ? "" : ".bin");
    if (number === undefined) return undefined;
    return this.#use((content) => {
      const { files } = content.contents;
      const file = files[number];
      if (file === undefined) return undefined;
      if (!isDirectory) return this.#found(name, FILE_KEYS + number, fileStat(content, file));
      const isOneOfSeveral = isTar(file) && files.filter(isTar).length > 1;
      return isOneOfSeveral ? this.#directory(name, this.#tar(file), 0, content) : undefined;
    });
  }

  async list(key: Key): Promise<readonly Found[]> {
    switch (key) {
      case KEY.root:
        return this.#listRoot();
      case KEY.files:
        return this.#listFiles();
      case KEY.images:
        return this.#use(async (content) => this.#imagesOf(content));
      default:
        return this.#listRecords();
    }
  }

  /** Undefined where the tape cannot be shown: problem.txt says why. */
  async #showing<T>(body: (content: TapeContent) => Promise<T>): Promise<T | undefined> {
    try {
      return await this.#use(body);
    } catch (error) {
      if (!isReelError(error) || ["aborted", "closed"].includes(error.code)) throw error;
      return undefined;
    }
  }

  async #listRoot(): Promise<Found[]> {
    const shown = await this.#showing(async (content) => {
      const found: Found[] = [];
      for (const name of ROOT_NAMES) {
        const each = await this.#inRoot(content, name);
        if (each !== undefined) found.push(each);
      }
      return found;
    });
    if (shown !== undefined) return shown;
    const stat = madeStat("file", this.#modifiedMs(), (await this.#problemText()).length);
    return [this.#found(PROBLEM_NAME, KEY.problem, stat)];
  }

  async #inRoot(content: TapeContent, name: string): Promise<Found | undefined> {
    switch (name) {
      case "label.txt":
        return this.#found(name, KEY.label, await this.#textStat(content, KEY.label));
      case "contents.txt":
        return this.#found(name, KEY.contents, await this.#textStat(content, KEY.contents));
      case "files":
        return this.#directory(name, this, KEY.files, content);
      case "records":
        return this.#directory(name, this, KEY.records, content);
      case "tar": {
        const [tar, ...more] = content.contents.files.filter(isTar);
        if (tar === undefined || more.length > 0) return undefined;
        return this.#directory(name, this.#tar(tar), 0, content);
      }
      case "image": {
        // Where they cannot be looked for, contents.txt says why.
        const [image, ...more] = await content.images().catch(() => []);
        if (image === undefined) return undefined;
        if (more.length > 0) return this.#directory(name, this, KEY.images, content);
        return this.#directory(name, this.#image(image.number), 0, content);
      }
      default:
        return undefined;
    }
  }

  async #listFiles(): Promise<Found[]> {
    return this.#use((content) => {
      const { files } = content.contents;
      const areSeveral = files.filter(isTar).length > 1;
      return files.flatMap((file) => {
        const name = numberedName(file.file, FILE_DIGITS);
        const key = FILE_KEYS + file.file;
        const data = this.#found(`${name}.bin`, key, fileStat(content, file));
        if (!areSeveral || !isTar(file)) return [data];
        return [data, this.#directory(name, this.#tar(file), 0, content)];
      });
    });
  }

  async #imagesOf(content: TapeContent): Promise<Found[]> {
    return (await content.images()).map(({ number }) =>
      this.#directory(String(number), this.#image(number), 0, content),
    );
  }

  async #listRecords(): Promise<Found[]> {
    return this.#use(async (content) => {
      const { modifiedMs } = content;
      const found: Found[] = [];
      for (let object = 0; found.length < RECORDS_LISTED_MAX;) {
        const words = await content.recordWords(object).catch(() => new Uint32Array(0));
        if (words.length === 0) break;
        for (const [each, word] of words.entries()) {
          if (word === FILEMARK_WORD || found.length >= RECORDS_LISTED_MAX) continue;
          const name = `${numberedName(object + each, RECORD_DIGITS)}.bin`;
          const stat = madeStat("file", modifiedMs, dataBytes(word));
          found.push(this.#found(name, RECORD_KEYS + object + each, stat));
        }
        object += words.length;
      }
      return found;
    });
  }

  async read(key: Key, offsetBytes: number, target: Uint8Array): Promise<number> {
    if (key === KEY.problem) return readText(await this.#problemText(), offsetBytes, target);
    return this.#use(async (content) => {
      if (key < FILE_KEYS) return readText(await this.#text(content, key), offsetBytes, target);
      if (key < RECORD_KEYS) return content.readFile(key - FILE_KEYS, offsetBytes, target);
      return content.readRecord(key - RECORD_KEYS, offsetBytes, target);
    });
  }

  #tar({ file, firstObject }: TapeFileContents): TarBranch {
    let branch = this.#tars.get(file);
    if (branch === undefined) {
      branch = new TarBranch(this, file, firstObject, this.#context);
      this.#tars.set(file, branch);
      this.#below.add(branch);
    }
    return branch;
  }

  #image(number: number): ImageBranch {
    let branch = this.#images.get(number);
    if (branch === undefined) {
      branch = new ImageBranch(this, number, this.#context);
      this.#images.set(number, branch);
      this.#below.add(branch);
    }
    return branch;
  }
}

function fileStat({ modifiedMs }: TapeContent, { bytes }: TapeFileContents): BranchStat {
  return madeStat("file", modifiedMs, bytes);
}

/** An archive from the first record of the tape file on. */
function isTar({ kind, labels }: TapeFileContents): boolean {
  return kind === "tar" && labels.length === 0;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
