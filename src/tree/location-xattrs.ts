/**
 * Extended attributes that tell where a file lies. Their values are JSON without blanks, and without
 * quotes where possible, so that `getfattr` shows them unescaped:
 *
 *     user.reelfs.image         3f2a...                        UUID of the image
 *     user.reelfs.extents       [[0,1052672,8192],[8192,...]]  [offset in file, on device, length], bytes
 *     user.reelfs.tape-records  [[17,17],[20,31]]              [first, last] record, in file order;
 *                                                              [first, last, "UUID"] in an ancestor
 *     user.reelfs.exception     open-for-writing               the file was open for writing while the
 *                                                              volume was read; of other files: none
 *
 * What does not fit in the kernel's limit for one value ends in the element "truncated".
 */
import type { FileLayout } from "../volume/volume.ts";
import type { ImageLocator } from "./image-locator.ts";

export const IMAGE_XATTR = "user.reelfs.image";
export const EXTENTS_XATTR = "user.reelfs.extents";
export const TAPE_RECORDS_XATTR = "user.reelfs.tape-records";
export const EXCEPTION_XATTR = "user.reelfs.exception";
export const EXCEPTION_VALUE = "open-for-writing";

/** XATTR_SIZE_MAX of Linux. */
export const XATTR_VALUE_MAX_BYTES = 65536;

const TRUNCATED = '"truncated"';

/** Where the runs of a file lie on the volume's device. */
export function extentsValue(layout: FileLayout): Uint8Array {
  return jsonList(extents(layout));
}

/** Which tape records hold the runs of a file. */
export function tapeRecordsValue(layout: FileLayout, locator: ImageLocator): Uint8Array {
  return jsonList(records(layout, locator));
}

function* extents(layout: FileLayout): Generator<string> {
  for (let run = 0; run < layout.length; run++) {
    const offset = layout.fileOffsets[run] ?? 0;
    const device = layout.deviceOffsets[run] ?? 0;
    const length = layout.lengths[run] ?? 0;
    yield `[${offset},${device},${length}]`;
  }
}

function* records(layout: FileLayout, locator: ImageLocator): Generator<string> {
  for (const { firstRecord, lastRecord, imageUuid } of locator.recordRanges(layout)) {
    const image = imageUuid === locator.imageUuid ? "" : `,${JSON.stringify(imageUuid)}`;
    yield `[${firstRecord},${lastRecord}${image}]`;
  }
}

/** The items (ASCII) as a JSON array of at most XATTR_VALUE_MAX_BYTES. */
function jsonList(items: Iterable<string>): Uint8Array {
  const taken: string[] = [];
  // Brackets, and room for the marker and its comma.
  let room = XATTR_VALUE_MAX_BYTES - 2 - TRUNCATED.length - 1;
  for (const item of items) {
    room -= item.length + 1;
    if (room < 0) {
      taken.push(TRUNCATED);
      break;
    }
    taken.push(item);
  }
  return Buffer.from(`[${taken.join(",")}]`);
}
