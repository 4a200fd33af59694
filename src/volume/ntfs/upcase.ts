/** $UpCase: the upper case of each UTF-16 unit, as the system that formatted the volume saw it. */
import type { Inode } from "./inode.ts";
import type { Mft } from "./mft.ts";
import { TYPE } from "./record.ts";
import { openStream, readWhole } from "./stream.ts";

export const UPCASE_RECORD = 10;
const UNITS = 65536;
const TABLE_BYTES = 2 * UNITS;

/** Throws "damaged". Units beyond the end of a short table stay as they are. */
export async function readUpCase(mft: Mft, inode: Inode): Promise<Uint16Array> {
  const table = Uint16Array.from({ length: UNITS }, (_, unit) => unit);
  const stream = openStream(mft, inode, TYPE.data);
  const bytes = stream === undefined ? undefined : await readWhole(mft, stream, TABLE_BYTES);
  const count = (bytes?.length ?? 0) >>> 1;
  for (let unit = 0; unit < count; unit++) table[unit] = bytes?.readUInt16LE(2 * unit) ?? unit;
  return table;
}

export function foldWith(table: Uint16Array, name: string): string {
  let folded = "";
  for (let i = 0; i < name.length; i++) {
    const unit = name.charCodeAt(i);
    folded += String.fromCharCode(table[unit] ?? unit);
  }
  return folded;
}
