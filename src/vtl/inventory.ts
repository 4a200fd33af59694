/**
 * Inventory: what lies in the tapes folder against what the slot map says. Tapes that were copied
 * in get a slot; those whose file is gone are taken off the map; whatever is in doubt is reported
 * and left alone.
 */
import { link, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { fromSystem, isReelError } from "../errors.ts";
import { syncDirectory } from "../device/sync-directory.ts";
import { parseTapeFileName, tapeFileName, type Container } from "./barcode.ts";
import type { LoaderConfig } from "./loader-config.ts";
import { memoryPathOf } from "./pending-change.ts";
import {
  EMPTY_SLOT_MAP,
  changed,
  emptyElements,
  findTape,
  type FullElement,
  type SlotMap,
} from "./slot-map.ts";
import type { ElementAddress } from "./tape-loader.ts";
import type { VirtualLoader } from "./virtual-loader.ts";

export interface PlacedTape extends ElementAddress {
  readonly barcode: string;
}

export interface InventoryReport {
  /** Tapes that were copied in, and the slots they got. */
  readonly found: readonly PlacedTape[];
  /** Tapes whose files are gone, and where they were. */
  readonly missing: readonly PlacedTape[];
  /** Tapes of which there are several files. The first of them counts. */
  readonly doubled: readonly { readonly barcode: string; readonly files: readonly string[] }[];
  /** Tapes for which there was no empty slot. */
  readonly withoutSlot: readonly string[];
  /** Files that are no tapes, by their names. */
  readonly unusable: readonly string[];
}

/** Files that stand beside tapes: locks, indexes, and what is being written. */
const BESIDE_TAPES = /\.(?:idx|mam|lock|part|new|stale)$|\.(?:lock|idx)\.|^\./;

/** Brings the slot map of a loader up to date with its folder, and says what there was to do. */
export async function inventoryVirtualLoader(loader: VirtualLoader): Promise<InventoryReport> {
  const { folder } = loader;
  const doing = `cannot take the inventory of loader ${loader.name}`;
  return folder.change(doing, async ({ config, map, saveMap }) => {
    const { next, report } = await takeInventory(folder.tapesPath, config, map, doing);
    if (report.found.length > 0 || report.missing.length > 0) await saveMap(next);
    return report;
  });
}

/** A slot map for the tapes in a folder that had none. */
export async function firstInventory(
  tapesPath: string,
  config: LoaderConfig,
  doing: string,
): Promise<{ readonly next: SlotMap; readonly report: InventoryReport }> {
  return takeInventory(tapesPath, config, EMPTY_SLOT_MAP, doing);
}

interface FoundFile {
  readonly file: string;
  readonly container: Container;
}

async function takeInventory(
  tapesPath: string,
  config: LoaderConfig,
  map: SlotMap,
  doing: string,
): Promise<{ readonly next: SlotMap; readonly report: InventoryReport }> {
  try {
    const { byBarcode, unusable } = await listTapes(tapesPath);
    const missing = [...map.full.values()].filter(({ tape }) => {
      const file = tapeFileName(tape.barcode, tape.container);
      return byBarcode.get(tape.barcode)?.some((each) => each.file === file) !== true;
    });
    let next = changed(map, missing, []);
    const known = new Set([...next.full.values()].map(({ tape }) => tape.barcode));
    const fresh = [...byBarcode.keys()].filter((barcode) => !known.has(barcode)).sort();
    const slots = emptyElements(next, config, "storage", fresh.length);
    const added: FullElement[] = [];
    for (const [index, slot] of slots.entries()) {
      const barcode = fresh[index] ?? "";
      const container = await settleName(tapesPath, barcode, byBarcode.get(barcode) ?? []);
      added.push({ ...slot, tape: { barcode, container, writeProtected: false } });
    }
    next = changed(next, [], added);
    const report: InventoryReport = {
      found: added.map(placed),
      missing: missing.map(placed),
      doubled: doubledTapes(byBarcode, next),
      withoutSlot: fresh.slice(slots.length),
      unusable,
    };
    return { next, report };
  } catch (error) {
    throw fromSystem(error, doing);
  }
}

function placed({ kind, number, tape }: FullElement): PlacedTape {
  return { kind, number, barcode: tape.barcode };
}

async function listTapes(
  tapesPath: string,
): Promise<{ byBarcode: Map<string, FoundFile[]>; unusable: string[] }> {
  const byBarcode = new Map<string, FoundFile[]>();
  const unusable: string[] = [];
  const entries = await readdir(tapesPath, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (BESIDE_TAPES.test(entry.name)) continue;
    const parsed = entry.isFile() ? parseTapeFileName(entry.name) : undefined;
    if (parsed === undefined) {
      unusable.push(entry.name);
      continue;
    }
    const files = byBarcode.get(parsed.barcode) ?? [];
    files.push({ file: entry.name, container: parsed.container });
    byBarcode.set(parsed.barcode, files);
  }
  return { byBarcode, unusable };
}

/** The one file of several that is the tape: a .tap file first, with its proper name first. */
function chooseFile(barcode: string, files: readonly FoundFile[]): FoundFile | undefined {
  const rank = ({ file, container }: FoundFile): number =>
    (container === "tap" ? 0 : 2) + (file === tapeFileName(barcode, container) ? 0 : 1);
  return [...files].sort((a, b) => rank(a) - rank(b))[0];
}

/** Gives `reel0001.tap` its proper name `REEL0001.tap`. */
async function settleName(
  tapesPath: string,
  barcode: string,
  files: readonly FoundFile[],
): Promise<Container> {
  const chosen = chooseFile(barcode, files);
  if (chosen === undefined) return "tap";
  const proper = tapeFileName(barcode, chosen.container);
  if (chosen.file !== proper) {
    await rename(join(tapesPath, chosen.file), join(tapesPath, proper));
    await rm(join(tapesPath, `${chosen.file}.idx`), { force: true });
    await moveMemory(join(tapesPath, chosen.file), join(tapesPath, proper));
    await syncDirectory(tapesPath);
  }
  return chosen.container;
}

/** The cartridge's memory, where there is one, follows its tape. */
async function moveMemory(from: string, to: string): Promise<void> {
  try {
    await rename(memoryPathOf(from), memoryPathOf(to));
  } catch (error) {
    if (!isReelError(fromSystem(error, "cannot rename"), "not-found")) throw error;
  }
}

function doubledTapes(
  byBarcode: ReadonlyMap<string, readonly FoundFile[]>,
  map: SlotMap,
): InventoryReport["doubled"] {
  const doubled: { barcode: string; files: string[] }[] = [];
  for (const [barcode, files] of byBarcode) {
    if (files.length < 2) continue;
    const counts = findTape(map, barcode)?.tape.container;
    const names = [...files].sort(
      (a, b) => Number(b.container === counts) - Number(a.container === counts),
    );
    doubled.push({ barcode, files: names.map(({ file }) => file) });
  }
  return doubled;
}

/**
 * Takes tapes that lie in the loader's folder itself into its tapes folder. One whose name is there
 * already stays where it is, and is returned.
 */
export async function gatherTapes(path: string, tapesPath: string): Promise<string[]> {
  const left: string[] = [];
  for (const entry of await readdir(path, { withFileTypes: true })) {
    if (!entry.isFile() || parseTapeFileName(entry.name) === undefined) continue;
    const from = join(path, entry.name);
    try {
      // Not renamed: that would replace a tape of the same name.
      await link(from, join(tapesPath, entry.name));
      await rm(from);
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
      left.push(entry.name);
    }
  }
  await syncDirectory(tapesPath);
  return left;
}
