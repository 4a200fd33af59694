/**
 * Writing on when a tape is full. A full tape is ended with a filemark and goes back to its slot;
 * the next one is made, or taken from the pool of blank tapes, as the loader's policy says, and
 * loaded; the record that did not fit is the first on it.
 *
 * What is on a row of tapes is therefore what is on each of them, one after another, without the
 * last filemark of each but the last. Room for that filemark is always kept.
 */
import { ReelError, isReelError, throwIfAborted } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import { RECORD_BYTES_MAX, WORD_BYTES, recordSizeBytes } from "../tape/simh-format.ts";
import { openTape } from "../tape/open-tape.ts";
import type { TapeDrive, TapeWrite } from "../tape/tape-drive.ts";
import { emptyElements, requireTape, tapeAt } from "./slot-map.ts";
import type { ElementAddress } from "./tape-loader.ts";
import type { VirtualDrive } from "./virtual-drive.ts";
import type { VirtualLoader } from "./virtual-loader.ts";
import { createVirtualTape } from "./virtual-tapes.ts";

/** A record's bytes, or a filemark. */
export type TapeItem = Uint8Array | "filemark";

export interface TapeWritten {
  readonly barcode: string;
  readonly records: number;
  /** Without the one that ends a full tape. */
  readonly filemarks: number;
  /** Of the records. */
  readonly bytes: number;
}

/**
 * Writes to a drive of a loader, from where its tape stands on, over as many tapes as it takes.
 * One call at a time.
 */
export class SpanningWriter {
  readonly #loader: VirtualLoader;
  readonly #drive: VirtualDrive;
  readonly #tapes: Mutable<TapeWritten>[] = [];
  /** Where the next object goes, in the file of the tape. */
  #offsetBytes = 0;
  #capacityBytes = Number.POSITIVE_INFINITY;

  private constructor(loader: VirtualLoader, drive: VirtualDrive) {
    this.#loader = loader;
    this.#drive = drive;
  }

  /** @throws "no-medium" for a drive without a tape. */
  static async start(loader: VirtualLoader, driveNumber: number): Promise<SpanningWriter> {
    const writer = new SpanningWriter(loader, loader.drive(driveNumber));
    await writer.#beginTape();
    return writer;
  }

  /** The tapes written to so far, in order. */
  get tapes(): readonly TapeWritten[] {
    return this.#tapes;
  }

  /**
   * Writes one record.
   * @throws "end-of-medium" when the tape is full and there is no next one, "no-space" when the
   *   file system is (what was written is ended with a filemark then), and as TapeDrive.
   */
  async write(parts: readonly Uint8Array[]): Promise<TapeWrite> {
    let lengthBytes = 0;
    for (const part of parts) lengthBytes += part.length;
    const sizeBytes = recordSizeBytes(lengthBytes);
    if (!this.#fits(sizeBytes)) await this.#nextTape(sizeBytes);
    const written = await this.#endedIfFull(() => this.#drive.write(parts));
    const tape = this.#tape();
    tape.records += 1;
    tape.bytes += lengthBytes;
    this.#offsetBytes += sizeBytes;
    return written;
  }

  async writeFilemarks(count: number): Promise<TapeWrite> {
    const sizeBytes = count * WORD_BYTES;
    if (count > 0 && !this.#fits(sizeBytes)) await this.#nextTape(sizeBytes);
    const written = await this.#drive.writeFilemarks(count);
    this.#tape().filemarks += count;
    this.#offsetBytes += sizeBytes;
    return written;
  }

  #tape(): Mutable<TapeWritten> {
    const tape = this.#tapes.at(-1);
    if (tape === undefined) throw new ReelError("internal", "a writer without a tape");
    return tape;
  }

  /** Is there room, also for the filemark that ends the tape? */
  #fits(sizeBytes: number): boolean {
    return this.#offsetBytes + sizeBytes + WORD_BYTES <= this.#capacityBytes;
  }

  async #beginTape(): Promise<void> {
    const { object } = await this.#drive.position();
    this.#offsetBytes = (await this.#drive.objectOffsetBytes(object)) ?? 0;
    const medium = this.#drive.medium();
    const barcode = medium?.barcode ?? "";
    this.#capacityBytes = medium?.capacityBytes ?? Number.POSITIVE_INFINITY;
    this.#tapes.push({ barcode, records: 0, filemarks: 0, bytes: 0 });
  }

  async #nextTape(sizeBytes: number): Promise<void> {
    const { barcode } = this.#tape();
    const doing = `cannot go on writing in ${this.#drive.name}: ${barcode} is full`;
    if (this.#loader.folder.config.policies.nextTape === "none") {
      throw new ReelError("end-of-medium", `${doing}, and the loader does not change tapes itself`);
    }
    await this.#drive.writeFilemarks(1);
    const used = new Set(this.#tapes.map((each) => each.barcode));
    try {
      const { load } = await nextTapeFor(this.#loader, this.#drive.number, used);
      await load();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new ReelError("end-of-medium", `${doing}: ${why}`, { cause: error });
    }
    await this.#beginTape();
    if (this.#fits(sizeBytes)) return;
    throw new ReelError("end-of-medium", `${doing}, and so much does not fit on an empty tape`);
  }

  async #endedIfFull<T>(write: () => Promise<T>): Promise<T> {
    try {
      return await write();
    } catch (error) {
      if (isReelError(error, "no-space")) {
        // What is there is complete; if even this fails, the first failure is the one to tell.
        await this.#drive.writeFilemarks(1).catch(() => undefined);
      }
      throw error;
    }
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** The tape that follows the one in a drive. */
export interface NextLoaderTape {
  readonly barcode: string;
  /** Of its file. */
  readonly path: string;
  /** Puts the tape in the drive away, and this one in. */
  readonly load: () => Promise<void>;
}

/**
 * Makes or chooses the tape that follows the one in a drive, as the loader's policy says; those
 * `used` are no choice. Nothing is moved yet.
 * @throws "no-space" when there is no empty slot, "not-found" without a blank tape.
 */
export async function nextTapeFor(
  loader: VirtualLoader,
  driveNumber: number,
  used: ReadonlySet<string>,
): Promise<NextLoaderTape> {
  const drive: ElementAddress = { kind: "drive", number: driveNumber };
  await loader.folder.refresh();
  const { map, config } = loader.folder;
  const home = tapeAt(map, drive)?.source;
  const empty = emptyElements(map, config, "storage", 2);
  const away = home?.kind === "storage" && tapeAt(map, home) === undefined ? home : empty[0];
  if (away === undefined) {
    throw new ReelError("no-space", `there is no empty slot for it`);
  }
  const next =
    config.policies.nextTape === "create"
      ? await createIn(
          loader,
          empty.find(({ number }) => number !== away.number),
        )
      : await findBlank(loader, used);
  const load = async (): Promise<void> => {
    await loader.move(drive, away);
    await loader.move(next, drive);
  };
  await loader.folder.refresh();
  const barcode = tapeAt(loader.folder.map, next)?.tape.barcode ?? "";
  return { barcode, path: loader.tapePathAt(next), load };
}

async function createIn(
  loader: VirtualLoader,
  element: ElementAddress | undefined,
): Promise<ElementAddress> {
  if (element === undefined) {
    throw new ReelError(
      "no-space",
      "no slots are empty for another tape; export or delete tapes, or give the loader more slots",
    );
  }
  return createVirtualTape(loader, { element });
}

/** The first blank tape of the pool. */
async function findBlank(
  loader: VirtualLoader,
  used: ReadonlySet<string>,
): Promise<ElementAddress> {
  const { scratchSlots } = loader.folder.config.policies;
  for (const { kind, number, tape } of await loader.elements()) {
    if (kind !== "storage" || tape === undefined || used.has(tape.barcode)) continue;
    if (scratchSlots.length > 0 && !scratchSlots.includes(number)) continue;
    if (tape.usedBytes === 0 && !tape.writeProtected) return { kind, number };
  }
  throw new ReelError("not-found", "there is no blank tape in the scratch pool; put one in");
}

/**
 * Writes everything a source gives to the tape in a drive, from where it stands on, and over the
 * next tapes as the loader's policy says. What was written is durable when it returns.
 * @throws as SpanningWriter.write; "aborted".
 */
export async function writeAcrossTapes(
  loader: VirtualLoader,
  driveNumber: number,
  source: AsyncIterable<TapeItem> | Iterable<TapeItem>,
  options: RunOptions = {},
): Promise<readonly TapeWritten[]> {
  const writer = await SpanningWriter.start(loader, driveNumber);
  let done = 0;
  for await (const item of source) {
    throwIfAborted(options.signal, `cannot write on ${loader.drive(driveNumber).name}`);
    if (item === "filemark") {
      await writer.writeFilemarks(1);
    } else {
      await writer.write([item]);
      done += item.length;
      options.progress?.({ phase: "writing", done });
    }
  }
  await writer.writeFilemarks(0);
  return writer.tapes;
}

/**
 * Gives what is on a row of tapes, in the order of their barcodes here, wherever they are. A record
 * is good until the next one is asked for.
 * @throws "not-found" for a tape that is not in the loader, and as TapeDrive.
 */
export async function* readAcrossTapes(
  loader: VirtualLoader,
  barcodes: readonly string[],
): AsyncGenerator<TapeItem> {
  const buffer = Buffer.allocUnsafe(RECORD_BYTES_MAX);
  for (const [index, barcode] of barcodes.entries()) {
    const isLast = index === barcodes.length - 1;
    await loader.folder.refresh();
    const { tape } = requireTape(loader.folder.map, barcode, "cannot read the tapes");
    const drive = await openTape(loader.folder.tapePath(tape), { mode: "read" });
    try {
      yield* itemsOf(drive, buffer, isLast);
    } finally {
      await drive.close();
    }
  }
}

async function* itemsOf(
  drive: TapeDrive,
  buffer: Uint8Array,
  withLastFilemark: boolean,
): AsyncGenerator<TapeItem> {
  let heldFilemark = false;
  for (;;) {
    const read = await drive.read(buffer);
    const isEnd = read.kind === "end-of-data" || read.kind === "beginning";
    if (heldFilemark && (!isEnd || withLastFilemark)) yield "filemark";
    if (isEnd) return;
    heldFilemark = read.kind === "filemark";
    if (read.kind === "record") yield buffer.subarray(0, read.lengthBytes);
  }
}
