/**
 * The files of a tar archive that is a tape file. Its index is made at the first look and kept with
 * what the cache keeps; a file is called by the number of its entry, so that it is the same when
 * the index was made again.
 */
import { ReelError, isReelError } from "../../errors.ts";
import type { TapeDrive } from "../../tape/tape-drive.ts";
import { SparseFiles } from "../../tape/sparse-file.ts";
import { openTapeFile, type TapeFileReader } from "../../tape/tape-file-stream.ts";
import { indexTar, type TarChild, type TarEntry, type TarIndex } from "../../tape/tar-index.ts";
import type { NodeKind } from "../../tree/file-tree.ts";
import {
  madeStat,
  readText,
  type Branch,
  type BranchStat,
  type Found,
  type Key,
} from "./branch.ts";
import type { Content, ContentSource } from "./content-cache.ts";
import { fileStamp, isSameStamp, openToRead, type FileStamp } from "./tape-content.ts";
import type { OwningTape, TreeContext } from "./tree-context.ts";

const ROOT_KEY = 0;
const PROBLEM_KEY = 2 ** 47;
/** Directories that only paths name. */
const IMPLIED_KEYS = 2 ** 46;
/** What an index takes for an entry, names included, and a reader for a record. */
const BYTES_PER_ENTRY = 160;
const BYTES_PER_RECORD = 20;
const BASE_BYTES = 64 * 1024;
/** Longer names are shown cut: no directory listing may hold them. */
const NAME_BYTES_MAX = 255;
const CUT_NAME_BYTES = 200;
/** Of a larger archive that grows, an index is used for several times as long as it took to make. */
const QUICK_ENTRIES = 2000;
const SLOW_FACTOR = 5;
const IMPLIED_MODE = 0o755;

interface TarContent extends Content {
  readonly drive: TapeDrive;
  readonly reader: TapeFileReader;
  readonly index: TarIndex | ReelError;
  readonly sparseFiles: SparseFiles;
  readonly stamp: FileStamp | undefined;
  readonly madeAtMs: number;
  readonly makingMs: number;
}

const KIND: Readonly<Record<TarEntry["kind"], NodeKind>> = {
  file: "file",
  directory: "directory",
  symlink: "symlink",
  "hard-link": "file",
  "character-device": "character",
  "block-device": "block",
  fifo: "fifo",
  other: "file",
};
const DEVICES: readonly TarEntry["kind"][] = ["character-device", "block-device"];

export class TarBranch implements Branch, ContentSource<TarContent> {
  readonly isTransient = true;
  /** Number of the tape file. */
  readonly number: number;
  readonly #tape: OwningTape;
  readonly #firstObject: number;
  readonly #context: TreeContext;
  readonly #impliedKeys = new Map<string, Key>();
  readonly #impliedPaths: string[] = [];

  constructor(tape: OwningTape, number: number, firstObject: number, context: TreeContext) {
    this.#tape = tape;
    this.number = number;
    this.#firstObject = firstObject;
    this.#context = context;
  }

  async open(): Promise<TarContent> {
    const { signal } = this.#context;
    const startedMs = performance.now();
    const stamp = fileStamp(this.#tape.file.path);
    const drive = await openToRead(this.#tape.file);
    try {
      const { number, firstObject } = { number: this.number, firstObject: this.#firstObject };
      const reader = await openTapeFile(drive, number, { firstObject, signal });
      const index = await indexTar(reader, { signal }).catch((error: unknown) => {
        if (isReelError(error, "damaged")) return error;
        throw error;
      });
      const entries = index instanceof ReelError ? 0 : index.count;
      const indexBytes = entries * BYTES_PER_ENTRY + reader.records * BYTES_PER_RECORD;
      const sparseFiles = new SparseFiles(reader);
      return {
        ...{ drive, reader, index, sparseFiles, stamp, madeAtMs: performance.now() },
        makingMs: performance.now() - startedMs,
        get costBytes() {
          return BASE_BYTES + indexBytes + sparseFiles.costBytes;
        },
        close: async () => drive.close(),
      };
    } catch (error) {
      await drive.close().catch(() => undefined);
      throw error;
    }
  }

  /** What lies before a filemark stays as it is. */
  isCurrent(content: TarContent): boolean {
    if (content.reader.complete) return true;
    if (isSameStamp(content.stamp, fileStamp(this.#tape.file.path))) return true;
    const isFresh = performance.now() - content.madeAtMs < content.makingMs * SLOW_FACTOR;
    return isFresh && !(content.index instanceof ReelError) && content.index.count > QUICK_ENTRIES;
  }

  /** Runs `body` with the archive; "not-found" where the tape is another one now. */
  async #use<T>(body: (content: TarContent) => T | Promise<T>): Promise<T> {
    await this.#tape.check(this);
    return this.#context.cache.use(this, body);
  }

  async #index<T>(body: (index: TarIndex, reader: TapeFileReader) => T): Promise<T> {
    return this.#use(({ index, reader }) => {
      if (index instanceof ReelError) throw index;
      return body(index, reader);
    });
  }

  async stat(key: Key): Promise<BranchStat> {
    if (key === ROOT_KEY) return this.#use((content) => this.#rootStat(content));
    if (key === PROBLEM_KEY) return this.#use(problemStat);
    return this.#index((index, reader) => statOf(index, this.#childOf(index, key), reader));
  }

  #rootStat({ index }: TarContent): BranchStat {
    const root = index instanceof ReelError ? undefined : index.find("");
    return root?.entry === undefined
      ? madeStat("directory", Date.now())
      : { ...entryStat(root.entry, root.entry.sizeBytes), kind: "directory", sizeBytes: 0 };
  }

  async lookup(key: Key, name: string): Promise<Found | undefined> {
    return this.#use(async (content) => {
      const { index, reader } = content;
      if (index instanceof ReelError) {
        return name === "problem.txt" ? this.#problem(content) : undefined;
      }
      const path = key === ROOT_KEY ? "" : this.#childOf(index, key).path;
      const child =
        index.find(path === "" ? name : `${path}/${name}`) ?? cutChild(index, path, name);
      // "." and ".." mean nothing in an archive, and lead nowhere.
      if (child === undefined || shownName(child) !== name) return undefined;
      return this.#found(index, child, reader);
    });
  }

  async list(key: Key): Promise<readonly Found[]> {
    return this.#use((content) => {
      const { index, reader } = content;
      if (index instanceof ReelError) return [this.#problem(content)];
      const path = key === ROOT_KEY ? "" : this.#childOf(index, key).path;
      const found = new Map<string, Found>();
      for (const child of index.children(path)) {
        const name = shownName(child);
        if (!found.has(name)) found.set(name, this.#found(index, child, reader));
      }
      return [...found.values()];
    });
  }

  async read(key: Key, offsetBytes: number, target: Uint8Array): Promise<number> {
    if (key === PROBLEM_KEY) {
      return this.#use((content) => readText(problemText(content), offsetBytes, target));
    }
    const length = await this.#use(async ({ index, reader, sparseFiles }) => {
      if (index instanceof ReelError) throw index;
      const { entry } = this.#childOf(index, key);
      const data = entry === undefined ? undefined : (index.linkedEntry(entry) ?? entry);
      if (data === undefined) return 0;
      if (data.kind === "hard-link") {
        throw new ReelError(
          "damaged",
          `${data.path} is a link to ${data.linkTarget}, which is not in the archive`,
        );
      }
      if (data.sparse !== undefined) return sparseFiles.read(data, offsetBytes, target);
      const leftBytes = Math.max(0, data.storedBytes - offsetBytes);
      const part = target.subarray(0, Math.min(target.length, leftBytes));
      return reader.read(data.dataOffsetBytes + offsetBytes, part);
    });
    // Of another tape by now? Then these are not the bytes of that file.
    await this.#tape.check(this);
    return length;
  }

  async readLink(key: Key): Promise<string> {
    return this.#index((index) => {
      const { entry } = this.#childOf(index, key);
      if (entry?.kind === "symlink") return entry.linkTarget;
      throw new ReelError("invalid", `${entry?.path ?? "a directory"} is no symbolic link`);
    });
  }

  // Keys ----------------------------------------------------------------------------------------

  #found(index: TarIndex, child: TarChild, reader: TapeFileReader): Found {
    const key = this.#keyOf(child);
    return { name: shownName(child), branch: this, key, stat: statOf(index, child, reader) };
  }

  #keyOf({ entry, path }: TarChild): Key {
    if (entry !== undefined) return entry.index + 1;
    let key = this.#impliedKeys.get(path);
    if (key === undefined) {
      key = IMPLIED_KEYS + this.#impliedPaths.length;
      this.#impliedKeys.set(path, key);
      this.#impliedPaths.push(path);
    }
    return key;
  }

  #childOf(index: TarIndex, key: Key): TarChild {
    const path =
      key >= IMPLIED_KEYS
        ? this.#impliedPaths[key - IMPLIED_KEYS]
        : key <= index.count
          ? index.entry(key - 1).path
          : undefined;
    const child = path === undefined ? undefined : index.find(path);
    if (child !== undefined) return child;
    throw new ReelError("not-found", `there is no such file in the archive now`);
  }

  #problem(content: TarContent): Found {
    return { name: "problem.txt", branch: this, key: PROBLEM_KEY, stat: problemStat(content) };
  }
}

function problemText({ index }: TarContent): Uint8Array {
  if (index instanceof ReelError) return Buffer.from(`${index.message}\n`);
  throw new ReelError("not-found", "the archive has no problem now");
}

function problemStat(content: TarContent): BranchStat {
  return madeStat("file", Date.now(), problemText(content).length);
}

/** The name as it is; one that is too long cut, with the number of its entry behind. */
function shownName({ name, entry }: TarChild): string {
  if (Buffer.byteLength(name) <= NAME_BYTES_MAX) return name;
  const start = Buffer.from(name)
    .subarray(0, CUT_NAME_BYTES)
    .toString()
    .replace(/\ufffd+$/, "");
  return `${start}~${entry?.index ?? "d"}`;
}

function cutChild(index: TarIndex, path: string, name: string): TarChild | undefined {
  if (!/~(?:\d+|d)$/.test(name)) return undefined;
  for (const child of index.children(path)) if (shownName(child) === name) return child;
  return undefined;
}

function statOf(index: TarIndex, child: TarChild, reader: TapeFileReader): BranchStat {
  const { entry } = child;
  if (entry === undefined) {
    return { ...madeStat("directory", 0), mode: IMPLIED_MODE };
  }
  if (child.isDirectory) return { ...entryStat(entry, 0), kind: "directory", linkCount: 2 };
  if (entry.kind === "symlink") return entryStat(entry, Buffer.byteLength(entry.linkTarget));
  const data = index.linkedEntry(entry) ?? entry;
  if (KIND[data.kind] !== "file") return entryStat(data, 0);
  if (data.sparse !== undefined) return entryStat(data, data.sizeBytes);
  // Of a file that is still being written, as much as there is.
  const thereBytes = Math.max(0, reader.sizeBytes - data.dataOffsetBytes);
  return entryStat(data, data.isWhole ? data.storedBytes : Math.min(data.storedBytes, thereBytes));
}

function entryStat(entry: TarEntry, sizeBytes: number): BranchStat {
  const modifiedMs = entry.mtimeSeconds * 1000;
  return {
    kind: KIND[entry.kind],
    sizeBytes,
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    linkCount: 1,
    modifiedMs,
    accessedMs: modifiedMs,
    changedMs: modifiedMs,
    allocatedBytes: entry.storedBytes,
    deviceNumber: DEVICES.includes(entry.kind) ? entry.deviceNumber : undefined,
  };
}
