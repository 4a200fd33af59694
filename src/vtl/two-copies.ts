/**
 * A small file that must not be lost: `NAME` and its copy `NAME.bak`. Both are written beside
 * themselves, made durable, and renamed, the file first: whatever happens, one of them is whole,
 * and where both are, the file is at least as new as its copy.
 */
import { constants } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { syncDirectory } from "../device/sync-directory.ts";
import { ReelError, fromSystem, isReelError } from "../errors.ts";

/** More than any of our files comes to; a larger one is not read. */
const FILE_BYTES_MAX = 32 * 1024 * 1024;

export interface ReadCopy<T> {
  readonly value: T;
  /** Why the copy was read and not the file itself. */
  readonly notice?: string | undefined;
}

export function backupOf(path: string): string {
  return `${path}.bak`;
}

/**
 * Reads the file, or its copy where the file is missing or cannot be read; undefined when neither
 * is there. `parse` throws for what it cannot make sense of.
 * @throws "damaged" naming both, when one is there and none can be read.
 */
export async function readTwoCopies<T>(
  path: string,
  what: string,
  parse: (bytes: Uint8Array, where: string) => T,
): Promise<ReadCopy<T> | undefined> {
  const first = await readCopy(path, what, parse);
  if ("value" in first) return { value: first.value };
  // Of a later version: its copy may be older, and would be written over it.
  if (first.failure.code === "unsupported") throw first.failure;
  const second = await readCopy(backupOf(path), what, parse);
  if ("value" in second) {
    const notice = `${first.failure.message}; its backup copy ${backupOf(path)} was read instead`;
    return { value: second.value, notice };
  }
  const failures = [first.failure, second.failure];
  if (failures.every((failure) => isReelError(failure, "not-found"))) return undefined;
  throw new ReelError(
    "damaged",
    `cannot read ${what}, neither ${path} nor its backup copy ${backupOf(path)}: ` +
      `${failures.map((failure) => failure.message).join("; ")}; nothing was changed; ` +
      `put one of them right, or move both away`,
    { cause: first.failure },
  );
}

async function readCopy<T>(
  path: string,
  what: string,
  parse: (bytes: Uint8Array, where: string) => T,
): Promise<{ readonly value: T } | { readonly failure: ReelError }> {
  try {
    return { value: parse(await readSmallFile(path), path) };
  } catch (error) {
    return { failure: fromSystem(error, `cannot read ${what} ${path}`) };
  }
}

/** All of a regular file that is not unreasonably large. */
export async function readSmallFile(path: string): Promise<Uint8Array> {
  await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const stats = await handle.stat();
  // A device may say that it is empty and never end.
  if (!stats.isFile()) throw new ReelError("damaged", `${path}: it is not a regular file`);
  if (stats.size > FILE_BYTES_MAX) {
    throw new ReelError("damaged", `${path}: ${stats.size} bytes are too many for such a file`);
  }
  return await handle.readFile();
}

/** Writes the file and its copy. Only one process may do this at a time. */
export async function writeTwoCopies(path: string, text: string): Promise<void> {
  const bytes = Buffer.from(text);
  const paths = [path, backupOf(path)];
  try {
    await Promise.all(paths.map(async (each) => writeDraft(draftOf(each), bytes, "durable")));
    for (const each of paths) await rename(draftOf(each), each);
    await syncDirectory(dirname(path));
  } catch (error) {
    throw fromSystem(error, `cannot write ${path}`);
  }
}

/** The same name each time: what a killed process left is written over, and does not pile up. */
function draftOf(path: string): string {
  return `${path}.new`;
}

/**
 * Writes a file that is about to take the place of another. What has its name already is removed and
 * not written through: in a folder that somebody else filled it may be a link to any file.
 */
export async function writeDraft(
  path: string,
  content: Uint8Array | string,
  how: "durable" | "fleeting",
): Promise<void> {
  await rm(path, { force: true });
  await using handle = await open(path, "wx");
  await handle.writeFile(content);
  if (how === "durable") await handle.sync();
}
