/**
 * The two records by which the tapes of a set know one another (docs/formats/tape-set.md): one at
 * the end of a full tape that names the next, one at the start of the next that names all before it.
 * JSON behind a short binary head, so that `strings` on a tape tells a person where it goes on.
 */
import { crc32c } from "@node-rs/crc32";
import { ReelError } from "../../errors.ts";

/** Places of the fields in bytes; all numbers are little-endian. */
const FIELDS = { magic: 0, crc: 8, jsonBytes: 12, json: 16 } as const;
const MAGIC = Buffer.from("REELTSET", "latin1");
/** Bytes that tell a record of a set from any other. */
export const SET_HEAD_BYTES = FIELDS.json;

/** Tapes of one set. */
export const SET_TAPES_MAX = 512;
/** A longer name is cut to its last part. */
const NAME_CHARS_MAX = 1024;
const SERIAL_CHARS_MAX = 32;
/** Longer than any that is written. */
export const SET_RECORD_BYTES_MAX = 4 * 1024 * 1024;
const FORMAT = "reelfs-tape-set";
const VERSION = 1;

/** A tape as the set remembers it. */
export interface SetTapeFacts {
  /** Its path when it was written, or LOADER:BARCODE. */
  readonly name: string;
  readonly serial: string;
  /** Links it to the tape before it; the first tape has none. */
  readonly joint?: string | undefined;
  /** Objects and filemarks of the set on the tapes before it. */
  readonly firstObject: number;
  readonly firstFile: number;
  /** Bytes of the tapes before it, where the drives could tell. */
  readonly startBytes?: number | undefined;
}

/** Object 2 of every tape of a set but the first. */
export interface Continuation {
  readonly kind: "continues";
  readonly set: string;
  /** Number of this tape in the set, from 1. */
  readonly sequence: number;
  readonly created: string;
  /** All tapes up to this one, which is the last; the first of the set first. */
  readonly tapes: readonly SetTapeFacts[];
}

/** The last record of a tape that is full. */
export interface TapeEnd {
  readonly kind: "ends";
  readonly set: string;
  readonly sequence: number;
  /** First object and file of the next tape. */
  readonly object: number;
  readonly file: number;
  readonly next: { readonly name: string; readonly serial: string; readonly joint: string };
}

export type SetRecord = Continuation | TapeEnd;

/** The record's bytes. A name too long for it is cut to its last part. */
export function encodeSetRecord(record: SetRecord): Buffer {
  const json = Buffer.from(
    JSON.stringify({ format: FORMAT, version: VERSION, ...record }, (key, value: unknown) =>
      key === "name" ? shortName(String(value)) : value,
    ),
  );
  const bytes = Buffer.alloc(FIELDS.json + json.length);
  MAGIC.copy(bytes, FIELDS.magic);
  bytes.writeUInt32LE(crc32c(json), FIELDS.crc);
  bytes.writeUInt32LE(json.length, FIELDS.jsonBytes);
  json.copy(bytes, FIELDS.json);
  return bytes;
}

function shortName(name: string): string {
  return name.length <= NAME_CHARS_MAX ? name : name.slice(name.lastIndexOf("/") + 1);
}

/** Does a record begin as one of ours? */
export function hasSetMagic(head: Uint8Array): boolean {
  return MAGIC.equals(head.subarray(FIELDS.magic, FIELDS.magic + MAGIC.length));
}

/**
 * Reads a record of a set.
 * @throws "damaged" for one that is not whole or makes no sense, "unsupported" for a newer one.
 */
export function decodeSetRecord(bytes: Uint8Array, where: string): SetRecord {
  const record = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (record.length < FIELDS.json || !hasSetMagic(record)) throw damaged(where, "its head is gone");
  const end = FIELDS.json + record.readUInt32LE(FIELDS.jsonBytes);
  if (end > record.length) throw damaged(where, "it is cut off");
  const json = record.subarray(FIELDS.json, end);
  if (crc32c(json) !== record.readUInt32LE(FIELDS.crc)) {
    throw damaged(where, "its checksum does not match");
  }
  return checked(new Fields(parse(json, where), where), where);
}

function parse(json: Buffer, where: string): unknown {
  try {
    return JSON.parse(json.toString("utf8"));
  } catch {
    throw damaged(where, "it is no JSON");
  }
}

function checked(fields: Fields, where: string): SetRecord {
  if (fields.text("format", FORMAT.length) !== FORMAT) throw damaged(where, "it is of no set");
  const version = fields.count("version");
  if (version !== VERSION) {
    throw new ReelError(
      "unsupported",
      `${where} is of version ${version} of tape sets; this program reads version ${VERSION}`,
    );
  }
  const set = fields.text("set");
  const sequence = fields.count("sequence", SET_TAPES_MAX);
  if (fields.text("kind") === "ends") {
    const next = fields.inner("next");
    return {
      ...{ kind: "ends", set, sequence },
      ...{ object: fields.count("object"), file: fields.count("file") },
      next: { name: next.text("name"), serial: next.text("serial"), joint: next.text("joint") },
    };
  }
  const tapes = fields.list("tapes").map(tapeFacts);
  const rises = tapes.every((tape, index) => {
    const before = tapes[index - 1] ?? tape;
    return tape.firstObject >= before.firstObject && tape.firstFile >= before.firstFile;
  });
  if (sequence < 2 || tapes.length !== sequence || !rises) {
    throw damaged(where, "its tapes contradict one another");
  }
  return { kind: "continues", set, sequence, created: fields.text("created"), tapes };
}

function tapeFacts(fields: Fields): SetTapeFacts {
  return {
    name: fields.text("name"),
    serial: fields.text("serial", SERIAL_CHARS_MAX),
    joint: fields.has("joint") ? fields.text("joint") : undefined,
    firstObject: fields.count("firstObject"),
    firstFile: fields.count("firstFile"),
    startBytes: fields.has("startBytes") ? fields.count("startBytes") : undefined,
  };
}

function damaged(where: string, why: string): ReelError {
  return new ReelError("damaged", `${where} is damaged: ${why}`);
}

/** Members of a JSON object that nobody has checked yet. */
class Fields {
  readonly #members: ReadonlyMap<string, unknown>;
  readonly #where: string;

  constructor(value: unknown, where: string) {
    if (typeof value !== "object" || value === null) throw damaged(where, "it is no object");
    this.#members = new Map(Object.entries(value));
    this.#where = where;
  }

  has(name: string): boolean {
    return this.#members.has(name);
  }

  text(name: string, charsMax = NAME_CHARS_MAX): string {
    const value = this.#members.get(name);
    if (typeof value === "string" && value.length <= charsMax) return value;
    throw damaged(this.#where, `"${name}" is not what it should be`);
  }

  count(name: string, max = Number.MAX_SAFE_INTEGER): number {
    const value = this.#members.get(name);
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= max) {
      return value;
    }
    throw damaged(this.#where, `"${name}" is not what it should be`);
  }

  inner(name: string): Fields {
    return new Fields(this.#members.get(name), this.#where);
  }

  list(name: string): Fields[] {
    const value = this.#members.get(name);
    if (!Array.isArray(value) || value.length > SET_TAPES_MAX) {
      throw damaged(this.#where, `"${name}" is not what it should be`);
    }
    return value.map((each) => new Fields(each, this.#where));
  }
}
