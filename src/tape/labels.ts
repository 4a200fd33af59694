/**
 * Tape labels after ANSI X3.27 (ECMA-13, ISO 1001): records of 80 characters. We write VOL1 and a
 * filemark; we read VOL1 and the first header and trailer labels of a file, in ASCII and in the
 * EBCDIC of IBM standard labels.
 */
import { ReelError } from "../errors.ts";
import type { TapeDrive } from "./tape-drive.ts";

export const LABEL_BYTES = 80;
const SERIAL_CHARS_MAX = 6;

/** Offsets and lengths in characters, from 0 (the standard counts from 1). */
const VOL1 = {
  serial: [4, 6],
  accessibility: [10, 1],
  implementation: [24, 13],
  owner: [37, 14],
  version: [79, 1],
} as const;
const FILE1 = {
  name: [4, 17],
  setSerial: [21, 6],
  section: [27, 4],
  sequence: [31, 4],
  generation: [35, 4],
  created: [41, 6],
  expires: [47, 6],
  blocks: [54, 6],
  system: [60, 13],
} as const;
type Field = readonly [offset: number, length: number];

const IMPLEMENTATION = "REELFS";
/** X3.27-1987. */
const STANDARD_VERSION = "4";
/** What the standard allows in a name: capitals, digits, and these. */
const SERIAL_CHARS = /^[A-Z0-9 !"%&'()*+,\-./:;<=>?_]*$/;

export type LabelEncoding = "ascii" | "ebcdic";

export interface VolumeLabel {
  /** The volume serial, as on the barcode, without padding. */
  readonly serial: string;
  readonly owner: string;
  readonly encoding: LabelEncoding;
}

/** HDR1 before the data of a file; EOF1 after it, EOV1 where it goes on on another tape. */
export interface FileLabel {
  readonly kind: "HDR1" | "EOF1" | "EOV1";
  readonly name: string;
  /** Serial of the first volume of the set. */
  readonly setSerial: string;
  /** Parts of a file over several tapes, and files on a tape; both from 1. */
  readonly section: number | undefined;
  readonly sequence: number | undefined;
  readonly generation: number | undefined;
  /** "2026-11-21"; undefined where the label says none, or nonsense. */
  readonly created: string | undefined;
  readonly expires: string | undefined;
  /** Records of the file (EOF1 and EOV1; 0 in HDR1). */
  readonly blocks: number | undefined;
  /** The system that wrote it. */
  readonly system: string;
  readonly encoding: LabelEncoding;
}

/** EBCDIC code points (code page 37) of the characters in labels, by their first code point. */
const EBCDIC_RUNS: readonly (readonly [number, string])[] = [
  [0x40, " "],
  [0x4b, ".<(+|&"],
  [0x5a, "!$*);"],
  [0x60, "-/"],
  [0x6b, ",%_>?"],
  [0x7a, ":#@'=\""],
  [0x81, "abcdefghi"],
  [0x91, "jklmnopqr"],
  [0xa2, "stuvwxyz"],
  [0xc1, "ABCDEFGHI"],
  [0xd1, "JKLMNOPQR"],
  [0xe2, "STUVWXYZ"],
  [0xf0, "0123456789"],
];

function ebcdicTable(): readonly string[] {
  const table = Array.from({ length: 256 }, () => "?");
  for (const [first, characters] of EBCDIC_RUNS) {
    Array.from(characters).forEach((character, index) => (table[first + index] = character));
  }
  return table;
}

const EBCDIC = ebcdicTable();

/** Bytes as EBCDIC text; "?" for what is no character of a label. */
export function ebcdicText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => EBCDIC[byte] ?? "?").join("");
}

/** The text of a label record and its encoding, where it begins with one of `kinds`. */
export function labelText(
  record: Uint8Array,
  kinds: readonly string[],
): { text: string; encoding: LabelEncoding } | undefined {
  if (record.length < LABEL_BYTES) return undefined;
  const bytes = record.subarray(0, LABEL_BYTES);
  const ascii = Array.from(bytes, (byte) =>
    byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "?",
  ).join("");
  if (kinds.includes(ascii.slice(0, 4))) return { text: ascii, encoding: "ascii" };
  const ebcdic = ebcdicText(bytes);
  if (kinds.includes(ebcdic.slice(0, 4))) return { text: ebcdic, encoding: "ebcdic" };
  return undefined;
}

function textField(text: string, [offset, length]: Field): string {
  return text.slice(offset, offset + length).trimEnd();
}

function numberField(text: string, field: Field): number | undefined {
  const digits = textField(text, field);
  return /^\d+$/.test(digits) ? Number(digits) : undefined;
}

/** A date of a label: century (blank: 19, 0: 20, 1: 21), year, day of the year. */
function dateField(text: string, [offset, length]: Field): string | undefined {
  const match = /^([ \d])(\d\d)(\d\d\d)$/.exec(text.slice(offset, offset + length));
  if (match === null) return undefined;
  const century = match[1] === " " ? 19 : 20 + Number(match[1]);
  const day = Number(match[3]);
  if (day === 0) return undefined;
  const date = new Date(Date.UTC(century * 100 + Number(match[2]), 0, day));
  return date.toISOString().slice(0, 10);
}

/** Reads a VOL1 record, or returns undefined for any other. */
export function decodeVolumeLabel(record: Uint8Array): VolumeLabel | undefined {
  const label = labelText(record, ["VOL1"]);
  if (label === undefined) return undefined;
  const { text, encoding } = label;
  return { serial: textField(text, VOL1.serial), owner: textField(text, VOL1.owner), encoding };
}

/**
 * Makes a VOL1 record in ASCII.
 * @throws "invalid" for a serial that is empty, too long, or not in the standard's characters.
 */
export function encodeVolumeLabel(serial: string): Uint8Array {
  const right = serial.length > 0 && serial.length <= SERIAL_CHARS_MAX && SERIAL_CHARS.test(serial);
  if (!right || serial.trim() !== serial) {
    throw new ReelError(
      "invalid",
      `cannot label a tape "${serial}": a volume serial has 1 to ${SERIAL_CHARS_MAX} characters, ` +
        `capital letters, digits and the like`,
    );
  }
  const record = new Uint8Array(LABEL_BYTES).fill(0x20);
  const put = (value: string, offset: number): void => {
    new TextEncoder().encodeInto(value, record.subarray(offset));
  };
  put("VOL1", 0);
  put(serial, VOL1.serial[0]);
  put(IMPLEMENTATION, VOL1.implementation[0]);
  put(STANDARD_VERSION, VOL1.version[0]);
  return record;
}

/** Reads an HDR1, EOF1 or EOV1 record, or returns undefined for any other. */
export function decodeFileLabel(record: Uint8Array): FileLabel | undefined {
  const label = labelText(record, ["HDR1", "EOF1", "EOV1"]);
  if (label === undefined) return undefined;
  const { text, encoding } = label;
  return {
    kind: text.slice(0, 4) as FileLabel["kind"],
    name: textField(text, FILE1.name),
    setSerial: textField(text, FILE1.setSerial),
    section: numberField(text, FILE1.section),
    sequence: numberField(text, FILE1.sequence),
    generation: numberField(text, FILE1.generation),
    created: dateField(text, FILE1.created),
    expires: dateField(text, FILE1.expires),
    blocks: numberField(text, FILE1.blocks),
    system: textField(text, FILE1.system),
    encoding,
  };
}

/**
 * Rewinds and reads the volume label. The drive is left behind the label and the filemark that
 * follows it, where one does; on a tape without a label, at the beginning.
 */
export async function readLabel(drive: TapeDrive): Promise<VolumeLabel | undefined> {
  await drive.rewind();
  const record = new Uint8Array(LABEL_BYTES);
  const first = await drive.read(record);
  const label =
    first.kind === "record" ? decodeVolumeLabel(record.subarray(0, first.lengthBytes)) : undefined;
  if (label === undefined) {
    await drive.rewind();
    return undefined;
  }
  const next = await drive.read(record.subarray(0, 0));
  if (next.kind === "record") await drive.locate(1);
  return label;
}

/** Rewinds and writes VOL1 and a filemark: whatever was on the tape is gone. */
export async function writeLabel(drive: TapeDrive, serial: string): Promise<void> {
  const record = encodeVolumeLabel(serial);
  await drive.rewind();
  await drive.write([record]);
  await drive.writeFilemarks(1);
}
