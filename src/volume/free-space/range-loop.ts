/**
 * A loop device on a stretch of a file, for tools that read a device of their own or nothing. It is
 * read-only, and only root can make one.
 *
 * It is told to go as soon as this process has it open. The kernel keeps it for as long as anybody
 * has, and then lets go of it by itself: however this process ends, no loop device is left behind.
 */
import { openFileDevice } from "../../device/file-device.ts";
import { ReelError } from "../../errors.ts";
import { readToolLines } from "./tool-lines.ts";

const LOSETUP = "losetup";

export interface FileRange {
  /** Absolute. */
  readonly path: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** Why there can be no loop device; undefined where it is worth trying. */
export function doubtOfLoops(): string | undefined {
  if (process.getuid?.() === 0) return undefined;
  return (
    "the tools that know it can only be asked about a whole file or block device; for a partition " +
    "in a file, root can give them a loop device: run it with sudo"
  );
}

/**
 * Gives the path of a loop device on the range to `use`.
 *
 * @throws ReelError "unsupported" or "io" where there is none to be had; what `use` throws
 */
export async function withRangeLoop<T>(
  { path, offsetBytes, lengthBytes }: FileRange,
  use: (loopPath: string) => Promise<T>,
): Promise<T> {
  const range = ["--offset", String(offsetBytes), "--sizelimit", String(lengthBytes)];
  const loopPath = await attach(["--find", "--show", "--read-only", ...range, "--", path]);
  await using loop = await openFileDevice(loopPath).catch(async (error: unknown) => {
    await detach(loopPath);
    throw error;
  });
  await detach(loopPath);
  if (loop.sizeBytes !== lengthBytes) {
    throw new ReelError("io", `${loopPath} has ${loop.sizeBytes} bytes, and not ${lengthBytes}`);
  }
  return await use(loopPath);
}

/** Never interrupted: a loop device whose name is not known could not be let go of. */
async function attach(args: readonly string[]): Promise<string> {
  let loopPath = "";
  const onLine = (line: string): boolean => {
    loopPath = line.trim();
    return false;
  };
  await readToolLines({ command: LOSETUP, args, onLine });
  if (loopPath.startsWith("/dev/")) return loopPath;
  throw new ReelError("io", `${LOSETUP} named no loop device`);
}

/** At once where it is not in use, else when it is no longer. */
async function detach(loopPath: string): Promise<void> {
  await readToolLines({ command: LOSETUP, args: ["--detach", loopPath], onLine: () => false });
}
