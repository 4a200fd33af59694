/**
 * File calls by descriptor number. A restore makes half a million of them: FileHandle objects and
 * their finalizers cost more than the calls.
 */
import fs from "node:fs";
import { promisify } from "node:util";

import { isReelError } from "../errors.ts";

export const open = promisify(fs.open);
export const close = promisify(fs.close);
export const ftruncate = promisify(fs.ftruncate);
export const fchmod = promisify(fs.fchmod);
export const fchown = promisify(fs.fchown);
export const fstat = promisify(fs.fstat);
export const chmod = promisify(fs.chmod);
export const lchown = promisify(fs.lchown);
export const link = promisify(fs.link);
export const rename = promisify(fs.rename);
export const unlink = promisify(fs.unlink);
export const mkdir = promisify(fs.mkdir);
export const lstat = promisify(fs.lstat);

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = fs.constants;

/** Flags to create a file that must not be there, and to open what was created so. */
export const CREATE_FLAGS = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW;
export const REOPEN_FLAGS = O_WRONLY | O_NOFOLLOW;
export const DIRECTORY_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

const fsWrite = promisify(fs.write);
const fsFutimes = promisify(fs.futimes);
const fsLutimes = promisify(fs.lutimes);

/** Writes all of `bytes` at `offset`, however many calls the system wants for it. */
export async function writeAll(fd: number, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const left = bytes.length - done;
    const { bytesWritten } = await fsWrite(fd, bytes, done, left, offset + done);
    done += bytesWritten;
  }
}

/** Times as fs.*utimes takes them. */
function timeOf(ms: number): number | Date {
  // Node takes a negative number for "now", but a Date for what it says; and it cuts to whole
  // microseconds, which without the half one on top would turn 0.12 s into 0.119999 s.
  return ms < 0 ? new Date(ms) : (ms + 0.0005) / 1000;
}

export async function setTimes(fd: number, accessedMs: number, modifiedMs: number): Promise<void> {
  await fsFutimes(fd, timeOf(accessedMs), timeOf(modifiedMs));
}

/** Times of the link itself. */
export async function setLinkTimes(
  path: string,
  accessedMs: number,
  modifiedMs: number,
): Promise<void> {
  await fsLutimes(path, timeOf(accessedMs), timeOf(modifiedMs));
}

/** Is it a system error of this errno name? A ReelError is asked for its cause. */
export function isErrno(error: unknown, ...errnos: readonly string[]): boolean {
  if (isReelError(error)) return isErrno(error.cause, ...errnos);
  return error instanceof Error && "code" in error && errnos.includes(String(error.code));
}

/**
 * Calls `work` for 0 to count - 1, at most `limit` of them under way at a time. After a failure no
 * more are begun; it is thrown when those under way have ended.
 */
export async function inParallel(
  count: number,
  limit: number,
  work: (index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    while (next < count && failures.length === 0) {
      try {
        await work(next++);
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, limit) }, worker));
  if (failures.length > 0) throw failures[0];
}
