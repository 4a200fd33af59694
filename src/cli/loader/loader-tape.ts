/**
 * Tapes of loaders where a command expects a tape file: LOADER:BARCODE, with #N for an image on it.
 * Reading needs no drive: the tape's file is looked into where it lies. Writing goes through a
 * drive, as it would in a real library: the robot loads the tape, and puts it back.
 */
import { access } from "node:fs/promises";
import { basename } from "node:path";
import { ReelError } from "../../errors.ts";
import type { TapeDrive } from "../../tape/tape-drive.ts";
import type { ChooseNextTape } from "../../tape/tape-set.ts";
import type { ElementStatus } from "../../vtl/tape-loader.ts";
import type { VirtualLoader } from "../../vtl/virtual-loader.ts";
import { openLoader } from "./open-tape-target.ts";

/** Characters of a bar code that become the serial of a tape's label. */
const SERIAL_CHARS = 6;

export interface LoaderTapeName {
  readonly loader: string;
  readonly barcode: string;
  /** "#2", or nothing. */
  readonly image: string;
}

/** What LOADER:BARCODE[#N] names; undefined for a file that is there, and for anything else. */
export async function parseLoaderTape(text: string): Promise<LoaderTapeName | undefined> {
  if (await isThere(text)) return undefined;
  const match = /^(.+):([^/:#]{1,32})(#[1-9]\d{0,8})?$/s.exec(text);
  if (match === null) return undefined;
  const [, loader = "", barcode = "", image = ""] = match;
  return { loader, barcode: barcode.toUpperCase(), image };
}

/** The tape file, with its image number, that a command's TAPE argument means. */
export async function tapeFileOf(text: string): Promise<string> {
  const named = await parseLoaderTape(text);
  if (named === undefined) return text;
  await using loader = await openLoader(named.loader);
  const element = await elementOf(loader, named.barcode);
  return `${loader.tapePathAt(element)}${named.image}`;
}

export interface LoaderWriteOptions {
  /** The tape is erased: on which others it went on does not matter. */
  readonly anew?: boolean | undefined;
  /** Stands before the choice of the next tape. */
  readonly observe?: ((choose: ChooseNextTape) => ChooseNextTape) | undefined;
}

/**
 * Has the robot load the tape, unless it is in a drive already, runs `body` with the drive, and has
 * the tape put back where it was. Where the tape goes on on others, the last of them is loaded,
 * unless it is written `anew`; and when one is full, the loader's policy says what is next.
 *
 * @throws "not-found" for a tape the loader does not have, "busy" when no drive is free.
 */
export async function withTapeInDrive<T>(
  named: LoaderTapeName,
  body: (drive: TapeDrive) => Promise<T>,
  { anew = false, observe }: LoaderWriteOptions = {},
): Promise<T> {
  await using loader = await openLoader(named.loader);
  const first = await elementOf(loader, named.barcode);
  const home = anew ? first : await lastOf(loader, first);
  if (home.kind === "drive") return await body(await spanning(loader, home.number, observe));
  const drives = (await loader.elements()).filter((each) => each.kind === "drive");
  const empty = drives.find((each) => each.tape === undefined);
  if (empty === undefined) {
    throw new ReelError(
      "busy",
      `cannot load ${named.barcode}: no drive of ${loader.name} is empty; unload one first`,
    );
  }
  await loader.move(home, empty);
  try {
    return await body(await spanning(loader, empty.number, observe));
  } finally {
    // It may be another tape by now, from another slot.
    const { source } = await loader.element(empty);
    await loader.move(empty, source ?? home);
  }
}

/** The tape that the set of a tape ends on: itself, when it is alone. */
async function lastOf(loader: VirtualLoader, first: ElementStatus): Promise<ElementStatus> {
  const { lastTapeOf } = await import("../../tape/set/open-for-writing.ts");
  const { parseTapeFileName } = await import("../../vtl/barcode.ts");
  const path = loader.tapePathAt(first);
  const last = await lastTapeOf(path);
  const barcode = last === path ? undefined : parseTapeFileName(basename(last))?.barcode;
  return barcode === undefined ? first : elementOf(loader, barcode);
}

/** The drive with its tape, going on on the next tapes. */
async function spanning(
  loader: VirtualLoader,
  driveNumber: number,
  observe: LoaderWriteOptions["observe"],
): Promise<TapeDrive> {
  const { TapeSetDrive } = await import("../../tape/tape-set.ts");
  const { TapeFiles } = await import("../../tape/set/set-files.ts");
  const drive = loader.drive(driveNumber);
  const path = loader.tapePathAt({ kind: "drive", number: driveNumber });
  const changes = loader.folder.config.policies.nextTape !== "none";
  const choose = changes ? nextOfLoader(loader, driveNumber) : undefined;
  return TapeSetDrive.open(borrowed(drive), {
    source: new TapeFiles(path),
    nextTape: choose && (observe?.(choose) ?? choose),
    name: drive.name,
    recordAs: path,
  });
}

function nextOfLoader(loader: VirtualLoader, driveNumber: number): ChooseNextTape {
  const used = new Set<string>();
  return async () => {
    const { nextTapeFor } = await import("../../vtl/across-tapes.ts");
    const drive = loader.drive(driveNumber);
    used.add(drive.medium()?.barcode ?? "");
    const { barcode, path, load } = await nextTapeFor(loader, driveNumber, used);
    const open = async (): Promise<TapeDrive> => {
      await load();
      return borrowed(drive);
    };
    const serial = barcode.slice(-SERIAL_CHARS).replace(/[^A-Z0-9]/g, "-");
    return { name: path, serial, open };
  };
}

async function elementOf(loader: VirtualLoader, barcode: string): Promise<ElementStatus> {
  const element = (await loader.elements()).find((each) => each.tape?.barcode === barcode);
  if (element !== undefined) return element;
  throw new ReelError(
    "not-found",
    `no tape ${barcode} is in loader ${loader.name}; make one with "reelfs tape create"`,
  );
}

/** The drive for somebody who closes what it was given: the loader still needs it to unload. */
function borrowed(drive: TapeDrive): TapeDrive {
  const close = async (): Promise<void> => undefined;
  return {
    name: drive.name,
    capabilities: drive.capabilities,
    position: async () => drive.position(),
    read: async (target, options) => drive.read(target, options),
    write: async (parts) => drive.write(parts),
    writeFilemarks: async (count) => drive.writeFilemarks(count),
    space: async (unit, count) => drive.space(unit, count),
    spaceToEndOfData: async () => drive.spaceToEndOfData(),
    locate: async (object) => drive.locate(object),
    rewind: async () => drive.rewind(),
    objectOffsetBytes: async (object) => drive.objectOffsetBytes?.(object),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
