/**
 * Tables of named fields: how every SCSI structure here (a command, a page, a descriptor) is
 * written down, read and built. SCSI is big-endian, and bit 7 is the highest.
 */

export interface Field {
  /** Byte offset, of the first byte of several. */
  readonly at: number;
  /** Width in bytes (default 1); at most 8. */
  readonly bytes?: number;
  /** Part of one byte: its highest and its lowest bit. */
  readonly bits?: readonly [high: number, low: number];
  /** Two's complement. */
  readonly signed?: boolean;
}

export interface BitField extends Field {
  readonly bits: readonly [high: number, low: number];
}

export interface NumberField extends Field {
  readonly bytes: number;
}

export type Layout = Readonly<Record<string, Field>>;
export type FieldValues<L extends Layout> = { readonly [Name in keyof L]: number };

/** One bit. */
export function flag(at: number, bit: number): BitField {
  return { at, bits: [bit, bit] };
}

/** Up to 8 bits inside one byte. */
export function bits(at: number, high: number, low: number): BitField {
  return { at, bits: [high, low] };
}

/** An unsigned number of so many bytes. */
export function number(at: number, bytes: number): NumberField {
  return { at, bytes };
}

const BITS_PER_BYTE = 8;

function maskOf(field: Field): number {
  const [high, low] = field.bits ?? [BITS_PER_BYTE - 1, 0];
  return ((1 << (high - low + 1)) - 1) << low;
}

function widthBytes(field: Field): number {
  return field.bytes ?? 1;
}

/**
 * The value of one field; bytes beyond the end of `source` read as 0. A 64-bit value that a number
 * cannot hold exactly becomes the nearest safe one: as a position or a count it is "beyond any
 * tape" either way.
 */
export function decodeField(field: Field, source: Uint8Array, base = 0): number {
  if (field.bits !== undefined) {
    return ((source[base + field.at] ?? 0) & maskOf(field)) >>> field.bits[1];
  }
  let value = 0n;
  for (let i = 0; i < widthBytes(field); i++) {
    value = (value << 8n) | BigInt(source[base + field.at + i] ?? 0);
  }
  if (field.signed === true) value = BigInt.asIntN(widthBytes(field) * BITS_PER_BYTE, value);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) return Number.MAX_SAFE_INTEGER;
  if (value < BigInt(Number.MIN_SAFE_INTEGER)) return Number.MIN_SAFE_INTEGER;
  return Number(value);
}

/** Every field of a layout. */
export function decodeFields<L extends Layout>(
  layout: L,
  source: Uint8Array,
  base = 0,
): FieldValues<L> {
  const values: Record<string, number> = {};
  for (const [name, field] of Object.entries(layout)) {
    values[name] = decodeField(field, source, base);
  }
  return values as FieldValues<L>;
}

/** Writes one field; the other bits of its bytes stay. A negative value is two's complement. */
export function encodeField(field: Field, target: Uint8Array, value: number, base = 0): void {
  const at = base + field.at;
  if (field.bits !== undefined) {
    const mask = maskOf(field);
    target[at] = ((target[at] ?? 0) & ~mask) | ((value << field.bits[1]) & mask);
    return;
  }
  let rest = BigInt(value);
  for (let i = widthBytes(field) - 1; i >= 0; i--) {
    target[at + i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
}

/** Writes the fields that are given. */
export function encodeFields<L extends Layout>(
  layout: L,
  target: Uint8Array,
  values: { readonly [Name in keyof L]?: number | boolean },
  base = 0,
): void {
  for (const [name, field] of Object.entries(layout)) {
    const value: number | boolean | undefined = values[name];
    if (value !== undefined) encodeField(field, target, Number(value), base);
  }
}

/** A structure of `sizeBytes` with these fields, all else 0. */
export function build<L extends Layout>(
  layout: L,
  sizeBytes: number,
  values: { readonly [Name in keyof L]?: number | boolean },
): Uint8Array {
  const target = new Uint8Array(sizeBytes);
  encodeFields(layout, target, values);
  return target;
}

/** Sets all bits of a field, as in a map of what is looked at or may be changed. */
export function setAllBits(field: Field, target: Uint8Array): void {
  for (let i = 0; i < widthBytes(field); i++) {
    target[field.at + i] = (target[field.at + i] ?? 0) | maskOf(field);
  }
}

/** ASCII, cut or padded with spaces to `lengthBytes`; other characters become "?". */
export function paddedText(text: string, lengthBytes: number): Uint8Array {
  const bytes = new Uint8Array(lengthBytes).fill(0x20);
  for (let i = 0; i < Math.min(text.length, lengthBytes); i++) {
    const code = text.charCodeAt(i);
    bytes[i] = code >= 0x20 && code < 0x7f ? code : 0x3f;
  }
  return bytes;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const total = parts.reduce((bytes, part) => bytes + part.length, 0);
  const joined = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

export function hex(value: number, digits = 2): string {
  return value.toString(16).padStart(digits, "0").toUpperCase();
}
