/**
 * The words of a SIMH `.tap` container. Layout after B. Supnik, "SIMH Magtape Representation and
 * Handling" (17 January 2022); docs/formats/tap.md has the grammar and a worked example.
 *
 * A tape is a string of 32-bit little-endian words. A word is a marker, or it opens a record:
 * word, data, a pad byte when the length is odd, the same word again. The top four bits are the
 * class, the other 28 a length or a value.
 */

/** Bytes of a marker, and of each of the two words around a record. */
export const WORD_BYTES = 4;
/** Bytes of the framing of a record, pad byte not counted. */
export const FRAME_BYTES = 2 * WORD_BYTES;
/** Bytes of a half gap: what is left of an erase gap when a later object covered its other half. */
const HALF_GAP_BYTES = 2;

export const FILEMARK_WORD = 0x0000_0000;
const ERASE_GAP_WORD = 0xffff_fffe;
const END_OF_MEDIUM_WORD = 0xffff_ffff;
/** A half gap followed by an erase gap, as it looks to a reader going forward. */
const HALF_GAP_WORD = 0xfffe_ffff;
const ILLEGAL_FIRST_WORD = 0xfffe_0000;

const CLASS_SHIFT = 28;
const LENGTH_MASK = 0x0fff_ffff;
const CLASS_GOOD = 0x0;
const CLASS_PRIVATE_MARKER = 0x7;
const CLASS_BAD = 0x8;
const CLASS_RESERVED_MARKER = 0xf;

/** Longest record we write: the standard subset keeps lengths in 24 bits. */
export const RECORD_BYTES_MAX = 0xff_ffff;

/** What one word says. `sizeBytes` is the room of the whole object in the container. */
export type ObjectKind =
  | "record"
  | "filemark"
  /** Gaps, half gaps, private and reserved objects: passed over, not counted. */
  | "skip"
  | "end-of-medium"
  | "illegal";

function classOf(word: number): number {
  return word >>> CLASS_SHIFT;
}

/** What the object is that begins with this word, read going forward. */
export function objectKind(word: number): ObjectKind {
  if (word === FILEMARK_WORD) return "filemark";
  const objectClass = classOf(word);
  if (objectClass === CLASS_GOOD || objectClass === CLASS_BAD) return "record";
  if (word === END_OF_MEDIUM_WORD) return "end-of-medium";
  if (word >= ILLEGAL_FIRST_WORD && word < HALF_GAP_WORD) return "illegal";
  return "skip";
}

/** True where the object is the word alone (or the half of it). */
function isMarker(word: number): boolean {
  if (word === FILEMARK_WORD) return true;
  const objectClass = classOf(word);
  return objectClass === CLASS_PRIVATE_MARKER || objectClass === CLASS_RESERVED_MARKER;
}

/** True for objects that have data and a trailing word. */
export function hasTrailer(word: number): boolean {
  return !isMarker(word);
}

/** Bytes of data in a record of any class. */
export function dataBytes(word: number): number {
  return word & LENGTH_MASK;
}

/** Bytes of data with the pad byte. */
function paddedBytes(lengthBytes: number): number {
  return lengthBytes + (lengthBytes & 1);
}

/** Bytes that the object takes in the container, framing and pad included. */
export function objectSizeBytes(word: number): number {
  if (word === HALF_GAP_WORD) return HALF_GAP_BYTES;
  if (isMarker(word)) return WORD_BYTES;
  return FRAME_BYTES + paddedBytes(dataBytes(word));
}

/** Bytes that a good record of this length takes in the container. */
export function recordSizeBytes(lengthBytes: number): number {
  return FRAME_BYTES + paddedBytes(lengthBytes);
}

/** True for a record that was copied from a real tape with errors. */
export function isFlawed(word: number): boolean {
  return classOf(word) === CLASS_BAD;
}

export function isEraseGap(word: number): boolean {
  return word === ERASE_GAP_WORD || word === HALF_GAP_WORD;
}

/** A word as people look it up in the specification. */
export function wordText(word: number): string {
  return word.toString(16).padStart(8, "0").toUpperCase();
}
