/** Ending a mount from outside: also one whose daemon was killed. */
import { access } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { ReelError } from "../errors.ts";
import { mountAt, mountpointOf, readMounts } from "./mountinfo.ts";
import {
  clearLoop,
  isServed,
  mountFiles,
  type MountRecord,
  removeRecord,
  statusAt,
} from "./registry.ts";
import { unmountPath, type UnmountOptions } from "./unmount.ts";

/** A daemon closes its tape in this time; after it the command returns anyway. */
const END_WAIT_MS = 10_000;
const END_CHECK_MS = 20;

/**
 * Unmounts a ReelFS mount and waits until its daemon has closed the image; with `lazy` only until
 * it is out of sight.
 *
 * @returns what was done: a mount whose daemon was gone is "cleared"
 * @throws ReelError "not-found" when no ReelFS mount is there, "busy" with who holds it
 */
export async function endMount(
  mountpoint: string,
  options: UnmountOptions = {},
): Promise<{ mountpoint: string; done: "unmounted" | "cleared" }> {
  const place = await mountpointOf(mountpoint);
  const status = await statusAt(place);
  if (status === undefined) {
    const other = mountAt(place, await readMounts());
    const what = other === undefined ? "nothing" : `${other.source} (${other.type}), not ReelFS,`;
    throw new ReelError("not-found", `cannot unmount ${mountpoint}: ${what} is mounted there`);
  }
  if (status.state === "stale") {
    // Nobody can be served by it any more: whoever still has a file of it open gets errors already.
    await unmountPath(place, { lazy: true });
    if (status.record !== undefined) await clearLoop(status.record);
    await removeRecord(place);
    return { mountpoint: place, done: "cleared" };
  }
  await unmountPath(place, options);
  if (options.lazy !== true && status.record !== undefined) await waitForEnd(status.record);
  return { mountpoint: place, done: "unmounted" };
}

async function waitForEnd(record: MountRecord): Promise<void> {
  const files = await mountFiles(record.mountpoint);
  const deadline = performance.now() + END_WAIT_MS;
  while (performance.now() < deadline) {
    const kept = await access(files.record).then(
      () => true,
      () => false,
    );
    if (!kept || !(await isServed(record))) return;
    await delay(END_CHECK_MS);
  }
}
