/**
 * How far the kernel reads ahead of a reader in a mount. By default it is 128 KiB, one request: the
 * kernel asks for the next when the last is answered, and reader, kernel and daemon wait for one
 * another in turn. With more, several requests are under way, and the event loop finds them together.
 * FUSE can only make the default smaller; making it larger is root's to do, in sysfs
 * (Documentation/ABI/testing/sysfs-class-bdi).
 */
import { writeFile } from "node:fs/promises";
import { mountAt, readMounts } from "./mountinfo.ts";

/** Eight requests: one more, and the kernel holds the mount for congested. */
const READ_AHEAD_KIB = 1024;

/** Widens it for what is mounted at `place`, when this process may; it is only a matter of speed. */
export async function widenReadAhead(place: string): Promise<void> {
  if (process.getuid?.() !== 0) return;
  try {
    const mount = mountAt(place, await readMounts());
    if (mount === undefined) return;
    await writeFile(`/sys/class/bdi/${mount.device}/read_ahead_kb`, String(READ_AHEAD_KIB));
  } catch {
    // A container may show sysfs read-only; reading goes on as it is.
  }
}
