/**
 * Where the contents of many files lie: all their runs in one set of columns.
 *
 * Of an encoded file (compressed, resident: a layout that is not direct) the runs say which bytes of
 * the device its volume needs to decode it. Their order in the file means nothing here, so they are
 * kept in the order of the device, each byte once, and laid end to end: that sequence, the file's
 * encoded bytes, is what is planned, read and kept in place of its contents.
 */
import { ReelError, isReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { FileLayout, Volume } from "../volume/volume.ts";
import { float64Column, uint32Column, uint8Column } from "./columns.ts";
import type { EntryTable } from "./entry-table.ts";
import { Pacer } from "./pacer.ts";

/** Layouts asked of the volume at one time. */
const LAYOUTS_UNDER_WAY = 64;

/**
 * File `index` (its place in the list, not its row) has runs firstRun[index] up to
 * firstRun[index + 1], rising in file offset and clipped to the file's size; of an encoded file,
 * rising in device offset, with offsets in its encoded bytes.
 */
export class LayoutTable {
  readonly #rows = uint32Column();
  readonly #sizes = float64Column();
  readonly #encoded = uint8Column();
  readonly #firstRuns = uint32Column();
  readonly #fileOffsets = float64Column();
  readonly #deviceOffsets = float64Column();
  readonly #lengths = float64Column();

  constructor() {
    this.#firstRuns.push(0);
  }

  /** Files in the table. */
  get length(): number {
    return this.#rows.length;
  }

  /** Adds the next file; the layout has been checked. */
  add(row: number, layout: FileLayout): void {
    this.#rows.push(row);
    this.#sizes.push(layout.sizeBytes);
    this.#encoded.push(layout.direct ? 0 : 1);
    if (layout.direct) this.#addDirectRuns(layout);
    else this.#addEncodedRuns(layout);
    this.#firstRuns.push(this.#lengths.length);
  }

  #addDirectRuns(layout: FileLayout): void {
    for (let run = 0; run < layout.length; run++) {
      const fileOffset = layout.fileOffsets[run] ?? 0;
      // The last cluster is longer than what the file uses of it.
      const length = Math.min(layout.lengths[run] ?? 0, layout.sizeBytes - fileOffset);
      if (length > 0) this.#addRun(fileOffset, layout.deviceOffsets[run] ?? 0, length);
    }
  }

  #addEncodedRuns(layout: FileLayout): void {
    const { deviceOffsets, lengths } = layout;
    const order = new Uint32Array(layout.length).map((_, run) => run);
    order.sort((a, b) => (deviceOffsets[a] ?? 0) - (deviceOffsets[b] ?? 0));
    let encodedOffset = 0;
    let deviceEnd = 0;
    for (const run of order) {
      const start = Math.max(deviceEnd, deviceOffsets[run] ?? 0);
      const length = (deviceOffsets[run] ?? 0) + (lengths[run] ?? 0) - start;
      if (length <= 0) continue;
      this.#addRun(encodedOffset, start, length);
      encodedOffset += length;
      deviceEnd = start + length;
    }
  }

  #addRun(fileOffset: number, deviceOffset: number, length: number): void {
    this.#fileOffsets.push(fileOffset);
    this.#deviceOffsets.push(deviceOffset);
    this.#lengths.push(length);
  }

  /** Row of the entry table. */
  rowOf(file: number): number {
    return this.#rows.at(file);
  }

  /** Size of the file; an encoded one's when it is decoded. */
  sizeOf(file: number): number {
    return this.#sizes.at(file);
  }

  /** Must the volume decode what the runs hold? */
  isEncoded(file: number): boolean {
    return this.#encoded.at(file) !== 0;
  }

  /** Bytes that the runs hold. */
  runBytesOf(file: number): number {
    const last = this.#firstRuns.at(file + 1) - 1;
    if (last < this.#firstRuns.at(file)) return 0;
    if (this.isEncoded(file)) return this.#fileOffsets.at(last) + this.#lengths.at(last);
    let bytes = 0;
    this.visitRuns(file, (_, __, length) => (bytes += length));
    return bytes;
  }

  /** Calls `visit` for each run of the file, rising. */
  visitRuns(
    file: number,
    visit: (fileOffset: number, deviceOffset: number, length: number) => void,
  ): void {
    const end = this.#firstRuns.at(file + 1);
    for (let run = this.#firstRuns.at(file); run < end; run++) {
      visit(this.#fileOffsets.at(run), this.#deviceOffsets.at(run), this.#lengths.at(run));
    }
  }
}

/**
 * Asks the volume for the layouts of the files in `rows`, in that order. A file whose layout is
 * damaged goes to `fail` and is left out; everything else throws.
 */
export async function collectLayouts(
  volume: Volume,
  table: EntryTable,
  rows: Uint32Array,
  fail: (row: number, error: ReelError) => void,
  options: RunOptions = {},
): Promise<LayoutTable> {
  const layouts = new LayoutTable();
  const pacer = new Pacer("finding out where files lie", options.signal);
  const deviceBytes = volume.info.blockSizeBytes * volume.info.blockCount;
  for (let at = 0; at < rows.length; at += LAYOUTS_UNDER_WAY) {
    const batch = rows.subarray(at, at + LAYOUTS_UNDER_WAY);
    const results = await Promise.all(
      Array.from(batch, async (row) => layoutOf(volume, table.idOf(row), deviceBytes)),
    );
    for (const [index, result] of results.entries()) {
      const row = batch[index] ?? 0;
      if (result instanceof ReelError) fail(row, result);
      else layouts.add(row, result);
    }
    options.progress?.({ phase: "planning", done: at, total: rows.length, unit: "files" });
    await pacer.breathe();
  }
  return layouts;
}

async function layoutOf(
  volume: Volume,
  id: number,
  deviceBytes: number,
): Promise<FileLayout | ReelError> {
  try {
    const layout = await volume.layout(id);
    if (!layout.direct && volume.read === undefined) {
      return new ReelError("unsupported", "its contents are encoded in a way that is not known");
    }
    return checkLayout(layout, deviceBytes) ?? layout;
  } catch (error) {
    if (isReelError(error, "damaged") || isReelError(error, "unsupported")) return error;
    throw error;
  }
}

/** The reason why a layout cannot be true, if there is one. */
function checkLayout(layout: FileLayout, deviceBytes: number): ReelError | undefined {
  let end = 0;
  for (let run = 0; run < layout.length; run++) {
    const fileOffset = layout.fileOffsets[run] ?? 0;
    const deviceOffset = layout.deviceOffsets[run] ?? 0;
    const length = layout.lengths[run] ?? 0;
    const isOutOfOrder = layout.direct && fileOffset < end;
    if (isOutOfOrder || deviceOffset < 0 || length < 0 || deviceOffset + length > deviceBytes) {
      return new ReelError("damaged", `run ${run} of the file lies outside the volume or the file`);
    }
    end = fileOffset + length;
  }
  return undefined;
}
