/** Blocks of a volume of which an image can no longer tell whether they were in use. */
import { ExtentSet, ExtentSetBuilder } from "../device/extents.ts";
import type { TapeImage } from "./tape-image.ts";

/** What a restore and `verify` say of them. */
export const UNKNOWN_BLOCKS =
  "the map was rebuilt without the records that are lost: what is in no record that is left may have been in use";

/** Empty unless the map had to be rebuilt and records were missing; then all that it does not name. */
export function unknownBlocks({ header, map, state }: TapeImage): ExtentSet {
  if (state.unmappedIsLost !== true) return ExtentSet.empty;
  const mapped = new ExtentSetBuilder();
  for (let index = 0; index < map.length; index++) {
    const { start, count } = map.entryAt(index);
    mapped.add(start, count);
  }
  const all = ExtentSet.from([[0, Math.ceil(header.sizeBytes / header.blockSizeBytes)]]);
  return all.subtract(mapped.build());
}
