/** What could not be restored, and why: kept by path, told at the end. */
import { ReelError } from "../errors.ts";
import type { ErrorCode } from "../errors.ts";

export interface RestoreProblem {
  /** Path on the volume. */
  readonly path: string;
  /** "damaged": the tape or the volume on it; anything else: the target, or this program. */
  readonly code: ErrorCode;
  readonly message: string;
}

export function problemOf(path: string, error: unknown): RestoreProblem {
  if (error instanceof ReelError) return { path, code: error.code, message: error.message };
  return {
    path,
    code: "internal",
    message: error instanceof Error ? error.message : String(error),
  };
}

/** Can a file or folder bear this name? Volumes promise it; what creates files checks again. */
export function isSafeName(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && !/[/\0]/.test(name);
}
