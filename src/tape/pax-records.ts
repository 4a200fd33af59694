/** The records of a pax extended header: "LENGTH KEY=VALUE\n" (POSIX.1-2017, pax). */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { SparsePlace } from "./tar-entries.ts";

/** What a listing needs of them. Undefined: not said. */
export interface PaxOverrides {
  path?: Uint8Array;
  linkpath?: Uint8Array;
  sizeBytes?: number;
  mtimeSeconds?: number;
  uid?: number;
  gid?: number;
  /** GNU's sparse files: the true name, where the map is, and the size with holes. */
  sparseName?: Uint8Array;
  sparse?: SparsePlace;
  realSizeBytes?: number;
}

const NEW_LINE = 0x0a;
const SPACE = 0x20;
const EQUALS = 0x3d;
/** Digits of a record's length; no header is longer than that says. */
const LENGTH_DIGITS_MAX = 10;
/** Records after which the event loop gets its turn. */
export const PAX_RECORDS_PER_TURN = 4096;

type Place = Omit<SparsePlace, "format">;

export interface PaxRecord {
  readonly key: string;
  readonly value: Uint8Array;
  /** Where the value begins in the header's data. */
  readonly offsetBytes: number;
}

/** The records, as views; an undefined one where the data is not as it should be, and no more. */
export function* paxRecords(data: Uint8Array): Generator<PaxRecord | undefined, void> {
  for (let at = 0; at < data.length;) {
    const space = data.indexOf(SPACE, at);
    if (space < 0 || space - at > LENGTH_DIGITS_MAX) {
      if (!data.subarray(at).every((byte) => byte === 0)) yield undefined;
      return;
    }
    const digits = text(data.subarray(at, space));
    const end = at + Number(digits);
    const equals = data.indexOf(EQUALS, space);
    const isLength = /^\d+$/.test(digits) && end > space + 1 && end <= data.length;
    if (!isLength || data[end - 1] !== NEW_LINE || equals < 0 || equals >= end) {
      yield undefined;
      return;
    }
    const key = text(data.subarray(space + 1, equals));
    yield { key, value: data.subarray(equals + 1, end - 1), offsetBytes: equals + 1 };
    at = end;
  }
}

/**
 * Adds what a header's data says to `overrides`; false where it is not as it should be (then up to
 * there). `dataOffsetBytes`: where the data stands, so that the map of a sparse file can be found.
 */
export async function readPaxRecords(
  data: Uint8Array,
  dataOffsetBytes: number,
  overrides: PaxOverrides,
): Promise<boolean> {
  let records = 0;
  for (const record of paxRecords(data)) {
    if (record === undefined) return false;
    if (++records % PAX_RECORDS_PER_TURN === 0) await nextTurn();
    if (record.key.startsWith("GNU.sparse.")) {
      const whole = { offsetBytes: dataOffsetBytes, lengthBytes: data.length };
      overrideSparse(overrides, record, whole);
    } else override(overrides, record.key, record.value);
  }
  return true;
}

/** `header`: where all records stand. */
function overrideSparse(
  overrides: PaxOverrides,
  { key, value, offsetBytes }: PaxRecord,
  header: Place,
): void {
  switch (key) {
    case "GNU.sparse.name":
      overrides.sparseName = value.slice();
      break;
    case "GNU.sparse.size":
    case "GNU.sparse.realsize":
      setNumber(overrides, "realSizeBytes", value, true);
      break;
    case "GNU.sparse.major":
      // Of version 1 the map stands in front of the data; a later one is not known.
      if (text(value) !== "0") {
        const format = text(value) === "1" ? "pax-1.0" : "unread";
        overrides.sparse = { format, offsetBytes: 0, lengthBytes: 0 };
      }
      break;
    case "GNU.sparse.map": {
      if (overrides.sparse !== undefined && overrides.sparse.format !== "pax-0.0") break;
      const place = { offsetBytes: header.offsetBytes + offsetBytes, lengthBytes: value.length };
      overrides.sparse = { format: "pax-0.1", ...place };
      break;
    }
    // There may be a number of parts, none, and no part.
    case "GNU.sparse.numblocks":
    case "GNU.sparse.offset":
      overrides.sparse ??= { format: "pax-0.0", ...header };
      break;
  }
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

function override(overrides: PaxOverrides, key: string, value: Uint8Array): void {
  switch (key) {
    case "path":
      overrides.path = value.slice();
      break;
    case "linkpath":
      overrides.linkpath = value.slice();
      break;
    case "size":
      setNumber(overrides, "sizeBytes", value, true);
      break;
    case "mtime":
      setNumber(overrides, "mtimeSeconds", value, false);
      break;
    case "uid":
    case "gid":
      setNumber(overrides, key, value, true);
      break;
  }
}

function setNumber(
  overrides: PaxOverrides,
  key: "sizeBytes" | "mtimeSeconds" | "uid" | "gid" | "realSizeBytes",
  value: Uint8Array,
  whole: boolean,
): void {
  const digits = text(value);
  if (!(whole ? /^\d+$/ : /^-?\d+(\.\d*)?$/).test(digits)) return;
  const number = Number(digits);
  if (Math.abs(number) <= Number.MAX_SAFE_INTEGER) overrides[key] = number;
}
