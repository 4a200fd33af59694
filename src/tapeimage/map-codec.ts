/**
 * The block map on tape: entries as varints, delta-coded, in records that each start afresh so that
 * a damaged one loses only its own entries. Layout: docs/formats/image.md, "Block map".
 */
import { ReelError } from "../errors.ts";
import { BLOCK_NUMBER_MAX, type BlockMap, type BlockMapBuilder } from "./block-map.ts";
import { readVarint, VARINT_BYTES_MAX, writeVarint, type VarintCursor } from "./varint.ts";

/** An entry is gap, count, image, packed: four varints. */
const ENTRY_BYTES_MAX = 4 * VARINT_BYTES_MAX;
/** More entries than any map may have: up to 20 bytes each in memory. */
export const MAP_ENTRIES_MAX = 256 * 1024 * 1024;

export interface EncodedMapRecord {
  readonly payload: Uint8Array;
  /** Index of the first entry in it. */
  readonly firstEntry: number;
}

/** The map cut into payloads of at most `recordSizeBytes`. */
export function encodeMap(map: BlockMap, recordSizeBytes: number): EncodedMapRecord[] {
  const records: EncodedMapRecord[] = [];
  const bytes = new Uint8Array(recordSizeBytes);
  let cursor: VarintCursor = { bytes, at: 0 };
  let firstEntry = 0;
  let end = 0;
  for (let index = 0; index < map.length; index++) {
    if (cursor.at + ENTRY_BYTES_MAX > recordSizeBytes) {
      records.push({ payload: bytes.slice(0, cursor.at), firstEntry });
      cursor = { bytes, at: 0 };
      firstEntry = index;
      end = 0;
    }
    const entry = map.entryAt(index);
    writeVarint(cursor, entry.start - end);
    writeVarint(cursor, entry.count);
    writeVarint(cursor, entry.image);
    writeVarint(cursor, entry.packed);
    end = entry.start + entry.count;
  }
  if (cursor.at > 0) records.push({ payload: bytes.slice(0, cursor.at), firstEntry });
  return records;
}

/**
 * Adds the entries of one map payload to `builder`.
 *
 * @returns the number of entries.
 * @throws ReelError "damaged" when an entry lies outside the image, overlaps, or names an image that
 *   the chain does not have.
 */
export function decodeMapRecord(
  payload: Uint8Array,
  builder: BlockMapBuilder,
  limits: { blockCount: number; imageCount: number; endBlock: number },
  where: string,
): { entries: number; endBlock: number } {
  const cursor: VarintCursor = { bytes: payload, at: 0 };
  let end = 0;
  let floor = limits.endBlock;
  let entries = 0;
  while (cursor.at < payload.length) {
    const start = end + readVarint(cursor, where);
    const count = readVarint(cursor, where);
    const image = readVarint(cursor, where);
    const packed = readVarint(cursor, where);
    end = start + count;
    if (
      count === 0 ||
      start < floor ||
      end > limits.blockCount ||
      packed + count - 1 > BLOCK_NUMBER_MAX ||
      image >= limits.imageCount ||
      entries >= MAP_ENTRIES_MAX
    ) {
      throw new ReelError("damaged", `${where}: block map entry ${entries} is damaged`);
    }
    builder.add(start, count, packed, image);
    floor = end;
    entries++;
  }
  return { entries, endBlock: floor };
}
