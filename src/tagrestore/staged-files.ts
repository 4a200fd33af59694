/**
 * Files on their way: written in the staging folder, each under its row's number, and given their
 * final names when they are whole. A file that comes in one piece is created, written, finished and
 * closed at once. One that comes in many keeps a descriptor while there are few of them; the least
 * recently used is closed when there are many, and opened again when its next piece comes.
 */
import { constants } from "node:fs";
import { copyFile, symlink } from "node:fs/promises";
import path from "node:path";

import { ReelError } from "../errors.ts";
import type { EntryTable } from "./entry-table.ts";
import type { LossCounter } from "./losses.ts";
import { attributesToSet } from "./losses.ts";
import {
  CREATE_FLAGS,
  REOPEN_FLAGS,
  chmod,
  close,
  fchmod,
  fchown,
  fstat,
  ftruncate,
  isErrno,
  lchown,
  link,
  lstat,
  open,
  rename,
  setLinkTimes,
  setTimes,
  unlink,
  writeAll,
} from "./raw-files.ts";
import type { XattrSetter, Xattrs } from "./set-xattrs.ts";
import { makeDevice, makeFifos } from "./special-nodes.ts";

/** Descriptors kept for files that are not whole yet. */
const OPEN_FILES_MAX = 128;

const NEW_FILE_MODE = 0o666;
const READ_ONLY_MODE = 0o444;
const WRITE_BITS = 0o222;
const OWNER_WRITE_BIT = 0o200;
/** Names given to one run of mkfifo. */
const FIFOS_IN_GROUP = 256;
/** The target has no hard links, or no more of this file. */
const NO_LINK_ERRNOS = ["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"] as const;

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
  readonly #losses: LossCounter;
  #linksWork = true;

  constructor(folder: string, table: EntryTable, losses: LossCounter, openMax = OPEN_FILES_MAX) {
    this.#folder = folder;
    this.#table = table;
    this.#losses = losses;
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

  /** Gives a file its size before its parts come: one that cannot have it fails at once. */
  async reserve(row: number, sizeBytes: number): Promise<void> {
    const file = await this.#use(row);
    try {
      await ftruncate(await file.fd, sizeBytes);
    } finally {
      release(file);
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
    const { owner } = attributesToSet(this.#table, row, this.#losses);
    if (owner !== undefined) await lchown(staged, owner.uid, owner.gid);
    await setLinkTimes(staged, this.#table.accessedMsOf(row), this.#table.modifiedMsOf(row));
  }

  /** Makes the named pipes of many rows, to be finished by `finishSpecial`. */
  async makeFifos(rows: readonly number[]): Promise<void> {
    for (let at = 0; at < rows.length; at += FIFOS_IN_GROUP) {
      const group = rows.slice(at, at + FIFOS_IN_GROUP);
      for (const row of group) this.#begun.add(row);
      await makeFifos(this.#folder, group.map(String));
    }
  }

  /** Makes a device. Throws "no-permission" where only root could. */
  async makeDevice(row: number): Promise<void> {
    this.#begun.add(row);
    const kind = this.#table.kindOf(row) === "block" ? "block" : "character";
    await makeDevice(this.#folder, String(row), kind, this.#table.deviceOf(row));
    await this.finishSpecial(row);
  }

  /** Owner, permissions and times of a pipe or device. It is never opened: that could block. */
  async finishSpecial(row: number): Promise<void> {
    const staged = this.pathOf(row);
    const { owner, mode } = attributesToSet(this.#table, row, this.#losses);
    if (owner !== undefined) await lchown(staged, owner.uid, owner.gid);
    // Follows links, of which there are none: the folder is ours alone, and we made this.
    if (mode !== undefined) await chmod(staged, mode);
    await setLinkTimes(staged, this.#table.accessedMsOf(row), this.#table.modifiedMsOf(row));
  }

  /** Stages row `row` as another name of the whole file that is staged for row `of`, or a copy. */
  async linkTo(row: number, of: number): Promise<void> {
    this.#begun.add(row);
    try {
      await link(this.pathOf(of), this.pathOf(row));
    } catch (error) {
      const canCopy = this.#table.kindOf(row) === "file" && isErrno(error, ...NO_LINK_ERRNOS);
      if (!canCopy) throw error;
      this.#losses.links++;
      await this.#copy(row, of);
    }
  }

  async #copy(row: number, of: number): Promise<void> {
    const { COPYFILE_EXCL, COPYFILE_FICLONE } = constants;
    await copyFile(this.pathOf(of), this.pathOf(row), COPYFILE_EXCL | COPYFILE_FICLONE);
    // To open a read-only file for its attributes is enough.
    const fd = await open(this.pathOf(row), constants.O_RDONLY | constants.O_NOFOLLOW);
    try {
      await this.#setAttributes(fd, row, this.#table.isReadOnly(row));
    } finally {
      await close(fd);
    }
  }

  /** Stages row `row` as another name of a file outside; false where that does not work. */
  async linkFrom(row: number, outside: string): Promise<boolean> {
    try {
      // link(2) does not follow a symbolic link: the link itself would be linked, and found out.
      await link(outside, this.pathOf(row));
      this.#begun.add(row);
      return true;
    } catch {
      return false;
    }
  }

  /** Sets the extended attributes of staged files; times and permissions stay as they are. */
  async setXattrs(all: ReadonlyMap<number, Xattrs>, setter: XattrSetter): Promise<void> {
    const closed: number[] = [];
    if (process.geteuid?.() !== 0) {
      // Only root may add user.* attributes to what is closed for writing.
      for (const row of all.keys()) {
        const { mode } = await lstat(this.pathOf(row));
        const isFile = this.#table.kindOf(row) === "file";
        if (!isFile || (mode & OWNER_WRITE_BIT) !== 0) continue;
        await chmod(this.pathOf(row), (mode & 0o7777) | OWNER_WRITE_BIT);
        closed.push(row, mode & 0o7777);
      }
    }
    const targets = [...all].map(([row, xattrs]) => ({ name: String(row), xattrs }));
    await setter.set(targets, { cwd: this.#folder, follow: false });
    for (let i = 0; i < closed.length; i += 2) {
      await chmod(this.pathOf(closed[i] ?? 0), closed[i + 1] ?? 0);
    }
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
        if (!isErrno(error, ...NO_LINK_ERRNOS)) throw error;
        // Of this file there may only be too many.
        if (!isErrno(error, "EMLINK")) this.#linksWork = false;
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
    const { owner, mode } = attributesToSet(this.#table, row, this.#losses);
    // In this order: a change of owner takes the set-ID bits away.
    if (owner !== undefined) await fchown(fd, owner.uid, owner.gid);
    if (mode !== undefined) await fchmod(fd, mode);
    else if (takeWriteBits) await fchmod(fd, (await fstat(fd)).mode & 0o777 & ~WRITE_BITS);
    await setTimes(fd, this.#table.accessedMsOf(row), this.#table.modifiedMsOf(row));
  }
}

function release(file: OpenFile): void {
  file.writes--;
  if (file.writes === 0) file.onIdle?.();
}
