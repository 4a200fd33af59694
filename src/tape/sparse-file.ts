/**
 * Files that a tar stores with holes: GNU's old format (type S, the map in the header and in blocks
 * behind it) and its three pax formats (0.0: a record for every number; 0.1: one record with all
 * numbers; 1.0: decimal lines in front of the data). Layouts after the GNU tar manual, "Storing
 * Sparse Files".
 *
 * The index of an archive only knows where a map stands. It is read when the file is read for the
 * first time, and a few are kept. A map that cannot be right is an error for its file alone.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { ReelError, isReelError } from "../errors.ts";
import { PAX_RECORDS_PER_TURN, paxRecords } from "./pax-records.ts";
import { BYTES_PER_PART, SPARSE_PARTS_MAX, SparseMap } from "./sparse-map.ts";
import type { TapeFileReader } from "./tape-file-stream.ts";
import type { SparseFormat, TarEntry } from "./tar-entries.ts";
import { TAR_BLOCK_BYTES, gnuSparseParts, hasMoreSparseMap } from "./tar-header.ts";

/** Parts of all maps that are kept; the last one is, whatever it has. */
const PARTS_KEPT_MAX = SPARSE_PARTS_MAX;
const MAPS_KEPT_MAX = 64;
const CHUNK_BYTES = 64 * 1024;

const COMMA = 0x2c;
const NEW_LINE = 0x0a;
const DIGIT_0 = 0x30;
const DIGITS_MAX = 20;

/** A map and where the data begins that it is about, in bytes of the tape file. */
interface Located {
  readonly map: SparseMap;
  readonly dataOffsetBytes: number;
}

/** Takes the parts of a map one by one; throws "damaged" without a subject. */
type AddPart = (startBytes: number, lengthBytes: number) => void;

export class SparseFiles {
  readonly #reader: TapeFileReader;
  /** By number of the entry, least recently used first. */
  readonly #kept = new Map<number, Located>();
  readonly #loading = new Map<number, Promise<Located>>();
  #partsKept = 0;

  constructor(reader: TapeFileReader) {
    this.#reader = reader;
  }

  /** Memory that the maps take. */
  get costBytes(): number {
    return this.#partsKept * BYTES_PER_PART;
  }

  /**
   * Reads from `offsetBytes` of a file with holes on; returns how many bytes, fewer only at its end.
   * @throws "damaged" for a map that cannot be right and for data that is not there.
   */
  async read(entry: TarEntry, offsetBytes: number, target: Uint8Array): Promise<number> {
    const { map, dataOffsetBytes } = await this.#locate(entry);
    return map.read(offsetBytes, target, async (packedOffset, packed) => {
      const arrivedBytes = await this.#reader.read(dataOffsetBytes + packedOffset, packed);
      if (arrivedBytes < packed.length) {
        throw problem(entry, "the archive ends within its data");
      }
    });
  }

  async #locate(entry: TarEntry): Promise<Located> {
    const kept = this.#kept.get(entry.index);
    if (kept !== undefined) {
      this.#kept.delete(entry.index);
      this.#kept.set(entry.index, kept);
      return kept;
    }
    let loading = this.#loading.get(entry.index);
    if (loading === undefined) {
      loading = this.#load(entry).finally(() => this.#loading.delete(entry.index));
      this.#loading.set(entry.index, loading);
    }
    return loading;
  }

  async #load(entry: TarEntry): Promise<Located> {
    const located = await readSparseMap(this.#reader, entry);
    this.#kept.set(entry.index, located);
    this.#partsKept += located.map.parts;
    for (const [index, { map }] of this.#kept) {
      if (this.#kept.size <= MAPS_KEPT_MAX && this.#partsKept <= PARTS_KEPT_MAX) break;
      if (index === entry.index) break;
      this.#kept.delete(index);
      this.#partsKept -= map.parts;
    }
    return located;
  }
}

async function readSparseMap(reader: TapeFileReader, entry: TarEntry): Promise<Located> {
  const { format } = entry.sparse ?? { format: "unread" };
  const map = new SparseMap(entry.sizeBytes);
  let mapBytes: number;
  try {
    if (format === "unread") throw new ReelError("damaged", "its header could not be read");
    const add: AddPart = (startBytes, lengthBytes) => {
      map.add(startBytes, lengthBytes);
    };
    mapBytes = await READ_MAP[format](reader, entry, add);
    const packedBytes = entry.storedBytes - mapBytes;
    if (map.packedBytes !== packedBytes) {
      throw new ReelError(
        "damaged",
        `its parts have ${map.packedBytes} bytes, and ${packedBytes} are stored`,
      );
    }
  } catch (error) {
    if (!isReelError(error, "damaged")) throw error;
    throw problem(entry, `the map of its holes is damaged: ${error.message}`, error);
  }
  return { map, dataOffsetBytes: entry.dataOffsetBytes + mapBytes };
}

function problem({ path, dataOffsetBytes }: TarEntry, what: string, cause?: ReelError): ReelError {
  const place = `whose data begins at byte ${dataOffsetBytes} of the archive`;
  return new ReelError("damaged", `cannot read ${path}, ${place}: ${what}`, { cause });
}

// The formats --------------------------------------------------------------------------------------

/** Reads a map; returns how many bytes of it stand in front of the data, among the stored bytes. */
type ReadMap = (reader: TapeFileReader, entry: TarEntry, add: AddPart) => Promise<number>;

const READ_MAP: Readonly<Record<Exclude<SparseFormat, "unread">, ReadMap>> = {
  gnu: readGnuMap,
  "pax-0.0": readPaxRecordsMap,
  "pax-0.1": readPaxListMap,
  "pax-1.0": readPaxDataMap,
};

/** The bytes in which an entry's map stands, or begins, in pieces. */
async function* mapChunks(
  reader: TapeFileReader,
  { sparse }: TarEntry,
): AsyncGenerator<Uint8Array, void> {
  const { offsetBytes, lengthBytes } = sparse ?? { offsetBytes: 0, lengthBytes: 0 };
  const chunk = new Uint8Array(Math.min(CHUNK_BYTES, lengthBytes));
  for (let at = 0; at < lengthBytes; at += chunk.length) {
    const part = chunk.subarray(0, Math.min(chunk.length, lengthBytes - at));
    const arrivedBytes = await reader.read(offsetBytes + at, part);
    yield part.subarray(0, arrivedBytes);
    if (arrivedBytes < part.length) throw cut();
    await nextTurn();
  }
}

function cut(): ReelError {
  return new ReelError("damaged", "it is cut off");
}

async function readGnuMap(reader: TapeFileReader, entry: TarEntry, add: AddPart): Promise<number> {
  let isHeader = true;
  let more = false;
  for await (const chunk of mapChunks(reader, entry)) {
    for (let at = 0; at < chunk.length; at += TAR_BLOCK_BYTES) {
      const block = chunk.subarray(at, at + TAR_BLOCK_BYTES);
      for (const { startBytes, lengthBytes } of gnuSparseParts(block, isHeader)) {
        if (startBytes === undefined || lengthBytes === undefined) {
          throw new ReelError("damaged", "a number in it is none");
        }
        add(startBytes, lengthBytes);
      }
      more = hasMoreSparseMap(block, isHeader);
      isHeader = false;
    }
  }
  if (more) throw cut();
  return 0;
}

async function readPaxRecordsMap(
  reader: TapeFileReader,
  { sparse }: TarEntry,
  add: AddPart,
): Promise<number> {
  const { offsetBytes, lengthBytes } = sparse ?? { offsetBytes: 0, lengthBytes: 0 };
  const data = new Uint8Array(lengthBytes);
  if ((await reader.read(offsetBytes, data)) < lengthBytes) throw cut();
  let startBytes: number | undefined;
  let records = 0;
  for (const record of paxRecords(data)) {
    if (record === undefined) throw new ReelError("damaged", "a record of it is none");
    const { key, value } = record;
    if (++records % PAX_RECORDS_PER_TURN === 0) await nextTurn();
    if (key === "GNU.sparse.offset") startBytes = onlyNumber(value);
    if (key !== "GNU.sparse.numbytes") continue;
    if (startBytes === undefined) throw new ReelError("damaged", "a part has no beginning");
    add(startBytes, onlyNumber(value));
    startBytes = undefined;
  }
  if (startBytes !== undefined) throw cut();
  return 0;
}

async function readPaxListMap(
  reader: TapeFileReader,
  entry: TarEntry,
  add: AddPart,
): Promise<number> {
  if (entry.sparse?.lengthBytes === 0) return 0;
  const parts = new PartNumbers(add);
  const numbers = new DecimalNumbers(COMMA);
  for await (const chunk of mapChunks(reader, entry)) {
    numbers.take(chunk, (value) => {
      parts.take(value);
      return true;
    });
  }
  parts.take(numbers.end());
  if (parts.count % 2 !== 0) throw cut();
  return 0;
}

/** The number of parts, and two numbers for each, in lines; then zeros to the end of the block. */
async function readPaxDataMap(
  reader: TapeFileReader,
  entry: TarEntry,
  add: AddPart,
): Promise<number> {
  const parts = new PartNumbers(add);
  const numbers = new DecimalNumbers(NEW_LINE);
  let expected: number | undefined;
  let mapBytes = 0;
  for await (const chunk of mapChunks(reader, entry)) {
    mapBytes += numbers.take(chunk, (value) => {
      if (expected === undefined) expected = 2 * value;
      else parts.take(value);
      return parts.count < expected;
    });
    if (parts.count === expected) return Math.ceil(mapBytes / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
  }
  throw cut();
}

// Decimal numbers ------------------------------------------------------------------------------------

function onlyNumber(digits: Uint8Array): number {
  const numbers = new DecimalNumbers(COMMA);
  numbers.take(digits, () => true);
  return numbers.end();
}

/** Where a part begins, how long it is, where the next one begins … */
class PartNumbers {
  readonly #add: AddPart;
  count = 0;
  #startBytes = 0;

  constructor(add: AddPart) {
    this.#add = add;
  }

  take(value: number): void {
    if (this.count % 2 === 0) this.#startBytes = value;
    else this.#add(this.#startBytes, value);
    this.count += 1;
  }
}

/** Decimal numbers with a byte behind each, that arrive in pieces. */
class DecimalNumbers {
  readonly #separator: number;
  #value = 0;
  #digits = 0;

  constructor(separator: number) {
    this.#separator = separator;
  }

  /** Gives each number to `each` until that says false; returns the bytes it took. */
  take(bytes: Uint8Array, each: (value: number) => boolean): number {
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0;
      if (byte === this.#separator) {
        if (!each(this.end())) return at + 1;
        continue;
      }
      const digit = byte - DIGIT_0;
      if (digit < 0 || digit > 9) throw new ReelError("damaged", "it is not made of numbers");
      this.#value = this.#value * 10 + digit;
      this.#digits += 1;
      if (this.#value > Number.MAX_SAFE_INTEGER || this.#digits > DIGITS_MAX) {
        throw new ReelError("damaged", "a number in it is too large");
      }
    }
    return bytes.length;
  }

  /** The number that has no byte behind it. */
  end(): number {
    const value = this.#value;
    if (this.#digits === 0) throw new ReelError("damaged", "a number in it is missing");
    this.#value = 0;
    this.#digits = 0;
    return value;
  }
}
