/**
 * What a consolidated image will hold, and in which order: a pure function of the block map of the
 * chain, walked once to make the new map and once to write.
 *
 * The pass goes over the images of the chain in the order of the tapes. A record of which every
 * block is still wanted goes over as it is; the wanted blocks of all others are gathered into new
 * records. So the new image's data lie in the order in which they came, not in that of the volume;
 * within a record they rise, as they must.
 */
import { BlockMapBuilder, type BlockMap } from "../block-map.ts";
import type { Runs } from "../frame.ts";
import { isControlRecord } from "../packing.ts";
import type { ImageHeader } from "../header.ts";
import { recordsInOrder, type RecordRuns } from "../packed-order.ts";
import { IMAGE_RECORDS } from "./chain-reader.ts";

/** Blocks of one source record that go into a gathered one. */
export interface Piece {
  readonly start: number;
  readonly count: number;
  /** Source record, and the block within it. */
  readonly record: number;
  readonly blockInRecord: number;
}

export type PlannedRecord =
  | { readonly kind: "copy"; readonly record: number; readonly runs: Runs; readonly blocks: number }
  | {
      readonly kind: "gather";
      /** Rising in `start`; they fill the record one after another. */
      readonly pieces: readonly Piece[];
      readonly runs: Runs;
      readonly blocks: number;
    };

/** The data records of the new image, in their order. Every one but the last is full. */
export function* planConsolidation(
  map: BlockMap,
  header: ImageHeader,
  imageOrder: readonly number[],
): Generator<PlannedRecord> {
  const perRecord = header.recordSizeBytes / header.blockSizeBytes;
  let gathered: Piece[] = [];
  let room = perRecord;
  for (const image of imageOrder) {
    for (const source of recordsInOrder(map, image)) {
      if (source.record < IMAGE_RECORDS && isControlRecord(header, source.record)) continue;
      if (isWhole(source, perRecord)) {
        const { record, runs } = source;
        yield { kind: "copy", record, runs, blocks: perRecord };
        continue;
      }
      for (const piece of piecesOf(source)) {
        for (let done = 0; done < piece.count;) {
          const count = Math.min(room, piece.count - done);
          gathered.push({
            start: piece.start + done,
            count,
            record: piece.record,
            blockInRecord: piece.blockInRecord + done,
          });
          done += count;
          room -= count;
          if (room > 0) continue;
          yield gather(gathered);
          gathered = [];
          room = perRecord;
        }
      }
    }
  }
  if (gathered.length > 0) yield gather(gathered);
}

/** All of a record's blocks are wanted, and nothing of it is beside them. */
function isWhole({ runs, blockOffsets }: RecordRuns, perRecord: number): boolean {
  let at = 0;
  for (const [index, [, count]] of runs.entries()) {
    if (blockOffsets[index] !== at) return false;
    at += count;
  }
  return at === perRecord;
}

function* piecesOf({ record, runs, blockOffsets }: RecordRuns): Generator<Piece> {
  for (const [index, [start, count]] of runs.entries()) {
    yield { start, count, record, blockInRecord: blockOffsets[index] ?? 0 };
  }
}

function gather(gathered: readonly Piece[]): PlannedRecord {
  const pieces = gathered.toSorted((a, b) => a.start - b.start);
  const runs: [number, number][] = [];
  let blocks = 0;
  for (const { start, count } of pieces) {
    const last = runs.at(-1);
    if (last !== undefined && last[0] + last[1] === start) last[1] += count;
    else runs.push([start, count]);
    blocks += count;
  }
  return { kind: "gather", pieces, runs, blocks };
}

/** The entries of the planned data records, in logical order; the first is packed at `firstPacked`. */
export function mapOfPlan(
  plan: Iterable<PlannedRecord>,
  map: BlockMap,
  firstPacked: number,
): { readonly dataMap: BlockMap; readonly blocks: number } {
  const starts: number[] = [];
  const counts: number[] = [];
  const packed: number[] = [];
  let at = firstPacked;
  for (const { runs } of plan) {
    for (const [start, count] of runs) {
      const last = starts.length - 1;
      const lastCount = counts[last] ?? 0;
      const continues =
        last >= 0 &&
        start === (starts[last] ?? 0) + lastCount &&
        at === (packed[last] ?? 0) + lastCount;
      if (continues) {
        counts[last] = lastCount + count;
      } else {
        starts.push(start);
        counts.push(count);
        packed.push(at);
      }
      at += count;
    }
  }
  const order = Uint32Array.from(starts.keys()).sort((a, b) => (starts[a] ?? 0) - (starts[b] ?? 0));
  const builder = new BlockMapBuilder();
  for (const index of order)
    builder.add(starts[index] ?? 0, counts[index] ?? 0, packed[index] ?? 0);
  return { dataMap: builder.build(map.blockSizeBytes, []), blocks: at - firstPacked };
}
