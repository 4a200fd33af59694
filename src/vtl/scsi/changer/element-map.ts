/**
 * Element addresses: how SCSI numbers what a loader calls slot 7 or drive 0. Each type has a range
 * of its own, with room to grow, so that an address means the same after a loader got more slots.
 *
 *     0001        the arm
 *     0010–00FF   import/export elements 1, 2, …
 *     0100–0FFF   drives 0, 1, …
 *     1000–FFFF   storage slots 1, 2, …
 */
import type { ElementAddress, ElementKind, LoaderGeometry } from "../../tape-loader.ts";

/** Element type codes, in the order of their addresses. */
export const ELEMENT_TYPE = { transport: 1, importExport: 3, drive: 4, storage: 2 } as const;

interface Range {
  readonly kind: ElementKind;
  readonly type: number;
  readonly first: number;
  readonly countMax: number;
  /** The loader's number of the first one. */
  readonly base: number;
}

export const ARM_ADDRESS = 0x0001;
/** In a command: the arm that the changer thinks best, which is the one it has. */
export const DEFAULT_ARM = 0x0000;

const RANGES: readonly Range[] = [
  {
    kind: "import-export",
    type: ELEMENT_TYPE.importExport,
    first: 0x0010,
    countMax: 0xf0,
    base: 1,
  },
  { kind: "drive", type: ELEMENT_TYPE.drive, first: 0x0100, countMax: 0xf00, base: 0 },
  { kind: "storage", type: ELEMENT_TYPE.storage, first: 0x1000, countMax: 0xf000, base: 1 },
];

function rangeOf(kind: ElementKind): Range {
  const range = RANGES.find((each) => each.kind === kind);
  if (range === undefined) throw new RangeError(`no element addresses for ${kind}`);
  return range;
}

function inGeometry(geometry: LoaderGeometry, kind: ElementKind): number {
  if (kind === "storage") return geometry.slots;
  return kind === "drive" ? geometry.drives : geometry.importExport;
}

/** First address and number of elements of a kind, as mode page 1D says them. */
export function elementRange(
  geometry: LoaderGeometry,
  kind: ElementKind,
): { readonly first: number; readonly count: number } {
  const { first, countMax } = rangeOf(kind);
  return { first, count: Math.min(inGeometry(geometry, kind), countMax) };
}

export function typeOf(kind: ElementKind): number {
  return rangeOf(kind).type;
}

/** Undefined for what has no address: a loader beyond the 61,440th slot. */
export function addressOf(element: ElementAddress): number | undefined {
  const { first, countMax, base } = rangeOf(element.kind);
  const index = element.number - base;
  return index >= 0 && index < countMax ? first + index : undefined;
}

/** Undefined where the loader has no such element. The arm is none of these. */
export function elementAt(geometry: LoaderGeometry, address: number): ElementAddress | undefined {
  for (const { kind, first, base } of RANGES) {
    const { count } = elementRange(geometry, kind);
    if (address >= first && address < first + count) {
      return { kind, number: address - first + base };
    }
  }
  return undefined;
}
