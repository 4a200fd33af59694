/** The records of a pax extended header: "LENGTH KEY=VALUE\n" (POSIX.1-2017, pax). */

/** What a listing needs of them. Undefined: not said. */
export interface PaxOverrides {
  path?: Uint8Array;
  linkpath?: Uint8Array;
  sizeBytes?: number;
  mtimeSeconds?: number;
  uid?: number;
  gid?: number;
  /** GNU's sparse files: the true name, the version of the map, and the size with holes. */
  sparseName?: Uint8Array;
  sparse?: "0.0" | "0.1" | "1.0";
  realSizeBytes?: number;
}

const NEW_LINE = 0x0a;
const SPACE = 0x20;
const EQUALS = 0x3d;
/** Digits of a record's length; no header is longer than that says. */
const LENGTH_DIGITS_MAX = 10;

/** Adds what `data` says to `overrides`; false where it is not as it should be (then up to there). */
export function readPaxRecords(data: Uint8Array, overrides: PaxOverrides): boolean {
  for (let at = 0; at < data.length;) {
    const space = data.indexOf(SPACE, at);
    if (space < 0 || space - at > LENGTH_DIGITS_MAX) return data.subarray(at).every((b) => b === 0);
    const digits = text(data.subarray(at, space));
    const end = at + Number(digits);
    if (!/^\d+$/.test(digits) || end <= space + 1 || end > data.length) return false;
    if (data[end - 1] !== NEW_LINE) return false;
    const equals = data.indexOf(EQUALS, space);
    if (equals < 0 || equals >= end) return false;
    const key = text(data.subarray(space + 1, equals));
    override(overrides, key, data.slice(equals + 1, end - 1));
    at = end;
  }
  return true;
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

function override(overrides: PaxOverrides, key: string, value: Uint8Array): void {
  switch (key) {
    case "path":
      overrides.path = value;
      break;
    case "GNU.sparse.name":
      overrides.sparseName = value;
      break;
    case "linkpath":
      overrides.linkpath = value;
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
    case "GNU.sparse.major":
      overrides.sparse = "1.0";
      break;
    case "GNU.sparse.numblocks":
      overrides.sparse ??= "0.0";
      break;
    case "GNU.sparse.map":
      overrides.sparse = "0.1";
      break;
    case "GNU.sparse.size":
    case "GNU.sparse.realsize":
      setNumber(overrides, "realSizeBytes", value, true);
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
