/**
 * Extended attributes: trustees as text, one "OBJECTID [RIGHTS]" on each line, and what the
 * Macintosh name space keeps: Finder information and a resource fork that is small enough.
 */
import { readSmall } from "./contents.ts";
import { layOut } from "./layout.ts";
import type { DataParts } from "./layout.ts";
import { u32 } from "./fields.ts";
import type { NameRecords } from "./names.ts";
import type { RecordFile } from "./record-file.ts";
import {
  DIRECTORY,
  DOS,
  isDirectory,
  MAC,
  trusteeAt,
  TRUSTEES,
  TYPE,
  VOLUME_FLAG,
} from "./records.ts";
import type { Trustee } from "./records.ts";

export const TRUSTEES_XATTR = "user.netware.trustees";
export const FINDER_INFO_XATTR = "user.com.apple.FinderInfo";
export const RESOURCE_FORK_XATTR = "user.com.apple.ResourceFork";
/** Linux takes no larger value. */
const XATTR_BYTES_MAX = 64 * 1024;
/** Records of further trustees; each holds 16. */
const TRUSTEE_RECORDS_MAX = 64;
const TRUSTEES_IN_FILE = 4;
const TRUSTEES_IN_DIRECTORY = 8;
/** Before volumes had the flag "new trustees", a file had six, each an id with its mask. */
const OLD_TRUSTEES_IN_FILE = 6;
const OLD_TRUSTEE_BYTES = 6;

export interface XattrSource extends DataParts {
  readonly directory: RecordFile;
  readonly volumeFlags: number;
}

/** Throws what the device throws. A fork that is damaged is left out: its file is still readable. */
export async function xattrsOf(
  source: XattrSource,
  records: NameRecords,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  const trustees = await trusteesOf(source, records.dos);
  if (trustees.length > 0) {
    const lines = trustees.map(({ objectId, rights }) => `${objectId} [${rights}]\n`);
    found.set(TRUSTEES_XATTR, Buffer.from(lines.join("")));
  }
  const { mac } = records;
  if (mac === undefined) return found;
  const info = new Uint8Array(mac.buffer, mac.byteOffset + MAC.finderInfo, MAC.finderBytes);
  if (info.some((byte) => byte !== 0)) found.set(FINDER_INFO_XATTR, info.slice());
  const size = u32(mac, MAC.forkSize);
  if (size === 0 || size > XATTR_BYTES_MAX) return found;
  const fork = { firstBlock: u32(mac, MAC.forkBlock), sizeBytes: size };
  const laid = await layOut(source, fork.firstBlock, size);
  if ("layout" in laid) {
    found.set(RESOURCE_FORK_XATTR, await readSmall(source, laid.layout, fork));
  }
  return found;
}

async function trusteesOf(source: XattrSource, dos: DataView): Promise<Trustee[]> {
  const trustees = inRecord(dos, (source.volumeFlags & VOLUME_FLAG.newTrustees) !== 0);
  let next = u32(dos, isDirectory(dos, 0) ? DIRECTORY.nextTrustee : DOS.nextTrustee);
  for (let i = 0; next !== 0 && i < TRUSTEE_RECORDS_MAX; i++) {
    const record = await source.directory.record(next);
    if (record === undefined || u32(record, TYPE.offset) !== TYPE.trustees) break;
    const count = Math.min(record.getUint8(TRUSTEES.count), TRUSTEES.idsMax);
    trustees.push(...arraysAt(record, TRUSTEES.ids, TRUSTEES.masks, count));
    next = u32(record, TRUSTEES.next);
  }
  return trustees;
}

function inRecord(dos: DataView, isNew: boolean): Trustee[] {
  if (isDirectory(dos, 0)) {
    return arraysAt(dos, DIRECTORY.trustees, DIRECTORY.trusteeMasks, TRUSTEES_IN_DIRECTORY);
  }
  if (isNew) return arraysAt(dos, DOS.trustees, DOS.trusteeMasks, TRUSTEES_IN_FILE);
  const trustees: Trustee[] = [];
  for (let i = 0; i < OLD_TRUSTEES_IN_FILE; i++) {
    const at = DOS.trustees + i * OLD_TRUSTEE_BYTES;
    const trustee = trusteeAt(dos, at, at + 4);
    if (trustee !== undefined) trustees.push(trustee);
  }
  return trustees;
}

/** Ids in one array, masks in another. */
function arraysAt(record: DataView, ids: number, masks: number, count: number): Trustee[] {
  const trustees: Trustee[] = [];
  for (let i = 0; i < count; i++) {
    const trustee = trusteeAt(record, ids + i * 4, masks + i * 2);
    if (trustee !== undefined) trustees.push(trustee);
  }
  return trustees;
}
