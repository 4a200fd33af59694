/** Opening tape files for writing: what goes on goes on at the end of the set, on its last tape. */
import { resolve } from "node:path";
import { isReelError, ReelError } from "../../errors.ts";
import { decodeVolumeLabel, LABEL_BYTES } from "../labels.ts";
import { openSimhTape } from "../simh-tape.ts";
import type { TapeDrive } from "../tape-drive.ts";
import { TapeSetDrive, type ChooseNextTape, type NextTape } from "../tape-set.ts";
import { openTapeForReading, TapeFiles } from "./set-files.ts";
import { readSetPlace } from "./set-place.ts";

/** Room kept behind early warning for the end of a tape, where the tape is large enough. */
const EARLY_WARNING_BYTES_MIN = 8 * 1024;
const EARLY_WARNING_FRACTION = 1 / 50;
const SERIAL_CHARS = 6;

export interface TapeWriteOptions {
  /** What a tape holds; as much as the disk without it. */
  readonly capacityBytes?: number | undefined;
  /** What to go on on when a tape is full. */
  readonly nextTape?: ChooseNextTape | undefined;
  /** The tape is to be written anew: what set it belonged to does not matter. */
  readonly anew?: boolean | undefined;
}

/**
 * Opens a tape file, made where there is none, for writing; of a set, its last tape.
 * @throws "invalid" for a tape that continues another, "not-found" when a tape of the set is not
 *   there, and as openSimhTape.
 */
export async function openTapeForWriting(
  path: string,
  options: TapeWriteOptions = {},
): Promise<TapeDrive> {
  const last = options.anew === true ? path : await lastTapeOf(path);
  const drive = await openWithCapacity(last, options);
  try {
    const source = new TapeFiles(path);
    const { nextTape } = options;
    return await TapeSetDrive.open(drive, {
      source,
      nextTape,
      name: path,
      recordAs: resolve(last),
    });
  } catch (error) {
    await drive.close().catch(() => undefined);
    throw error;
  }
}

/**
 * The file that the set of the tape at `path` ends on: itself, for a tape alone or not yet made.
 * @throws as openTapeForWriting.
 */
export async function lastTapeOf(path: string): Promise<string> {
  let drive: TapeDrive;
  try {
    drive = await openTapeForReading(path);
  } catch (error) {
    if (isReelError(error, "not-found")) return path;
    throw error;
  }
  try {
    if (!(drive instanceof TapeSetDrive)) return path;
    const doing = `cannot write to ${path}`;
    if (drive.openedAt > 1) {
      const first = drive.tapes[0];
      throw new ReelError(
        "invalid",
        `${doing}: it is tape ${drive.openedAt} of the set that begins on ${first?.name ?? "another"}; ` +
          `name that tape`,
      );
    }
    // Brings all its tapes. What is damaged on the last is judged by who writes there.
    await drive.unreadableTail();
    const [missing] = drive.notices();
    if (missing !== undefined) throw new ReelError("not-found", `${doing}: ${missing}`);
    return drive.tapes.at(-1)?.path ?? path;
  } finally {
    await drive.close();
  }
}

/**
 * Tape files in the order given, then what `ask` names; each must be new, empty or only labelled.
 * They are made at once, so that a tape that cannot be had is refused before the one before it ends.
 */
export function nextOfFiles(
  paths: readonly string[],
  capacityBytes: number | undefined,
  ask?: (sequence: number, previous: string) => Promise<string | undefined>,
): ChooseNextTape {
  const left = [...paths];
  return async (sequence, previous) => {
    const path = left.shift() ?? (await ask?.(sequence, previous.name));
    return path === undefined ? undefined : nextFile(path, sequence, capacityBytes);
  };
}

async function nextFile(
  path: string,
  sequence: number,
  capacityBytes: number | undefined,
): Promise<NextTape> {
  const drive = await openWithCapacity(path, { capacityBytes });
  try {
    const serial = await serialIfBlank(drive, path);
    const open = async (): Promise<TapeDrive> => drive;
    return { name: resolve(path), serial: serial ?? serialOf(sequence), open };
  } catch (error) {
    await drive.close();
    throw error;
  }
}

/** The serial on a tape without anything else. Throws "exists" for a tape that holds something. */
async function serialIfBlank(drive: TapeDrive, path: string): Promise<string | undefined> {
  const { isBlank } = await readSetPlace(drive);
  if (!isBlank) {
    throw new ReelError(
      "exists",
      `cannot go on on ${path}: there is something on it already; name a new or an empty tape`,
    );
  }
  const label = new Uint8Array(LABEL_BYTES);
  await drive.rewind();
  const read = await drive.read(label);
  return read.kind === "record" ? decodeVolumeLabel(label)?.serial : undefined;
}

/** The serial of a new tape of a set: "REEL02". */
export function serialOf(sequence: number): string {
  const digits = String(sequence).padStart(2, "0");
  return `${"REELFS".slice(0, SERIAL_CHARS - digits.length)}${digits}`;
}

async function openWithCapacity(
  path: string,
  { capacityBytes }: TapeWriteOptions,
): Promise<TapeDrive> {
  if (capacityBytes === undefined) return openSimhTape(path, { mode: "write", create: true });
  const room = Math.max(capacityBytes * EARLY_WARNING_FRACTION, EARLY_WARNING_BYTES_MIN);
  const earlyWarningBytes = Math.floor(Math.min(room, capacityBytes / 4));
  return openSimhTape(path, { mode: "write", create: true, capacityBytes, earlyWarningBytes });
}
