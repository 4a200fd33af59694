/**
 * Barcodes (volume tags) and the names of the files that hold the tapes.
 *
 * A barcode may hold characters that a file name may not, or should not: those are written as %XX,
 * and nothing else is, so that each barcode has one file name and each file name one barcode.
 */
import { ReelError } from "../errors.ts";

export const BARCODE_CHARS_MAX = 32;
const BARCODE = /^[A-Z0-9$%+\-./](?:[A-Z0-9$%+\-./ ]{0,30}[A-Z0-9$%+\-./])?$/;
/** Characters that are escaped wherever they stand. */
const ESCAPED = /[%/]|^\./g;
const PATTERN = /^([^%]*)%(0?)(\d{0,2})d([^%]*)$/;
const PATTERN_DIGITS_MAX = 15;
/** What an automatic number may grow to. */
const NUMBER_MAX = 10 ** PATTERN_DIGITS_MAX - 1;

/** What a tape's file may be: ours to write, or a foreign container, which is only read. */
export const CONTAINERS = ["tap", "aws", "het", "e11"] as const;
export type Container = (typeof CONTAINERS)[number];

export function isBarcode(text: string): boolean {
  return BARCODE.test(text);
}

/** Throws "invalid" unless `text` is a barcode. */
export function checkBarcode(text: string, doing: string): void {
  if (isBarcode(text)) return;
  throw new ReelError(
    "invalid",
    `${doing}: "${text}" is not a barcode; use 1 to ${BARCODE_CHARS_MAX} of A-Z, 0-9 and ` +
      `$ % + - . / or spaces inside`,
  );
}

/** The name of the file of a tape: `REEL0001.tap`. */
export function tapeFileName(barcode: string, container: Container): string {
  const escape = (character: string): string =>
    `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
  return `${barcode.replace(ESCAPED, escape)}.${container}`;
}

export interface TapeFileName {
  readonly barcode: string;
  readonly container: Container;
}

/**
 * What a file name says, capitals or not; undefined where it is not the name of a tape. Only where
 * `tapeFileName` gives the same again is it the proper name of that tape.
 */
export function parseTapeFileName(name: string): TapeFileName | undefined {
  const dot = name.lastIndexOf(".");
  const container = CONTAINERS.find((each) => each === name.slice(dot + 1).toLowerCase());
  if (dot < 0 || container === undefined) return undefined;
  const barcode = name
    .slice(0, dot)
    .toUpperCase()
    .replace(/%(25|2F|2E)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return isBarcode(barcode) ? { barcode, container } : undefined;
}

/** A pattern such as `REEL%04d`: the barcode of each number. */
export interface BarcodePattern {
  readonly text: string;
  barcodeOf(number: number): string;
}

/** Throws "invalid" for a pattern that does not make barcodes. */
export function parseBarcodePattern(text: string, doing: string): BarcodePattern {
  const match = PATTERN.exec(text);
  const before = match?.[1] ?? "";
  const after = match?.[4] ?? "";
  const width = Number(match?.[3] ?? 0);
  const fill = match?.[2] === "0" ? "0" : "";
  const barcodeOf = (number: number): string =>
    before + (fill === "" ? String(number) : String(number).padStart(width, fill)) + after;
  if (match === null || width > PATTERN_DIGITS_MAX || !isBarcode(barcodeOf(1))) {
    throw new ReelError(
      "invalid",
      `${doing}: "${text}" is not a pattern for barcodes; write capital letters and digits with ` +
        `one %d or %04d where the number goes, as in REEL%04d`,
    );
  }
  return { text, barcodeOf };
}

/** The next `count` barcodes of a pattern, from number 1 on, that `isTaken` does not know. */
export function nextBarcodes(
  pattern: BarcodePattern,
  count: number,
  isTaken: (barcode: string) => boolean,
  doing: string,
): string[] {
  const found: string[] = [];
  for (let number = 1; found.length < count; number++) {
    const barcode = pattern.barcodeOf(number);
    if (number > NUMBER_MAX || !isBarcode(barcode)) {
      throw new ReelError("no-space", `${doing}: ${pattern.text} has no free numbers left`);
    }
    if (!isTaken(barcode)) found.push(barcode);
  }
  return found;
}
