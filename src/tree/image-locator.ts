/** Which records of which image hold a file: what `user.reelfs.tape-records` shows. */
import type { BlockMap, ImagePacking } from "../tapeimage/block-map.ts";
import { IMAGE_RECORDS } from "../tapeimage/incremental/chain-reader.ts";
import type { TapeImage } from "../tapeimage/tape-image.ts";
import type { FileLayout } from "../volume/volume.ts";

/** Records `firstRecord` to `lastRecord`, both included, of an image. */
interface RecordRange {
  readonly firstRecord: number;
  readonly lastRecord: number;
  readonly imageUuid: string;
}

export interface ImageLocator {
  readonly imageUuid: string;
  /**
   * The records that hold the bytes of `layout`, in the order of the file; neighbours are joined.
   * Computed as it is consumed: a caller that wants only the first ranges may stop.
   */
  recordRanges(layout: FileLayout): Iterable<RecordRange>;
}

/** The locator of an image: its own block map says where everything is. */
export function imageLocator(image: Pick<TapeImage, "header" | "map">): ImageLocator {
  const { header, map } = image;
  return {
    imageUuid: header.uuid,
    recordRanges: (layout) => recordRanges(map, header.chain, layout),
  };
}

function* recordRanges(
  map: BlockMap,
  chain: readonly string[],
  layout: FileLayout,
): Generator<RecordRange> {
  let open: { firstRecord: number; lastRecord: number; imageUuid: string } | undefined;
  for (const next of unjoinedRanges(map, chain, layout)) {
    const joins =
      open?.imageUuid === next.imageUuid &&
      next.firstRecord >= open.firstRecord &&
      next.firstRecord <= open.lastRecord + 1;
    if (open !== undefined && joins) {
      open.lastRecord = Math.max(open.lastRecord, next.lastRecord);
    } else {
      if (open !== undefined) yield open;
      open = { ...next };
    }
  }
  if (open !== undefined) yield open;
}

/**
 * One range for each stretch that is consecutive on the volume and in the packing. This steps by
 * entries of the map, not by its pieces: a file of a terabyte in one run is a few steps.
 */
function* unjoinedRanges(
  map: BlockMap,
  chain: readonly string[],
  layout: FileLayout,
): Generator<RecordRange> {
  for (let run = 0; run < layout.length; run++) {
    const offsetBytes = layout.deviceOffsets[run] ?? 0;
    const endBytes = offsetBytes + (layout.lengths[run] ?? 0);
    const block = Math.floor(offsetBytes / map.blockSizeBytes);
    const end = Math.ceil(endBytes / map.blockSizeBytes);
    for (let index = map.indexFrom(block); index < map.length; index++) {
      const entry = map.entryAt(index);
      if (entry.start >= end) break;
      const packing = map.packings[entry.image];
      if (packing === undefined) continue;
      const first = Math.max(block, entry.start) - entry.start;
      const last = Math.min(end, entry.start + entry.count) - entry.start - 1;
      yield {
        firstRecord: recordWith(packing, entry.packed + first),
        lastRecord: recordWith(packing, entry.packed + last),
        imageUuid: chain[entry.image] ?? "",
      };
    }
  }
}

/** Number of the record within its own image. */
function recordWith({ firstRecord, blocksPerRecord }: ImagePacking, packed: number): number {
  return (firstRecord % IMAGE_RECORDS) + Math.floor(packed / blocksPerRecord);
}
