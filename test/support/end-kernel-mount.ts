/**
 * Unmounting what the kernel or another program has mounted for a test. Whatever looks at every
 * mount of the machine in passing, df for one, keeps each busy for a moment: that is no failure.
 */
import { execFileSync } from "node:child_process";

/** A function for shell scripts that takes the place of the command of its name. */
export const UMOUNT_FUNCTION = `
umount() {
  for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    said=$(command umount "$@" 2>&1) && return 0
    case $said in *busy*) sleep 0.1 ;; *) break ;; esac
  done
  printf '%s\\n' "$said" >&2
  return 1
}
`;

/** Unmounts with umount(8). @throws Error when it stays busy, or is no mount */
export function endKernelMount(mountpoint: string): void {
  execFileSync("sh", ["-c", `${UMOUNT_FUNCTION} umount "$0"`, mountpoint], {
    stdio: ["ignore", "ignore", "pipe"],
    cwd: "/",
  });
}
