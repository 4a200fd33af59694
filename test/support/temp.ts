/** Fresh folders for temporary files. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A daemon that is about to end may still put away what it had in the folder. */
export const REMOVAL = { recursive: true, force: true, maxRetries: 20, retryDelay: 50 };

/** For hooks and subjects that outlive one function; call `remove` when done. */
export async function makeTempFolder(): Promise<{ folder: string; remove: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "reelfs-test-"));
  return { folder, remove: async () => rm(folder, REMOVAL) };
}

/** A folder for as long as `body` runs. */
export async function withTempFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const { folder, remove } = await makeTempFolder();
  try {
    return await body(folder);
  } finally {
    await remove();
  }
}
