/**
 * Opens a tape file of any format. What a file is, its content says; its name helps where the
 * content cannot tell (an empty file, filemarks alone).
 */
import { open, type FileHandle } from "node:fs/promises";
import { extname } from "node:path";
import { ReelError, fromSystem } from "../errors.ts";
import { AwsContainer } from "./containers/aws-container.ts";
import { ContainerDrive } from "./containers/container-drive.ts";
import { E11Container } from "./containers/e11-container.ts";
import { PlainContainer } from "./containers/plain-container.ts";
import { probeChunks, probeWords, type Probe } from "./containers/probe.ts";
import { WindowedFile } from "./containers/windowed-file.ts";
import { openSimhTape, type SimhTapeOptions } from "./simh-tape.ts";
import type { TapeDrive } from "./tape-drive.ts";

/** "plain": no container, just bytes, read as records of one size. */
export type TapeContainer = "simh" | "e11" | "aws" | "het" | "plain";

export interface OpenTapeOptions extends Partial<SimhTapeOptions> {
  /** Instead of looking what it is. */
  readonly container?: TapeContainer | undefined;
  /** Bytes of a record of a plain file; 10,240 without it. */
  readonly blockBytes?: number | undefined;
}

const CONTAINER_OF_EXTENSION: Readonly<Record<string, TapeContainer>> = {
  ".tap": "simh",
  ".simh": "simh",
  ".e11": "e11",
  ".aws": "aws",
  ".het": "het",
};

/**
 * Says what kind of tape file a file is: by its first objects, then by its name.
 * @throws "not-found", "no-permission", "invalid" (not a regular file), "io".
 */
export async function recogniseContainer(path: string): Promise<TapeContainer> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, "r");
    const stats = await handle.stat();
    if (!stats.isFile()) {
      throw new ReelError("invalid", `cannot read ${path} as a tape: it is not a regular file`);
    }
    return await recognise(handle, stats.size, byExtension(path));
  } catch (error) {
    throw fromSystem(error, `cannot see what ${path} is`);
  } finally {
    await handle?.close();
  }
}

function byExtension(path: string): TapeContainer | undefined {
  return CONTAINER_OF_EXTENSION[extname(path).toLowerCase()];
}

async function recognise(
  handle: FileHandle,
  sizeBytes: number,
  named: TapeContainer | undefined,
): Promise<TapeContainer> {
  const simh = await probeWords(handle, sizeBytes, "simh");
  const e11 = await probeWords(handle, sizeBytes, "e11");
  const chunks = await probeChunks(handle, sizeBytes);
  const packed = chunks.packed || (named === "het" && chunks.records > 0);
  const found: [TapeContainer, Probe][] = [
    ["simh", simh],
    ["e11", e11],
    [packed ? "het" : "aws", chunks],
  ];
  // One header of a chunk is soon met by chance; a record between two equal words is not.
  const chance = chunks.holds ? 0 : 1;
  const likely = found.filter(([, probe]) => probe.records > (probe === chunks ? chance : 0));
  // The one that goes furthest; among equals, what the name says (SIMH comes first).
  likely.sort(([a, left], [b, right]) => {
    if (left.holds !== right.holds) return left.holds ? -1 : 1;
    return right.records - left.records || Number(b === named) - Number(a === named);
  });
  const [best] = likely;
  return best?.[0] ?? named ?? (sizeBytes === 0 ? "simh" : "plain");
}

/**
 * Opens a tape of any format, at its beginning. SIMH tapes are read and written; all others are
 * read-only: convert them to write on.
 * @throws as openSimhTape; "read-only" for "write" on another format.
 */
export async function openTape(path: string, options: OpenTapeOptions = {}): Promise<TapeDrive> {
  const mode = options.mode ?? "read";
  const container = options.container ?? (await recogniseOrCreate(path, options));
  if (container === "simh") {
    const { capacityBytes, earlyWarningBytes, create, useIndex } = options;
    return openSimhTape(path, {
      mode,
      ...(capacityBytes === undefined ? {} : { capacityBytes }),
      ...(earlyWarningBytes === undefined ? {} : { earlyWarningBytes }),
      ...(create === undefined ? {} : { create }),
      ...(useIndex === undefined ? {} : { useIndex }),
    });
  }
  if (mode === "write") {
    throw new ReelError(
      "read-only",
      `cannot open ${path} for writing: it is a tape of the format ${container}, ` +
        `which is only read; convert it to a .tap first`,
    );
  }
  const file = await WindowedFile.open(path);
  try {
    return new ContainerDrive(path, readerFor(container, file, options.blockBytes));
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** A tape to be created is a SIMH tape. */
async function recogniseOrCreate(path: string, options: OpenTapeOptions): Promise<TapeContainer> {
  try {
    return await recogniseContainer(path);
  } catch (error) {
    const isNew = error instanceof ReelError && error.code === "not-found";
    if (isNew && options.mode === "write" && options.create === true) return "simh";
    throw error;
  }
}

function readerFor(
  container: Exclude<TapeContainer, "simh">,
  file: WindowedFile,
  blockBytes: number | undefined,
): E11Container | AwsContainer | PlainContainer {
  switch (container) {
    case "e11":
      return new E11Container(file);
    case "aws":
    case "het":
      return new AwsContainer(file);
    case "plain":
      return new PlainContainer(file, blockBytes);
  }
}
