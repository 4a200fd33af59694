/**
 * Files whose contents the volume must decode: compressed ones, and what else is not plain runs of
 * bytes. The pass over the tape brings their encoded bytes in the order of the tape, other files in
 * between. A file that comes whole in one record is decoded from that record. The pieces of any
 * other wait in a temporary file in the target, until the last of them is there; then the volume
 * reads them back through the StagedImage, and their room is free for the next.
 *
 * So each record is read once. Memory is one buffer, whatever the files; the temporary file is
 * bounded by what must wait at one time in the order of reading (waitingBytesMax).
 */
import type { BlockRun } from "../cache/overlay-store.ts";
import { OVERLAY_BLOCK_BYTES, OverlayStore } from "../cache/overlay-store.ts";
import { ReelError, throwIfAborted } from "../errors.ts";
import { SharedLock } from "../tree/shared-lock.ts";
import type { Volume } from "../volume/volume.ts";
import type { Column } from "./columns.ts";
import { float64Column } from "./columns.ts";
import type { EntryTable } from "./entry-table.ts";
import type { LayoutTable } from "./layouts.ts";
import type { StagedFiles } from "./staged-files.ts";
import type { BytesAtHand, StagedImage } from "./staged-image.ts";

/** Decoded at a time. */
const CHUNK_BYTES = 1 << 20;
/** Zeros in stretches of this size and place are left out of a file: a hole. */
const HOLE_BYTES = 4096;

const ZEROS = Buffer.alloc(HOLE_BYTES);
const NOTHING = new Uint8Array(0);

export interface EncodedFilesParts {
  readonly volume: Volume;
  /** What the volume reads. Undefined: it reads the image itself, and moves the tape for it. */
  readonly device: StagedImage | undefined;
  readonly table: EntryTable;
  readonly staged: StagedFiles;
  /** Where the temporary file is made. */
  readonly directory: string;
  readonly signal?: AbortSignal | undefined;
}

export class EncodedFiles {
  readonly #parts: EncodedFilesParts;
  readonly #kept = new Map<number, KeptFile>();
  readonly #decoding = new SharedLock();
  readonly #chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  #layouts: LayoutTable | undefined;
  #store: Promise<OverlayStore> | undefined;
  #budgetBytes = 0;

  constructor(parts: EncodedFilesParts) {
    this.#parts = parts;
  }

  /** Can pieces wait here? Without a device the volume would not see them. */
  get canWait(): boolean {
    return this.#parts.device !== undefined;
  }

  /** Before the pass: whose files are meant by number, and how much may wait at one time. */
  begin(layouts: LayoutTable, waitingBytesMax: number): void {
    this.#layouts = layouts;
    this.#budgetBytes = waitingBytesMax;
  }

  /** Keeps a piece of a file, by its offset in the file's encoded bytes. */
  async keep(file: number, bytes: Uint8Array, offset: number): Promise<void> {
    const { directory } = this.#parts;
    this.#store ??= OverlayStore.open({ budgetBytes: this.#budgetBytes, directory });
    const store = await this.#store;
    let kept = this.#kept.get(file);
    if (kept === undefined) {
      const blocks = Math.ceil((this.#layouts?.runBytesOf(file) ?? 0) / OVERLAY_BLOCK_BYTES);
      const room = store.allocate(blocks);
      kept = { room, from: float64Column(), to: float64Column(), writes: new Set() };
      this.#kept.set(file, kept);
    }
    kept.from.push(offset);
    kept.to.push(offset + bytes.length);
    const write = eachPart(kept.room, offset, bytes, (block, within, part) =>
      store.write(block, within, part),
    );
    kept.writes.add(write);
    try {
      await write;
    } finally {
      kept.writes.delete(write);
    }
  }

  /** Decodes a file all of whose pieces are kept, and frees their room. */
  async decodeKept(row: number, file: number): Promise<void> {
    const store = await this.#store;
    const kept = this.#kept.get(file);
    if (store === undefined || kept === undefined) {
      throw new ReelError("internal", `nothing is kept of file ${file}`);
    }
    const read = async (offset: number, target: Uint8Array): Promise<void> =>
      eachPart(kept.room, offset, target, (block, within, part) => store.read(block, within, part));
    await this.#decode(row, file, { from: kept.from.view(), to: kept.to.view(), read });
    await this.discard(file);
  }

  /** Decodes a file of whose encoded bytes `bytes`, at `offset`, are all that is on tape. */
  async decodeWhole(row: number, file: number, bytes: Uint8Array, offset: number): Promise<void> {
    const read = async (at: number, target: Uint8Array): Promise<void> => {
      target.set(bytes.subarray(at - offset, at - offset + target.length));
      return Promise.resolve();
    };
    const [from, to] = [Float64Array.of(offset), Float64Array.of(offset + bytes.length)];
    await this.#decode(row, file, { from, to, read });
  }

  /** Decodes a file for which the volume needs nothing from the tape. */
  async decodeResident(row: number, sizeBytes: number): Promise<void> {
    await this.#decoding.alone(async () => this.#copy(row, sizeBytes));
  }

  /** Frees the room of a file's pieces. */
  async discard(file: number): Promise<void> {
    const kept = this.#kept.get(file);
    if (kept === undefined) return;
    this.#kept.delete(file);
    // Room that is still being written must not be given to another file.
    await Promise.allSettled(kept.writes);
    const store = await this.#store;
    for (const run of kept.room) store?.free(run.start, run.count);
  }

  async close(): Promise<void> {
    const store = await this.#store?.catch(() => undefined);
    await store?.close();
  }

  async #decode(row: number, file: number, encoded: EncodedBytes): Promise<void> {
    const { device } = this.#parts;
    const layouts = this.#layouts;
    if (layouts === undefined || device === undefined) {
      throw new ReelError("internal", "nothing was begun that could be decoded");
    }
    await this.#decoding.alone(async () => {
      const atHand = new RunsAtHand(layouts, file, encoded);
      await device.with(atHand, async () => this.#copy(row, layouts.sizeOf(file)));
    });
  }

  /** Contents of a file from the volume into the staging folder, zeros as holes. */
  async #copy(row: number, sizeBytes: number): Promise<void> {
    const { volume, table, staged, signal } = this.#parts;
    if (sizeBytes > CHUNK_BYTES) await staged.reserve(row, sizeBytes);
    for (let offset = 0; offset < sizeBytes; offset += CHUNK_BYTES) {
      throwIfAborted(signal, "restoring");
      const chunk = this.#chunk.subarray(0, Math.min(CHUNK_BYTES, sizeBytes - offset));
      const count = (await volume.read?.(table.idOf(row), offset, chunk)) ?? 0;
      if (count !== chunk.length) {
        throw new ReelError("damaged", `its contents end at ${offset + count}, not ${sizeBytes}`);
      }
      const stretches = [...stretchesOfData(chunk)];
      if (sizeBytes <= CHUNK_BYTES && stretches.length <= 1) {
        const [from, to] = stretches[0] ?? [0, 0];
        await staged.writeWhole(row, chunk.subarray(from, to), from, sizeBytes);
        return;
      }
      for (const [from, to] of stretches) {
        await staged.writePart(row, chunk.subarray(from, to), offset + from);
      }
    }
    if (sizeBytes === 0) await staged.writeWhole(row, NOTHING, 0, 0);
    else await staged.finishParts(row, sizeBytes);
  }
}

/** Pieces of a file in the temporary file. */
interface KeptFile {
  readonly room: readonly BlockRun[];
  /** Offsets in the file's encoded bytes. */
  readonly from: Column<Float64Array>;
  readonly to: Column<Float64Array>;
  readonly writes: Set<Promise<void>>;
}

/**
 * What is kept of a file's encoded bytes: each from[i] to to[i], disjoint. What is not, lies in the
 * control set or is not on the tape: the image has it without moving the tape.
 */
interface EncodedBytes {
  readonly from: Float64Array;
  readonly to: Float64Array;
  read(offset: number, target: Uint8Array): Promise<void>;
}

/** The runs of an encoded file on the device, as far as its encoded bytes are kept. */
class RunsAtHand implements BytesAtHand {
  readonly #encoded: EncodedBytes;
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  readonly #offsets: number[] = [];

  constructor(layouts: LayoutTable, file: number, encoded: EncodedBytes) {
    this.#encoded = encoded;
    // Disjoint, so that both columns sort to the same order.
    const froms = encoded.from.slice().sort();
    const tos = encoded.to.slice().sort();
    let piece = 0;
    layouts.visitRuns(file, (offset, deviceOffset, length) => {
      const end = offset + length;
      while (piece < tos.length && (tos[piece] ?? 0) <= offset) piece++;
      for (let at = piece; at < froms.length && (froms[at] ?? 0) < end; at++) {
        const from = Math.max(offset, froms[at] ?? 0);
        const to = Math.min(end, tos[at] ?? 0);
        this.#starts.push(deviceOffset + (from - offset));
        this.#ends.push(deviceOffset + (to - offset));
        this.#offsets.push(from);
      }
    });
  }

  runFrom(deviceOffset: number): { start: number; end: number } | undefined {
    const index = this.#indexFrom(deviceOffset);
    const start = this.#starts[index];
    const end = this.#ends[index];
    return start === undefined || end === undefined ? undefined : { start, end };
  }

  async read(deviceOffset: number, target: Uint8Array): Promise<void> {
    const index = this.#indexFrom(deviceOffset);
    const within = deviceOffset - (this.#starts[index] ?? 0);
    await this.#encoded.read((this.#offsets[index] ?? 0) + within, target);
  }

  #indexFrom(deviceOffset: number): number {
    let low = 0;
    let high = this.#ends.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ends[middle] ?? 0) > deviceOffset) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** Calls `visit` for the parts of `bytes` (at `offset` of what has the room) in each run. */
async function eachPart(
  room: readonly BlockRun[],
  offset: number,
  bytes: Uint8Array,
  visit: (block: number, offsetInBlock: number, part: Uint8Array) => Promise<void>,
): Promise<void> {
  let start = 0;
  for (const run of room) {
    const end = start + run.count * OVERLAY_BLOCK_BYTES;
    const from = Math.max(start, offset);
    const to = Math.min(end, offset + bytes.length);
    if (from < to) await visit(run.start, from - start, bytes.subarray(from - offset, to - offset));
    start = end;
  }
}

/** Where a chunk is not zeros, in whole pages. */
function* stretchesOfData(chunk: Buffer): Generator<readonly [from: number, to: number]> {
  let dataFrom = -1;
  for (let at = 0; at < chunk.length; at += HOLE_BYTES) {
    const page = chunk.subarray(at, at + HOLE_BYTES);
    const isHole = page.equals(ZEROS.subarray(0, page.length));
    if (!isHole && dataFrom < 0) dataFrom = at;
    if (isHole && dataFrom >= 0) {
      yield [dataFrom, at];
      dataFrom = -1;
    }
  }
  if (dataFrom >= 0) yield [dataFrom, chunk.length];
}
