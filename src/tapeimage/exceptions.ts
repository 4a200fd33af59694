/**
 * The exception log of an image: files that were open for writing while the volume was read, so that
 * what the image holds of them may be of no one moment. It lies in the trailer, as paths from the
 * root of the volume.
 */
import type { JsonObject } from "./json.ts";

/** Files that the log names; of more it only says that there were more. */
export const EXCEPTIONS_MAX = 10_000;
/** All paths together, as JSON; header and trailer must fit in what a reader takes in at once. */
export const EXCEPTIONS_BYTES_MAX = 512 * 1024;
/** Quotes, a comma, a newline and a blank around each path. */
const PATH_OVERHEAD_BYTES = 5;
/** As long as Linux shows one (PATH_MAX). */
const PATH_LENGTH_MAX = 4096;

export interface ImageExceptions {
  /** From the root of the volume: "/mail/inbox". */
  readonly paths: readonly string[];
  /** There were more of them than the log holds. */
  readonly more: boolean;
}

export const NO_EXCEPTIONS: ImageExceptions = { paths: [], more: false };

/** A part of the source, in bytes. */
export interface SourceRange {
  readonly startBytes: number;
  readonly endBytes: number;
}

/** A source that may be in use while it is backed up. */
export interface LiveSource {
  /** For the header: where the volume is. What is read may be a snapshot of it. */
  readonly sourcePath: string;
  /**
   * Told when all of an image has been read, before its trailer says that it is whole; of a disk,
   * which part the image is of.
   *
   * @throws ReelError when what was read cannot be relied on; the image is then never called whole
   */
  finish(range?: SourceRange): Promise<ImageExceptions>;
}

/** As much of the log as an image holds. */
export function limitExceptions({ paths, more }: ImageExceptions): ImageExceptions {
  const taken: string[] = [];
  let room = EXCEPTIONS_BYTES_MAX;
  for (const path of paths) {
    room -= Buffer.byteLength(JSON.stringify(path)) + PATH_OVERHEAD_BYTES;
    if (room < 0 || taken.length === EXCEPTIONS_MAX) return { paths: taken, more: true };
    taken.push(path);
  }
  return { paths: taken, more };
}

/** Members of the trailer. */
export interface ExceptionMembers {
  readonly exceptions: readonly string[];
  readonly moreExceptions?: true;
}

export function exceptionMembers(exceptions: ImageExceptions): ExceptionMembers {
  const { paths, more } = limitExceptions(exceptions);
  return { exceptions: paths, ...(more ? { moreExceptions: true } : {}) };
}

/**
 * The log in a trailer from a tape. It places nothing and sizes nothing, so what makes no sense in
 * it is left out, and costs nobody the image.
 */
export function decodeExceptions(json: JsonObject): ExceptionMembers {
  const { exceptions, moreExceptions } = json;
  const listed: readonly unknown[] = Array.isArray(exceptions) ? exceptions : [];
  const paths = listed.filter(
    (path): path is string =>
      typeof path === "string" && path.startsWith("/") && path.length <= PATH_LENGTH_MAX,
  );
  return exceptionMembers({ paths, more: moreExceptions === true });
}
