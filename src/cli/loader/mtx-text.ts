/** A loader's state in the words of mtx and of mtx-changer, which scripts and programs parse. */
import type { ElementAddress, ElementStatus, LoaderGeometry } from "../../vtl/tape-loader.ts";
import { numberOfElement } from "./open-loader.ts";

/** What `mtx status` prints, line by line. */
export function mtxStatusLines(
  name: string,
  geometry: LoaderGeometry,
  elements: readonly ElementStatus[],
): string[] {
  const { slots, drives, importExport } = geometry;
  const head =
    `  Storage Changer ${name}:${drives} Drives, ${slots + importExport} Slots ` +
    `( ${importExport} Import/Export )`;
  const inDrives = elements.filter((each) => each.kind === "drive");
  const rest = elements.filter((each) => each.kind !== "drive");
  return [
    head,
    ...inDrives.map((each) => driveLine(each, geometry)),
    ...rest.map((each) => slotLine(each, geometry)),
  ];
}

function driveLine({ number, tape, source }: ElementStatus, geometry: LoaderGeometry): string {
  const start = `Data Transfer Element ${number}:`;
  if (tape === undefined) return `${start}Empty`;
  const from =
    source === undefined
      ? "Unknown Storage Element"
      : `Storage Element ${numberOfElement(source, geometry)}`;
  return `${start}Full (${from} Loaded):VolumeTag = ${tape.barcode}`;
}

function slotLine(element: ElementStatus, geometry: LoaderGeometry): string {
  const mail = element.kind === "import-export" ? " IMPORT/EXPORT" : "";
  const start = `      Storage Element ${numberOfElement(element, geometry)}${mail}:`;
  const { tape } = element;
  return tape === undefined ? `${start}Empty` : `${start}Full :VolumeTag=${tape.barcode}`;
}

/**
 * Where the tape in a drive goes when it is unloaded: to the slot it came from; where that is not
 * known, or holds another tape now, to the first empty slot that is no other drive's.
 */
export function homeOf(
  drive: ElementStatus,
  elements: readonly ElementStatus[],
): ElementAddress | undefined {
  const isEmpty = (address: ElementAddress): boolean =>
    elements.some((each) => isSame(each, address) && each.tape === undefined);
  if (drive.source !== undefined && isEmpty(drive.source)) return drive.source;
  const awaited = elements.flatMap(({ kind, source }) =>
    kind === "drive" && source !== undefined ? [source] : [],
  );
  const empty = elements.filter((each) => each.kind === "storage" && each.tape === undefined);
  const found = empty.find((each) => !awaited.some((other) => isSame(each, other))) ?? empty[0];
  return found === undefined ? undefined : { kind: found.kind, number: found.number };
}

function isSame(a: ElementAddress, b: ElementAddress): boolean {
  return a.kind === b.kind && a.number === b.number;
}

/** The slot number of `homeOf`; 0 without one. */
export function homeNumber(
  drive: ElementStatus,
  elements: readonly ElementStatus[],
  geometry: LoaderGeometry,
): number {
  const home = drive.tape === undefined ? undefined : homeOf(drive, elements);
  return home === undefined ? 0 : numberOfElement(home, geometry);
}

/** mtx-changer list: `slot:barcode`, a loaded tape under its home slot, no import/export. */
export function changerList(
  geometry: LoaderGeometry,
  elements: readonly ElementStatus[],
): string[] {
  const lines: (readonly [number, string])[] = [];
  for (const element of elements) {
    const { kind, number, tape } = element;
    if (tape === undefined || kind === "import-export") continue;
    const slot = kind === "storage" ? number : homeNumber(element, elements, geometry);
    // A tape that came from an import/export element is in no slot.
    if (slot > 0 && slot <= geometry.slots) lines.push([slot, `${slot}:${tape.barcode}`]);
  }
  return lines.sort(([a], [b]) => a - b).map(([, line]) => line);
}

/** mtx-changer listall: drives, slots and import/export elements, full and empty. */
export function changerListAll(
  geometry: LoaderGeometry,
  elements: readonly ElementStatus[],
): string[] {
  const drives = elements.filter((each) => each.kind === "drive");
  const rest = elements.filter((each) => each.kind !== "drive");
  return [
    ...drives.map((each) =>
      each.tape === undefined
        ? `D:${each.number}:E`
        : `D:${each.number}:F:${homeNumber(each, elements, geometry)}:${each.tape.barcode}`,
    ),
    ...rest.map((each) => {
      const letter = each.kind === "storage" ? "S" : "I";
      const start = `${letter}:${numberOfElement(each, geometry)}`;
      return each.tape === undefined ? `${start}:E` : `${start}:F:${each.tape.barcode}`;
    }),
  ];
}
