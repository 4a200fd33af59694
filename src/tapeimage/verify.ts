/** Reads a whole image and says what is damaged, down to the blocks. */
import { createHash } from "node:crypto";
import { ExtentSetBuilder, type ExtentSet } from "../device/extents.ts";
import { fromSystem, ReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { BlockMap } from "./block-map.ts";
import { range } from "./load-image.ts";
import type { RecordVisitor, TapeImage } from "./tape-image.ts";
import { decodeTrailer } from "./trailer.ts";

/** Damaged records that are named one by one. */
const DAMAGE_LISTED_MAX = 1000;

export interface VerifyResult {
  /** Nothing is damaged and the image is complete. */
  readonly sound: boolean;
  readonly recordsRead: number;
  readonly recordsDamaged: number;
  /** One sentence per damaged record, bounded. */
  readonly damage: readonly string[];
  /** Blocks of the volume that cannot be restored. */
  readonly lostBlocks: ExtentSet;
  /** The hash over the image is the one its trailer gives; undefined: it could not be compared. */
  readonly hashMatches: boolean | undefined;
}

/** Reads every record of the image, once and in order, and checks all that can be checked. */
export async function verifyImage(
  image: TapeImage,
  options: RunOptions = {},
): Promise<VerifyResult> {
  const trailerRecord = image.header.sections.trailer.firstRecord;
  const there = Math.min(trailerRecord + 1, image.recordCount);
  const bad = new Set<number>();
  const damage: string[] = [];
  const hash = createHash("sha256");
  let trailerHash: string | undefined;
  const isDamaged = (record: number, error: ReelError): void => {
    bad.add(record);
    if (damage.length < DAMAGE_LISTED_MAX) damage.push(error.message);
  };
  const check: RecordVisitor = (record, content, frame) => {
    if (content instanceof ReelError) {
      isDamaged(record, content);
    } else if (record === trailerRecord) {
      try {
        trailerHash = decodeTrailer(content, `trailer of ${image.name}`).imageHash;
      } catch (error) {
        isDamaged(record, fromSystem(error, `cannot read the trailer of ${image.name}`));
      }
    } else if (frame !== undefined) {
      hash.update(frame);
    }
    options.progress?.({ phase: "verifying", done: record + 1, total: there, unit: "records" });
  };
  await image.readRecords(range(0, there), check, options);
  const missing = trailerRecord + 1 - there;
  if (missing > 0) damage.push(`records ${there} to ${trailerRecord} are not on the tape`);
  const whole = bad.size === 0 && missing === 0 && trailerHash !== undefined;
  const hashMatches = whole ? hash.digest("hex") === trailerHash : undefined;
  if (hashMatches === false)
    damage.push("the hash over the image is not the one its trailer gives");
  return {
    sound: damage.length === 0 && image.state.state === "complete",
    recordsRead: there - bad.size,
    recordsDamaged: bad.size + missing,
    damage,
    lostBlocks: blocksIn(image.map, (record) => record >= there || bad.has(record)),
    hashMatches,
  };
}

/** The blocks whose record `isLost`. */
function blocksIn(map: BlockMap, isLost: (record: number) => boolean): ExtentSet {
  const lost = new ExtentSetBuilder();
  for (let index = 0; index < map.length; index++) {
    const { start, count } = map.entryAt(index);
    map.visitPieces(start, count, (piece) => {
      if (isLost(piece.record)) lost.add(piece.block, piece.count);
    });
  }
  return lost.build();
}
