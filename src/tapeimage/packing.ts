/** Where the packed blocks of an image begin, and what its records hold, by its header. */
import type { ImagePacking } from "./block-map.ts";
import type { ImageHeader } from "./header.ts";

/** Record that holds packed block 0: the first of control and data, whichever comes first. */
export function packedStart({ sections }: Pick<ImageHeader, "sections">): number {
  return Math.min(sections.control.firstRecord, sections.data.firstRecord);
}

/** How packed block numbers of the image itself become record numbers. */
export function packingOf(header: ImageHeader): ImagePacking {
  return {
    firstRecord: packedStart(header),
    blocksPerRecord: header.recordSizeBytes / header.blockSizeBytes,
  };
}

/** Is this record part of the control set, which an open image keeps? */
export function isControlRecord(
  { sections }: Pick<ImageHeader, "sections">,
  record: number,
): boolean {
  const { firstRecord, records } = sections.control;
  return record >= firstRecord && record < firstRecord + records;
}
