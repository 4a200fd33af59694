/** One pass over the FAT: which blocks are in use, and whether its copies agree. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { ExtentSet } from "../../device/extents.ts";
import { ExtentSetBuilder } from "../../device/extents.ts";
import { throwIfAborted } from "../../errors.ts";
import type { VolumeProblem } from "../volume.ts";
import type { FatCopy } from "./fat-copy.ts";
import { FAT_ENTRY_BYTES, NEXT_FREE } from "./fat-copy.ts";
import type { Fat } from "./fat.ts";
import { isFaultOfCopy, u32 } from "./fields.ts";

export interface Allocation {
  /** Blocks that are not free, in either copy. */
  readonly allocated: ExtentSet;
  /** The copies are the same; else both must be kept. */
  readonly copiesAgree: boolean;
  readonly problems: readonly VolumeProblem[];
}

/** Throws what the device throws, save for faults of a copy, and "aborted". */
export async function scanAllocation(fat: Fat, signal?: AbortSignal): Promise<Allocation> {
  const first = fat.first;
  const second = await fat.second();
  const used = [new ExtentSetBuilder(), new ExtentSetBuilder()] as const;
  const problems: VolumeProblem[] = [];
  const pages = Math.max(first.pageCount, second?.pageCount ?? 0);
  let difference: string | undefined;
  for (let page = 0; page < pages; page++) {
    throwIfAborted(signal, "reading the FAT");
    const one = await pageOf(first, page, problems);
    const other = second === undefined ? undefined : await pageOf(second, page, problems);
    if (one !== undefined) collect(one, first.firstEntryOf(page), used[0]);
    if (second === undefined || (one !== undefined && other !== undefined && isSame(one, other))) {
      continue;
    }
    difference ??= `differs from FAT ${first.copyNumber}, which is used, from entry ${firstDifference(one, other) + first.firstEntryOf(page)} on`;
    if (other !== undefined) collect(other, first.firstEntryOf(page), used[1]);
    await nextTurn();
  }
  if (second === undefined) {
    problems.push({ where: `FAT ${3 - first.copyNumber}`, message: "there is no second copy" });
  } else if (difference !== undefined) {
    problems.push({ where: `FAT ${second.copyNumber}`, message: difference });
  }
  return {
    allocated: used[0].build().union(used[1].build()),
    copiesAgree: difference === undefined && second !== undefined,
    problems,
  };
}

/** Free blocks by the copy that is used. Throws what reading it throws. */
export async function countFree(fat: Fat): Promise<number> {
  const copy = fat.first;
  let free = 0;
  for (let index = 0; index < copy.pageCount; index++) {
    const page = await copy.page(index);
    for (let at = 0; at < page.byteLength; at += FAT_ENTRY_BYTES) {
      if (u32(page, at + 4) === NEXT_FREE) free++;
    }
  }
  return free;
}

async function pageOf(
  copy: FatCopy,
  index: number,
  problems: VolumeProblem[],
): Promise<DataView | undefined> {
  if (index >= copy.pageCount) return undefined;
  try {
    return await copy.page(index);
  } catch (error) {
    if (!isFaultOfCopy(error)) throw error;
    problems.push({ where: `FAT ${copy.copyNumber}`, message: error.message });
    return undefined;
  }
}

function collect(page: DataView, firstEntry: number, builder: ExtentSetBuilder): void {
  let runStart = -1;
  const count = page.byteLength / FAT_ENTRY_BYTES;
  for (let i = 0; i < count; i++) {
    const isFree = u32(page, i * FAT_ENTRY_BYTES + 4) === NEXT_FREE;
    if (!isFree && runStart < 0) runStart = i;
    if (isFree && runStart >= 0) {
      builder.add(firstEntry + runStart, i - runStart);
      runStart = -1;
    }
  }
  if (runStart >= 0) builder.add(firstEntry + runStart, count - runStart);
}

function isSame(one: DataView, other: DataView): boolean {
  return Buffer.compare(bytesOf(one), bytesOf(other)) === 0;
}

function firstDifference(one: DataView | undefined, other: DataView | undefined): number {
  if (one === undefined || other === undefined) return 0;
  const [a, b] = [bytesOf(one), bytesOf(other)];
  const at = a.findIndex((byte, index) => byte !== b[index]);
  return Math.floor(Math.max(0, at) / FAT_ENTRY_BYTES);
}

function bytesOf(page: DataView): Uint8Array {
  return new Uint8Array(page.buffer, page.byteOffset, page.byteLength);
}
