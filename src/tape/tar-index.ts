/**
 * The files in a tar archive that lies in a tape file, found by hopping from header to header; what
 * the files contain is never read. V7, ustar, GNU's long names and pax headers; of GNU's sparse files
 * it is known where their maps stand (sparse-file.ts reads them).
 *
 * Names become a tree (path-table.ts) in which "..", "." and a leading "/" mean nothing, so nothing
 * that is built from it can lie outside. Of entries with the same name the last one wins, as it would
 * when tar extracts them. A name with something below it is a directory, whatever else it was.
 *
 * Every hop goes forward by at least a block, so the scan ends; what it keeps is bounded by the named
 * limits.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { deviceNumber } from "../device/device-number.ts";
import { ReelError, throwIfAborted } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import { nameText } from "./path-table.ts";
import { readPaxRecords, type PaxOverrides } from "./pax-records.ts";
import type { TapeFileReader } from "./tape-file-stream.ts";
import {
  TarEntries,
  componentsOf,
  type SparsePlace,
  type TarEntry,
  type TarEntryKind,
  type TarRow,
} from "./tar-entries.ts";
import {
  TAR_BLOCK_BYTES,
  decodeTarHeader,
  hasMoreSparseMap,
  isTarHeader,
  isZeroBlock,
  type TarHeader,
} from "./tar-header.ts";

export type { TarEntry } from "./tar-entries.ts";

/** A child of a directory of the archive; `entry` undefined: a directory that only paths name. */
export interface TarChild {
  readonly name: string;
  readonly path: string;
  readonly isDirectory: boolean;
  readonly entry: TarEntry | undefined;
}

export interface TarIndex {
  /** Entries in the archive's order, those that later ones replace included. */
  readonly count: number;
  entry(index: number): TarEntry;
  /** What is at a path ("" for the root): the last entry of that name. */
  find(path: string): TarChild | undefined;
  /** What lies in a directory; nothing for a path that is none. */
  children(path: string): Iterable<TarChild>;
  /** The entry a hard link leads to, through others if need be; undefined where it leads nowhere. */
  linkedEntry(entry: TarEntry): TarEntry | undefined;
  /** The volume label (GNU), where there is one. */
  readonly volumeLabel: string | undefined;
  /** The end of the archive was found; false for one that is cut, or still being written. */
  readonly complete: boolean;
  /** What was wrong, at most TAR_PROBLEMS_MAX sentences. */
  readonly problems: readonly string[];
}

/** Entries of one archive. */
export const TAR_ENTRIES_MAX = 4_000_000;
export const TAR_PROBLEMS_MAX = 100;
/** Directories and files, those that only paths name included. */
const NODES_MAX = 8_000_000;
/** Names and link targets of an archive together. */
const NAME_BYTES_MAX = 256 * 1024 * 1024;
/** A long name. */
const LONG_NAME_BYTES_MAX = 1024 * 1024;
/** A pax header, which may hold the map of a sparse file. */
const PAX_BYTES_MAX = 16 * 1024 * 1024;
/** Components of a path. */
const DEPTH_MAX = 1024;
/** Blocks that continue the map of a sparse file. */
const SPARSE_BLOCKS_MAX = 65_536;
/** How far the next header is looked for behind a damaged one. */
const RESYNC_BYTES_MAX = 64 * 1024 * 1024;
const RESYNC_CHUNK_BYTES = 256 * 1024;
/** Headers after which the event loop gets its turn. */
const HEADERS_PER_TURN = 500;

const KIND_OF_TYPE: Readonly<Record<string, TarEntryKind>> = {
  "0": "file",
  "1": "hard-link",
  "2": "symlink",
  "3": "character-device",
  "4": "block-device",
  "5": "directory",
  "6": "fifo",
  "7": "file",
  D: "directory",
  S: "file",
};

/**
 * Indexes the archive in a tape file.
 * @throws "damaged" where its first block is no header, "aborted", and what reading throws.
 */
export async function indexTar(
  reader: TapeFileReader,
  options: RunOptions = {},
): Promise<TarIndex> {
  const scan = new TarScan(reader);
  await scan.run(options);
  return scan;
}

/** What headers in front of an entry say about it. */
interface Pending {
  longName?: Uint8Array | undefined;
  longLink?: Uint8Array | undefined;
  pax: PaxOverrides;
}

/** Where an entry's header and its data stand. */
interface EntryPlace {
  readonly atBytes: number;
  readonly dataBytes: number;
  readonly storedBytes: number;
  readonly isWhole: boolean;
}

const UNREAD: SparsePlace = { format: "unread", offsetBytes: 0, lengthBytes: 0 };

class TarScan implements TarIndex {
  readonly problems: string[] = [];
  complete = false;
  volumeLabel: string | undefined;
  readonly #reader: TapeFileReader;
  readonly #entries = new TarEntries();
  readonly #block = new Uint8Array(TAR_BLOCK_BYTES);
  readonly #global: PaxOverrides = {};
  #pending: Pending = { pax: {} };

  constructor(reader: TapeFileReader) {
    this.#reader = reader;
  }

  // The archive --------------------------------------------------------------------------------

  async run({ progress, signal }: RunOptions): Promise<void> {
    let atBytes: number | undefined = 0;
    for (let headers = 1; atBytes !== undefined; headers++) {
      throwIfAborted(signal, `cannot list the archive in ${this.#reader.name}`);
      if (headers % HEADERS_PER_TURN === 0) {
        await nextTurn();
        progress?.({ phase: "indexing", done: atBytes, total: this.#reader.sizeBytes });
      }
      atBytes = await this.#step(atBytes);
    }
  }

  /** Takes what is at `atBytes`; returns where the next header is, undefined at the end. */
  async #step(atBytes: number): Promise<number | undefined> {
    if (!(await this.#readBlock(atBytes))) {
      if (atBytes === 0) throw this.#noArchive();
      return undefined;
    }
    if (isTarHeader(this.#block)) {
      const header = decodeTarHeader(this.#block);
      if (header.sizeBytes !== undefined) return this.#take(header, atBytes);
    } else if (isZeroBlock(this.#block)) {
      this.complete = true;
      return undefined;
    } else if (atBytes === 0) throw this.#noArchive();
    this.#problem(`the header at byte ${atBytes} is damaged`);
    this.#pending = { pax: {} };
    return this.#nextHeader(atBytes + TAR_BLOCK_BYTES);
  }

  async #take(header: TarHeader, atBytes: number): Promise<number | undefined> {
    const isMeta = "xgLK".includes(header.type);
    const pax = { ...this.#global, ...this.#pending.pax };
    // What a pax header says of a file is not meant for another header in front of the file.
    const said = isMeta ? header.sizeBytes : (pax.sizeBytes ?? header.sizeBytes);
    const storedBytes = header.type === "1" ? 0 : (said ?? 0);
    const isGnuSparse = header.type === "S";
    const dataBytes = isGnuSparse ? await this.#skipSparseMap(atBytes) : atBytes + TAR_BLOCK_BYTES;
    const endBytes = dataBytes + Math.ceil(storedBytes / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
    const isWhole = dataBytes + storedBytes <= this.#reader.sizeBytes;
    if (isMeta) {
      if (isWhole) await this.#takeMeta(header.type, dataBytes, storedBytes);
    } else {
      this.#takeEntry(header, pax, { atBytes, dataBytes, storedBytes, isWhole });
      this.#pending = { pax: {} };
    }
    if (!isWhole) {
      this.#problem(`the archive ends within what begins at byte ${atBytes}`);
      return undefined;
    }
    if (this.#hasRoom()) return endBytes;
    this.#problem(`only the first ${this.#entries.count} entries are listed`);
    return undefined;
  }

  #hasRoom(): boolean {
    const { count, nodes, nameBytes } = this.#entries;
    return count < TAR_ENTRIES_MAX && nodes < NODES_MAX && nameBytes < NAME_BYTES_MAX;
  }

  /** A long name or a pax header: about the entry that follows, or about all that follow. */
  async #takeMeta(type: string, dataBytes: number, lengthBytes: number): Promise<void> {
    const isPax = type === "x" || type === "g";
    if (lengthBytes > (isPax ? PAX_BYTES_MAX : LONG_NAME_BYTES_MAX)) {
      this.#problem(`the header at byte ${dataBytes} has ${lengthBytes} bytes and is passed over`);
      // So large is only one that holds a map.
      if (type === "x") this.#pending.pax.sparse = UNREAD;
      return;
    }
    const data = new Uint8Array(lengthBytes);
    await this.#reader.read(dataBytes, data);
    if (type === "L") this.#pending.longName = untilZero(data);
    else if (type === "K") this.#pending.longLink = untilZero(data);
    else await this.#takePax(type === "g", dataBytes, data);
  }

  async #takePax(isGlobal: boolean, dataBytes: number, data: Uint8Array): Promise<void> {
    const overrides = isGlobal ? this.#global : this.#pending.pax;
    if (!(await readPaxRecords(data, dataBytes, overrides))) {
      this.#problem(`the pax header at byte ${dataBytes} is damaged`);
      if (Buffer.from(data.buffer).includes("GNU.sparse.")) overrides.sparse = UNREAD;
    }
    if (!isGlobal) return;
    // A map is about one file.
    delete overrides.sparse;
    delete overrides.sparseName;
    delete overrides.realSizeBytes;
  }

  #takeEntry(header: TarHeader, pax: PaxOverrides, place: EntryPlace): void {
    const name = pax.sparseName ?? pax.path ?? this.#pending.longName ?? header.name;
    if (header.type === "V") {
      this.volumeLabel = nameText(name);
      return;
    }
    if (header.type === "M") {
      this.#problem(`${nameText(name)} begins on another tape`);
      return;
    }
    const node = this.#nodeFor(name);
    if (node === undefined) return;
    const isDirectory = header.type === "0" && name.at(-1) === "/".charCodeAt(0);
    const kind = isDirectory ? "directory" : (KIND_OF_TYPE[header.type] ?? "other");
    const sparse = kind === "file" ? sparseOf(header, pax, place) : undefined;
    const realBytes = header.type === "S" ? header.realSizeBytes : pax.realSizeBytes;
    const row: TarRow = {
      kind,
      node,
      sizeBytes: (sparse === undefined ? undefined : realBytes) ?? place.storedBytes,
      storedBytes: place.storedBytes,
      dataOffsetBytes: place.dataBytes,
      mode: header.mode & 0o7777,
      uid: pax.uid ?? header.uid,
      gid: pax.gid ?? header.gid,
      mtimeSeconds: pax.mtimeSeconds ?? header.mtimeSeconds,
      link: pax.linkpath ?? this.#pending.longLink ?? header.link,
      sparse: sparse !== undefined && realBytes === undefined ? UNREAD : sparse,
      deviceNumber: deviceNumber(header.deviceMajor, header.deviceMinor),
      isWhole: place.isWhole,
    };
    this.#entries.add(row);
  }

  /** The place of a name in the tree; undefined where it has none. */
  #nodeFor(name: Uint8Array): number | undefined {
    const components = componentsOf(name);
    if (components.length > DEPTH_MAX) {
      this.#problem(`a name of ${components.length} parts is passed over`);
      return undefined;
    }
    return this.#entries.nodeFor(components);
  }

  /** Behind the header at `headerBytes`, which was read last, and the blocks that continue its map. */
  async #skipSparseMap(headerBytes: number): Promise<number> {
    let atBytes = headerBytes + TAR_BLOCK_BYTES;
    for (let blocks = 0; blocks < SPARSE_BLOCKS_MAX; blocks++) {
      if (!hasMoreSparseMap(this.#block, blocks === 0)) break;
      if (!(await this.#readBlock(atBytes))) break;
      atBytes += TAR_BLOCK_BYTES;
    }
    return atBytes;
  }

  // Reading ------------------------------------------------------------------------------------

  async #readBlock(atBytes: number): Promise<boolean> {
    return (await this.#reader.read(atBytes, this.#block)) === TAR_BLOCK_BYTES;
  }

  /** The next block that is a header, not too far away. */
  async #nextHeader(fromBytes: number): Promise<number | undefined> {
    const chunk = new Uint8Array(RESYNC_CHUNK_BYTES);
    const endBytes = Math.min(this.#reader.sizeBytes, fromBytes + RESYNC_BYTES_MAX);
    for (let atBytes = fromBytes; atBytes < endBytes; atBytes += chunk.length) {
      const arrivedBytes = await this.#reader.read(atBytes, chunk);
      for (let at = 0; at + TAR_BLOCK_BYTES <= arrivedBytes; at += TAR_BLOCK_BYTES) {
        if (isTarHeader(chunk.subarray(at, at + TAR_BLOCK_BYTES))) return atBytes + at;
      }
      await nextTurn();
    }
    return undefined;
  }

  #problem(what: string): void {
    if (this.problems.length < TAR_PROBLEMS_MAX) this.problems.push(what);
  }

  #noArchive(): ReelError {
    return new ReelError(
      "damaged",
      `cannot list ${this.#reader.name}: it does not begin with the header of a tar archive`,
    );
  }

  // The tree -----------------------------------------------------------------------------------

  get count(): number {
    return this.#entries.count;
  }

  entry(index: number): TarEntry {
    return this.#entries.entry(index);
  }

  find(path: string): TarChild | undefined {
    const node = this.#entries.find(componentsOf(Buffer.from(path)));
    return node === undefined ? undefined : this.#entries.child(node);
  }

  *children(path: string): Generator<TarChild, void> {
    const node = this.#entries.find(componentsOf(Buffer.from(path)));
    if (node === undefined) return;
    for (const child of this.#entries.children(node)) yield this.#entries.child(child);
  }

  linkedEntry(entry: TarEntry): TarEntry | undefined {
    let at: TarEntry | undefined = entry;
    // A link leads to what was in the archive before it, so this ends.
    while (at?.kind === "hard-link") at = this.#entries.linked(at.index);
    return at;
  }
}

/** Where the map of a sparse file stands; undefined for any other file. */
function sparseOf(
  header: TarHeader,
  pax: PaxOverrides,
  { atBytes, dataBytes, storedBytes }: EntryPlace,
): SparsePlace | undefined {
  if (header.type === "S") {
    return { format: "gnu", offsetBytes: atBytes, lengthBytes: dataBytes - atBytes };
  }
  if (pax.sparse?.format !== "pax-1.0") return pax.sparse;
  return { format: "pax-1.0", offsetBytes: dataBytes, lengthBytes: storedBytes };
}

function untilZero(data: Uint8Array): Uint8Array {
  const end = data.indexOf(0);
  return end < 0 ? data : data.subarray(0, end);
}
