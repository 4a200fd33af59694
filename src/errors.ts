/**
 * The one error that crosses a folder border. The code is stable and is what programs test;
 * the message is for people: what was being done, to what, what is wrong, what to do about it.
 */
import { getSystemErrorMap } from "node:util";

/** Stable codes. The FUSE edge maps them to errno, the CLI edge to an exit status. */
export type ErrorCode =
  /** Bytes that were read are not what the format or a checksum says they must be. */
  | "damaged"
  /** A format, version or feature this program does not read. */
  | "unsupported"
  /** The device or drive itself reported a failure. */
  | "io"
  /** A path, image, tape or volume that is not there. */
  | "not-found"
  | "exists"
  | "not-a-directory"
  | "is-a-directory"
  | "not-empty"
  /** A move from one filesystem to another, which only copying can do. */
  | "cross-device"
  /** An argument that makes no sense for this call. */
  | "invalid"
  /** An offset or position outside the object. */
  | "out-of-range"
  | "name-too-long"
  | "read-only"
  | "no-permission"
  /** No room left: disk, overlay budget or tape. */
  | "no-space"
  /** The physical end of a tape was reached while writing. */
  | "end-of-medium"
  | "no-medium"
  /** In use by somebody else. */
  | "busy"
  /** A restore target that cannot hold what would be written to it. */
  | "too-small"
  | "timeout"
  /** Stopped on request (AbortSignal, Ctrl-C). */
  | "aborted"
  /** The object was closed. */
  | "closed"
  /** No such extended attribute. */
  | "no-attribute"
  /** A bug in this program. */
  | "internal";

export class ReelError extends Error {
  override readonly name = "ReelError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** True for a ReelError, and, with a code, for one of that code. */
export function isReelError(error: unknown, code?: ErrorCode): error is ReelError {
  return error instanceof ReelError && (code === undefined || error.code === code);
}

const CODE_OF_ERRNO: Readonly<Record<string, ErrorCode>> = {
  ENOENT: "not-found",
  EEXIST: "exists",
  ENOTDIR: "not-a-directory",
  EISDIR: "is-a-directory",
  ENOTEMPTY: "not-empty",
  EXDEV: "cross-device",
  EACCES: "no-permission",
  EPERM: "no-permission",
  EROFS: "read-only",
  ENOSPC: "no-space",
  EDQUOT: "no-space",
  EFBIG: "no-space",
  EBUSY: "busy",
  ENAMETOOLONG: "name-too-long",
  ENOMEDIUM: "no-medium",
  ETIMEDOUT: "timeout",
  ABORT_ERR: "aborted",
};

/** Linux has errors of disks that Node knows neither by name nor in words. */
const UNKNOWN_TO_NODE: ReadonlyMap<number, readonly [errno: string, words: string]> = new Map([
  [-74, ["EBADMSG", "the data are damaged (bad message)"]],
  [-116, ["ESTALE", "stale file handle"]],
  [-117, ["EUCLEAN", "the file system is damaged (structure needs cleaning)"]],
  [-121, ["EREMOTEIO", "remote i/o error"]],
  [-122, ["EDQUOT", "disk quota exceeded"]],
  [-123, ["ENOMEDIUM", "no medium found"]],
  [-124, ["EMEDIUMTYPE", "wrong medium type"]],
]);

/**
 * A ReelError for whatever the operating system threw: `doing` says what was attempted, on what
 * ("cannot open /dev/sdb"), and the system's own words follow ("permission denied"). A ReelError
 * passes through unchanged.
 */
export function fromSystem(error: unknown, doing: string): ReelError {
  if (error instanceof ReelError) return error;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const errno = UNKNOWN_TO_NODE.get(errnoOf(error))?.[0] ?? code;
  return new ReelError(CODE_OF_ERRNO[errno] ?? "io", `${doing}: ${reasonOf(error)}`, {
    cause: error,
  });
}

/** Node's message repeats call and path, which `doing` has said: the words for the errno suffice. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const errno = errnoOf(error);
  const words = getSystemErrorMap().get(errno) ?? UNKNOWN_TO_NODE.get(errno);
  return words?.[1] ?? error.message;
}

/** As the system counts it, below zero; 0 for what has none. */
function errnoOf(error: unknown): number {
  if (!(error instanceof Error) || !("errno" in error)) return 0;
  return typeof error.errno === "number" ? error.errno : 0;
}

/** Throws the "aborted" ReelError when the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined, doing: string): void {
  if (signal?.aborted === true) {
    throw new ReelError("aborted", `${doing}: interrupted`, { cause: signal.reason });
  }
}

/** Closes everything, in order, and throws the first failure (all of them, where several failed). */
export async function closeAll(
  ...owned: readonly ({ close(): Promise<void> } | undefined)[]
): Promise<void> {
  const failures: unknown[] = [];
  for (const each of owned) {
    try {
      await each?.close();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures, "several things failed to close");
}
