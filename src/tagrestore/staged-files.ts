/**
 * Files on their way: written in the staging folder, each under its row's number, and given their
 * final names when they are whole. Files that come in one piece are created, written, finished and
 * closed by the file threads, many together. One that comes in several keeps a descriptor while there
 * are few of them; the least recently used is closed when there are many, and opened again when its
 * next piece comes.
 */
import { constants } from "node:fs";
import { copyFile, symlink } from "node:fs/promises";
import path from "node:path";

import { ReelError } from "../errors.ts";
import type { EntryTable } from "./entry-table.ts";
import type { FileOutcome, FileToName, FileToWrite } from "./file-protocol.ts";
import { fileThreads } from "./file-threads.ts";
import type { LossCounter } from "./losses.ts";
import { attributesToSet } from "./losses.ts";
import {
  CREATE_FLAGS,
  NO_LINK_ERRNOS,
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
/** A file all of whose bytes are in shared memory; see FileToWrite. */
export type WholeFile = { readonly row: number } & Pick<
  FileToWrite,
  "at" | "length" | "offset" | "sizeBytes"
>;

/** A whole file and its final name; see FileToName. */
export type NamedFile = { readonly row: number } & Pick<FileToName, "to" | "replace">;

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

  constructor(folder: string, table: EntryTable, losses: LossCounter, openMax = OPEN_FILES_MAX) {
    this.#folder = folder;
    this.#table = table;
    this.#losses = losses;
    this.#openMax = openMax;
  }

  pathOf(row: number): string {
    return path.join(this.#folder, String(row));
  }

  /**
   * Writes files all of whose bytes are in `memory`. Returns for each of them why it was not written,
   * or undefined.
   */
  async writeTogether(
    files: readonly WholeFile[],
    memory: SharedArrayBuffer,
  ): Promise<(Error | undefined)[]> {
    for (const { row } of files) this.#begun.add(row);
    const write = files.map((file) => this.#toWrite(file));
    return (await fileThreads().run({ write, memory })).map(failureOf);
  }

  #toWrite({ row, ...contents }: WholeFile): FileToWrite {
    const table = this.#table;
    const { owner, mode } = attributesToSet(table, row, this.#losses);
    const modeWithout = table.isReadOnly(row) ? READ_ONLY_MODE : NEW_FILE_MODE;
    return {
      ...contents,
      path: this.pathOf(row),
      createMode: (table.modeOf(row) ?? modeWithout) & 0o777,
      owner,
      mode,
      accessedMs: table.accessedMsOf(row),
      modifiedMs: table.modifiedMsOf(row),
    };
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
   * Gives whole files their final names. Returns for each "done"; "exists" where something bears the
   * name already, which stays; or why it could not be done.
   */
  async nameTogether(files: readonly NamedFile[]): Promise<("done" | "exists" | Error)[]> {
    const name = files.map(({ row, ...names }) => ({ ...names, from: this.pathOf(row) }));
    const outcomes = await fileThreads().run({ name });
    return outcomes.map((outcome, index) => {
      if (outcome === "done") this.#begun.delete(files[index]?.row ?? -1);
      return failureOf(outcome) ?? (outcome === "exists" ? "exists" : "done");
    });
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

/** The error that a thread met, as if it had been met here. */
function failureOf(outcome: FileOutcome): Error | undefined {
  if (outcome === "done" || outcome === "exists") return undefined;
  const { message, code, errno } = outcome;
  return Object.assign(new Error(message), { code, errno });
}
