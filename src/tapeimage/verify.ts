/** Reads a whole image and says what is damaged, down to the blocks. */
import { createHash } from "node:crypto";
import { ExtentSetBuilder, type ExtentSet } from "../device/extents.ts";
import { fromSystem, ReelError } from "../errors.ts";
import type { RunOptions } from "../progress.ts";
import type { BlockMap } from "./block-map.ts";
import { IMAGE_RECORDS } from "./incremental/chain-reader.ts";
import { range } from "./load-image.ts";
import { recordsInOrder } from "./packed-order.ts";
import type { RecordVisitor, TapeImage } from "./tape-image.ts";
import { decodeTrailer } from "./trailer.ts";
import { UNKNOWN_BLOCKS, unknownBlocks } from "./unknown-blocks.ts";

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
  const inAncestors = await verifyAncestors(image, isDamaged, options);
  damage.push(...inAncestors.problems);
  const own = [...bad].filter((record) => record < IMAGE_RECORDS).length;
  const whole = own === 0 && missing === 0 && trailerHash !== undefined;
  const unknown = unknownBlocks(image);
  if (unknown.total > 0) damage.push(UNKNOWN_BLOCKS);
  const hashMatches = whole ? hash.digest("hex") === trailerHash : undefined;
  if (hashMatches === false)
    damage.push("the hash over the image is not the one its trailer gives");
  return {
    sound: damage.length === 0 && image.state.state === "complete",
    recordsRead: there + inAncestors.records - bad.size,
    recordsDamaged: bad.size + missing,
    damage,
    lostBlocks: blocksIn(image.map, (record) => {
      const isMissing = record < IMAGE_RECORDS && record >= there;
      return (
        isMissing || bad.has(record) || inAncestors.lost.has(Math.floor(record / IMAGE_RECORDS))
      );
    }).union(unknown),
    hashMatches,
  };
}

interface VerifiedAncestors {
  readonly records: number;
  /** Why images of the chain cannot be had, and which they are. */
  readonly problems: readonly string[];
  readonly lost: ReadonlySet<number>;
}

/** Reads what the image needs of those it points into; their other records are not its concern. */
async function verifyAncestors(
  image: TapeImage,
  isDamaged: (record: number, error: ReelError) => void,
  options: RunOptions,
): Promise<VerifiedAncestors> {
  const ancestors = image.header.chain.length - 1;
  if (ancestors === 0) return { records: 0, problems: [], lost: new Set() };
  const missing = await image.missingAncestors();
  const lost = new Set(missing.keys());
  const there = missing.size > 0 ? [] : await image.imagesInTapeOrder();
  let records = 0;
  const wanted = function* (): Generator<number> {
    for (const index of there.filter((each) => each > 0)) {
      for (const { record } of recordsInOrder(image.map, index)) {
        records++;
        yield record;
      }
    }
  };
  await image.readRecords(
    wanted(),
    (record, content) => {
      if (content instanceof ReelError) isDamaged(record, content);
      options.progress?.({ phase: "verifying ancestors", done: records, unit: "records" });
    },
    options,
  );
  return { records, problems: [...missing.values()].map(({ message }) => message), lost };
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
