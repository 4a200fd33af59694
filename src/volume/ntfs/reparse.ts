/**
 * Reparse points: a tag and data that some part of Windows gives a meaning to. Symbolic links,
 * junctions and the special files of WSL are shown as what they are; files whose contents are kept
 * in another way are refused by name. Layouts: "[MS-FSCC] 2.1.2 Reparse Point Data Structures"; the
 * data of the WSL tags as the Linux kernel's ntfs3 and ntfs-3g read them.
 */
import type { NodeKind } from "../volume.ts";
import { fault } from "./damage.ts";

/** Windows allows no more data in a reparse point. */
export const REPARSE_MAX_BYTES = 16 * 1024;

export const TAG = {
  mountPoint: 0xa0000003,
  symlink: 0xa000000c,
  wof: 0x80000017,
  lxSymlink: 0xa000001d,
  afUnix: 0x80000023,
  lxFifo: 0x80000024,
  lxCharacter: 0x80000025,
  lxBlock: 0x80000026,
  cloud: 0x9000001a,
  oneDrive: 0x80000021,
} as const;
/** The cloud tags are sixteen: bits 12 to 15 count. */
const CLOUD_MASK = 0xffff0fff;

const HEADER = { tag: 0, dataLength: 4, data: 8 } as const;
const LINK = { nameOffset: 0, nameLength: 2, symlinkFlags: 8 } as const;
const MOUNT_POINT_NAMES = 8;
const SYMLINK_NAMES = 12;
const SYMLINK_FLAG_RELATIVE = 1;
/** A version number stands before the target. */
const LX_TARGET = 4;

const SPECIAL_KINDS: ReadonlyMap<number, NodeKind> = new Map([
  [TAG.afUnix, "socket"],
  [TAG.lxFifo, "fifo"],
  [TAG.lxCharacter, "character"],
  [TAG.lxBlock, "block"],
]);

/** Whose contents are elsewhere, or stored so that only Windows can read them. */
const REFUSED: ReadonlyMap<number, string> = new Map([
  [TAG.wof, "compressed by Windows (WOF: CompactOS or a WIM image)"],
  [TAG.oneDrive, "kept in the cloud (OneDrive)"],
  [0x80000013, "deduplicated by Windows Server: its contents are in the chunk store"],
  [0x8000001b, "an alias of an installed app"],
  [0x80000007, "kept in a single-instance store"],
  [0x80000008, "kept in a WIM image"],
  [0xc0000004, "moved away by hierarchical storage management"],
  [0x80000006, "moved away by hierarchical storage management"],
  [0x80000014, "a special file of Windows' NFS server"],
  [0x80000018, "part of a Windows container"],
  [0x90001018, "part of a Windows container"],
  [0x9000001c, "a projected file (ProjFS)"],
]);

export interface ReparsePoint {
  readonly tag: number;
  readonly data: Buffer;
}

/** A link before its place on the volume is taken into account. */
export interface LinkTarget {
  /** From the root of the volume, or as it stands. */
  readonly isFromRoot: boolean;
  readonly path: string;
}

/** Decodes the header. Throws a fault. */
export function parseReparsePoint(bytes: Buffer): ReparsePoint {
  const length = bytes.length < HEADER.data ? 0 : bytes.readUInt16LE(HEADER.dataLength);
  if (bytes.length < HEADER.data + length) throw fault("its reparse point is cut short");
  return { tag: bytes.readUInt32LE(HEADER.tag), data: bytes.subarray(HEADER.data) };
}

export function isLink(tag: number): boolean {
  return tag === TAG.symlink || tag === TAG.mountPoint || tag === TAG.lxSymlink;
}

/** Fifo, socket or device; undefined for any other tag. */
export function specialKindOf(tag: number): NodeKind | undefined {
  return SPECIAL_KINDS.get(tag);
}

export function isCloud(tag: number): boolean {
  return (tag & CLOUD_MASK) >>> 0 === TAG.cloud || tag === TAG.oneDrive;
}

/** Why the contents of a file with this tag cannot be read: "it is deduplicated (...)". */
export function refusalOf(tag: number): string {
  const known = REFUSED.get(tag) ?? (isCloud(tag) ? "kept in the cloud" : undefined);
  const number = `reparse tag 0x${tag.toString(16).padStart(8, "0")}`;
  return known === undefined ? `it has ${number}, which is not known` : `it is ${known}; ${number}`;
}

/** Where a link leads. Throws a fault. */
export function linkTarget({ tag, data }: ReparsePoint): LinkTarget {
  if (tag === TAG.lxSymlink) {
    return { isFromRoot: false, path: withoutNul(data.toString("utf8", LX_TARGET)) };
  }
  const names = tag === TAG.symlink ? SYMLINK_NAMES : MOUNT_POINT_NAMES;
  const start = data.length < names ? 0 : names + data.readUInt16LE(LINK.nameOffset);
  const end = start + (data.length < names ? 0 : data.readUInt16LE(LINK.nameLength));
  if (start === 0 || end > data.length) throw fault("its link is cut short");
  const name = withoutNul(data.toString("utf16le", start, end));
  const isRelative =
    tag === TAG.symlink && (data.readUInt32LE(LINK.symlinkFlags) & SYMLINK_FLAG_RELATIVE) !== 0;
  return isRelative ? relativeTarget(name) : absoluteTarget(name);
}

/** "..\x" as it stands; "\x" is from the root of the link's own volume. */
function relativeTarget(name: string): LinkTarget {
  const path = withSlashes(name);
  return path.startsWith("/")
    ? { isFromRoot: true, path: path.replace(/^\/+/, "") }
    : { isFromRoot: false, path };
}

/**
 * A drive letter is taken for this volume's, as ntfs-3g takes it; other volumes are paths below
 * .NTFS-3G, as there. What Linux' driver writes for "/x" is "\??\\x".
 */
function absoluteTarget(name: string): LinkTarget {
  const path = withSlashes(name.replace(/^\\(\?\?|\\\?)\\/, ""));
  const drive = /^[A-Za-z]:(?:\/+|$)(.*)$/s.exec(path);
  if (drive !== null) return { isFromRoot: true, path: drive[1] ?? "" };
  if (path.startsWith("Volume{")) return { isFromRoot: true, path: `.NTFS-3G/${path}` };
  if (path.startsWith("UNC/")) return { isFromRoot: false, path: `/${path.slice("UNC".length)}` };
  return { isFromRoot: false, path };
}

function withSlashes(name: string): string {
  return name.replaceAll("\\", "/");
}

function withoutNul(name: string): string {
  const end = name.indexOf("\0");
  return end < 0 ? name : name.slice(0, end);
}
