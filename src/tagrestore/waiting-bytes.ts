/** How much of encoded files waits at one time, in a given order of reading. */
import { OVERLAY_BLOCK_BYTES } from "../cache/overlay-store.ts";
import type { LayoutTable } from "./layouts.ts";
import type { ImagePlan, RestorePlan } from "./plan.ts";
import { type ReadOrder, type Stretch, stretchesIn } from "./read-order.ts";

/**
 * The most encoded bytes that wait at one time for the rest of their files, in whole pages. A file's
 * wait from the record with its first piece to the one with its last; one that comes whole in one
 * record is decoded at once.
 */
export function waitingBytesMax(plan: RestorePlan, order: ReadOrder): number {
  const { layouts, bytesOfFile } = plan;
  if (!hasEncoded(layouts)) return 0;
  // By file: when its first and its last piece come, as numbers of records read before.
  const firsts = new Map<number, number>();
  const lasts = new Map<number, number>();
  for (const [image, turns] of turnsOf(plan, order)) {
    const { files, lengths, places, recordBytes, firstRecord } = image;
    const turnOf = turnFinder(turns);
    for (const [segment, file] of files.entries()) {
      if (!layouts.isEncoded(file)) continue;
      const place = places[segment] ?? 0;
      const length = lengths[segment] ?? 0;
      const first = turnOf(firstRecord + Math.floor(place / recordBytes));
      const last = turnOf(firstRecord + Math.floor((place + length - 1) / recordBytes));
      if (first === last && length === bytesOfFile[file]) continue;
      firsts.set(file, Math.min(first, firsts.get(file) ?? Infinity));
      lasts.set(file, Math.max(last, lasts.get(file) ?? 0));
    }
  }
  const beginning = [...firsts].sort((a, b) => a[1] - b[1]);
  const ending = [...lasts].sort((a, b) => a[1] - b[1]);
  const roomOf = (file: number): number => wholePages(layouts.runBytesOf(file));
  let waiting = 0;
  let most = 0;
  let ended = 0;
  for (const [file, first] of beginning) {
    for (; (ending[ended]?.[1] ?? Infinity) < first; ended++) {
      waiting -= roomOf(ending[ended]?.[0] ?? 0);
    }
    waiting += roomOf(file);
    most = Math.max(most, waiting);
  }
  return most;
}

function hasEncoded(layouts: LayoutTable): boolean {
  for (let file = 0; file < layouts.length; file++) if (layouts.isEncoded(file)) return true;
  return false;
}

/** A stretch, and how many records are read before it. */
type Turn = Pick<Stretch, "firstRecord" | "endRecord"> & { readonly before: number };

/** The stretches of each image, rising. */
function turnsOf(plan: RestorePlan, order: ReadOrder): Map<ImagePlan, Turn[]> {
  const turns = new Map<ImagePlan, Turn[]>();
  let before = 0;
  for (const { image, firstRecord, endRecord } of stretchesIn(plan, order)) {
    const turn = { firstRecord, endRecord, before };
    if (turns.get(image)?.push(turn) === undefined) turns.set(image, [turn]);
    before += endRecord - firstRecord;
  }
  for (const each of turns.values()) each.sort((a, b) => a.firstRecord - b.firstRecord);
  return turns;
}

/** Says how many records are read before one. Ask for records that hardly ever fall. */
function turnFinder(turns: readonly Turn[]): (record: number) => number {
  let at = 0;
  return (record) => {
    while (at > 0 && record < (turns[at]?.firstRecord ?? 0)) at--;
    while (at < turns.length - 1 && record >= (turns[at]?.endRecord ?? 0)) at++;
    const { firstRecord, before } = turns[at] ?? { firstRecord: 0, before: 0 };
    return before + record - firstRecord;
  };
}

function wholePages(bytes: number): number {
  return Math.ceil(bytes / OVERLAY_BLOCK_BYTES) * OVERLAY_BLOCK_BYTES;
}
