/** Bringing what was restored to stable storage. */
import { runTool } from "./run-tool.ts";

/**
 * One syncfs(2) by way of sync(1), which costs a fraction of an fsync for each of a hundred thousand
 * files and covers their directories too. False when the system would not say that it is done.
 */
export async function flushFilesystem(directory: string): Promise<boolean> {
  return (await runTool("sync", ["-f", "--", directory], { cwd: "/" })).status === 0;
}
