/**
 * The slot map: which tape is in which element. It is the only truth about that: the files of all
 * tapes lie in one folder and do not move when the robot moves their tapes, so that a move is one
 * file replaced, done or not done. Pure functions from map to map; disk is loader-folder.ts.
 */
import { ReelError } from "../errors.ts";
import type { Container } from "./barcode.ts";
import type { ElementAddress, ElementKind, LoaderGeometry } from "./tape-loader.ts";

/** What the slot map knows of a tape; its file knows the rest. */
export interface StoredTape {
  readonly barcode: string;
  readonly container: Container;
  readonly writeProtected: boolean;
  readonly capacityBytes?: number | undefined;
}

export interface FullElement extends ElementAddress {
  readonly tape: StoredTape;
  /** Drives and import/export: where the tape came from. */
  readonly source?: ElementAddress | undefined;
  /** Import/export: put there by a person. */
  readonly placedByOperator?: boolean | undefined;
  /** Drives: the tape is threaded and ready. */
  readonly threaded?: boolean | undefined;
}

/** A change of files that was begun: finished or undone by whoever opens the loader next. */
export interface PendingChange {
  readonly operation: "create" | "delete" | "import" | "export";
  readonly tapes: readonly PendingTape[];
}

export interface PendingTape {
  /** Where it goes, or was. */
  readonly element: FullElement;
  /** Import: the file it comes from. Export: the file it goes to. */
  readonly path?: string | undefined;
  /** Import: the file it comes from is removed. */
  readonly takeAway?: boolean | undefined;
}

export interface SlotMap {
  /** Counts up with every change. */
  readonly generation: number;
  /** Full elements by `elementKey`. */
  readonly full: ReadonlyMap<string, FullElement>;
  /** Of each drive, how many tapes were put in. */
  readonly loadCounts: readonly number[];
  readonly pending?: PendingChange | undefined;
}

export const EMPTY_SLOT_MAP: SlotMap = { generation: 0, full: new Map(), loadCounts: [] };

export function elementKey({ kind, number }: ElementAddress): string {
  return `${kind}:${number}`;
}

const NOUN: Readonly<Record<ElementKind, string>> = {
  storage: "slot",
  drive: "drive",
  "import-export": "import/export element",
};

/** "slot 5", "drive 0". */
export function elementText({ kind, number }: ElementAddress): string {
  return `${NOUN[kind]} ${number}`;
}

/** First number of a kind, and how many there are. */
export function elementRange(
  geometry: LoaderGeometry,
  kind: ElementKind,
): { readonly first: number; readonly count: number } {
  if (kind === "storage") return { first: 1, count: geometry.slots };
  if (kind === "drive") return { first: 0, count: geometry.drives };
  return { first: 1, count: geometry.importExport };
}

export function hasElement(geometry: LoaderGeometry, { kind, number }: ElementAddress): boolean {
  const { first, count } = elementRange(geometry, kind);
  return Number.isSafeInteger(number) && number >= first && number < first + count;
}

/** Throws "invalid" for an element that the loader does not have. */
export function checkElement(
  geometry: LoaderGeometry,
  address: ElementAddress,
  doing: string,
): void {
  if (hasElement(geometry, address)) return;
  const { first, count } = elementRange(geometry, address.kind);
  const noun = NOUN[address.kind];
  const range =
    count === 0
      ? `the loader has no ${noun}s`
      : `the loader has ${noun}s ${first} to ${first + count - 1}`;
  throw new ReelError("invalid", `${doing}: there is no ${elementText(address)}; ${range}`);
}

/** All addresses, in the order storage, drives, import/export. */
export function* allElements(geometry: LoaderGeometry): Generator<ElementAddress> {
  for (const kind of ["storage", "drive", "import-export"] as const) {
    const { first, count } = elementRange(geometry, kind);
    for (let number = first; number < first + count; number++) yield { kind, number };
  }
}

/** The first `count` empty elements of a kind, or as many as there are. */
export function emptyElements(
  map: SlotMap,
  geometry: LoaderGeometry,
  kind: ElementKind,
  count: number,
): ElementAddress[] {
  const found: ElementAddress[] = [];
  const { first, count: all } = elementRange(geometry, kind);
  for (let number = first; number < first + all && found.length < count; number++) {
    if (!map.full.has(elementKey({ kind, number }))) found.push({ kind, number });
  }
  return found;
}

export function tapeAt(map: SlotMap, address: ElementAddress): FullElement | undefined {
  return map.full.get(elementKey(address));
}

export function findTape(map: SlotMap, barcode: string): FullElement | undefined {
  for (const element of map.full.values()) if (element.tape.barcode === barcode) return element;
  return undefined;
}

/** The element that holds a tape. Throws "not-found". */
export function requireTape(map: SlotMap, barcode: string, doing: string): FullElement {
  const element = findTape(map, barcode);
  if (element === undefined) {
    throw new ReelError("not-found", `${doing}: no tape ${barcode} is in the loader`);
  }
  return element;
}

export function loadCountOf(map: SlotMap, drive: number): number {
  return map.loadCounts[drive] ?? 0;
}

/** Replaces or adds elements; `removed` are emptied first. */
export function changed(
  map: SlotMap,
  removed: readonly ElementAddress[],
  added: readonly FullElement[],
): SlotMap {
  const full = new Map(map.full);
  for (const address of removed) full.delete(elementKey(address));
  const loadCounts = [...map.loadCounts];
  for (const element of added) {
    full.set(elementKey(element), element);
    const before = tapeAt(map, element);
    if (element.kind !== "drive" || before?.tape.barcode === element.tape.barcode) continue;
    while (loadCounts.length < element.number) loadCounts.push(0);
    loadCounts[element.number] = loadCountOf(map, element.number) + 1;
  }
  return { ...map, full, loadCounts };
}

/** The same tape with something else known of it. */
export function withTape(map: SlotMap, element: FullElement, tape: StoredTape): SlotMap {
  return changed(map, [], [{ ...element, tape }]);
}

/**
 * The robot takes a tape from one element to another.
 * @throws "invalid", "not-found" (nothing there), "exists" (destination full).
 */
export function moved(
  map: SlotMap,
  geometry: LoaderGeometry,
  from: ElementAddress,
  to: ElementAddress,
): SlotMap {
  const doing = `cannot move the tape in ${elementText(from)} to ${elementText(to)}`;
  const source = takenFrom(map, geometry, from, doing);
  checkElement(geometry, to, doing);
  const there = tapeAt(map, to);
  if (there !== undefined) throw destinationFull(`cannot move ${source.tape.barcode}`, to, there);
  return changed(map, [from], [arrived(source, to)]);
}

/**
 * Source to first destination, what was there to the second, which may be the source.
 * @throws as `moved`; the first destination must hold a tape.
 */
export function exchanged(
  map: SlotMap,
  geometry: LoaderGeometry,
  source: ElementAddress,
  first: ElementAddress,
  second: ElementAddress,
): SlotMap {
  const doing = `cannot exchange ${elementText(source)} with ${elementText(first)}`;
  if (elementKey(source) === elementKey(first) || elementKey(first) === elementKey(second)) {
    throw new ReelError("invalid", `${doing}: two of the elements are the same`);
  }
  const coming = takenFrom(map, geometry, source, doing);
  const going = takenFrom(map, geometry, first, doing);
  checkElement(geometry, second, doing);
  const there = tapeAt(map, second);
  if (there !== undefined && elementKey(second) !== elementKey(source)) {
    throw destinationFull(doing, second, there);
  }
  return changed(map, [source, first], [arrived(coming, first), arrived(going, second)]);
}

function takenFrom(
  map: SlotMap,
  geometry: LoaderGeometry,
  from: ElementAddress,
  doing: string,
): FullElement {
  checkElement(geometry, from, doing);
  const element = tapeAt(map, from);
  if (element === undefined) {
    throw new ReelError("not-found", `${doing}: ${elementText(from)} is empty`);
  }
  return element;
}

function destinationFull(doing: string, to: ElementAddress, there: FullElement): ReelError {
  const where = elementText(to);
  const first = to.kind === "drive" ? "unload it first" : "choose an empty one";
  return new ReelError(
    "exists",
    `${doing} to ${where}: ${where} holds ${there.tape.barcode}; ${first}`,
  );
}

/** A tape as it is in its new element. Its source is the last slot or mail slot it was put in. */
function arrived(from: FullElement, to: ElementAddress): FullElement {
  const { kind, number } = to;
  const source = from.kind === "drive" ? from.source : { kind: from.kind, number: from.number };
  const remembered = source === undefined ? {} : { source };
  if (kind === "drive") return { kind, number, tape: from.tape, ...remembered, threaded: true };
  if (kind === "storage") return { kind, number, tape: from.tape };
  return { kind, number, tape: from.tape, ...remembered, placedByOperator: false };
}
