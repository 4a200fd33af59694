import { open } from "node:fs/promises";

/** Makes a name that was just created or renamed in a folder durable. */
export async function syncDirectory(path: string): Promise<void> {
  await using folder = await open(path, "r");
  await folder.sync();
}
