/** What the commands of loaders, tapes and drives have in common: naming and opening a loader. */
import type { Command } from "commander";
import { ReelError } from "../../errors.ts";
import type { ElementAddress, LoaderGeometry } from "../../vtl/tape-loader.ts";
import type { VirtualLoader } from "../../vtl/virtual-loader.ts";
import type { OptionValues, Terminal } from "../command.ts";
import { parseWhole, textOf } from "../option-values.ts";

export const LOADER_ARGUMENT = "name of a loader, or its folder (with a / in it)";

/** Adds --config. */
export function addConfigOption(command: Command): void {
  command.option("--config <file>", "registry of loaders to use instead of your own");
}

/** Opens a loader for one command; what its user should know goes to standard error. */
export async function withLoader<T>(
  pathOrName: string,
  options: OptionValues,
  terminal: Terminal,
  body: (loader: VirtualLoader) => Promise<T>,
): Promise<T> {
  const { openVirtualLoader } = await import("../../vtl/manage-loaders.ts");
  const registryPath = textOf(options, "config");
  const loader = await openVirtualLoader(pathOrName, { registryPath, keepPositions: true });
  try {
    for (const warning of await loader.warnings()) terminal.warn(`reelfs: warning: ${warning}`);
    return await body(loader);
  } finally {
    await loader.close();
  }
}

export interface DriveTarget {
  readonly loader: string;
  readonly drive: number;
}

/** LOADER or LOADER:DRIVE; a loader's first drive where none is named. */
export function parseDriveTarget(text: string): DriveTarget {
  const match = /^(.+):(\d{1,2})$/s.exec(text);
  return { loader: match?.[1] ?? text, drive: Number(match?.[2] ?? 0) };
}

/** Slots and import/export elements as mtx counts them: those after these, in one row. */
export function parseElement(text: string, geometry: LoaderGeometry, what: string): ElementAddress {
  const { slots, importExport } = geometry;
  return elementOfNumber(parseWhole(text, what, 1, slots + importExport), geometry);
}

export function elementOfNumber(number: number, { slots }: LoaderGeometry): ElementAddress {
  return number <= slots
    ? { kind: "storage", number }
    : { kind: "import-export", number: number - slots };
}

/** The number that mtx gives a slot or an import/export element. */
export function numberOfElement(
  { kind, number }: ElementAddress,
  { slots }: LoaderGeometry,
): number {
  if (kind === "drive") throw new ReelError("internal", "a drive is no slot");
  return kind === "storage" ? number : slots + number;
}

export function parseDrive(text: string, geometry: LoaderGeometry): ElementAddress {
  return { kind: "drive", number: parseWhole(text, "DRIVE", 0, geometry.drives - 1) };
}
