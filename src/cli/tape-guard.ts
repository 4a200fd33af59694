/**
 * What protects a tape from a slip of the hand: it is erased only by a command that knows its
 * serial, and a source is never taken for a tape.
 */
import { stat } from "node:fs/promises";
import { fromSystem, isReelError, ReelError } from "../errors.ts";
import { readLabel } from "../tape/labels.ts";
import { openSimhTape } from "../tape/simh-tape.ts";

export interface TapeWishes {
  /** Serial of the tape that may be erased. */
  readonly overwriteSerial?: string | undefined;
  /** Serial for a tape that is new. */
  readonly newSerial?: string | undefined;
  /** Why the source cannot be the tape. Default: because it is the source. */
  readonly whyNotSource?: string | undefined;
}

/** Throws unless writing a backup of `sourcePath` to `tapePath` is what was meant. */
export async function guardTape(
  sourcePath: string,
  tapePath: string,
  wishes: TapeWishes,
): Promise<void> {
  const doing = `cannot write to ${tapePath}`;
  if (await isSameFile(sourcePath, tapePath)) {
    const why = wishes.whyNotSource ?? "it is the source of the backup";
    throw new ReelError("invalid", `${doing}: ${why}`);
  }
  if (!(await holdsSomething(tapePath))) return;
  const serial = await serialOf(tapePath, doing);
  const { overwriteSerial, newSerial } = wishes;
  if (overwriteSerial !== undefined && serial !== overwriteSerial) {
    const found = serial === undefined ? "no label" : `the serial ${serial}`;
    throw new ReelError(
      "exists",
      `${doing}: the tape to be erased should have the serial ${overwriteSerial}, and this one has ` +
        `${found}; see what it holds with "reelfs info ${tapePath}"`,
    );
  }
  if (overwriteSerial === undefined && newSerial !== undefined && serial !== newSerial) {
    throw new ReelError(
      "exists",
      `${doing}: --serial is for a new tape, and this one has ` +
        (serial === undefined ? "images already" : `the serial ${serial}`),
    );
  }
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  try {
    const [a, b] = await Promise.all([stat(one), stat(other)]);
    return a.dev === b.dev && a.ino === b.ino;
  } catch {
    // One of the two is not there: whoever opens it says so.
    return false;
  }
}

async function holdsSomething(path: string): Promise<boolean> {
  try {
    const found = await stat(path);
    return !found.isFile() || found.size > 0;
  } catch (error) {
    const failure = fromSystem(error, `cannot open ${path} as a tape`);
    if (failure.code === "not-found") return false;
    throw failure;
  }
}

async function serialOf(path: string, doing: string): Promise<string | undefined> {
  const drive = await openSimhTape(path, { mode: "read" });
  try {
    return (await readLabel(drive))?.serial;
  } catch (error) {
    if (!isReelError(error, "damaged")) throw error;
    throw new ReelError(
      "damaged",
      `${doing}: it does not begin as a tape does; name another file for the tape`,
      { cause: error },
    );
  } finally {
    await drive.close();
  }
}
