/** status.txt and status.json of a loader, and the list of what was refused in its tree. */
import { isReelError } from "../../errors.ts";
import { formatBytes } from "../format-bytes.ts";
import { elementText } from "../slot-map.ts";
import type { ElementStatus } from "../tape-loader.ts";
import type { VirtualLoader } from "../virtual-loader.ts";

/** As many as are remembered, and shown. */
const REFUSALS_MAX = 20;

export interface Notice {
  /** ISO 8601. */
  readonly at: string;
  readonly message: string;
}

/** What happened lately that its user could not be told of, or not in so many words. */
export class Notices {
  readonly #log: (message: string) => void;
  readonly #kept: Notice[] = [];

  constructor(log: (message: string) => void) {
    this.#log = log;
  }

  /** Oldest first. */
  get latest(): readonly Notice[] {
    return this.#kept;
  }

  add(message: string): void {
    this.#kept.push({ at: new Date().toISOString(), message });
    if (this.#kept.length > REFUSALS_MAX) this.#kept.shift();
    this.#log(message);
  }

  /** `doing`: the command that a person would have typed. */
  refused(doing: string, error: unknown): void {
    const isPlain = isReelError(error);
    this.add(`${doing}: ${isPlain ? error.message : `failed: ${String(error)}`}`);
  }
}

export interface LoaderStatus {
  readonly name: string;
  readonly serial: string;
  readonly path: string;
  readonly elements: readonly ElementStatus[];
  readonly warnings: readonly string[];
  readonly notices: readonly Notice[];
  /** Why there is no more to tell. */
  readonly problem?: string | undefined;
}

export async function loaderStatus(
  loader: VirtualLoader,
  notices: readonly Notice[],
): Promise<LoaderStatus> {
  const { name, serial, path } = loader;
  const base = { name, serial, path, notices };
  try {
    const elements = await loader.elements();
    return { ...base, elements, warnings: await loader.warnings() };
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    return { ...base, elements: [], warnings: [], problem };
  }
}

export function statusJson(status: LoaderStatus): string {
  return `${JSON.stringify(status, undefined, 2)}\n`;
}

export function statusText(status: LoaderStatus): string {
  const { elements, warnings, notices, problem } = status;
  const count = (kind: string): number => elements.filter((each) => each.kind === kind).length;
  const lines = [
    `Loader ${status.name}, serial ${status.serial}, in ${status.path}`,
    `${count("storage")} slots, ${count("drive")} drives, ${count("import-export")} import/export elements`,
    ...(problem === undefined ? [] : [`Problem: ${problem}`]),
    ...warnings.map((warning) => `Warning: ${warning}`),
    "",
    ...elements.map(elementLine),
    ...(notices.length === 0 ? [] : ["", "Refused, or to be known, the latest last:"]),
    ...notices.map(({ at, message }) => `${at}  ${message}`),
  ];
  return lines.map((line) => `${line}\n`).join("");
}

const PLACE_COLUMN = 24;

function elementLine(element: ElementStatus): string {
  const place = elementText(element).padEnd(PLACE_COLUMN);
  const { tape, source } = element;
  if (tape === undefined) return `${place}empty`;
  const notes = [
    tape.capacityBytes === undefined
      ? formatBytes(tape.usedBytes)
      : `${formatBytes(tape.usedBytes)} of ${formatBytes(tape.capacityBytes)}`,
    ...(tape.writeProtected ? ["write-protected"] : []),
    ...(source === undefined ? [] : [`from ${elementText(source)}`]),
  ];
  return `${place}${tape.barcode}  ${notes.join(", ")}`;
}
