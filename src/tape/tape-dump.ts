/** Every object of a tape one by one, with the start of each record: what `tape dump` prints. */
import { ReelError, isReelError, throwIfAborted } from "../errors.ts";
import { decodeLabelRecord, type LabelRecord } from "./label-records.ts";
import { LABEL_BYTES, ebcdicText } from "./labels.ts";
import type { TapeDrive } from "./tape-drive.ts";

interface DumpPlace {
  /** Logical object number, and the tape file it is in. */
  readonly object: number;
  readonly file: number;
  /** Where it begins in the container, where the drive tells. */
  readonly offsetBytes: number | undefined;
}

export type DumpedObject =
  | (DumpPlace & {
      readonly kind: "record";
      readonly lengthBytes: number;
      readonly flawed: boolean;
      /** Its first bytes, as many as were asked for. */
      readonly start: Uint8Array;
      readonly label: LabelRecord | undefined;
    })
  | (DumpPlace & { readonly kind: "filemark" })
  | (DumpPlace & { readonly kind: "damaged"; readonly message: string });

export interface DumpOptions {
  /** Bytes of each record; 64 without it. */
  readonly startBytes?: number | undefined;
  /** First object, and how many. */
  readonly from?: number | undefined;
  readonly count?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const START_BYTES_DEFAULT = 64;
/** Damaged objects that are stepped over before the dump gives up. */
const DAMAGED_MAX = 1000;
const HEX_LINE_BYTES = 16;

/**
 * The objects of a tape in order. A damaged one is told and stepped over where the drive can.
 * @throws "out-of-range" for a `from` behind the end, "aborted", and what the drive throws else.
 */
export async function* dumpTape(
  drive: TapeDrive,
  options: DumpOptions = {},
): AsyncGenerator<DumpedObject, void> {
  const startBytes = options.startBytes ?? START_BYTES_DEFAULT;
  const buffer = new Uint8Array(Math.max(startBytes, LABEL_BYTES));
  let left = options.count ?? Number.POSITIVE_INFINITY;
  let damaged = 0;
  await drive.locate(options.from ?? 0);
  for (; left > 0; left--) {
    throwIfAborted(options.signal, `cannot dump ${drive.name}`);
    const { object, file } = await drive.position();
    const offsetBytes = await drive.objectOffsetBytes?.(object);
    const place = { object, file, offsetBytes };
    const read = await drive.read(buffer).catch((error: unknown) => {
      if (isReelError(error, "damaged")) return error;
      throw error;
    });
    if (read instanceof ReelError) {
      yield { ...place, kind: "damaged", message: read.message };
      damaged += 1;
      if (damaged > DAMAGED_MAX || !(await stepOver(drive, object))) return;
    } else if (read.kind === "filemark") {
      yield { ...place, kind: "filemark" };
    } else if (read.kind === "record") {
      const { lengthBytes, flawed } = read;
      const record = buffer.slice(0, Math.min(lengthBytes, buffer.length));
      const label = lengthBytes === LABEL_BYTES ? decodeLabelRecord(record) : undefined;
      const start = record.subarray(0, startBytes);
      yield { ...place, kind: "record", lengthBytes, flawed, start, label };
    } else return;
  }
}

/** Moves behind an object that cannot be read; false where the tape ends for us. */
export async function stepOver(drive: TapeDrive, object: number): Promise<boolean> {
  try {
    await drive.locate(object + 1);
    return true;
  } catch (error) {
    if (isReelError(error, "damaged") || isReelError(error, "out-of-range")) return false;
    throw error;
  }
}

/**
 * Bytes as lines of a hex dump, 16 to a line: offset, hex, the same as ASCII, and as EBCDIC.
 *
 *     0000  e5d6 d3f1 f0f0 f0f0 f0f0 4040 4040 4040  ..........@@@@@@  VOL1000000
 */
export function hexLines(bytes: Uint8Array): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += HEX_LINE_BYTES) {
    const part = bytes.subarray(at, at + HEX_LINE_BYTES);
    const hex = Buffer.from(part)
      .toString("hex")
      .replace(/(.{4})(?=.)/g, "$1 ");
    const ascii = Array.from(part, (byte) =>
      byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".",
    ).join("");
    const ebcdic = ebcdicText(part).replaceAll("?", ".");
    const line = `${at.toString(16).padStart(4, "0")}  ${hex.padEnd(39)}  ${ascii.padEnd(16)}  ${ebcdic}`;
    lines.push(line.trimEnd());
  }
  return lines;
}
