/** The private folder in which a user's mounts keep their records, sockets and logs. */
import { lstatSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromSystem, ReelError } from "../errors.ts";

const FOLDER_NAME = "reelfs";
const PRIVATE_MODE = 0o700;
const PERMISSION_BITS = 0o777;

/**
 * The folder for sockets and records: $XDG_RUNTIME_DIR/reelfs, /run/reelfs for root, else one in the
 * temporary folder. Two calls of the system, made at once: a command that mounts waits for nothing
 * before it starts its daemon.
 *
 * @throws ReelError "no-permission" when it is not this user's alone: a socket in somebody else's
 *   folder may be anybody's.
 */
export function runtimeFolderNow(): string {
  const uid = process.getuid?.() ?? 0;
  const session = process.env["XDG_RUNTIME_DIR"];
  const folder =
    session?.startsWith("/") === true
      ? join(session, FOLDER_NAME)
      : uid === 0
        ? join("/run", FOLDER_NAME)
        : join(tmpdir(), `${FOLDER_NAME}-${uid}`);
  try {
    mkdirSync(folder, { recursive: true, mode: PRIVATE_MODE });
    const found = lstatSync(folder);
    if (
      found.isDirectory() &&
      found.uid === uid &&
      (found.mode & PERMISSION_BITS) === PRIVATE_MODE
    ) {
      return folder;
    }
  } catch (error) {
    throw fromSystem(error, `cannot use the folder ${folder} for the records of mounts`);
  }
  throw new ReelError(
    "no-permission",
    `cannot keep records of mounts in ${folder}: it must be a folder of yours with mode 0700; remove it, or set XDG_RUNTIME_DIR`,
  );
}

/** As `runtimeFolderNow`, with a rejection where that throws. */
export async function runtimeFolder(): Promise<string> {
  return runtimeFolderNow();
}
