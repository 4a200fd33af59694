/** What files have on the volume and could not be given where they were restored. */
import type { EntryTable } from "./entry-table.ts";

/**
 * Counts, by kind. None of them costs a byte of a file's contents: a restore by an ordinary user,
 * or to a filesystem that knows less, is complete without them.
 */
export interface RestoreLosses {
  /** Files and directories that belong to whoever restored them: only root can give them away. */
  readonly owners: number;
  /** Programs without their set-user-ID and set-group-ID bits: they would run as somebody else. */
  readonly setIds: number;
  /** Directories that would not take their permissions or times. */
  readonly permissions: number;
  /** Extended attributes, access control lists among them. */
  readonly xattrs: number;
  /** Devices that were not made: only root can. */
  readonly devices: number;
  /** Sockets, which mean nothing without the program that made them: never restored. */
  readonly sockets: number;
  /** Names of one file that became files of their own: the target has no hard links, or too few. */
  readonly links: number;
  /** Names that are not UTF-8 on the volume, and have U+FFFD for what is not. */
  readonly names: number;
}

export class LossCounter implements RestoreLosses {
  owners = 0;
  setIds = 0;
  permissions = 0;
  xattrs = 0;
  devices = 0;
  sockets = 0;
  links = 0;
  names = 0;

  /** The counts by themselves. */
  counts(): RestoreLosses {
    const { owners, setIds, permissions, xattrs, devices, sockets, links, names } = this;
    return { owners, setIds, permissions, xattrs, devices, sockets, links, names };
  }
}

const SET_ID_BITS = 0o6000;

/** Owner and permissions to give to a row's file. */
export interface AttributesToSet {
  /** Undefined: leave the owner as it is. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  /** Undefined: the volume has none. */
  readonly mode: number | undefined;
}

/**
 * What of owner and permissions whoever restores can set; counts the rest as lost. Root gives
 * files their owners, and set-ID bits with them. For anybody else a file stays his own; its set-ID
 * bits too only if it was his on the volume.
 */
export function attributesToSet(
  table: EntryTable,
  row: number,
  losses: LossCounter,
): AttributesToSet {
  const owner = table.ownerOf(row);
  const mode = table.modeOf(row);
  if (process.geteuid?.() === 0) {
    // A program that ran as its owner must not run as root because its owner is not known.
    return { owner, mode: owner === undefined && mode !== undefined ? mode & ~SET_ID_BITS : mode };
  }
  const isOwn = owner?.uid === process.geteuid?.() && owner?.gid === process.getegid?.();
  if (isOwn) return { owner: undefined, mode };
  if (owner !== undefined) losses.owners++;
  if (mode === undefined || (mode & SET_ID_BITS) === 0) return { owner: undefined, mode };
  if (!table.isDirectory(row)) losses.setIds++;
  return { owner: undefined, mode: mode & ~SET_ID_BITS };
}
