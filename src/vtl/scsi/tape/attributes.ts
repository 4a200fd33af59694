/**
 * The attributes of a cartridge's memory (SPC-4, 7.4): those that the device knows, computed when
 * they are asked for, and those that hosts write, kept in a CartridgeMemory.
 */
import { concat, build, bits, flag, number, paddedText } from "../fields.ts";
import type { CartridgeMemory } from "../cartridge-memory.ts";
import { DENSITY_CODE, type TapeUnit } from "./tape-unit.ts";
import { capacityMib, countBytes } from "./tape-counters.ts";

/** Values of the FORMAT field. */
export const FORMAT = { binary: 0, ascii: 1, text: 2 } as const;

export interface Attribute {
  readonly id: number;
  readonly name: string;
  readonly format: number;
  /** Exact for binary ones, at most for text. */
  readonly sizeBytes: number;
  /** Binary, and of any length up to `sizeBytes`. */
  readonly isVariable?: boolean;
  /** Device's own: not for hosts to write. */
  readonly compute?: (unit: TapeUnit) => Uint8Array;
  /** Said until a host has written it. */
  readonly initial?: (unit: TapeUnit) => Uint8Array;
}

const BARCODE_BYTES = 32;
const MIB_BYTES = 8;

function barcode(unit: TapeUnit): Uint8Array {
  return paddedText(unit.drive.medium()?.barcode ?? "", BARCODE_BYTES);
}

function device(
  id: number,
  name: string,
  format: number,
  sizeBytes: number,
  compute: (unit: TapeUnit) => Uint8Array,
): Attribute {
  return { id, name, format, sizeBytes, compute };
}

function host(id: number, name: string, format: number, sizeBytes: number): Attribute {
  return { id, name, format, sizeBytes };
}

const { binary, ascii, text } = FORMAT;

/** In ascending order. */
export const ATTRIBUTES: readonly Attribute[] = [
  device(0x0000, "remaining capacity, MiB", binary, MIB_BYTES, ({ drive }) =>
    countBytes(capacityMib(drive).remaining),
  ),
  device(0x0001, "maximum capacity, MiB", binary, MIB_BYTES, ({ drive }) =>
    countBytes(capacityMib(drive).maximum),
  ),
  device(0x0002, "TapeAlert flags", binary, 8, ({ alerts }) => alerts.bitmap()),
  device(0x0003, "load count", binary, 8, ({ counters }) => countBytes(counters.loads)),
  device(0x0005, "assigning organization", ascii, 8, () => paddedText("REELFS", 8)),
  device(0x0006, "format density code", binary, 1, () => Uint8Array.of(DENSITY_CODE)),
  device(0x0008, "volume identifier", ascii, BARCODE_BYTES, barcode),
  device(0x0222, "MiB written since load", binary, 8, ({ counters }) =>
    countBytes(counters.bytesWritten / 2 ** 20),
  ),
  device(0x0223, "MiB read since load", binary, 8, ({ counters }) =>
    countBytes(counters.bytesRead / 2 ** 20),
  ),
  device(0x0400, "medium manufacturer", ascii, 8, () => paddedText("REELFS", 8)),
  device(0x0401, "medium serial number", ascii, BARCODE_BYTES, barcode),
  device(0x0404, "assigning organization of the medium", ascii, 8, () => paddedText("REELFS", 8)),
  device(0x0405, "medium density code", binary, 1, () => Uint8Array.of(DENSITY_CODE)),
  device(0x0408, "medium type", binary, 1, () => Uint8Array.of(0)),
  host(0x0800, "application vendor", ascii, 8),
  host(0x0801, "application name", ascii, 32),
  host(0x0802, "application version", ascii, 8),
  host(0x0803, "user medium text label", text, 160),
  host(0x0804, "date and time last written", ascii, 12),
  host(0x0805, "text localization identifier", binary, 1),
  { ...host(0x0806, "barcode", ascii, BARCODE_BYTES), initial: barcode },
  host(0x0807, "owning host textual name", text, 80),
  host(0x0808, "media pool", text, 160),
  host(0x0809, "partition user text label", ascii, 16),
  host(0x080a, "load and unload at partition", binary, 1),
  host(0x080b, "application format version", ascii, 16),
  { ...host(0x080c, "volume coherency information", binary, 1023), isVariable: true },
  host(0x0820, "medium globally unique identifier", binary, 36),
  host(0x0821, "media pool globally unique identifier", binary, 36),
];

export const ATTRIBUTE_HEADER = {
  id: number(0, 2),
  readOnly: flag(2, 7),
  format: bits(2, 1, 0),
  length: number(3, 2),
} as const;
export const ATTRIBUTE_HEADER_BYTES = 5;

/** Undefined: a host could have written it, and none has. */
export async function attributeValue(
  unit: TapeUnit,
  memory: CartridgeMemory,
  attribute: Attribute,
): Promise<Uint8Array | undefined> {
  if (attribute.compute !== undefined) return attribute.compute(unit);
  return (await memory.get(attribute.id)) ?? attribute.initial?.(unit);
}

export function encodeAttribute(attribute: Attribute, value: Uint8Array): Uint8Array {
  const header = build(ATTRIBUTE_HEADER, ATTRIBUTE_HEADER_BYTES, {
    id: attribute.id,
    readOnly: attribute.compute !== undefined,
    format: attribute.format,
    length: value.length,
  });
  return concat(header, value);
}
