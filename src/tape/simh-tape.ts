/** Opening a SIMH `.tap` file as a tape: the file, the lock, and the index beside it. */
import { constants } from "node:fs";
import { open, realpath, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { ReelError, fromSystem } from "../errors.ts";
import { SimhDrive } from "./simh-drive.ts";
import { earlyWarningFrom, type CapacityOptions } from "./tape-capacity.ts";
import type { TapeDrive } from "./tape-drive.ts";
import { TapeIndex } from "./tape-index.ts";
import { loadIndexFile, stampOf } from "./tape-index-file.ts";
import { takeTapeLock, type TapeLock } from "./tape-lock.ts";

export interface SimhTapeOptions extends CapacityOptions {
  readonly mode: "read" | "write";
  /** Makes an empty tape where there is none ("write" only). */
  readonly create?: boolean;
  /** Keep and use `NAME.tap.idx` (the default). */
  readonly useIndex?: boolean;
}

/** A new tape is readable by whom the umask lets. */
const TAPE_FILE_MODE = 0o666;

/**
 * Opens a `.tap` file as a tape, at its beginning.
 * @throws "not-found", "busy" (another process writes it), "invalid" (no regular file).
 */
export async function openSimhTape(path: string, options: SimhTapeOptions): Promise<TapeDrive> {
  const writable = options.mode === "write";
  const doing = `cannot open ${path} as a tape`;
  const earlyWarningBytes = earlyWarningFrom(options, doing);
  const opened = await openFile(path, writable, options.create === true);
  let lock: TapeLock | undefined;
  try {
    const realPath = await realpath(path);
    if (writable) lock = await takeTapeLock(realPath);
    const stats = await opened.handle.stat();
    if (!stats.isFile()) throw new ReelError("invalid", `${doing}: it is not a regular file`);
    if (opened.created) await syncFolder(realPath);
    const index = new TapeIndex();
    const useIndex = options.useIndex ?? true;
    const loaded = useIndex && (await loadIndexFile(realPath, opened.handle, index));
    return new SimhDrive(path, opened.handle, index, {
      realPath,
      writable,
      stamp: await stampOf(opened.handle),
      lock,
      useIndex,
      indexedObjects: loaded ? index.count : 0,
      capacityBytes: options.capacityBytes ?? Number.POSITIVE_INFINITY,
      earlyWarningBytes,
    });
  } catch (error) {
    await opened.handle.close();
    await lock?.release();
    throw fromSystem(error, doing);
  }
}

async function openFile(
  path: string,
  writable: boolean,
  create: boolean,
): Promise<{ handle: FileHandle; created: boolean }> {
  const flags = writable ? constants.O_RDWR : constants.O_RDONLY;
  try {
    // Not blocking, so that a pipe in place of a tape is refused and not waited for.
    return { handle: await open(path, flags | constants.O_NONBLOCK), created: false };
  } catch (error) {
    const failure = fromSystem(error, `cannot open ${path} as a tape`);
    if (failure.code !== "not-found" || !writable || !create) throw failure;
  }
  try {
    return { handle: await open(path, flags | constants.O_CREAT, TAPE_FILE_MODE), created: true };
  } catch (error) {
    throw fromSystem(error, `cannot create the tape ${path}`);
  }
}

/** Makes the name of a new tape durable. */
async function syncFolder(path: string): Promise<void> {
  await using folder = await open(dirname(path), "r");
  await folder.sync();
}
