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
  const stream = openStream(mft, inode, TYPE.data);
  const bytes = stream === undefined ? undefined : await readWhole(mft, stream, TABLE_BYTES);
  const table = new Uint16Array(UNITS);
  const count = Math.floor((bytes?.length ?? 0) / 2);
  for (let unit = 0; unit < UNITS; unit++) {
    table[unit] = unit < count ? (bytes?.readUInt16LE(2 * unit) ?? unit) : unit;
  }
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
