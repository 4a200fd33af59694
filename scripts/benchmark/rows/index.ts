/** The rows of the table, in its order. */
import type { RowMaker } from "./bench.ts";
import { blockMapRows } from "./block-map.ts";
import { driveRows } from "./drive.ts";
import { imageRows } from "./image.ts";
import { overlayRows } from "./overlay.ts";
import { readingRows } from "./reading.ts";
import { taggedRows } from "./tagged.ts";

export const ROWS: readonly RowMaker[] = [
  ...imageRows,
  ...readingRows,
  ...overlayRows,
  ...taggedRows,
  ...driveRows,
  ...blockMapRows,
];
