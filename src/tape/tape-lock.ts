/**
 * One writer per tape file: `NAME.tap.lock` beside it says who. The file appears whole or not at
 * all (made under another name, then linked), and a lock whose process is gone is taken over.
 * A process is known by its number and its start time, so that a number used again is no owner.
 * The same lock serves whatever else one process may do at a time (`takeLock`).
 */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { link, open, readFile, rename, rm, writeFile } from "node:fs/promises";
import { hostname, uptime } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { ReelError, fromSystem } from "../errors.ts";

const LOCK_BYTES_MAX = 4096;
/** Attempts to take over a lock that others take over at the same time. */
const ATTEMPTS_MAX = 10;
/** The start time in /proc/PID/stat, counted from after the name in brackets. */
const STAT_START_TIME_FIELD = 19;

/** How often one who waits looks again. */
const LOOK_AGAIN_MS = 10;

export interface TapeLock {
  release(): Promise<void>;
}

/** What a lock is for, in the words of the message of who does not get it. */
export interface LockSubject {
  /** "cannot write REEL0001.tap" */
  readonly doing: string;
  /** What the owner does: "is writing it". */
  readonly using: string;
  /** How long to wait for the owner; not at all without it. */
  readonly waitMs?: number;
}

interface HeldLock {
  readonly text: string;
  readonly owner?: LockOwner;
  readonly modifiedMs: number;
}

interface LockOwner {
  readonly pid: number;
  /** Start time of the process in clock ticks since boot; empty where the system does not tell. */
  readonly started: string;
  readonly host: string;
  readonly since: string;
}

function lockPath(tapePath: string): string {
  return `${tapePath}.lock`;
}

/**
 * Takes the lock of a tape file.
 * @throws "busy" naming the process that has it; what the system says where no lock can be made.
 */
export async function takeTapeLock(tapePath: string): Promise<TapeLock> {
  return takeLock(lockPath(tapePath), {
    doing: `cannot write ${tapePath}`,
    using: "is writing it",
  });
}

/**
 * Takes the lock that the file at `path` is.
 * @throws as takeTapeLock.
 */
export async function takeLock(path: string, subject: LockSubject): Promise<TapeLock> {
  const owner: LockOwner = {
    pid: process.pid,
    started: await startTime(process.pid),
    host: hostname(),
    since: new Date().toISOString(),
  };
  const text = `${JSON.stringify({ ...owner, key: randomBytes(8).toString("hex") })}\n`;
  const giveUpAt = performance.now() + (subject.waitMs ?? 0);
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    if (await makeLock(path, text)) return { release: async () => releaseLock(path, text) };
    const held = await readLock(path);
    if (held === undefined) continue;
    if (!(await isAlive(held))) {
      await removeStale(path, held.text);
      continue;
    }
    if (performance.now() >= giveUpAt) throw busy(path, subject, held.owner);
    attempt = 0;
    await delay(LOOK_AGAIN_MS * (0.5 + Math.random()));
  }
  throw busy(path, subject, undefined);
}

/** True while a living process holds the tape for writing. */
export async function hasLiveWriter(tapePath: string): Promise<boolean> {
  const held = await readLock(lockPath(tapePath));
  return held !== undefined && (await isAlive(held));
}

/** Throws "busy", naming the writer, while a living process holds the tape for writing. */
export async function refuseWhileWritten(tapePath: string, doing: string): Promise<void> {
  const path = lockPath(tapePath);
  const held = await readLock(path);
  if (held !== undefined && (await isAlive(held))) {
    throw busy(path, { doing, using: "is writing the tape" }, held.owner);
  }
}

function busy(
  path: string,
  { doing, using }: LockSubject,
  owner: LockOwner | undefined,
): ReelError {
  const who =
    owner === undefined
      ? "another process"
      : `process ${owner.pid} on ${owner.host}, since ${owner.since}`;
  return new ReelError(
    "busy",
    `${doing}: ${who} ${using}; wait for it to finish, or remove ${path} if that is not so`,
  );
}

/** Makes the lock file with its text in it, or says that there is one. */
async function makeLock(path: string, text: string): Promise<boolean> {
  const draft = `${path}.${process.pid}.${randomBytes(4).toString("hex")}`;
  try {
    await writeFile(draft, text, { flag: "wx" });
    await link(draft, path);
    return true;
  } catch (error) {
    if (hasErrno(error, "EEXIST")) return false;
    // A filesystem without hard links: the lock is empty for a moment, which reads as "in use".
    if (hasErrno(error, "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK")) {
      return await makeLockInPlace(path, text);
    }
    throw fromSystem(error, `cannot make the lock ${path}`);
  } finally {
    await rm(draft, { force: true });
  }
}

async function makeLockInPlace(path: string, text: string): Promise<boolean> {
  try {
    await writeFile(path, text, { flag: "wx" });
    return true;
  } catch (error) {
    if (hasErrno(error, "EEXIST")) return false;
    throw fromSystem(error, `cannot make the lock ${path}`);
  }
}

async function readLock(path: string): Promise<HeldLock | undefined> {
  try {
    // Not blocking, so that a pipe in its place is not waited for.
    await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(LOCK_BYTES_MAX), 0);
    const { mtimeMs } = await handle.stat();
    const held = { text: buffer.toString("utf8", 0, bytesRead), modifiedMs: mtimeMs };
    const owner = parseOwner(held.text);
    return owner === undefined ? held : { ...held, owner };
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return undefined;
    throw fromSystem(error, `cannot read the lock ${path}`);
  }
}

function parseOwner(text: string): LockOwner | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return undefined;
    const { pid, started, host, since } = value as Partial<Record<keyof LockOwner, unknown>>;
    if (typeof pid !== "number" || !Number.isSafeInteger(pid) || pid <= 0) return undefined;
    if (typeof started !== "string" || typeof host !== "string") return undefined;
    return { pid, started, host, since: typeof since === "string" ? since : "an unknown time" };
  } catch {
    return undefined;
  }
}

/**
 * A lock that cannot be read, or is another machine's, counts as held: nobody here can tell. One that
 * cannot be read and is older than the start of this machine is what a power cut left: its name came
 * to the disk, its text did not.
 */
async function isAlive({ owner, modifiedMs }: HeldLock): Promise<boolean> {
  if (owner === undefined) return modifiedMs >= Date.now() - uptime() * 1000;
  if (owner.host !== hostname()) return true;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if (hasErrno(error, "ESRCH")) return false;
  }
  return (await startTime(owner.pid)) === owner.started;
}

async function startTime(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[STAT_START_TIME_FIELD] ?? "";
  } catch {
    return "";
  }
}

/**
 * Moves a dead process's lock out of the way. Another process may do the same at this moment and
 * have made its own lock since: what was moved is looked at, and put back if it is not the dead one.
 */
async function removeStale(path: string, staleText: string): Promise<void> {
  const aside = `${path}.${process.pid}.${randomBytes(4).toString("hex")}.stale`;
  try {
    await rename(path, aside);
    if ((await readFile(aside, "utf8")) !== staleText) await link(aside, path);
  } catch (error) {
    if (!hasErrno(error, "ENOENT", "EEXIST")) {
      throw fromSystem(error, `cannot take over the lock ${path}`);
    }
  } finally {
    await rm(aside, { force: true });
  }
}

async function releaseLock(path: string, text: string): Promise<void> {
  try {
    if ((await readFile(path, "utf8")) === text) await rm(path, { force: true });
  } catch (error) {
    // On a disk that failed and became read-only it stays, and counts for nothing without its owner.
    if (hasErrno(error, "ENOENT", "EROFS")) return;
    throw fromSystem(error, `cannot remove the lock ${path}`);
  }
}

function hasErrno(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}
