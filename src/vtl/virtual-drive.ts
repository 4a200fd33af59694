/**
 * A drive of a virtual loader. What is in it, and whether it is threaded, is said by the slot map;
 * the drive itself is a session: from the first call that needs the tape, until the tape is
 * unloaded, moved or released, this process holds the lock of the drive, and has the tape's file
 * open. Another process that wants the tape is told who has it.
 *
 * Locks are taken in this order everywhere: the drive's queue, the drive's lock, the loader's lock.
 */
import { mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { ReelError, fromSystem } from "../errors.ts";
import { OperationQueue } from "../tape/operation-queue.ts";
import { FRAME_BYTES, RECORD_BYTES_MAX } from "../tape/simh-format.ts";
import type {
  RecordExtent,
  RecordsWritten,
  TapeCapabilities,
  TapeDrive,
  TapePosition,
  TapeRead,
  TapeRecord,
  TapeSpace,
  TapeWrite,
  UnreadableTail,
} from "../tape/tape-drive.ts";
import { takeLock, type TapeLock } from "../tape/tape-lock.ts";
import { writeRecords } from "../tape/write-records.ts";
import { loadedTapeNow, openCartridge } from "./cartridge.ts";
import { readDriveState, writeDriveState } from "./drive-state.ts";
import type { LoaderFolder } from "./loader-folder.ts";
import { changed, loadCountOf, tapeAt, type FullElement } from "./slot-map.ts";
import type { SpaceGuard } from "./space-guard.ts";
import type { ElementAddress, LoadedTape, LoaderDrive } from "./tape-loader.ts";

interface Session {
  readonly lock: TapeLock;
  readonly element: FullElement;
  readonly loadCount: number;
  readonly path: string;
  readonly writable: boolean;
  tape: TapeDrive;
}

type KnowsLengths = TapeDrive & {
  objectRun(object: number): Promise<Uint32Array | undefined>;
};

function sizeBytesOf(record: TapeRecord): number {
  let sizeBytes = FRAME_BYTES;
  for (const part of record) sizeBytes += part.length;
  return sizeBytes;
}

function knowsLengths(tape: TapeDrive): tape is KnowsLengths {
  return "objectRun" in tape;
}

export class VirtualDrive implements LoaderDrive {
  readonly name: string;
  readonly number: number;
  preventRemoval = false;
  readonly #folder: LoaderFolder;
  readonly #space: SpaceGuard;
  readonly #keepPosition: boolean;
  readonly #queue: OperationQueue;
  #session: Session | undefined;

  /** `keepPosition`: a tape stands where the last process that says so left it. */
  constructor(folder: LoaderFolder, number: number, space: SpaceGuard, keepPosition: boolean) {
    this.name = `drive ${number} of loader ${folder.config.name}`;
    this.number = number;
    this.#folder = folder;
    this.#space = space;
    this.#keepPosition = keepPosition;
    this.#queue = new OperationQueue(this.name);
  }

  get capabilities(): TapeCapabilities {
    const medium = this.medium();
    return {
      writable: medium !== undefined && !medium.writeProtected,
      recordBytesMax: RECORD_BYTES_MAX,
      reverse: this.#session?.tape.capabilities.reverse ?? true,
    };
  }

  medium(): LoadedTape | undefined {
    const tape = this.#element()?.tape;
    return tape === undefined ? undefined : loadedTapeNow(tape, this.#folder.tapePath(tape));
  }

  get ready(): boolean {
    return this.#element()?.threaded === true;
  }

  get loadCount(): number {
    return loadCountOf(this.#folder.map, this.number);
  }

  // The tape -------------------------------------------------------------------------------------

  async position(): Promise<TapePosition> {
    return this.#use(async ({ tape }) => {
      const position = await tape.position();
      return { ...position, earlyWarning: position.earlyWarning || this.#space.isLow };
    });
  }

  async read(target: Uint8Array, options?: { readonly reverse?: boolean }): Promise<TapeRead> {
    return this.#use(({ tape }) => tape.read(target, options));
  }

  async write(parts: TapeRecord): Promise<TapeWrite> {
    const { earlyWarning } = await this.writeRecords([parts]);
    return { earlyWarning };
  }

  async writeRecords(records: readonly TapeRecord[]): Promise<RecordsWritten> {
    return this.#use(async (session) => {
      const doing = this.#writing(session);
      await this.#space.check(doing);
      const sizes = records.map(sizeBytesOf);
      // Up to the one behind which the guard would look, or warns.
      const together = this.#space.isLow ? 1 : this.#space.countToSample(sizes);
      const result = await writeRecords(session.tape, records.slice(0, together));
      let sizeBytes = 0;
      for (const size of sizes.slice(0, result.written)) sizeBytes += size;
      await this.#space.wrote(sizeBytes);
      return { ...result, earlyWarning: result.earlyWarning || this.#space.isLow };
    });
  }

  async writeFilemarks(count: number): Promise<TapeWrite> {
    return this.#use(async (session) => {
      if (count > 0) this.#writing(session);
      const written = await session.tape.writeFilemarks(count);
      await this.#space.status();
      return { earlyWarning: written.earlyWarning || this.#space.isLow };
    });
  }

  async space(unit: "records" | "filemarks", count: number): Promise<TapeSpace> {
    return this.#use(({ tape }) => tape.space(unit, count));
  }

  async spaceToEndOfData(): Promise<TapePosition> {
    return this.#use(({ tape }) => tape.spaceToEndOfData());
  }

  async locate(object: number): Promise<void> {
    return this.#use(({ tape }) => tape.locate(object));
  }

  async rewind(): Promise<void> {
    return this.#use(({ tape }) => tape.rewind());
  }

  async objectOffsetBytes(object: number): Promise<number | undefined> {
    return this.#use(({ tape }) => tape.objectOffsetBytes?.(object) ?? Promise.resolve(undefined));
  }

  async recordExtent(object: number): Promise<RecordExtent | undefined> {
    return this.#use(async ({ tape }) => tape.recordExtent?.(object));
  }

  async unreadableTail(): Promise<UnreadableTail | undefined> {
    return this.#use(async ({ tape }) => tape.unreadableTail?.());
  }

  /** For listings (tape/object-run.ts): what the tape's index knows, where it has one. */
  async objectRun(object: number): Promise<Uint32Array | undefined> {
    return this.#use(async ({ tape }) => (knowsLengths(tape) ? tape.objectRun(object) : undefined));
  }

  async erase(): Promise<void> {
    return this.#use(async (session) => {
      const doing = this.#writing(session);
      const { object } = await session.tape.position();
      const endBytes = await session.tape.objectOffsetBytes?.(object);
      if (endBytes === undefined) throw new ReelError("unsupported", `${doing}: not of its kind`);
      await session.tape.close();
      try {
        await using file = await open(session.path, "r+");
        await file.truncate(endBytes);
        await file.sync();
      } catch (error) {
        throw fromSystem(error, doing);
      } finally {
        session.tape = (await this.#openTape(session.element, session.path)).drive;
      }
      await session.tape.locate(object);
    });
  }

  /** Bytes of a block as `mt setblk` has set it; 0: records of any length. */
  async blockBytes(): Promise<number> {
    return (await readDriveState(this.#stateFile())).blockBytes;
  }

  async setBlockBytes(blockBytes: number): Promise<void> {
    return this.#queue.run(async () => {
      const state = await readDriveState(this.#stateFile());
      await writeDriveState(this.#stateFile(), { ...state, blockBytes });
    });
  }

  // Loading --------------------------------------------------------------------------------------

  async load(): Promise<void> {
    return this.#thread(true, `cannot load the tape in ${this.name}`);
  }

  async unload(): Promise<void> {
    return this.#thread(false, `cannot unload the tape in ${this.name}`);
  }

  async #thread(threaded: boolean, doing: string): Promise<void> {
    return this.whileIdle(doing, async () =>
      this.#folder.change(doing, async ({ map, saveMap }) => {
        const element = tapeAt(map, this.#address());
        if (element === undefined) throw this.#noMedium("it is empty");
        await this.#forgetPosition();
        if (element.threaded !== threaded) {
          await saveMap(changed(map, [], [{ ...element, threaded }]));
        }
      }),
    );
  }

  /**
   * Runs `body`, which moves or changes the tape, while nobody can use the drive, in this process
   * or another. The tape is closed, and stands at its beginning after.
   */
  async whileIdle<T>(doing: string, body: () => Promise<T>): Promise<T> {
    return this.#queue.run(async () => {
      await this.#endSession(false);
      const lock = await this.#takeLock(doing);
      try {
        return await body();
      } finally {
        await lock.release();
      }
    });
  }

  /** Lets other processes have the drive. Where positions are kept, the tape's is. */
  async release(): Promise<void> {
    return this.#queue.run(() => this.#endSession(true));
  }

  async close(): Promise<void> {
    return this.#queue.close(() => this.#endSession(true));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // Sessions -------------------------------------------------------------------------------------

  #address(): ElementAddress {
    return { kind: "drive", number: this.number };
  }

  #element(): FullElement | undefined {
    return tapeAt(this.#folder.map, this.#address());
  }

  #stateFile(): string {
    return this.#folder.driveFile(this.number, "json");
  }

  async #use<T>(body: (session: Session) => Promise<T>): Promise<T> {
    return this.#queue.run(async () => {
      this.#session ??= await this.#beginSession();
      return body(this.#session);
    });
  }

  async #beginSession(): Promise<Session> {
    const doing = `cannot use the tape in ${this.name}`;
    const lock = await this.#takeLock(doing);
    try {
      await this.#folder.refresh();
      const element = this.#element();
      if (element === undefined) throw this.#noMedium("it is empty");
      const { barcode } = element.tape;
      if (element.threaded !== true) {
        throw this.#noMedium(`${barcode} is in it, but not loaded; load it`);
      }
      const path = this.#folder.tapePath(element.tape);
      const { drive: tape, writable } = await this.#openTape(element, path);
      const session = { lock, element, loadCount: this.loadCount, path, writable, tape };
      await this.#restorePosition(session);
      return session;
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  async #openTape(element: FullElement, path: string): ReturnType<typeof openCartridge> {
    const { earlyWarningBytes } = this.#folder.config.policies;
    return openCartridge(element.tape, path, earlyWarningBytes);
  }

  async #takeLock(doing: string): Promise<TapeLock> {
    const path = this.#folder.driveFile(this.number, "lock");
    await mkdir(dirname(path), { recursive: true }).catch(() => undefined);
    return takeLock(path, { doing, using: `is using ${this.name}` });
  }

  async #endSession(keep: boolean): Promise<void> {
    const session = this.#session;
    if (session === undefined) return;
    this.#session = undefined;
    try {
      if (keep && this.#keepPosition) await this.#notePosition(session);
      await session.tape.close();
    } finally {
      await session.lock.release();
    }
  }

  async #restorePosition(session: Session): Promise<void> {
    if (!this.#keepPosition) {
      await this.#forgetPosition();
      return;
    }
    const { position } = await readDriveState(this.#stateFile());
    if (position?.barcode !== session.element.tape.barcode) return;
    if (position.loadCount !== session.loadCount) return;
    try {
      await session.tape.locate(position.object);
    } catch {
      // Somebody shortened the tape since.
      await session.tape.rewind();
    }
  }

  async #notePosition({ element, loadCount, tape }: Session): Promise<void> {
    const { blockBytes } = await readDriveState(this.#stateFile());
    const { object } = await tape.position();
    const position = { barcode: element.tape.barcode, loadCount, object };
    await writeDriveState(this.#stateFile(), { blockBytes, position });
  }

  async #forgetPosition(): Promise<void> {
    const { blockBytes, position } = await readDriveState(this.#stateFile());
    if (position !== undefined) await writeDriveState(this.#stateFile(), { blockBytes });
  }

  #noMedium(why: string): ReelError {
    return new ReelError("no-medium", `cannot use the tape in ${this.name}: ${why}`);
  }

  /** What a message begins with. Throws "read-only" for a protected tape. */
  #writing({ writable, element }: Session): string {
    const doing = `cannot write ${element.tape.barcode} in ${this.name}`;
    if (writable) return doing;
    throw new ReelError("read-only", `${doing}: the tape is write-protected`);
  }
}
