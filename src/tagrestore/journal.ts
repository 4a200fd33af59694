/**
 * What lets an interrupted restore go on: the staging folder in the target directory, and the
 * journal in it. The folder's name holds the image's UUID; file `n` of it is row n of the entry
 * table, half-written or not yet published under its final name.
 *
 * The journal is one line of JSON after another. The first says which image and which selection
 * (a hash over the rows, so row numbers mean the same files); a line for each run says which process;
 * then come the rows that are about to be created (directories) or published (files). A line is
 * complete before what it tells of begins. So after a kill at any moment:
 *
 * - a row in the journal whose staged file is gone was published, and is checked by size and time;
 * - a row whose staged file is there was not: it is thrown away and read again. (Published is by
 *   link and unlink: between the two, both names are one inode, which tells that it was.)
 * - a torn last line announced what never began.
 *
 * Neither the journal nor the files are flushed before the restore ends: they must survive the
 * process, not the machine. So rows that were published before the machine was started again count
 * for nothing, nor do those before a line of doubt, written when the system could not store them:
 * such a file may have its size and its time, and zeros in it. Files whose lines were lost with the
 * power are found in place and named as existing, not overwritten.
 */
import { constants } from "node:fs";
import { lstat, mkdir, open, readFile, readdir, rm } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import path from "node:path";

import { bootId } from "../device/boot-id.ts";
import { syncDirectory } from "../device/sync-directory.ts";
import { ReelError, fromSystem } from "../errors.ts";
import { isErrno } from "./raw-files.ts";

const JOURNAL_NAME = "journal";
const JOURNAL_VERSION = 1;
const JOURNAL_BYTES_MAX = 256 * 1024 * 1024;
/** Rows in one line, so that no line is longer than a few hundred KiB. */
const ROWS_PER_LINE_MAX = 32_768;
const UUID_CHARS_IN_NAME = 8;
/** Field 22 of /proc/PID/stat, counted from after the command's ")" (which ends field 2). */
const START_TIME_FIELD = 22 - 3;

export interface JournalIdentity {
  /** UUID of the image. */
  readonly image: string;
  /** EntryTable.hash of the selection. */
  readonly selection: string;
}

/** What an earlier run left. */
export interface Remains {
  /** Rows of files that were about to be published. */
  readonly published: ReadonlySet<number>;
  /** Those of them whose contents may have been lost with the power. */
  readonly unsure: ReadonlySet<number>;
  /** Rows of directories that were about to be created, all of them missing before. */
  readonly directories: ReadonlySet<number>;
  /** Rows with a file in the staging folder. */
  readonly staged: ReadonlySet<number>;
}

export function stagingName(imageUuid: string): string {
  const letters = imageUuid.replace(/[^0-9A-Za-z]/g, "").slice(0, UUID_CHARS_IN_NAME);
  return `.reelfs-restore-${letters}`;
}

export class RestoreJournal {
  /** The staging folder. */
  readonly folder: string;
  /** Undefined for a restore from the beginning. */
  readonly remains: Remains | undefined;
  readonly #file: FileHandle;
  /** Appends are made one after another. */
  #last: Promise<void> = Promise.resolve();

  private constructor(folder: string, file: FileHandle, remains: Remains | undefined) {
    this.folder = folder;
    this.#file = file;
    this.remains = remains;
  }

  /**
   * Opens the journal of a restore into `directory`. A folder that an earlier run left is taken up
   * with `resume`; without it, that is an "exists" error which says so. "busy" when that run still
   * lives, "invalid" when it was of another selection.
   */
  static async open(
    directory: string,
    identity: JournalIdentity,
    resume: boolean,
  ): Promise<RestoreJournal> {
    const folder = path.join(directory, stagingName(identity.image));
    const journalPath = path.join(folder, JOURNAL_NAME);
    let remains: Remains | undefined;
    try {
      if (!(await makeFolder(folder))) {
        await checkFolder(folder);
        const lines = await readLines(journalPath);
        await refuseIfAlive(lines, folder);
        if (!resume) throw unfinished(folder);
        remains = await readRemains(folder, lines, identity);
      }
      const flags =
        constants.O_CREAT | constants.O_APPEND | constants.O_RDWR | constants.O_NOFOLLOW;
      const file = await open(journalPath, flags, 0o600);
      const journal = new RestoreJournal(folder, file, remains);
      await journal.#begin(identity);
      return journal;
    } catch (error) {
      throw fromSystem(error, `cannot keep the journal of the restore in ${folder}`);
    }
  }

  /** Says that directories will be created, or files published, once this returns. */
  async append(kind: "directories" | "files", rows: readonly number[]): Promise<void> {
    const lines: string[] = [];
    for (let at = 0; at < rows.length; at += ROWS_PER_LINE_MAX) {
      lines.push(JSON.stringify({ [kind]: rows.slice(at, at + ROWS_PER_LINE_MAX) }));
    }
    if (lines.length > 0) await this.#write(lines);
  }

  /** Says that what was published until now may not be stored, whatever its size and time are. */
  async doubt(): Promise<void> {
    await this.#write([JSON.stringify({ doubt: true })]);
  }

  async close(): Promise<void> {
    await this.#last.catch(() => undefined);
    await this.#file.close();
  }

  /** Closes the journal and takes the staging folder away for good: the restore is finished. */
  async finish(): Promise<void> {
    await this.close();
    await rm(this.folder, { recursive: true, force: true });
    await syncDirectory(path.dirname(this.folder));
  }

  async #begin(identity: JournalIdentity): Promise<void> {
    // A line that a kill cut short must not run into the next one.
    const { size } = await this.#file.stat();
    const lines = size > 0 ? [""] : [];
    lines.push(JSON.stringify({ format: "reelfs-restore", version: JOURNAL_VERSION, ...identity }));
    const started = await startTimeOf(process.pid);
    lines.push(JSON.stringify({ pid: process.pid, started, boot: await bootId() }));
    await this.#write(lines);
  }

  async #write(lines: readonly string[]): Promise<void> {
    const text = `${lines.join("\n")}\n`;
    const written = this.#last.then(async () => this.#file.appendFile(text));
    this.#last = written;
    await written;
  }
}

/** True when the folder was made, false when it was there. */
async function makeFolder(folder: string): Promise<boolean> {
  try {
    await mkdir(folder, { mode: 0o700 });
    return true;
  } catch (error) {
    if (isErrno(error, "EEXIST")) return false;
    throw error;
  }
}

/** What stands there must be a folder of ours, not something planted. */
async function checkFolder(folder: string): Promise<void> {
  const stat = await lstat(folder);
  if (!stat.isDirectory() || stat.uid !== process.geteuid?.()) {
    throw new ReelError("exists", `${folder} is in the way and not a restore of yours; remove it`);
  }
}

function unfinished(folder: string): ReelError {
  return new ReelError(
    "exists",
    `an earlier restore of this image was not finished here; continue it with --resume, ` +
      `or remove ${folder} to start anew`,
  );
}

/** Every line that is JSON and an object; torn and damaged ones are left out. */
async function readLines(journalPath: string): Promise<Record<string, unknown>[]> {
  let text: string;
  try {
    const stat = await lstat(journalPath);
    if (!stat.isFile() || stat.size > JOURNAL_BYTES_MAX) {
      throw new ReelError(
        "damaged",
        `${journalPath} is no journal of a restore; remove its folder`,
      );
    }
    text = await readFile(journalPath, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
  const lines: Record<string, unknown>[] = [];
  for (const line of text.split("\n")) {
    try {
      const value: unknown = JSON.parse(line);
      if (isRecord(value)) lines.push(value);
    } catch {
      // A kill tore it: what it would have announced never began.
    }
  }
  return lines;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

async function refuseIfAlive(
  lines: readonly Record<string, unknown>[],
  folder: string,
): Promise<void> {
  const last = lines.findLast((line) => typeof line["pid"] === "number");
  if (last === undefined || typeof last["pid"] !== "number") return;
  if (last["pid"] === process.pid) return;
  const started = await startTimeOf(last["pid"]);
  if (started === "" || started !== last["started"]) return;
  throw new ReelError(
    "busy",
    `process ${last["pid"]} is restoring this image to the same place (${folder}); wait for it`,
  );
}

/** When a process began, in the kernel's ticks; "" when there is no such process. */
async function startTimeOf(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[START_TIME_FIELD] ?? "";
  } catch {
    return "";
  }
}

/** Undefined when the earlier run died before it did anything, or a power cut took its journal. */
async function readRemains(
  folder: string,
  lines: readonly Record<string, unknown>[],
  identity: JournalIdentity,
): Promise<Remains | undefined> {
  const header = lines.find((line) => line["format"] === "reelfs-restore");
  const staged = await stagedRows(folder);
  if (header === undefined) {
    for (const row of staged) await rm(path.join(folder, String(row)), { force: true });
    return undefined;
  }
  if (header["version"] !== JOURNAL_VERSION) {
    throw new ReelError(
      "unsupported",
      `the restore in ${folder} was begun by another version; remove it to start anew`,
    );
  }
  if (header["image"] !== identity.image || header["selection"] !== identity.selection) {
    throw new ReelError(
      "invalid",
      `the unfinished restore here is of other files; name the same ones to resume it, ` +
        `or remove ${folder} to start anew`,
    );
  }
  const published = rowsIn(lines, "files");
  const trusted = lines.slice(lines.findLastIndex((line) => line["doubt"] === true) + 1);
  const sure = rowsIn(linesOfBoot(trusted, await bootId()), "files");
  const unsure = new Set([...published].filter((row) => !sure.has(row)));
  return { published, unsure, directories: rowsIn(lines, "directories"), staged };
}

async function stagedRows(folder: string): Promise<Set<number>> {
  const staged = new Set<number>();
  for (const name of await readdir(folder)) {
    if (/^\d{1,10}$/.test(name)) staged.add(Number(name));
  }
  return staged;
}

/** Lines of runs under this start of the machine; each run begins with its process. */
function linesOfBoot(
  lines: readonly Record<string, unknown>[],
  boot: string,
): readonly Record<string, unknown>[] {
  let isOurs = false;
  return lines.filter((line) => {
    if ("pid" in line) isOurs = line["boot"] === boot;
    return isOurs;
  });
}

function rowsIn(
  lines: readonly Record<string, unknown>[],
  kind: "directories" | "files",
): Set<number> {
  const rows = new Set<number>();
  for (const line of lines) {
    const found = line[kind];
    if (!Array.isArray(found)) continue;
    for (const row of found) if (typeof row === "number") rows.add(row);
  }
  return rows;
}
