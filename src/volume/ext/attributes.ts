/**
 * Extended attributes: in the inode behind its fields, in one block, and, for large values, in
 * inodes of their own. The rest of inline data is one of them ("system.data"). Layout: "ext4 Data
 * Structures and Algorithms", section "Extended Attributes".
 */
import { ReelError } from "../../errors.ts";
import { accessControlValue } from "./access-control.ts";
import { mapBlocks } from "./block-map.ts";
import { crcOfBlockNumber, extCrc32c } from "./checksums.ts";
import type { DeviceBlocks } from "./device-blocks.ts";
import { INCOMPAT } from "./features.ts";
import { BLOCK_FIELD, CORE_BYTES, INODE_FLAG } from "./inode.ts";
import type { Inode } from "./inode.ts";
import type { InodeTable } from "./inode-table.ts";

const MAGIC = 0xea020000;
const ENTRY = {
  nameLength: 0,
  nameIndex: 1,
  valueOffset: 2,
  valueInode: 4,
  valueSize: 8,
  name: 16,
} as const;
const INODE_HEADER_BYTES = 4;
const BLOCK_HEADER = { magic: 0, blocks: 8, checksum: 16, bytes: 32 } as const;
/** The largest value that Linux can set or get. */
const VALUE_BYTES_MAX = 65536;
const VALUES_BYTES_MAX = 16 * 1024 * 1024;
const SYSTEM_INDEX = 7;

/** What the first byte of an entry's name stands for; those left out are not for users. */
const PREFIXES: Readonly<Record<number, string>> = {
  1: "user.",
  2: "system.posix_acl_access",
  3: "system.posix_acl_default",
  4: "trusted.",
  6: "security.",
  10: "gnu.",
};
const ACCESS_CONTROL_INDEXES = [2, 3];

/** The project id of lsattr -p, in decimal: no attribute of the volume, but nothing else shows it. */
export const PROJECT_XATTR = "user.ext4.project";

interface AttributeEntry {
  readonly nameIndex: number;
  readonly name: string;
  /** Inode of the value; 0: it is among the bytes. */
  readonly valueInode: number;
  /** Where the value is, in the bytes that the entry is from. */
  readonly valueStart: number;
  readonly valueBytes: number;
}

/** What is wrong with a set of attributes. */
class AttributeFault extends Error {}

/** A stretch of the bytes of an inode's piece of the table. */
interface Stretch {
  readonly start: number;
  readonly end: number;
}

/** Where the contents of an inode with inline data are: the block field, and an attribute's value. */
export function readInlineData(inode: Inode): { readonly head: Stretch; readonly tail?: Stretch } {
  const start = inode.offset + BLOCK_FIELD.offset;
  const head = { start, end: start + BLOCK_FIELD.lengthBytes };
  const entry = guarded(inode, "inline data", () =>
    entriesInInode(inode).find(
      ({ nameIndex, name }) => nameIndex === SYSTEM_INDEX && name === "data",
    ),
  );
  if (entry === undefined || entry.valueBytes === 0) return { head };
  return { head, tail: { start: entry.valueStart, end: entry.valueStart + entry.valueBytes } };
}

/** All attributes that a user may see, by full name, and the project. Throws "damaged". */
export async function readAttributes(
  blocks: DeviceBlocks,
  inodes: InodeTable,
  inode: Inode,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  const { projectId } = inode;
  if (projectId !== 0) found.set(PROJECT_XATTR, Buffer.from(String(projectId)));
  let total = 0;
  for (const { bytes, entries } of await attributeSets(blocks, inode)) {
    for (const entry of entries) {
      const prefix = PREFIXES[entry.nameIndex];
      if (prefix === undefined) continue;
      const name = prefix + entry.name;
      if (found.has(name)) continue;
      const value = await valueOf(blocks, inodes, inode, bytes, entry);
      total += value.length;
      if (total > VALUES_BYTES_MAX) {
        throw damaged(inode, "attributes", `its values have more than ${VALUES_BYTES_MAX} bytes`);
      }
      const isAccessControl = ACCESS_CONTROL_INDEXES.includes(entry.nameIndex);
      found.set(name, isAccessControl ? accessControl(inode, value) : value.slice());
    }
  }
  return found;
}

function accessControl(inode: Inode, value: Uint8Array): Uint8Array {
  const converted = accessControlValue(value);
  if (converted !== undefined) return converted;
  throw damaged(inode, "attributes", "its access control list is not sound");
}

/** Inodes that hold values of an inode's attributes. Throws "damaged". */
export async function valueInodesOf(blocks: DeviceBlocks, inode: Inode): Promise<number[]> {
  const numbers: number[] = [];
  for (const { entries } of await attributeSets(blocks, inode)) {
    for (const { valueInode } of entries) {
      if (valueInode !== 0) numbers.push(valueInode);
    }
  }
  return numbers;
}

interface AttributeSet {
  readonly bytes: Uint8Array;
  readonly entries: readonly AttributeEntry[];
}

async function attributeSets(blocks: DeviceBlocks, inode: Inode): Promise<AttributeSet[]> {
  const inInode = guarded(inode, "attributes", () => entriesInInode(inode));
  const sets = [{ bytes: inode.bytes, entries: inInode }];
  const block = inode.attributeBlock;
  if (block !== 0) {
    const fault = blocks.faultOf(block, 1);
    if (fault !== undefined) throw damaged(inode, "attributes", fault);
    const bytes = await blocks.read(block, "an attribute block");
    const entries = guarded(inode, `attributes in block ${block}`, () =>
      entriesInBlock(inode, block, bytes),
    );
    sets.push({ bytes, entries });
  }
  return sets;
}

function entriesInInode(inode: Inode): AttributeEntry[] {
  const { extraBytes, offset, superblock } = inode;
  const start = offset + CORE_BYTES + extraBytes;
  const end = offset + superblock.inodeSizeBytes;
  // Without extra fields the inode is of the old kind, or there is no room.
  if (extraBytes === 0 || start + INODE_HEADER_BYTES > end) return [];
  const view = new DataView(inode.bytes.buffer, inode.bytes.byteOffset, inode.bytes.byteLength);
  if (view.getUint32(start, true) !== MAGIC) return [];
  const first = start + INODE_HEADER_BYTES;
  return parseEntries(inode.bytes, { start: first, end }, first);
}

function entriesInBlock(inode: Inode, block: number, bytes: Uint8Array): AttributeEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(BLOCK_HEADER.magic, true) !== MAGIC) {
    throw new AttributeFault("it has no EA020000 at the start");
  }
  if (view.getUint32(BLOCK_HEADER.blocks, true) !== 1) {
    throw new AttributeFault(`it claims ${view.getUint32(BLOCK_HEADER.blocks, true)} blocks`);
  }
  const { hasMetadataChecksums, checksumSeed } = inode.superblock;
  if (hasMetadataChecksums) {
    const copy = bytes.slice();
    copy.fill(0, BLOCK_HEADER.checksum, BLOCK_HEADER.checksum + 4);
    const sum = extCrc32c(crcOfBlockNumber(checksumSeed, block), copy);
    if (sum !== view.getUint32(BLOCK_HEADER.checksum, true)) {
      throw new AttributeFault("its checksum is wrong");
    }
  }
  return parseEntries(bytes, { start: BLOCK_HEADER.bytes, end: bytes.length }, 0);
}

/** Entries in `room`, up to the four zeros behind the last; values are found from `valuesFrom`. */
function parseEntries(bytes: Uint8Array, room: Stretch, valuesFrom: number): AttributeEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: AttributeEntry[] = [];
  let at = room.start;
  while (at + 4 <= room.end && view.getUint32(at, true) !== 0) {
    const nameLength = bytes[at + ENTRY.nameLength] ?? 0;
    const nameAt = at + ENTRY.name;
    const next = nameAt + Math.ceil(nameLength / 4) * 4;
    if (next > room.end) throw new AttributeFault(`the entry at byte ${at} is cut off`);
    const valueInode = view.getUint32(at + ENTRY.valueInode, true);
    const valueBytes = view.getUint32(at + ENTRY.valueSize, true);
    const valueStart = valuesFrom + view.getUint16(at + ENTRY.valueOffset, true);
    const isInside = valueStart >= room.start && valueStart + valueBytes <= room.end;
    if (valueBytes > VALUE_BYTES_MAX || (valueInode === 0 && valueBytes > 0 && !isInside)) {
      throw new AttributeFault(`the value of the entry at byte ${at} has ${valueBytes} bytes`);
    }
    const name = Buffer.from(bytes.subarray(nameAt, nameAt + nameLength)).toString("utf8");
    const nameIndex = bytes[at + ENTRY.nameIndex] ?? 0;
    entries.push({ nameIndex, name, valueInode, valueStart, valueBytes });
    at = next;
  }
  return entries;
}

async function valueOf(
  blocks: DeviceBlocks,
  inodes: InodeTable,
  owner: Inode,
  bytes: Uint8Array,
  { name, valueInode, valueStart, valueBytes }: AttributeEntry,
): Promise<Uint8Array> {
  if (valueInode === 0) return bytes.subarray(valueStart, valueStart + valueBytes);
  const hasFeature = (owner.superblock.incompat & INCOMPAT.eaInode) !== 0;
  const holder = await inodes.find(valueInode);
  if (
    holder === undefined ||
    !hasFeature ||
    !holder.hasFlag(INODE_FLAG.attributeValue) ||
    holder.sizeBytes !== valueBytes
  ) {
    throw damaged(owner, "attributes", `inode ${valueInode} does not hold the value of ${name}`);
  }
  const { runs } = await mapBlocks(blocks, holder);
  const { blockSizeBytes } = blocks;
  const value = new Uint8Array(Math.ceil(valueBytes / blockSizeBytes) * blockSizeBytes);
  for (let i = 0; i < runs.length; i++) {
    const at = runs.logicalAt(i) * blockSizeBytes;
    const target = value.subarray(at, at + runs.countAt(i) * blockSizeBytes);
    await blocks.readRun(runs.physicalAt(i), runs.countAt(i), target, `the value of ${name}`);
  }
  return value.subarray(0, valueBytes);
}

/** Runs a parser, whose faults become errors of the inode. */
function guarded<T>(inode: Inode, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof AttributeFault) throw damaged(inode, what, error.message);
    throw error;
  }
}

function damaged(inode: Inode, what: string, fault: string): ReelError {
  return new ReelError(
    "damaged",
    `cannot read the ${what} of inode ${inode.number} at byte ${inode.deviceOffset}: ${fault}`,
  );
}
