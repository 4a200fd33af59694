/**
 * A tape on its way into a loader: `cp x.tap MOUNT/vtl1/slots/005/`. Its bytes go to a file of their
 * own, `incoming/…/NAME` in the loader's folder; when the copy is closed they are made durable and
 * looked at, and only then the file becomes the tape's, by one rename.
 *
 * What cannot be taken in is never thrown away: with mv the source is gone by then, since closing
 * a file tells nobody that it failed. It lies in the folder `refused`, and status.txt says so. Only
 * a copy of which a write was refused goes: who made it was told, and kept the source; what came of
 * it would fill a full disk for ever.
 */
import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, rename, rm, rmdir, type FileHandle } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { syncDirectory } from "../../device/sync-directory.ts";
import { ReelError, fromSystem, isReelError } from "../../errors.ts";
import { recogniseContainer } from "../../tape/open-tape.ts";
import { takeTapeLock, type TapeLock } from "../../tape/tape-lock.ts";
import { tapeFileName, type TapeFileName } from "../barcode.ts";
import { importVirtualTapes } from "../import-export.ts";
import { sizeOf } from "../pending-change.ts";
import { elementText } from "../slot-map.ts";
import type { ElementAddress } from "../tape-loader.ts";
import type { VirtualLoader } from "../virtual-loader.ts";
import { withIdleTape } from "../virtual-tapes.ts";
import { openToRead } from "./tape-content.ts";

const INCOMING = "incoming";
const REFUSED = "refused";
const DRAFT_MODE = 0o666;

export interface IncomingStat {
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

export class Incoming {
  readonly address: ElementAddress;
  readonly name: TapeFileName;
  /** It becomes a tape that is write-protected. */
  protect = false;
  readonly #loader: VirtualLoader;
  readonly #folder: string;
  readonly #path: string;
  readonly #handle: FileHandle;
  /** Of the blank tape. */
  #lock: TapeLock | undefined;
  /** Why a write was refused: the copy is not whole, and its writer knows. */
  #refusedWrite: ReelError | undefined;
  /** The blank tape that it replaces; without one it is a new tape. */
  readonly #blankPath: string | undefined;

  private constructor(
    loader: VirtualLoader,
    place: { address: ElementAddress; name: TapeFileName; blankPath: string | undefined },
    draft: { folder: string; path: string; handle: FileHandle; lock: TapeLock | undefined },
  ) {
    this.#loader = loader;
    this.address = place.address;
    this.name = place.name;
    this.#blankPath = place.blankPath;
    this.#folder = draft.folder;
    this.#path = draft.path;
    this.#handle = draft.handle;
    this.#lock = draft.lock;
  }

  /**
   * Begins to take a tape in. A blank tape that it replaces is locked until the end.
   * @throws "no-space", "busy" (the blank tape is in use), and what the file system refuses.
   */
  static async begin(
    loader: VirtualLoader,
    place: { address: ElementAddress; name: TapeFileName; blankPath: string | undefined },
  ): Promise<Incoming> {
    const { barcode, container } = place.name;
    const doing = `cannot copy ${barcode} into loader ${loader.name}`;
    await loader.space.check(doing);
    const folder = join(loader.path, INCOMING, newFolderName());
    const path = join(folder, tapeFileName(barcode, container));
    let lock: TapeLock | undefined;
    try {
      if (place.blankPath !== undefined) lock = await takeTapeLock(place.blankPath);
      await mkdir(folder, { recursive: true });
      const handle = await open(path, "wx+", DRAFT_MODE);
      return new Incoming(loader, place, { folder, path, handle, lock });
    } catch (error) {
      await lock?.release();
      await removeFolder(folder);
      throw fromSystem(error, doing);
    }
  }

  get #doing(): string {
    return `cannot copy ${this.name.barcode} into ${elementText(this.address)} of loader ${this.#loader.name}`;
  }

  async #run<T>(body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      throw fromSystem(error, this.#doing);
    }
  }

  async write(offsetBytes: number, source: Uint8Array): Promise<void> {
    try {
      await this.#write(offsetBytes, source);
    } catch (error) {
      this.#refusedWrite = fromSystem(error, this.#doing);
      throw this.#refusedWrite;
    }
  }

  async #write(offsetBytes: number, source: Uint8Array): Promise<void> {
    return this.#run(async () => {
      await this.#loader.space.check(this.#doing);
      for (let done = 0; done < source.length;) {
        const left = source.length - done;
        const { bytesWritten } = await this.#handle.write(source, done, left, offsetBytes + done);
        done += bytesWritten;
      }
      await this.#loader.space.wrote(source.length);
    });
  }

  async read(offsetBytes: number, target: Uint8Array): Promise<number> {
    return this.#run(async () => {
      const { bytesRead } = await this.#handle.read(target, 0, target.length, offsetBytes);
      return bytesRead;
    });
  }

  async truncate(sizeBytes: number): Promise<void> {
    return this.#run(async () => this.#handle.truncate(sizeBytes));
  }

  async setTimes(accessedMs: number, modifiedMs: number): Promise<void> {
    return this.#run(async () => this.#handle.utimes(accessedMs / 1000, modifiedMs / 1000));
  }

  async stat(): Promise<IncomingStat> {
    return this.#run(async () => {
      const { size, mtimeMs } = await this.#handle.stat();
      return { sizeBytes: size, modifiedMs: mtimeMs };
    });
  }

  /**
   * The copy is complete: takes it in. Returns what a person should know of it.
   * @throws "damaged", "invalid" (it is no tape of that kind), "exists", "busy"; the bytes then are
   *   where the message says. What refused a write, again.
   */
  async finish(): Promise<string | undefined> {
    if (this.#refusedWrite !== undefined) {
      await this.abandon();
      throw this.#refusedWrite;
    }
    try {
      await this.#handle.sync();
      await this.#handle.close();
      const notice = await this.#check();
      await this.#place();
      await removeFolder(this.#folder);
      return notice;
    } catch (error) {
      throw await this.#refuse(fromSystem(error, this.#doing));
    } finally {
      await this.#unlock();
    }
  }

  /** Forgets what came so far. */
  async abandon(): Promise<void> {
    await this.#handle.close();
    await this.#unlock();
    await removeFolder(this.#folder);
  }

  async #unlock(): Promise<void> {
    const lock = this.#lock;
    this.#lock = undefined;
    await lock?.release();
  }

  /** Is it a tape? One that is cut or damaged behind its first object is; it is only told. */
  async #check(): Promise<string | undefined> {
    const { barcode, container } = this.name;
    if ((await sizeOf(this.#path)) === 0) return undefined;
    const format = await recogniseContainer(this.#path);
    if (container === "tap" && format !== "simh" && format !== "plain") {
      throw new ReelError(
        "invalid",
        `${this.#doing}: it is a tape of the format ${format}; call it ${barcode}.${format}`,
      );
    }
    const tape = { barcode, container, writeProtected: true };
    await using drive = await openToRead({ path: this.#path, tape });
    let notice: string | undefined;
    try {
      await drive.spaceToEndOfData();
    } catch (error) {
      if (!isReelError(error, "damaged")) throw error;
      notice = `${barcode} was copied in as it is: ${error.message}`;
    }
    if ((await drive.position()).object > 0) return notice;
    throw new ReelError("damaged", `${this.#doing}: it is no tape: not one record is whole`);
  }

  async #place(): Promise<void> {
    const { barcode } = this.name;
    const path = this.#blankPath;
    if (path === undefined) {
      await importVirtualTapes(this.#loader, [this.#path], { element: this.address });
      return;
    }
    await this.#unlock();
    await withIdleTape(this.#loader, barcode, this.#doing, async (_change, element, at) => {
      if (at !== path || (await sizeOf(at)) !== 0 || element.kind === "drive") {
        throw new ReelError("busy", `${this.#doing}: the tape was used meanwhile`);
      }
      await rename(this.#path, at);
      // Made while it was looked at; it holds for the file under its new name as well.
      await rename(`${this.#path}.idx`, `${at}.idx`).catch(() => undefined);
      await syncDirectory(this.#loader.folder.tapesPath);
    });
  }

  /** Puts the bytes aside; the error then says where. */
  async #refuse(error: ReelError): Promise<ReelError> {
    await this.#handle.close().catch(() => undefined);
    if ((await sizeOf(this.#path).catch(() => undefined)) === 0) {
      await removeFolder(this.#folder);
      return error;
    }
    const aside = await putAside(this.#loader, this.#folder);
    return new ReelError(error.code, `${error.message}; what was copied lies in ${aside}`, {
      cause: error,
    });
  }
}

async function removeFolder(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  // Only when it is empty.
  await rmdir(join(folder, "..")).catch(() => undefined);
}

async function putAside(loader: VirtualLoader, folder: string): Promise<string> {
  const aside = join(loader.path, REFUSED, `${Date.now()}-${randomBytes(4).toString("hex")}`);
  try {
    await mkdir(join(loader.path, REFUSED), { recursive: true });
    await rename(folder, aside);
    await rmdir(join(folder, "..")).catch(() => undefined);
    return aside;
  } catch {
    // It is no worse off where it is.
    return folder;
  }
}

/** Says whose it is, so that others know whether it is still being written. */
function newFolderName(): string {
  return `${hostname()}-${process.pid}-${randomBytes(4).toString("hex")}`;
}

/** A process of that number may be another one by now; then the folder waits. */
function isAbandoned(folderName: string): boolean {
  const match = /^(.+)-(\d+)-[0-9a-f]+$/.exec(folderName);
  if (match?.[1] !== hostname()) return false;
  try {
    process.kill(Number(match[2]), 0);
    return false;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "ESRCH";
  }
}

/** Puts aside what copies left that were interrupted by the end of their process; says where. */
export async function sweepIncoming(loader: VirtualLoader): Promise<string[]> {
  const all = join(loader.path, INCOMING);
  const left: string[] = [];
  for (const each of (await readdir(all).catch(() => [])).filter(isAbandoned)) {
    const names = await readdir(join(all, each)).catch(() => []);
    if (names.length === 0) await removeFolder(join(all, each));
    else left.push(await putAside(loader, join(all, each)));
  }
  return left;
}
