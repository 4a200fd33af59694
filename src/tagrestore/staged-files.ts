/**
 * Files on their way: written in the staging folder, each under its row's number, and given their
 * final names when they are whole. A file that comes in one piece is created, written, finished and
 * closed at once. One that comes in many keeps a descriptor while there are few of them; the least
 * recently used is closed when there are many, and opened again when its next piece comes.
 */
import path from "node:path";
import { symlink } from "node:fs/promises";

import { ReelError } from "../errors.ts";
import type { EntryTable } from "./entry-table.ts";
import {
  CREATE_FLAGS,
  REOPEN_FLAGS,
  close,
  fchmod,
  fchown,
  fstat,
  ftruncate,
  isErrno,
  link,
  lstat,
  open,
  rename,
  setLinkTimes,
  setTimes,
  unlink,
  writeAll,
} from "./raw-files.ts";

/** Descriptors kept for files that are not whole yet. */
const OPEN_FILES_MAX = 128;

const NEW_FILE_MODE = 0o666;
const READ_ONLY_MODE = 0o444;
const WRITE_BITS = 0o222;
const SET_ID_BITS = 0o6000;

interface OpenFile {
  readonly fd: Promise<number>;
  /** Writes under way. A descriptor is closed only when there are none: its number is used again. */
  writes: number;
  /** Called when the last write has ended, where somebody waits for that. */
  onIdle?: () => void;
}

export class StagedFiles {
  readonly #folder: string;
  readonly #table: EntryTable;
  readonly #openMax: number;
  /** Files with a descriptor, least recently used first. */
  readonly #open = new Map<number, OpenFile>();
  /** Files in the folder: begun, and neither published nor discarded. */
  readonly #begun = new Set<number>();
  readonly #asRoot = process.geteuid?.() === 0;
  #linksWork = true;
  /** Files whose owner the volume tells but only root could set. */
  ownersNotSet = 0;

  constructor(folder: string, table: EntryTable, openMax = OPEN_FILES_MAX) {
    this.#folder = folder;
    this.#table = table;
    this.#openMax = openMax;
  }

  pathOf(row: number): string {
    return path.join(this.#folder, String(row));
  }

  /** A file all of whose bytes are here: `bytes` at `offset`, the rest up to `sizeBytes` a hole. */
  async writeWhole(
    row: number,
    bytes: Uint8Array,
    offset: number,
    sizeBytes: number,
  ): Promise<void> {
    this.#begun.add(row);
    const readOnly = this.#table.isReadOnly(row);
    const mode = this.#table.modeOf(row) ?? (readOnly ? READ_ONLY_MODE : NEW_FILE_MODE);
    const fd = await open(this.pathOf(row), CREATE_FLAGS, mode & 0o777);
    try {
      await writeAll(fd, bytes, offset);
      if (offset + bytes.length < sizeBytes) await ftruncate(fd, sizeBytes);
      await this.#setAttributes(fd, row, false);
    } finally {
      await close(fd);
    }
  }

  /** Part of a file. */
  async writePart(row: number, bytes: Uint8Array, offset: number): Promise<void> {
    const file = await this.#use(row);
    try {
      await writeAll(await file.fd, bytes, offset);
    } finally {
      release(file);
    }
  }

  /** Finishes a file all of whose parts are written. */
  async finishParts(row: number, sizeBytes: number): Promise<void> {
    const file = await this.#use(row);
    try {
      const fd = await file.fd;
      await ftruncate(fd, sizeBytes);
      await this.#setAttributes(fd, row, this.#table.isReadOnly(row));
    } finally {
      release(file);
      await this.#close(row);
    }
  }

  async makeSymlink(row: number, target: string): Promise<void> {
    this.#begun.add(row);
    const staged = this.pathOf(row);
    await symlink(target, staged);
    await setLinkTimes(staged, this.#table.accessedMsOf(row), this.#table.modifiedMsOf(row));
  }

  /**
   * Gives a whole file its final name. Without `replace` whatever bears that name already stays, and
   * the answer is false.
   */
  async publish(row: number, finalPath: string, replace: boolean): Promise<boolean> {
    const published = await this.#publish(row, finalPath, replace);
    if (published) this.#begun.delete(row);
    return published;
  }

  async #publish(row: number, finalPath: string, replace: boolean): Promise<boolean> {
    const staged = this.pathOf(row);
    if (replace) {
      await rename(staged, finalPath);
      return true;
    }
    if (this.#linksWork) {
      try {
        // Unlike rename(2), link(2) never replaces: nothing can slip in between look and use.
        await link(staged, finalPath);
        await unlink(staged);
        return true;
      } catch (error) {
        if (isErrno(error, "EEXIST")) return false;
        if (!isErrno(error, "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK")) throw error;
        this.#linksWork = false;
      }
    }
    try {
      await lstat(finalPath);
      return false;
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
    await rename(staged, finalPath);
    return true;
  }

  /** Throws away what is staged of a file, if anything. */
  async discard(row: number): Promise<void> {
    await this.#close(row);
    this.#begun.delete(row);
    await unlink(this.pathOf(row)).catch((error: unknown) => {
      if (!isErrno(error, "ENOENT")) throw error;
    });
  }

  /** Closes everything and throws away the files that were not published. */
  async abandon(): Promise<void> {
    for (const row of [...this.#open.keys()]) await this.#close(row).catch(() => undefined);
    for (const row of [...this.#begun]) await this.discard(row).catch(() => undefined);
  }

  /** The open file of a row, counted as being written to; opens it when it is not open. */
  async #use(row: number): Promise<OpenFile> {
    let file = this.#open.get(row);
    if (file === undefined) {
      const flags = this.#begun.has(row) ? REOPEN_FLAGS : CREATE_FLAGS;
      this.#begun.add(row);
      const mode = this.#table.modeOf(row) === undefined ? NEW_FILE_MODE : 0o600;
      const idle = this.#idleFile();
      // The table has its place before anything is waited for: a second caller finds this one.
      const closed = idle === undefined ? Promise.resolve() : this.#close(idle);
      file = { fd: closed.then(async () => open(this.pathOf(row), flags, mode)), writes: 0 };
    } else {
      this.#open.delete(row);
    }
    this.#open.set(row, file);
    file.writes++;
    return file;
  }

  /** The least recently used file that nothing is being written to, when there are too many. */
  #idleFile(): number | undefined {
    if (this.#open.size < this.#openMax) return undefined;
    for (const [row, file] of this.#open) if (file.writes === 0) return row;
    throw new ReelError("internal", `more than ${this.#openMax} files are written at one time`);
  }

  async #close(row: number): Promise<void> {
    const file = this.#open.get(row);
    if (file === undefined) return;
    this.#open.delete(row);
    if (file.writes > 0) await new Promise<void>((resolve) => (file.onIdle = resolve));
    const fd = await file.fd.catch(() => undefined);
    if (fd !== undefined) await close(fd);
  }

  /** `takeWriteBits`: the file is read-only but was created writable, to be opened again. */
  async #setAttributes(fd: number, row: number, takeWriteBits: boolean): Promise<void> {
    const owner = this.#table.ownerOf(row);
    const mode = this.#table.modeOf(row);
    let ownerSet = false;
    if (owner !== undefined) {
      if (this.#asRoot) {
        await fchown(fd, owner.uid, owner.gid);
        ownerSet = true;
      } else {
        this.ownersNotSet++;
      }
    }
    // A program that runs as its owner must not run as somebody else.
    if (mode !== undefined) await fchmod(fd, ownerSet ? mode : mode & ~SET_ID_BITS);
    else if (takeWriteBits) await fchmod(fd, (await fstat(fd)).mode & 0o777 & ~WRITE_BITS);
    await setTimes(fd, this.#table.accessedMsOf(row), this.#table.modifiedMsOf(row));
  }
}

function release(file: OpenFile): void {
  file.writes--;
  if (file.writes === 0) file.onIdle?.();
}
