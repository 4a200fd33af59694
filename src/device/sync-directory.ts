import { mkdir, open } from "node:fs/promises";
import { dirname, resolve } from "node:path";

/** Makes a name that was just created or renamed in a folder durable. */
export async function syncDirectory(path: string): Promise<void> {
  await using folder = await open(path, "r");
  await folder.sync();
}

/** Makes a folder, with those above it, that a power cut does not take away with all that is in it. */
export async function makeFolder(
  path: string,
  options: { readonly mode?: number } = {},
): Promise<void> {
  const first = await mkdir(path, { ...options, recursive: true });
  if (first === undefined) return;
  const top = dirname(resolve(first));
  for (let at = dirname(resolve(path)); at.length >= top.length; at = dirname(at)) {
    await syncParent(at);
    if (at === top) return;
  }
}

/** Where names may be made but not listed, nothing can be opened to be synced. */
async function syncParent(path: string): Promise<void> {
  try {
    await syncDirectory(path);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EACCES")) throw error;
  }
}
