/**
 * Options of a mount, checked, and as the text that libfuse takes: `-oname=value,name,...`. Nothing
 * a user wrote reaches that text but the filesystem's name, and of that only harmless characters.
 */
import { ReelError } from "../errors.ts";
import type { Ownership } from "./attributes.ts";
import { MOUNT_SUBTYPE } from "./mountinfo.ts";

export interface MountTreeOptions {
  /** Shown by df and mount(8) as the filesystem: "photos.tap#2". */
  readonly name: string;
  readonly readOnly?: boolean | undefined;
  /** Owner of nodes that have none. Default: whoever mounts. */
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  /** Taken from the modes of nodes that have none of their own. Default 0o022. */
  readonly umask?: number | undefined;
  /** Mode of files that have none of their own, before the umask. Default 0o666. */
  readonly fileMode?: number | undefined;
  /** Other users may look, as far as modes allow; checked by the kernel. */
  readonly allowOther?: boolean | undefined;
  /** An operation that takes longer is answered ETIMEDOUT. Default 0: none, tapes take their time. */
  readonly timeoutSeconds?: number | undefined;
  /** Are names found in either case? Then the kernel must ask for each. Default true. */
  readonly foldsCase?: boolean | undefined;
  /**
   * The tree changes in other ways than through this mount. Neither the kernel nor we then remember
   * anything of it: every name and every size is asked for again, and files are read anew whenever
   * they are opened. Default false.
   */
  readonly changesOutside?: boolean | undefined;
  /** An operation failed in a way that is no ordinary answer. */
  readonly onError?: ((operation: string, error: unknown) => void) | undefined;
}

export const DEFAULT_UMASK = 0o022;
export const DEFAULT_FILE_MODE = 0o666;
/** setTimeout's limit is 2^31 ms. */
const TIMEOUT_MAX_SECONDS = 24 * 3600;
const ID_MAX = 2 ** 32 - 2;
const MODE_MAX = 0o777;

/** Owner and modes for what has none. @throws ReelError "invalid" */
export function ownershipOf(options: MountTreeOptions): Ownership {
  return {
    uid: checked("user id", options.uid ?? process.getuid?.() ?? 0, ID_MAX),
    gid: checked("group id", options.gid ?? process.getgid?.() ?? 0, ID_MAX),
    umask: checked("umask", options.umask ?? DEFAULT_UMASK, MODE_MAX),
    fileMode: checked("file mode", options.fileMode ?? DEFAULT_FILE_MODE, MODE_MAX),
  };
}

/** @throws ReelError "invalid" */
export function timeoutMsOf(options: MountTreeOptions): number {
  const seconds = options.timeoutSeconds ?? 0;
  if (!(seconds >= 0 && seconds <= TIMEOUT_MAX_SECONDS)) {
    throw new ReelError("invalid", `a timeout of ${seconds} s is not between 0 and a day`);
  }
  return Math.ceil(seconds * 1000);
}

function checked(what: string, value: number, max: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw new ReelError("invalid", `${what} ${value} is not a number from 0 to ${max}`);
}

/** A tree that cannot change, or only through this mount and under one spelling, stays as it is. */
const LONG_SECONDS = 86400;
const SHORT_SECONDS = 1;

/**
 * What the kernel may remember.
 *
 * Everything for long, where nothing can make it wrong. A tree that can be written and folds case
 * is different: the kernel takes `a.txt` and `A.TXT` for two files, each with its own attributes
 * and pages, and a change through one name leaves the other as it was. There the kernel asks at
 * each use of a name (it gets fresh attributes along with the answer), and drops cached pages when
 * a file that it opens has changed.
 *
 * Of a tree that changes in other ways, too, nothing is remembered; pages only while a file is open.
 */
function cacheOptions(unchanging: boolean, changesOutside: boolean): string[] {
  if (changesOutside) return ["entry_timeout=0", "attr_timeout=0", "negative_timeout=0"];
  if (unchanging) {
    return ["kernel_cache", `entry_timeout=${LONG_SECONDS}`, `attr_timeout=${LONG_SECONDS}`];
  }
  return ["auto_cache", "ac_attr_timeout=0", "entry_timeout=0", `attr_timeout=${SHORT_SECONDS}`];
}

const NAME_MAX_CHARACTERS = 200;

/** The text for libfuse. `writable`: the tree can be changed. */
export function optionText(options: MountTreeOptions, writable: boolean): string {
  const unchanging = !writable || options.foldsCase === false;
  const name = options.name.replace(/[^A-Za-z0-9._:#@+/-]/g, "_").slice(0, NAME_MAX_CHARACTERS);
  const words = [
    `fsname=${name === "" ? MOUNT_SUBTYPE : name}`,
    `subtype=${MOUNT_SUBTYPE}`,
    // Writes in pieces of 128 KiB instead of 4 KiB.
    "big_writes",
    ...cacheOptions(unchanging, options.changesOutside === true),
    ...(writable ? [] : ["ro"]),
    ...(options.allowOther === true ? ["allow_other", "default_permissions"] : []),
  ];
  return `-o${words.join(",")}`;
}
