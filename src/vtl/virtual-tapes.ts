/** Making, deleting, erasing, protecting and labelling the tapes of a virtual loader. */
import { chmod, open, rm, stat } from "node:fs/promises";
import { syncDirectory } from "../device/sync-directory.ts";
import { ReelError, fromSystem } from "../errors.ts";
import { readLabel, writeLabel } from "../tape/labels.ts";
import { takeTapeLock, type TapeLock } from "../tape/tape-lock.ts";
import { checkBarcode, nextBarcodes, parseBarcodePattern } from "./barcode.ts";
import { factsOf, loadedTapeNow, openCartridge, refuseLink } from "./cartridge.ts";
import type { LoaderChange } from "./loader-folder.ts";
import { removeTapeFile, sizeOf } from "./pending-change.ts";
import {
  changed,
  checkElement,
  elementText,
  emptyElements,
  findTape,
  requireTape,
  tapeAt,
  withTape,
  type FullElement,
  type SlotMap,
  type StoredTape,
} from "./slot-map.ts";
import type { ElementAddress } from "./tape-loader.ts";
import type { VirtualLoader } from "./virtual-loader.ts";

/** A new tape is readable by whom the umask lets. */
const TAPE_FILE_MODE = 0o666;
const TAPES_PER_CALL_MAX = 10_000;

export interface NewTapes {
  /** How many, named by the loader's pattern; 1 by default. */
  readonly count?: number | undefined;
  /** Their barcodes instead. */
  readonly barcodes?: readonly string[] | undefined;
  /** The empty element for a single tape; by default the first empty slots are taken. */
  readonly element?: ElementAddress | undefined;
  /** Instead of the loader's. */
  readonly capacityBytes?: number | undefined;
}

export async function createVirtualTape(
  loader: VirtualLoader,
  options: Omit<NewTapes, "count" | "barcodes"> & { readonly barcode?: string | undefined } = {},
): Promise<FullElement> {
  const { barcode, ...rest } = options;
  const named = barcode === undefined ? {} : { barcodes: [barcode] };
  const [tape] = await createVirtualTapes(loader, { ...rest, ...named });
  if (tape === undefined) throw new ReelError("internal", "no tape was made");
  return tape;
}

/**
 * Makes empty tapes: all of them, or none.
 * @throws "no-space" (too few slots, or the file system too full), "exists" (a tape of that
 *   barcode, or a full element), "invalid".
 */
export async function createVirtualTapes(
  loader: VirtualLoader,
  options: NewTapes = {},
): Promise<FullElement[]> {
  const doing = `cannot make a tape in loader ${loader.name}`;
  const count = options.barcodes?.length ?? options.count ?? 1;
  if (!Number.isSafeInteger(count) || count < 1 || count > TAPES_PER_CALL_MAX) {
    throw new ReelError("invalid", `${doing}: ${count} tapes; make 1 to ${TAPES_PER_CALL_MAX}`);
  }
  await loader.space.check(doing);
  return loader.folder.change(doing, async (change) => {
    const { config, map } = change;
    const barcodes = await newBarcodes(loader, change, options.barcodes, count, doing);
    const places = placesFor(change, options.element, count, doing);
    const capacityBytes = options.capacityBytes ?? config.capacityBytes;
    const tapes = places.map((place, index) => {
      const tape: StoredTape = {
        barcode: barcodes[index] ?? "",
        container: "tap",
        writeProtected: false,
        ...(capacityBytes === undefined ? {} : { capacityBytes }),
      };
      return newElement(place, tape);
    });
    const pending = { operation: "create", tapes: tapes.map((element) => ({ element })) } as const;
    await change.saveMap({ ...map, pending });
    for (const { tape } of tapes) await makeTapeFile(loader.folder.tapePath(tape), doing);
    await syncDirectory(loader.folder.tapesPath);
    await change.saveMap(changed(map, [], tapes));
    return tapes;
  });
}

async function newBarcodes(
  loader: VirtualLoader,
  { config, map }: LoaderChange,
  named: readonly string[] | undefined,
  count: number,
  doing: string,
): Promise<readonly string[]> {
  const known = new Set([...map.full.values()].map(({ tape }) => tape.barcode));
  const isTaken = (barcode: string): boolean => known.has(barcode);
  if (named === undefined) {
    const pattern = parseBarcodePattern(config.barcodePattern, doing);
    const onDisk = await loader.tapesOnDisk();
    return nextBarcodes(pattern, count, (each) => isTaken(each) || onDisk.has(each), doing);
  }
  for (const [index, barcode] of named.entries()) {
    checkBarcode(barcode, doing);
    await refuseTwins(loader, map, barcode, doing);
    if (named.indexOf(barcode) !== index) {
      throw new ReelError("invalid", `${doing}: ${barcode} is named twice`);
    }
  }
  return named;
}

export async function refuseTwins(
  loader: VirtualLoader,
  map: SlotMap,
  barcode: string,
  doing: string,
): Promise<void> {
  const twin = findTape(map, barcode);
  if (twin !== undefined) {
    throw new ReelError("exists", `${doing}: ${barcode} is in ${elementText(twin)} already`);
  }
  if ((await loader.tapesOnDisk()).has(barcode)) {
    const why = `a file of that name lies in ${loader.folder.tapesPath}; take the inventory`;
    throw new ReelError("exists", `${doing}: ${barcode}: ${why}`);
  }
}

export function placesFor(
  { config, map }: LoaderChange,
  wanted: ElementAddress | undefined,
  count: number,
  doing: string,
): readonly ElementAddress[] {
  if (wanted !== undefined) {
    checkElement(config, wanted, doing);
    const there = tapeAt(map, wanted);
    if (count !== 1) throw new ReelError("invalid", `${doing}: one element holds one tape`);
    if (there === undefined) return [wanted];
    const why = `${elementText(wanted)} holds ${there.tape.barcode}`;
    throw new ReelError("exists", `${doing}: ${why}; choose an empty one`);
  }
  const slots = emptyElements(map, config, "storage", count);
  if (slots.length === count) return slots;
  throw new ReelError(
    "no-space",
    `${doing}: ${slots.length} slots are empty, and ${count} are needed; ` +
      `export or delete tapes, or give the loader more slots`,
  );
}

export function newElement({ kind, number }: ElementAddress, tape: StoredTape): FullElement {
  if (kind === "drive") return { kind, number, tape, threaded: true };
  if (kind === "import-export") return { kind, number, tape, placedByOperator: true };
  return { kind, number, tape };
}

async function makeTapeFile(path: string, doing: string): Promise<void> {
  try {
    await using file = await open(path, "wx", TAPE_FILE_MODE);
    await file.sync();
  } catch (error) {
    throw fromSystem(error, doing);
  }
}

/**
 * Runs `body` with a tape that nobody uses: its drive, if it is in one, and its file are locked.
 * `pick` finds the tape, before and again when the loader is locked.
 */
export async function withIdleTape<T>(
  loader: VirtualLoader,
  barcode: string,
  doing: string,
  body: (change: LoaderChange, element: FullElement, path: string) => Promise<T>,
): Promise<T> {
  await loader.folder.refresh();
  const before = requireTape(loader.folder.map, barcode, doing);
  const drives = before.kind === "drive" ? [before.number] : [];
  return loader.whileDrivesIdle(drives, doing, async () =>
    loader.folder.change(doing, async (change) => {
      const element = requireTape(change.map, barcode, doing);
      if (element.kind === "drive" && !drives.includes(element.number)) {
        throw new ReelError("busy", `${doing}: it was just put into ${elementText(element)}`);
      }
      const path = loader.folder.tapePath(element.tape);
      let lock: TapeLock | undefined;
      try {
        lock = await takeTapeLock(path);
        return await body(change, element, path);
      } catch (error) {
        throw fromSystem(error, doing);
      } finally {
        await lock?.release();
      }
    }),
  );
}

/**
 * Refuses to delete what somebody has protected. A foreign tape is never written, which is no reason
 * not to delete it.
 */
async function refuseKept(element: FullElement, path: string, doing: string): Promise<void> {
  const stats = await stat(path).catch(() => undefined);
  if (stats === undefined) return;
  if (!element.tape.writeProtected && !factsOf(stats).isReadOnly) return;
  throw new ReelError("read-only", `${doing}: it is write-protected`);
}

/** Refuses what would take the data from a tape that is meant to keep it. */
function refuseProtected(element: FullElement, path: string, doing: string): void {
  if (!loadedTapeNow(element.tape, path).writeProtected) return;
  throw new ReelError("read-only", `${doing}: it is write-protected`);
}

/** Throws "busy" for a tape in a drive. */
export function refuseLoaded(element: FullElement, doing: string): void {
  if (element.kind !== "drive") return;
  throw new ReelError("busy", `${doing}: it is in ${elementText(element)}; unload it first`);
}

/**
 * Deletes a tape and its data.
 * @throws "not-found", "busy" (in a drive, or being written), "read-only".
 */
export async function deleteVirtualTape(loader: VirtualLoader, barcode: string): Promise<void> {
  const doing = `cannot delete ${barcode}`;
  await withIdleTape(loader, barcode, doing, async ({ map, saveMap }, element, path) => {
    refuseLoaded(element, doing);
    await refuseKept(element, path, doing);
    const without = changed(map, [element], []);
    await saveMap({ ...without, pending: { operation: "delete", tapes: [{ element }] } });
    await removeTapeFile(path);
    await saveMap(without);
  });
}

/**
 * Makes a tape blank.
 * @throws "not-found", "busy" (in use), "read-only".
 */
export async function eraseVirtualTape(loader: VirtualLoader, barcode: string): Promise<void> {
  const doing = `cannot erase ${barcode}`;
  await withIdleTape(loader, barcode, doing, async (_change, element, path) => {
    refuseProtected(element, path, doing);
    await refuseLink(path);
    await using file = await open(path, "r+");
    await file.truncate(0);
    await file.sync();
    await rm(`${path}.idx`, { force: true });
  });
}

/** Sets or clears the write protection of a tape. */
export async function protectVirtualTape(
  loader: VirtualLoader,
  barcode: string,
  writeProtected: boolean,
): Promise<void> {
  const doing = `cannot change the write protection of ${barcode}`;
  await withIdleTape(loader, barcode, doing, async ({ map, saveMap }, element, path) => {
    if (element.tape.container === "tap" && !writeProtected) await makeWritable(path);
    await saveMap(withTape(map, element, { ...element.tape, writeProtected }));
  });
}

async function makeWritable(path: string): Promise<void> {
  await refuseLink(path);
  const { mode } = await stat(path);
  if ((mode & 0o222) === 0) await chmod(path, mode | 0o200);
}

export interface LabelOptions {
  /** Volume serial; by default the barcode, if it is short enough, or its last six characters. */
  readonly serial?: string | undefined;
  /** Also a tape that holds something: it is gone then. */
  readonly force?: boolean | undefined;
}

const SERIAL_CHARS_MAX = 6;

/**
 * Writes a volume label at the beginning of a blank tape; returns the serial in it.
 * @throws "exists" (the tape is not blank), "read-only", "busy", "invalid" (no serial).
 */
export async function labelVirtualTape(
  loader: VirtualLoader,
  barcode: string,
  options: LabelOptions = {},
): Promise<string> {
  const doing = `cannot label ${barcode}`;
  const serial = options.serial ?? barcode.slice(-SERIAL_CHARS_MAX);
  await loader.space.check(doing);
  await loader.folder.refresh();
  const before = requireTape(loader.folder.map, barcode, doing);
  const drives = before.kind === "drive" ? [before.number] : [];
  await loader.whileDrivesIdle(drives, doing, async () =>
    loader.folder.change(doing, async ({ map }) => {
      const element = requireTape(map, barcode, doing);
      const path = loader.folder.tapePath(element.tape);
      refuseProtected(element, path, doing);
      const { drive } = await openCartridge(element.tape, path);
      try {
        const label = await readLabel(drive);
        if (options.force !== true && (await sizeOf(path)) !== 0) {
          const holds = label === undefined ? "data" : `the label ${label.serial}`;
          throw new ReelError("exists", `${doing}: it has ${holds}; erase it first`);
        }
        await writeLabel(drive, serial);
      } finally {
        await drive.close();
      }
    }),
  );
  return serial;
}
