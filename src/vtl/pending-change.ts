/**
 * What became of a change of tape files whose process was killed in the middle. Each is written
 * down in the slot map before the first file is touched, so that map and files can be brought
 * together again: a creation is undone, a deletion finished, an import or export finished where the
 * tape has arrived, and undone where it has not. A tape arrives under its name whole or not at all.
 */
import { lstat, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { syncDirectory } from "../device/sync-directory.ts";
import { fromSystem } from "../errors.ts";
import { changed, type FullElement, type PendingTape, type SlotMap } from "./slot-map.ts";
import type { StoredTape } from "./slot-map.ts";

type PathOf = (tape: StoredTape) => string;

/** The map when nothing is pending any more; undefined where nothing was. */
export async function settlePending(map: SlotMap, pathOf: PathOf): Promise<SlotMap | undefined> {
  const { pending, ...rest } = map;
  if (pending === undefined) return undefined;
  const placed: FullElement[] = [];
  for (const tape of pending.tapes) {
    const { element } = tape;
    const path = pathOf(element.tape);
    try {
      if (pending.operation === "create") await undoCreate(path);
      if (pending.operation === "delete") await removeTapeFile(path);
      if (pending.operation === "import" && (await finishImport(path, tape))) placed.push(element);
      if (pending.operation === "export" && !(await finishExport(path, tape))) placed.push(element);
    } catch (error) {
      throw fromSystem(error, `cannot finish the ${pending.operation} of ${path}`);
    }
  }
  return changed(rest, [], placed);
}

/** Where the cartridge's memory of a tape is kept. */
export function memoryPathOf(tapePath: string): string {
  return `${tapePath}.mam`;
}

/** Removes a tape and what belongs to it. */
export async function removeTapeFile(path: string): Promise<void> {
  await rm(path, { force: true });
  await rm(`${path}.idx`, { force: true });
  await rm(memoryPathOf(path), { force: true });
  await syncDirectory(dirname(path));
}

export async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const stats = await lstat(path);
    return stats.isFile() ? stats.size : undefined;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** Nobody can have written to it: it is in no element. */
async function undoCreate(path: string): Promise<void> {
  if ((await sizeOf(path)) === 0) await removeTapeFile(path);
}

/**
 * True where the tape is in the loader. The slot map is not believed so far as to delete a file
 * elsewhere: only a second name of the very tape is taken away; a copy stays where it is.
 */
async function finishImport(path: string, { path: from, takeAway }: PendingTape): Promise<boolean> {
  if ((await sizeOf(path)) === undefined) return false;
  if (takeAway === true && from !== undefined && (await isSameFile(path, from))) {
    await removeTapeFile(from);
  }
  return true;
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  if ((await sizeOf(other)) === undefined) return false;
  const [a, b] = [await lstat(one), await lstat(other)];
  return a.dev === b.dev && a.ino === b.ino;
}

/** True where the tape has left the loader. */
async function finishExport(path: string, { path: to }: PendingTape): Promise<boolean> {
  const sizeBytes = await sizeOf(path);
  if (sizeBytes === undefined) return true;
  if (to === undefined || (await sizeOf(to)) !== sizeBytes) return false;
  await removeTapeFile(path);
  return true;
}
