/** Contents that lie in the inode itself: 60 bytes in place of the block numbers, more as an attribute. */
import { ReelError } from "../../errors.ts";
import type { FileLayout } from "../volume.ts";
import { readInlineData } from "./attributes.ts";
import type { Inode } from "./inode.ts";

/**
 * As runs of bytes of the inode table; not direct where they are not there but in fast commits.
 * Throws "damaged" for a file larger than its inode holds.
 */
export function inlineLayout(inode: Inode): FileLayout {
  const pieces = inlinePieces(inode);
  return {
    sizeBytes: inode.sizeBytes,
    length: pieces.length,
    fileOffsets: Float64Array.from(pieces, ({ fileOffset }) => fileOffset),
    deviceOffsets: Float64Array.from(
      pieces,
      ({ start }) => inode.deviceOffset - inode.offset + start,
    ),
    lengths: Float64Array.from(pieces, ({ length }) => length),
    direct: !inode.isReplayed,
  };
}

/** The contents themselves. Throws "damaged" as `inlineLayout`. */
export function readInline(inode: Inode): Uint8Array {
  const contents = new Uint8Array(inode.sizeBytes);
  for (const { fileOffset, start, length } of inlinePieces(inode)) {
    contents.set(inode.bytes.subarray(start, start + length), fileOffset);
  }
  return contents;
}

interface Piece {
  readonly fileOffset: number;
  readonly start: number;
  readonly length: number;
}

function inlinePieces(inode: Inode): Piece[] {
  const { head, tail } = readInlineData(inode);
  const pieces: Piece[] = [];
  let fileOffset = 0;
  for (const stretch of [head, tail]) {
    if (stretch === undefined) continue;
    const length = Math.min(stretch.end - stretch.start, inode.sizeBytes - fileOffset);
    if (length > 0) pieces.push({ fileOffset, start: stretch.start, length });
    fileOffset += length;
  }
  if (fileOffset < inode.sizeBytes) {
    throw new ReelError(
      "damaged",
      `cannot read inode ${inode.number} at byte ${inode.deviceOffset}: ` +
        `it has ${inode.sizeBytes} bytes of inline data and room for ${fileOffset}`,
    );
  }
  return pieces;
}
