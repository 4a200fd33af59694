import { readFile } from "node:fs/promises";

/**
 * Another after every start of the machine: what was noted under an earlier one, and not synced, may
 * have been lost with the power since. Empty where the system does not tell.
 */
export async function bootId(): Promise<string> {
  return readFile("/proc/sys/kernel/random/boot_id", "utf8").then(
    (text) => text.trim(),
    () => "",
  );
}
