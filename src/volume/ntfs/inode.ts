/** A file or directory with all its attributes, whichever records they are in. */
import { readAttributeList } from "./attribute-list.ts";
import { fault, naming } from "./damage.ts";
import type { Mft, MftBlocks } from "./mft.ts";
import { TYPE } from "./record.ts";
import type { Attribute, FileRecord } from "./record.ts";

/** Blocks of the MFT that are loaded together for the further records of one file. */
const BLOCKS_TOGETHER = 16;
/** As many records as an attribute list can name. */
const FURTHER_RECORDS_MAX = 10_000;

export interface Inode {
  readonly number: number;
  readonly sequence: number;
  readonly isDirectory: boolean;
  readonly attributes: readonly Attribute[];
}

/** True when the record is all there is of the file. */
export function isWhole(record: FileRecord): boolean {
  return record.attributes.every(({ type }) => type !== TYPE.attributeList);
}

/** Throws "not-found" where the record is not in use or is no file's first; "damaged". */
export async function loadInode(mft: Mft, number: number): Promise<Inode> {
  return completeInode(mft, await mft.record(number));
}

/** Adds what the further records hold. Throws "damaged". */
export async function completeInode(mft: Mft, record: FileRecord): Promise<Inode> {
  const list = record.attributes.find(({ type }) => type === TYPE.attributeList);
  if (list === undefined) return record;
  try {
    const entries = await readAttributeList(mft.device, mft.geometry, list);
    const numbers = new Set(entries.map((entry) => entry.reference.number));
    numbers.delete(record.number);
    if (numbers.size > FURTHER_RECORDS_MAX) {
      throw fault(`it goes on in ${numbers.size} further records`);
    }
    const attributes = [...record.attributes];
    for (const further of await loadRecords(mft, [...numbers])) {
      if (further.base?.number !== record.number || further.base.sequence !== record.sequence) {
        throw fault(`it goes on in record ${further.number}, which does not belong to it`);
      }
      attributes.push(...further.attributes);
    }
    return { ...record, attributes };
  } catch (error) {
    throw naming(mft.describe(record.number), error);
  }
}

async function loadRecords(mft: Mft, numbers: readonly number[]): Promise<FileRecord[]> {
  const records: FileRecord[] = [];
  const sorted = [...numbers].sort((a, b) => a - b);
  for (let at = 0; at < sorted.length;) {
    const blocks = new Set<number>();
    let end = at;
    for (; end < sorted.length; end++) {
      blocks.add(mft.blockIndexOf(sorted[end] ?? 0));
      if (blocks.size === BLOCKS_TOGETHER) break;
    }
    const loaded = await mft.blocks([...blocks]);
    for (; at < Math.min(end + 1, sorted.length); at++) {
      records.push(furtherRecord(mft, loaded, sorted[at] ?? 0));
    }
  }
  return records;
}

function furtherRecord(mft: Mft, blocks: MftBlocks, number: number): FileRecord {
  try {
    return mft.recordIn(blocks, number);
  } catch (error) {
    // A part that is missing is damage of the whole.
    throw fault(error instanceof Error ? error.message : String(error));
  }
}

/** The attribute, or its first part; undefined where the file has none. */
export function findAttribute(inode: Inode, type: number, name = ""): Attribute | undefined {
  return inode.attributes.find((attribute) => {
    if (attribute.type !== type || attribute.name !== name) return false;
    return attribute.extent === undefined || attribute.extent.firstCluster === 0;
  });
}

/** All attributes of a type that are no further parts. */
export function attributesOf(inode: Inode, type: number): Attribute[] {
  return inode.attributes.filter((attribute) => {
    if (attribute.type !== type) return false;
    return attribute.extent === undefined || attribute.extent.firstCluster === 0;
  });
}
