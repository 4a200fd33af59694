/** What the data of a tape file seems to be, by the start of its first record. */
import { ebcdicText } from "./labels.ts";
import { isTarHeader } from "./tar-header.ts";

export type TapeFileKind =
  | "empty"
  /** Nothing but label records. */
  | "labels"
  | "tar"
  | "cpio"
  | "reelfs-image"
  | "text"
  | "ebcdic-text"
  | "unknown";

/** As much of a first record as it takes. */
export const KIND_BYTES = 512;

const CPIO_TEXT = ["070707", "070701", "070702"];
/** The magic of the oldest cpio, 070707 octal, in either order of bytes. */
const CPIO_BINARY = [0x71c7, 0xc771];
/** How every record of an image begins: the mark of its frame (docs/formats/image.md). */
const FRAME_MARK = "REELFS\r\n";
const ASCII_TEXT = /^[\t\n\f\r\x20-\x7e]*$/;
/** Every EBCDIC character that labels know, and the blank, the tab, the new line. */
const EBCDIC_CONTROLS = [0x05, 0x15, 0x25, 0x0d];

/** `start`: the first record, or its first `KIND_BYTES`. Labels and emptiness are not told here. */
export function recordKind(start: Uint8Array): Exclude<TapeFileKind, "empty" | "labels"> {
  if (isTarHeader(start)) return "tar";
  const ascii = Buffer.from(start.buffer, start.byteOffset, start.length).toString("latin1");
  if (CPIO_TEXT.includes(ascii.slice(0, 6))) return "cpio";
  if (start.length >= 26 && CPIO_BINARY.includes((start[0] ?? 0) | ((start[1] ?? 0) << 8))) {
    return "cpio";
  }
  if (ascii.startsWith(FRAME_MARK)) return "reelfs-image";
  if (start.length > 0 && ASCII_TEXT.test(ascii)) return "text";
  return start.length > 0 && isEbcdicText(start) ? "ebcdic-text" : "unknown";
}

function isEbcdicText(bytes: Uint8Array): boolean {
  const text = ebcdicText(bytes);
  // "?" is 6F in EBCDIC, and what ebcdicText makes of bytes that mean nothing.
  return bytes.every(
    (byte, at) => text[at] !== "?" || byte === 0x6f || EBCDIC_CONTROLS.includes(byte),
  );
}
