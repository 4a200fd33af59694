/** Bringing what was restored to stable storage. */
import { runTool } from "./run-tool.ts";

export interface Flushed {
  /** All is on stable storage. */
  readonly isConfirmed: boolean;
  /** Why it is not; undefined when it is, or when there is nobody to tell. */
  readonly failure?: string;
}

/**
 * One syncfs(2) by way of sync(1), which costs a fraction of an fsync for each of a hundred thousand
 * files and covers their directories too. The system tells only once of what it could not store:
 * asked again it says that all is well.
 */
export async function flushFilesystem(directory: string): Promise<Flushed> {
  const { status, isInstalled, errors } = await runTool("sync", ["-f", "--", directory], {
    cwd: "/",
  });
  if (status === 0) return { isConfirmed: true };
  // One that does not know -f says how it is used.
  const isUnknown = !isInstalled || /option|usage/i.test(errors);
  const reason = errors.trim().split("\n")[0]?.split(": ").at(-1);
  if (isUnknown || reason === undefined || reason === "") return { isConfirmed: false };
  return { isConfirmed: false, failure: reason.toLowerCase() };
}
