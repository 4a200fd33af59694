/**
 * Changes of the map of a file's blocks, each over those before it: what a pile of painted strips
 * looks like from above.
 *
 * A journal may hold hundreds of thousands of them for one file, so they are not inserted into a
 * list one by one. When they are needed, the ends of all strips are sorted, which makes segments,
 * and the strips are laid from the last to the first on segments that nothing lies on yet; a jump
 * table leads past those that are taken. That is n log n, whatever the strips.
 */
import { BlockRuns } from "./block-runs.ts";
import { lowerBound } from "./journal/copy-table.ts";

/** Instead of a place: a hole. */
const HOLE = -1;

export class PaintedRanges {
  /** Three numbers for each: first block in the file, count, first block on the volume or HOLE. */
  readonly #strips: number[] = [];
  #segments: Segments | undefined;

  get length(): number {
    return this.#strips.length / 3;
  }

  /** Lays a range over all before it; without a place it is a hole. Empty ones are ignored. */
  add(logical: number, count: number, physical: number | undefined): void {
    if (count === 0) return;
    this.#strips.push(logical, count, physical ?? HOLE);
    this.#segments = undefined;
  }

  /** Forgets the first `length` ranges. */
  removeFirst(length: number): void {
    this.#strips.splice(0, length * 3);
    this.#segments = undefined;
  }

  /** The runs of `base` with these ranges laid over them, in rising order, up to block `limit`. */
  over(base: BlockRuns, limit: number): BlockRuns {
    this.#segments ??= paint(this.#strips);
    const { starts, ends, places } = this.#segments;
    const merged = new BlockRuns();
    const add = (from: number, end: number, physical: number): void => {
      const count = Math.min(end, limit) - from;
      if (count > 0 && physical !== HOLE) merged.add(from, physical, count);
    };
    let at = 0;
    let covered = 0;
    const addSegment = (): void => {
      covered = ends[at] ?? 0;
      add(starts[at] ?? 0, covered, places[at] ?? HOLE);
      at++;
    };
    for (let run = 0; run < base.length; run++) {
      const logical = base.logicalAt(run);
      const end = logical + base.countAt(run);
      let from = Math.max(logical, covered);
      while (from < end) {
        const next = starts[at] ?? Number.POSITIVE_INFINITY;
        if (next <= from) {
          addSegment();
          from = Math.max(from, covered);
        } else {
          const until = Math.min(end, next);
          add(from, until, base.physicalAt(run) + from - logical);
          from = until;
        }
      }
    }
    while (at < starts.length) addSegment();
    return merged;
  }
}

/** What is seen from above: stretches that do not overlap, in rising order. */
interface Segments {
  readonly starts: Float64Array;
  readonly ends: Float64Array;
  readonly places: Float64Array;
}

function paint(strips: readonly number[]): Segments {
  const bounds = boundsOf(strips);
  const segments = Math.max(0, bounds.length - 1);
  const places = new Float64Array(segments);
  // Where to go on looking for a free segment from each; a segment that is free leads to itself.
  const jumps = Uint32Array.from({ length: segments + 1 }, (_, index) => index);
  const isTaken = new Uint8Array(segments);
  for (let strip = strips.length - 3; strip >= 0; strip -= 3) {
    const logical = strips[strip] ?? 0;
    const physical = strips[strip + 2] ?? HOLE;
    const end = lowerBound(bounds, logical + (strips[strip + 1] ?? 0));
    let segment = freeFrom(jumps, lowerBound(bounds, logical));
    while (segment < end) {
      places[segment] = physical === HOLE ? HOLE : physical + (bounds[segment] ?? 0) - logical;
      isTaken[segment] = 1;
      jumps[segment] = segment + 1;
      segment = freeFrom(jumps, segment);
    }
  }
  const taken = Uint32Array.from(isTaken.keys()).filter((index) => isTaken[index] === 1);
  return {
    starts: Float64Array.from(taken, (index) => bounds[index] ?? 0),
    ends: Float64Array.from(taken, (index) => bounds[index + 1] ?? 0),
    places: Float64Array.from(taken, (index) => places[index] ?? HOLE),
  };
}

/** Where strips begin and end, rising, each once. */
function boundsOf(strips: readonly number[]): Float64Array {
  const bounds = new Float64Array((strips.length / 3) * 2);
  for (let i = 0; i < bounds.length; i += 2) {
    const logical = strips[(i / 2) * 3] ?? 0;
    bounds[i] = logical;
    bounds[i + 1] = logical + (strips[(i / 2) * 3 + 1] ?? 0);
  }
  bounds.sort();
  return bounds.filter((bound, index) => index === 0 || bound !== bounds[index - 1]);
}

/** The first free segment from `segment` on; shortens the way there for the next time. */
function freeFrom(jumps: Uint32Array, segment: number): number {
  let at = segment;
  for (let next = jumps[at] ?? at; next !== at; next = jumps[at] ?? at) {
    jumps[at] = jumps[next] ?? next;
    at = next;
  }
  return at;
}
