/**
 * Names of an entry. The DOS record leads to records of the other name spaces, each a name for the
 * same file; what does not fit into a record goes on in the extended directory.
 */
import type { CodePage } from "../code-pages.ts";
import { hasText, u32, viewOf } from "./fields.ts";
import type { RecordFile } from "./record-file.ts";
import { COMMON, DOS, LONG, MAC, NAME_SPACE, NFS, RECORD_BYTES, TYPE } from "./records.ts";

/** NetWare knows 12 name spaces. */
const NAMES_MAX = 12;
const NAME_LENGTH_MAX = 255;

const EXTENDED = {
  length: 4,
  record: 8,
  long: { signature: "\x90\x21\xa1\xab", data: 16 },
  nt: { signature: "NTFS", data: 16 },
  /** The length comes in front of the name, the signature is "UNIX" the other way round. */
  nfs: { signature: "XINU", data: 17 },
} as const;

/** Records of one entry, by name space; those that its chain leads to. */
export interface NameRecords {
  readonly dos: DataView;
  readonly long?: DataView | undefined;
  readonly nt?: DataView | undefined;
  readonly nfs?: DataView | undefined;
  readonly mac?: DataView | undefined;
  /** Numbers of the records of the names. */
  readonly numbers: ReadonlyMap<DataView, number>;
  /** What is wrong with the chain of names. */
  readonly fault: string | undefined;
}

const FIELD_OF: ReadonlyMap<number, "long" | "nt" | "nfs" | "mac"> = new Map([
  [NAME_SPACE.long, "long"],
  [NAME_SPACE.nt, "nt"],
  [NAME_SPACE.nfs, "nfs"],
  [NAME_SPACE.mac, "mac"],
]);

/** Follows the chain of names of the entry whose DOS record is number `primary`. */
export async function readNameRecords(
  records: RecordFile,
  primary: number,
  dos: DataView,
): Promise<NameRecords> {
  const found: Partial<Record<"long" | "nt" | "nfs" | "mac", DataView>> = {};
  const numbers = new Map<DataView, number>();
  let fault: string | undefined;
  let next = u32(dos, COMMON.nextName);
  for (let i = 0; next !== 0 && fault === undefined; i++) {
    // Nearly always in the page that is here: no await then.
    const here = records.recordHere(next);
    const record = here ?? (await records.record(next));
    if (record === undefined || i >= NAMES_MAX || !isNameOf(record, primary)) {
      fault = `record ${next} should be one of its names and is not`;
      break;
    }
    const field = FIELD_OF.get(record.getUint8(COMMON.nameSpace));
    if (field !== undefined) found[field] ??= record;
    numbers.set(record, next);
    next = u32(record, COMMON.nextName);
  }
  return { dos, ...found, numbers, fault };
}

function isNameOf(record: DataView, primary: number): boolean {
  const isName = u32(record, TYPE.offset) < TYPE.suballocation || primary === 0;
  const isOther = record.getUint8(COMMON.nameSpace) !== NAME_SPACE.dos;
  return isName && isOther && u32(record, COMMON.primary) === primary;
}

export interface ShownNames {
  /** The longest; the order of `CANDIDATES` decides among equals. */
  readonly name: string;
  readonly dosName: string;
}

/** Decodes all names of an entry and chooses. `extended` is the extended directory, if there is one. */
export async function chooseName(
  found: NameRecords,
  codePage: CodePage,
  extended: RecordFile | undefined,
): Promise<ShownNames> {
  const dosName = decode(nameField(found.dos, DOS.nameBytes), codePage);
  let name = "";
  for (const candidate of [found.long, found.nt, found.nfs]) {
    if (candidate === undefined) continue;
    const bytes = await wholeName(candidate, found, extended);
    const readable = typeof bytes === "string" ? partOf(candidate) : bytes;
    const decoded = decode(readable, codePage);
    if (decoded.length > name.length) name = decoded;
  }
  if (found.mac !== undefined) {
    const decoded = MAC_ROMAN.decode(nameField(found.mac, MAC.nameBytes));
    if (decoded.length > name.length) name = decoded;
  }
  return { name: dosName.length > name.length ? dosName : name, dosName };
}

/** Which name cannot be read to its end, undefined when all can. */
export async function faultOfNames(
  found: NameRecords,
  extended: RecordFile | undefined,
): Promise<string | undefined> {
  if (found.fault !== undefined) return found.fault;
  for (const candidate of [found.long, found.nt, found.nfs]) {
    if (candidate === undefined) continue;
    const bytes = await wholeName(candidate, found, extended);
    if (typeof bytes === "string") return bytes;
  }
  return undefined;
}

const MAC_ROMAN = new TextDecoder("macintosh");

function decode(bytes: Uint8Array, codePage: CodePage): string {
  let text = "";
  for (const byte of bytes) text += codePage[byte] ?? "";
  return text;
}

function nameField(record: DataView, bytesMax: number): Uint8Array {
  const length = Math.min(record.getUint8(COMMON.nameLength), bytesMax);
  return new Uint8Array(record.buffer, record.byteOffset + COMMON.name, length);
}

function isNfs(record: DataView): boolean {
  return record.getUint8(COMMON.nameSpace) === NAME_SPACE.nfs;
}

function partOf(record: DataView): Uint8Array {
  return nameField(record, isNfs(record) ? NFS.nameBytes : LONG.nameBytes);
}

/** The name with its part in the extended directory, or what is wrong with that. */
async function wholeName(
  record: DataView,
  found: NameRecords,
  extended: RecordFile | undefined,
): Promise<Uint8Array | string> {
  const part = partOf(record);
  const fields = isNfs(record) ? NFS : LONG;
  const total = record.getUint8(fields.totalLength);
  const rest = total - part.length;
  if (rest <= 0 || part.length < fields.nameBytes) return part;
  const start = u32(record, fields.extendedRecord);
  const fault = `the end of its name should be in record ${start} of the extended directory and is not`;
  if (extended === undefined || start === 0) return fault;
  const kind = isNfs(record) ? EXTENDED.nfs : record === found.nt ? EXTENDED.nt : EXTENDED.long;
  const bytes = await extended.recordBytes(start, Math.ceil((kind.data + rest) / RECORD_BYTES));
  if (bytes === undefined || !hasText(bytes, 0, kind.signature)) return fault;
  const view = viewOf(bytes);
  const owner = u32(view, EXTENDED.record);
  const isOwn = owner === found.numbers.get(record) || owner === u32(record, COMMON.primary);
  const length = isNfs(record) ? view.getUint8(kind.data - 1) : u32(view, EXTENDED.length);
  if (!isOwn || length < rest || length > NAME_LENGTH_MAX + kind.data) return fault;
  return Buffer.concat([part, bytes.subarray(kind.data, kind.data + rest)]);
}
