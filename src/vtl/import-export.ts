/** Tapes into a virtual loader and out of it: their files are moved, whole or not at all. */
import { constants } from "node:fs";
import { copyFile, link, lstat, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { syncDirectory } from "../device/sync-directory.ts";
import { ReelError, fromSystem } from "../errors.ts";
import { takeTapeLock } from "../tape/tape-lock.ts";
import { checkBarcode, parseTapeFileName, type Container } from "./barcode.ts";
import { memoryPathOf, removeTapeFile, sizeOf } from "./pending-change.ts";
import { changed, type FullElement } from "./slot-map.ts";
import type { ElementAddress } from "./tape-loader.ts";
import type { VirtualLoader } from "./virtual-loader.ts";
import { newElement, placesFor, refuseLoaded, refuseTwins, withIdleTape } from "./virtual-tapes.ts";

export interface ImportOptions {
  /** Leave the files where they are, and take copies. */
  readonly copy?: boolean | undefined;
  /** The empty element for a single tape; by default the first empty slots are taken. */
  readonly element?: ElementAddress | undefined;
  /** The barcode of a single tape; by default the name of its file. */
  readonly barcode?: string | undefined;
}

/**
 * Takes tape files into the loader, one after another: MoveVirtualTapes.
 * @throws "exists" (a tape of that barcode), "no-space" (no empty slot), "invalid" (no barcode in
 *   the name), "not-found", "busy" (being written). Those before it have been taken in.
 */
export async function importVirtualTapes(
  loader: VirtualLoader,
  paths: readonly string[],
  options: ImportOptions = {},
): Promise<FullElement[]> {
  const placed: FullElement[] = [];
  for (const path of paths) placed.push(await importOne(loader, resolve(path), options));
  return placed;
}

async function importOne(
  loader: VirtualLoader,
  from: string,
  options: ImportOptions,
): Promise<FullElement> {
  const doing = `cannot import ${from} into loader ${loader.name}`;
  const { barcode, container } = importName(from, options.barcode, doing);
  checkBarcode(barcode, doing);
  const sizeBytes = await importSize(from, doing);
  await loader.space.check(doing);
  const lock = options.copy === true ? undefined : await takeTapeLock(from);
  try {
    return await loader.folder.change(doing, async (change) => {
      const { map } = change;
      await refuseTwins(loader, map, barcode, doing);
      const [place] = placesFor(change, options.element, 1, doing);
      if (place === undefined) throw new ReelError("internal", `${doing}: no place`);
      const element = newElement(place, { barcode, container, writeProtected: false });
      const takeAway = options.copy !== true;
      const pending = { operation: "import", tapes: [{ element, path: from, takeAway }] } as const;
      await change.saveMap({ ...map, pending });
      const path = loader.folder.tapePath(element.tape);
      await bringMemory(from, path);
      await bringFile(from, path, !takeAway);
      if ((await sizeOf(path)) !== sizeBytes) {
        await removeTapeFile(path);
        throw new ReelError("busy", `${doing}: it was written meanwhile`);
      }
      if (takeAway) await removeTapeFile(from);
      await change.saveMap(changed(map, [], [element]));
      return element;
    });
  } catch (error) {
    throw fromSystem(error, doing);
  } finally {
    await lock?.release();
  }
}

function importName(
  from: string,
  barcode: string | undefined,
  doing: string,
): { barcode: string; container: Container } {
  const named = parseTapeFileName(basename(from));
  if (named !== undefined) return { ...named, barcode: barcode ?? named.barcode };
  if (barcode !== undefined) return { barcode, container: "tap" };
  throw new ReelError(
    "invalid",
    `${doing}: its name is not BARCODE.tap (or .aws, .het, .e11); give it a barcode`,
  );
}

async function importSize(from: string, doing: string): Promise<number> {
  try {
    const stats = await lstat(from);
    if (stats.isFile()) return stats.size;
  } catch (error) {
    throw fromSystem(error, doing);
  }
  throw new ReelError("invalid", `${doing}: it is not a regular file`);
}

/**
 * Takes a tape out of the loader, into a file. Any element but a drive.
 * @throws "not-found", "busy", "exists" (a file is there).
 */
export async function exportVirtualTape(
  loader: VirtualLoader,
  barcode: string,
  target: string,
): Promise<string> {
  const doing = `cannot export ${barcode}`;
  await withIdleTape(loader, barcode, doing, async ({ map, saveMap }, element, path) => {
    refuseLoaded(element, doing);
    const to = resolve(target);
    if ((await sizeOf(to)) !== undefined) {
      throw new ReelError("exists", `${doing}: ${to} is there already`);
    }
    const without = changed(map, [element], []);
    await saveMap({ ...without, pending: { operation: "export", tapes: [{ element, path: to }] } });
    await bringMemory(path, to);
    await bringFile(path, to, false);
    await removeTapeFile(path);
    await saveMap(without);
  });
  return resolve(target);
}

/** Before the tape, so that no tape is anywhere without its memory; it may replace a stray one. */
async function bringMemory(from: string, to: string): Promise<void> {
  if ((await sizeOf(memoryPathOf(from))) === undefined) return;
  const draft = `${memoryPathOf(to)}.new`;
  await rm(draft, { force: true });
  await copyFile(memoryPathOf(from), draft, constants.COPYFILE_EXCL);
  await syncFile(draft);
  await rename(draft, memoryPathOf(to));
}

async function syncFile(path: string): Promise<void> {
  await using file = await open(path, "r");
  await file.sync();
}

/**
 * Makes `to` the file that `from` is: under its name whole or not at all, and never in place of
 * another. On one file system a second name is enough, unless a copy of its own is wanted.
 */
async function bringFile(from: string, to: string, ownCopy: boolean): Promise<void> {
  if (!ownCopy) {
    // Who wrote it may not have: the loader answers for the bytes from now on, not for the name alone.
    await syncFile(from);
    try {
      await link(from, to);
      await syncDirectory(dirname(to));
      return;
    } catch (error) {
      if (!isLinkRefused(error)) throw error;
    }
  }
  const draft = join(dirname(to), `.${basename(to)}.part`);
  try {
    await rm(draft, { force: true });
    await copyFile(from, draft, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    await syncFile(draft);
    await link(draft, to);
  } finally {
    await rm(draft, { force: true });
  }
  await syncDirectory(dirname(to));
}

/** Another file system, or one without links. */
function isLinkRefused(error: unknown): boolean {
  const codes = ["EXDEV", "EPERM", "ENOTSUP", "EOPNOTSUPP", "EMLINK"];
  return error instanceof Error && "code" in error && codes.includes(String(error.code));
}
