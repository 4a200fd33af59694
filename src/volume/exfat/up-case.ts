/**
 * The up-case table: which UTF-16 unit stands for which when names are compared. It is stored as
 * one unit for each unit from 0 on, with runs of units that stand for themselves as FFFF and their
 * number, and a checksum in the root directory.
 *
 * Source of the layout: Microsoft, "exFAT file system specification", 1.00, section 7.2.
 */
import { isReelError } from "../../errors.ts";
import { upperCaseByUnit } from "../names.ts";
import { hex } from "./boot-region.ts";
import type { Allocation } from "./entry-set.ts";
import { readFully } from "./exfat-store.ts";
import type { ClusterOptions, ExfatStore } from "./exfat-store.ts";

const UNITS = 0x10000;
/** A table without a single run. */
const TABLE_BYTES_MAX = UNITS * 2;
const RUN_MARK = 0xffff;

/** Brings a name to upper case. */
export type Fold = (name: string) => string;

export interface LoadedUpCase {
  readonly fold: Fold;
  /** Why the built-in table is used instead of the volume's. */
  readonly fault: string | undefined;
}

/** What the root directory says of the table. */
export interface UpCaseEntry {
  readonly checksum: number;
  readonly allocation: Allocation;
}

/** Reads the table; the built-in one takes its place where it is damaged. Throws "closed" only. */
export async function loadUpCase(
  store: ExfatStore,
  entry: UpCaseEntry | undefined,
  options: ClusterOptions = {},
): Promise<LoadedUpCase> {
  const builtIn = (fault: string) => ({ fold: upperCaseByUnit, fault });
  if (entry === undefined) return builtIn("the root directory has no entry for it");
  const { sizeBytes } = entry.allocation;
  if (sizeBytes === 0 || sizeBytes > TABLE_BYTES_MAX || sizeBytes % 2 !== 0) {
    return builtIn(`${sizeBytes} bytes is not the size of an up-case table`);
  }
  let bytes: Uint8Array;
  try {
    bytes = await readFully(store, entry.allocation, options);
  } catch (error) {
    if (isReelError(error, "damaged") || isReelError(error, "io")) return builtIn(error.message);
    throw error;
  }
  const computed = tableChecksum(bytes);
  if (computed !== entry.checksum) {
    return builtIn(
      `its checksum is ${hex(entry.checksum)}, but its contents have ${hex(computed)}`,
    );
  }
  const table = expand(bytes);
  if (table === undefined) return builtIn("it goes on after its last unit, FFFF");
  return { fold: (name) => foldWith(table, name), fault: undefined };
}

/** Rotates right and adds, over all bytes. */
export function tableChecksum(bytes: Uint8Array): number {
  let sum = 0;
  for (const byte of bytes) sum = (((sum << 31) | (sum >>> 1)) + byte) >>> 0;
  return sum;
}

/** One unit for each; undefined when the table is longer than that. */
function expand(bytes: Uint8Array): Uint16Array | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const table = new Uint16Array(UNITS);
  for (let each = 0; each < UNITS; each++) table[each] = each;
  let unit = 0;
  for (let at = 0; at < bytes.length; at += 2) {
    const value = view.getUint16(at, true);
    if (value === RUN_MARK && at + 2 < bytes.length) {
      at += 2;
      unit += view.getUint16(at, true);
    } else if (unit >= UNITS) {
      return undefined;
    } else {
      table[unit++] = value;
    }
  }
  return unit <= UNITS ? table : undefined;
}

function foldWith(table: Uint16Array, name: string): string {
  let folded = "";
  for (let i = 0; i < name.length; i++) {
    const unit = name.charCodeAt(i);
    folded += String.fromCharCode(table[unit] ?? unit);
  }
  return folded;
}
