/** The file of a tape in a loader: what it says of itself, and opening it. */
import { statSync } from "node:fs";
import { lstat } from "node:fs/promises";
import { ReelError, fromSystem } from "../errors.ts";
import { openTape, type TapeContainer } from "../tape/open-tape.ts";
import type { TapeDrive } from "../tape/tape-drive.ts";
import type { Container } from "./barcode.ts";
import type { StoredTape } from "./slot-map.ts";
import type { LoadedTape } from "./tape-loader.ts";

const WRITE_BITS = 0o222;

export interface TapeFileFacts {
  readonly sizeBytes: number;
  /** No mode bit lets anybody write it: a tape with its tab set. */
  readonly isReadOnly: boolean;
}

export function factsOf(stats: { readonly size: number; readonly mode: number }): TapeFileFacts {
  return { sizeBytes: stats.size, isReadOnly: (stats.mode & WRITE_BITS) === 0 };
}

/** Foreign containers are for reading; a tape whose file is missing is not written either. */
export function loadedTape(tape: StoredTape, facts: TapeFileFacts | undefined): LoadedTape {
  const { barcode, capacityBytes, container, writeProtected } = tape;
  return {
    barcode,
    writeProtected: writeProtected || facts?.isReadOnly !== false || container !== "tap",
    usedBytes: facts?.sizeBytes ?? 0,
    ...(capacityBytes === undefined ? {} : { capacityBytes }),
  };
}

/** One look at one file, which is in memory: short enough to be waited for. */
export function loadedTapeNow(tape: StoredTape, path: string): LoadedTape {
  const stats = statSync(path, { throwIfNoEntry: false });
  return loadedTape(tape, stats === undefined ? undefined : factsOf(stats));
}

/** The formats by the names of their files. */
const FORMATS: Readonly<Record<Container, TapeContainer>> = {
  tap: "simh",
  aws: "aws",
  het: "het",
  e11: "e11",
};

/**
 * Throws "invalid" for a symbolic link: whoever made the loader's folder could lead what is written
 * to a tape of it, or erased, to any file.
 */
export async function refuseLink(path: string): Promise<void> {
  const stats = await lstat(path).catch((error: unknown) => {
    throw fromSystem(error, `cannot use the tape ${path}`);
  });
  if (!stats.isSymbolicLink()) return;
  throw new ReelError(
    "invalid",
    `cannot use the tape ${path}: it is a symbolic link; put the file itself into the folder, ` +
      `or a hard link`,
  );
}

/** Opens a tape at its beginning, for writing unless it is protected. */
export async function openCartridge(
  tape: StoredTape,
  path: string,
  earlyWarningBytes?: number,
): Promise<{ readonly drive: TapeDrive; readonly writable: boolean }> {
  await refuseLink(path);
  const { writeProtected, capacityBytes } = loadedTapeNow(tape, path);
  const drive = await openTape(path, {
    mode: writeProtected ? "read" : "write",
    container: FORMATS[tape.container],
    ...(capacityBytes === undefined ? {} : { capacityBytes }),
    ...(earlyWarningBytes === undefined ? {} : { earlyWarningBytes }),
  });
  return { drive, writable: !writeProtected };
}
