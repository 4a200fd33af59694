/** The block map the other way round: what each record holds, in the order of the tape. */
import type { BlockMap } from "./block-map.ts";
import type { Runs } from "./frame.ts";

export interface RecordRuns {
  readonly record: number;
  /** Logical runs of the record's blocks, in packed order, and where each begins in the record. */
  readonly runs: Runs;
  readonly blockOffsets: readonly number[];
}

/** Every record of image `image` of the chain that the map names, rising, with its runs. */
export function* recordsInOrder(map: BlockMap, image = 0): Generator<RecordRuns> {
  const packing = map.packings[image];
  if (packing === undefined) return;
  const { blocksPerRecord, firstRecord } = packing;
  let ordinal = -1;
  let runs: [number, number][] = [];
  let offsets: number[] = [];
  for (const index of entriesByPacked(map, image)) {
    const entry = map.entryAt(index);
    for (let done = 0; done < entry.count;) {
      const packed = entry.packed + done;
      const here = Math.floor(packed / blocksPerRecord);
      if (here !== ordinal) {
        if (runs.length > 0) yield { record: firstRecord + ordinal, runs, blockOffsets: offsets };
        ordinal = here;
        runs = [];
        offsets = [];
      }
      const count = Math.min(entry.count - done, (here + 1) * blocksPerRecord - packed);
      runs.push([entry.start + done, count]);
      offsets.push(packed - here * blocksPerRecord);
      done += count;
    }
  }
  if (runs.length > 0) yield { record: firstRecord + ordinal, runs, blockOffsets: offsets };
}

/** The same of several images of the chain, one after another. */
export function* recordsOfImages(map: BlockMap, images: readonly number[]): Generator<RecordRuns> {
  for (const image of images) yield* recordsInOrder(map, image);
}

/** Indexes of the image's entries, rising in their packed block. */
function entriesByPacked(map: BlockMap, image: number): Uint32Array {
  const packed = new Float64Array(map.length);
  const indexes = new Uint32Array(map.length);
  let length = 0;
  for (let index = 0; index < map.length; index++) {
    const entry = map.entryAt(index);
    packed[index] = entry.packed;
    if (entry.image === image) indexes[length++] = index;
  }
  return indexes.subarray(0, length).sort((a, b) => (packed[a] ?? 0) - (packed[b] ?? 0));
}
