/**
 * What a file record says of its file: kind, size, times, links. Most files need nothing but their
 * record; links and special files may need some bytes from elsewhere.
 */
import { isReelError } from "../../errors.ts";
import type { NodeKind, NodeStat } from "../volume.ts";
import { fault, naming } from "./damage.ts";
import { EA_MAX_BYTES, parseExtendedAttributes, unixAttributes } from "./extended-attributes.ts";
import type { UnixAttributes } from "./extended-attributes.ts";
import { FILE_FLAG, NAME_SPACE, parseFileName, parseStandardInformation } from "./file-name.ts";
import type { FileNameDetails } from "./file-name.ts";
import { INDEX_NAME } from "./directory-index.ts";
import type { Inode } from "./inode.ts";
import { attributesOf, completeInode, findAttribute } from "./inode.ts";
import { interixBySize, mayBeInterix, parseInterix } from "./interix.ts";
import { FIRST_USER_RECORD } from "./mft.ts";
import type { Mft } from "./mft.ts";
import { ATTRIBUTE_FLAG, TYPE } from "./record.ts";
import type { Attribute, Reference } from "./record.ts";
import {
  isLink,
  linkTarget,
  parseReparsePoint,
  REPARSE_MAX_BYTES,
  specialKindOf,
} from "./reparse.ts";
import type { ReparsePoint } from "./reparse.ts";
import { isCompressed, isEncrypted, openStream, readWhole } from "./stream.ts";

export const ROOT_RECORD = 5;
/** Directories above a link that are counted for its way to the root. */
const DEPTH_MAX = 1024;
const SHOWN_FLAGS = FILE_FLAG.readOnly | FILE_FLAG.hidden | FILE_FLAG.system | FILE_FLAG.archive;
const PERMISSIONS = 0o7777;
/** Values of resident attributes are padded to this many bytes. */
const PADDING_BYTES = 8;

/** Is this one of the volume's own files, which are not shown? */
export function isHiddenRecord(number: number): boolean {
  return number < FIRST_USER_RECORD && number !== ROOT_RECORD;
}

/** The directory that a file's first name stands in; what a directory has, it has but once. */
export function parentOf(inode: Inode): Reference | undefined {
  for (const { value } of attributesOf(inode, TYPE.fileName)) {
    if (value === undefined) continue;
    const { parent, nameSpace } = parseFileName(value);
    if (nameSpace !== NAME_SPACE.dos) return parent;
  }
  return undefined;
}

/** A node's stat and what else was found out for it. */
export interface Node {
  readonly stat: NodeStat;
  /** Of a symbolic link. */
  readonly target?: string | undefined;
  readonly reparse?: ReparsePoint | undefined;
}

/** The stat of a file that is no link or special file; undefined where more must be read. */
export function plainStat(mft: Mft, inode: Inode): NodeStat | undefined {
  try {
    const standard = standardInformation(inode);
    const isPlain = (standard.flags & (FILE_FLAG.reparsePoint | FILE_FLAG.system)) === 0;
    if (!isPlain || findAttribute(inode, TYPE.reparsePoint) !== undefined) return undefined;
    const ea = findAttribute(inode, TYPE.extendedAttributes);
    if (ea === undefined) return makeStat(inode, {});
    return ea.value === undefined ? undefined : makeStat(inode, unixOf(ea.value));
  } catch (error) {
    throw naming(mft.describe(inode.number), error);
  }
}

/** Everything about a node. Throws "damaged". */
export async function loadNode(mft: Mft, inode: Inode): Promise<Node> {
  const plain = plainStat(mft, inode);
  if (plain !== undefined) return { stat: plain };
  try {
    const eaStream = openStream(mft, inode, TYPE.extendedAttributes);
    const unix = eaStream === undefined ? {} : unixOf(await readWhole(mft, eaStream, EA_MAX_BYTES));
    const reparse = await readReparsePoint(mft, inode);
    if (reparse !== undefined) return await reparseNode(mft, inode, reparse, unix);
    return await systemNode(mft, inode, unix);
  } catch (error) {
    throw naming(mft.describe(inode.number), error);
  }
}

export async function readReparsePoint(mft: Mft, inode: Inode): Promise<ReparsePoint | undefined> {
  const stream = openStream(mft, inode, TYPE.reparsePoint);
  if (stream === undefined) return undefined;
  return parseReparsePoint(await readWhole(mft, stream, REPARSE_MAX_BYTES));
}

async function reparseNode(
  mft: Mft,
  inode: Inode,
  reparse: ReparsePoint,
  unix: UnixAttributes,
): Promise<Node> {
  const { tag } = reparse;
  if (isLink(tag) && inode.number !== ROOT_RECORD) {
    const { isFromRoot, path } = linkTarget(reparse);
    const target = isFromRoot ? await pathFromRoot(mft, inode, path) : path;
    if (target === "") throw fault("it is a link to nowhere");
    return { stat: makeStat(inode, unix, { kind: "symlink", target }), target, reparse };
  }
  const kind = inode.isDirectory ? undefined : specialKindOf(tag);
  const special = kind === undefined ? undefined : { kind, deviceNumber: unix.deviceNumber };
  return { stat: makeStat(inode, unix, special), reparse };
}

/** A system file: perhaps one that stands for a special file. */
async function systemNode(mft: Mft, inode: Inode, unix: UnixAttributes): Promise<Node> {
  const { flags } = standardInformation(inode);
  const data = inode.isDirectory ? undefined : openStream(mft, inode, TYPE.data);
  if (data === undefined || (flags & FILE_FLAG.system) === 0)
    return { stat: makeStat(inode, unix) };
  const isHidden = (flags & FILE_FLAG.hidden) !== 0;
  let special = interixBySize(data.sizeBytes, isHidden);
  if (mayBeInterix(data.sizeBytes) && !isCompressed(data) && !isEncrypted(data)) {
    special = parseInterix(await readWhole(mft, data, data.sizeBytes));
    if (special?.target === "") special = undefined;
  }
  return { stat: makeStat(inode, unix, special), target: special?.target };
}

/** A path from the root of the volume as one from the directory of the link. */
async function pathFromRoot(mft: Mft, inode: Inode, path: string): Promise<string> {
  let depth = 0;
  let parent = parentOf(inode)?.number;
  while (parent !== undefined && parent !== ROOT_RECORD) {
    depth++;
    if (depth > DEPTH_MAX) throw fault(`it is below more than ${DEPTH_MAX} directories`);
    parent = parentOf(await recordOfParent(mft, parent))?.number;
  }
  const up = "../".repeat(depth) + path;
  return up === "" ? "." : up.replace(/\/+$/, "");
}

async function recordOfParent(mft: Mft, number: number): Promise<Inode> {
  try {
    return await completeInode(mft, await mft.record(number));
  } catch (error) {
    if (!isReelError(error, "not-found")) throw error;
    throw fault(`a directory above it is gone: ${error.message}`);
  }
}

function unixOf(bytes: Buffer): UnixAttributes {
  return unixAttributes(parseExtendedAttributes(bytes));
}

function standardInformation(inode: Inode) {
  return parseStandardInformation(findAttribute(inode, TYPE.standardInformation)?.value);
}

interface SpecialNode {
  readonly kind: NodeKind;
  readonly target?: string | undefined;
  readonly deviceNumber?: number | undefined;
}

function makeStat(inode: Inode, unix: UnixAttributes, special?: SpecialNode): NodeStat {
  const { flags, ...times } = standardInformation(inode);
  const kind = special?.kind ?? (inode.isDirectory ? "directory" : "file");
  const { sizeBytes, allocatedBytes } = sizesOf(inode);
  const isFile = kind === "file";
  return {
    id: inode.number,
    kind,
    sizeBytes: special?.target === undefined ? sizeBytes : Buffer.byteLength(special.target),
    mode: unix.mode === undefined ? undefined : unix.mode & PERMISSIONS,
    readOnly: isFile && (flags & FILE_FLAG.readOnly) !== 0,
    uid: unix.uid,
    gid: unix.gid,
    linkCount: inode.isDirectory ? 1 : linkCountOf(inode),
    ...times,
    allocatedBytes,
    deviceNumber: special?.deviceNumber,
    attributes: flags & SHOWN_FLAGS,
  };
}

/** Names, without those that only DOS uses. */
function linkCountOf(inode: Inode): number {
  let count = 0;
  for (const { value } of attributesOf(inode, TYPE.fileName)) {
    if (value !== undefined && parseFileName(value).nameSpace !== NAME_SPACE.dos) count++;
  }
  return Math.max(1, count);
}

function sizesOf(inode: Inode): { sizeBytes: number; allocatedBytes: number } {
  const attribute = inode.isDirectory
    ? findAttribute(inode, TYPE.indexAllocation, INDEX_NAME)
    : findAttribute(inode, TYPE.data);
  if (attribute === undefined) return { sizeBytes: 0, allocatedBytes: 0 };
  const { value, extent } = attribute;
  if (value !== undefined) {
    const allocatedBytes = Math.ceil(value.length / PADDING_BYTES) * PADDING_BYTES;
    return { sizeBytes: value.length, allocatedBytes };
  }
  return { sizeBytes: extent?.sizeBytes ?? 0, allocatedBytes: storedBytes(attribute) };
}

function storedBytes({ extent, flags }: Attribute): number {
  const isSaving = (flags & (ATTRIBUTE_FLAG.compressed | ATTRIBUTE_FLAG.sparse)) !== 0;
  return (isSaving ? extent?.storedBytes : extent?.allocatedBytes) ?? 0;
}

/** As much as a directory's index says of a file whose own record cannot be read. */
export function statFromIndex(number: number, details: FileNameDetails): NodeStat {
  const { flags, sizeBytes, allocatedBytes, ...times } = details;
  const isDirectory = (flags & FILE_FLAG.directory) !== 0;
  return {
    id: number,
    kind: isDirectory ? "directory" : "file",
    sizeBytes: isDirectory ? 0 : sizeBytes,
    readOnly: !isDirectory && (flags & FILE_FLAG.readOnly) !== 0,
    linkCount: 1,
    ...times,
    allocatedBytes,
    attributes: flags & SHOWN_FLAGS,
  };
}
