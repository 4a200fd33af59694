/**
 * Tapes of loaders where a command expects a tape file: LOADER:BARCODE, with #N for an image on it.
 * Reading needs no drive: the tape's file is looked into where it lies. Writing goes through a
 * drive, as it would in a real library: the robot loads the tape, and puts it back.
 */
import { access } from "node:fs/promises";
import { ReelError } from "../../errors.ts";
import type { TapeDrive } from "../../tape/tape-drive.ts";
import type { ElementStatus } from "../../vtl/tape-loader.ts";
import type { VirtualLoader } from "../../vtl/virtual-loader.ts";
import { openLoader } from "./open-tape-target.ts";

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

/**
 * Has the robot load the tape, unless it is in a drive already, runs `body` with the drive, and has
 * the tape put back where it was.
 *
 * @throws "not-found" for a tape the loader does not have, "busy" when no drive is free.
 */
export async function withTapeInDrive<T>(
  named: LoaderTapeName,
  body: (drive: TapeDrive) => Promise<T>,
): Promise<T> {
  await using loader = await openLoader(named.loader);
  const home = await elementOf(loader, named.barcode);
  if (home.kind === "drive") return await body(borrowed(loader.drive(home.number)));
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
    return await body(borrowed(loader.drive(empty.number)));
  } finally {
    await loader.move(empty, home);
  }
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
