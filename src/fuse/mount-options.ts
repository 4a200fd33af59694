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
  /**
   * Does the caller not care which files are open (`statistics().openFiles`)? Then, where nothing can
   * change, files are read without being opened: of four requests for a small file, two are left.
   * Default false.
   */
  readonly ignoresOpens?: boolean | undefined;
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

/** A tree that cannot change stays as it is. */
const LONG_SECONDS = 86400;
const SHORT_SECONDS = 1;
/** How long attributes are remembered of files that may have other names; see shared-nodes.ts. */
export const SHARED_ATTRIBUTES_MS = 20;

/**
 * What the kernel may remember. It knows files by their names: two names of one file are two files
 * to it, each with its own attributes and pages, and a change through one leaves the other as it was.
 *
 * - A tree that cannot be changed: everything, for long.
 * - One that can, and tells cases apart: its names for long, for they change only through this
 *   mount. Only hard links are two names of one file: attributes are remembered so shortly that
 *   the answer to a change can wait until they are forgotten (shared-nodes.ts). Cached pages are
 *   dropped when a file is opened that has changed.
 * - One that can, and folds case (\`a.txt\` and \`A.TXT\`): nothing; the kernel asks at each use of a
 *   name, and gets fresh attributes along with the answer.
 * - One that changes in other ways, too: nothing; pages only while a file is open.
 */
function cacheOptions(writable: boolean, foldsCase: boolean, changesOutside: boolean): string[] {
  if (changesOutside) return ["entry_timeout=0", "attr_timeout=0", "negative_timeout=0"];
  if (!writable) {
    return ["kernel_cache", `entry_timeout=${LONG_SECONDS}`, `attr_timeout=${LONG_SECONDS}`];
  }
  const pages = ["auto_cache", "ac_attr_timeout=0"];
  if (foldsCase) return [...pages, "entry_timeout=0", `attr_timeout=${SHORT_SECONDS}`];
  return [...pages, `entry_timeout=${LONG_SECONDS}`, `attr_timeout=${SHARED_ATTRIBUTES_MS / 1000}`];
}

/** Does the kernel remember attributes of files that may change through another name? */
export function remembersSharedAttributes(options: MountTreeOptions, writable: boolean): boolean {
  return writable && options.foldsCase === false && options.changesOutside !== true;
}

const NAME_MAX_CHARACTERS = 200;

/** The text for libfuse. `writable`: the tree can be changed. */
export function optionText(options: MountTreeOptions, writable: boolean): string {
  const name = options.name.replace(/[^A-Za-z0-9._:#@+/-]/g, "_").slice(0, NAME_MAX_CHARACTERS);
  const words = [
    `fsname=${name === "" ? MOUNT_SUBTYPE : name}`,
    `subtype=${MOUNT_SUBTYPE}`,
    // Writes in pieces of 128 KiB instead of 4 KiB.
    "big_writes",
    // Our own inode numbers: names of one file show the same one.
    "use_ino",
    // A mounted image is somebody else's: its devices and set-ID programs have no power here.
    "nodev",
    "nosuid",
    ...cacheOptions(writable, options.foldsCase !== false, options.changesOutside === true),
    ...(writable ? [] : ["ro"]),
    ...(options.allowOther === true ? ["allow_other", "default_permissions"] : []),
  ];
  return `-o${words.join(",")}`;
}
