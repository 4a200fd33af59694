/** Spacing over records and filemarks, on an index that knows as far as it has to. */
import type { TapeSpace } from "./tape-drive.ts";
import type { TapeIndex } from "./tape-index.ts";

/** What spacing has to know of a tape; any container's index can tell it. */
export type ObjectNumbers = Pick<
  TapeIndex,
  "count" | "filemarkCount" | "filesBefore" | "filemarkObject"
>;

interface SpaceResult {
  /** Object number where the drive ends up. */
  readonly to: number;
  readonly space: TapeSpace;
}

/**
 * Where spacing leads. The index must know the target, or the filemark in between, or all of the
 * tape: what it does not know is taken for the end of the data.
 */
export function planSpace(
  index: ObjectNumbers,
  from: number,
  unit: "records" | "filemarks",
  count: number,
): SpaceResult {
  if (count === 0) return { to: from, space: { passed: 0 } };
  if (unit === "filemarks") return overFilemarks(index, from, count);
  return count > 0 ? recordsForward(index, from, count) : recordsBackward(index, from, -count);
}

function recordsForward(index: ObjectNumbers, from: number, count: number): SpaceResult {
  const mark = index.filemarkObject(index.filesBefore(from));
  if (mark !== undefined && mark < from + count) {
    return { to: mark + 1, space: { passed: mark - from, stoppedBy: "filemark" } };
  }
  if (from + count <= index.count) return { to: from + count, space: { passed: count } };
  const end = Math.max(from, index.count);
  return { to: end, space: { passed: end - from, stoppedBy: "end-of-data" } };
}

function recordsBackward(index: ObjectNumbers, from: number, count: number): SpaceResult {
  const mark = index.filemarkObject(index.filesBefore(from) - 1);
  if (mark !== undefined && mark >= from - count) {
    return { to: mark, space: { passed: from - mark - 1, stoppedBy: "filemark" } };
  }
  if (count <= from) return { to: from - count, space: { passed: count } };
  return { to: 0, space: { passed: from, stoppedBy: "beginning" } };
}

function overFilemarks(index: ObjectNumbers, from: number, count: number): SpaceResult {
  const files = index.filesBefore(from);
  const mark = index.filemarkObject(count > 0 ? files + count - 1 : files + count);
  if (mark !== undefined) {
    return { to: count > 0 ? mark + 1 : mark, space: { passed: Math.abs(count) } };
  }
  if (count < 0) return { to: 0, space: { passed: files, stoppedBy: "beginning" } };
  const passed = index.filemarkCount - files;
  return { to: Math.max(from, index.count), space: { passed, stoppedBy: "end-of-data" } };
}
