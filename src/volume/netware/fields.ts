/** Little-endian fields, strings of fixed size, and what faults of a device a mirror can make good. */
import { isReelError } from "../../errors.ts";

export const SECTOR_BYTES = 512;

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function u16(view: DataView, offset: number): number {
  return view.getUint16(offset, true);
}

export function u32(view: DataView, offset: number): number {
  return view.getUint32(offset, true);
}

/** Do the Latin-1 bytes of `text` stand at `offset`? */
export function hasText(bytes: Uint8Array, offset: number, text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (bytes[offset + i] !== text.charCodeAt(i)) return false;
  }
  return true;
}

/** Is it a fault of what was read, which another copy may not have? Not: closed, aborted, a bug. */
export function isFaultOfCopy(error: unknown): error is Error {
  return isReelError(error, "io") || isReelError(error, "damaged");
}
