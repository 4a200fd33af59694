/** How much a virtual tape holds, and from where on it says that it is nearly full. */
import { ReelError } from "../errors.ts";

export interface CapacityOptions {
  /** Bytes of the container, framing included; without it the tape is as long as the disk. */
  readonly capacityBytes?: number;
  /** How far before the end early warning begins. */
  readonly earlyWarningBytes?: number;
}

/** Early warning without a word from the caller: this part of the capacity, and at most so much. */
const EARLY_WARNING_FRACTION = 1 / 50;
const EARLY_WARNING_BYTES_MAX = 1024 ** 3;

/**
 * Bytes before the end at which early warning begins.
 * @throws "invalid" for sizes that are no sizes.
 */
export function earlyWarningFrom(options: CapacityOptions, doing: string): number {
  const capacity = options.capacityBytes;
  checkSize(capacity, `${doing}: its capacity`);
  checkSize(options.earlyWarningBytes, `${doing}: its early warning`);
  if (options.earlyWarningBytes !== undefined) return options.earlyWarningBytes;
  if (capacity === undefined) return 0;
  return Math.min(Math.floor(capacity * EARLY_WARNING_FRACTION), EARLY_WARNING_BYTES_MAX);
}

function checkSize(sizeBytes: number | undefined, what: string): void {
  if (sizeBytes === undefined || (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0)) return;
  throw new ReelError("invalid", `${what} cannot be ${sizeBytes} bytes`);
}
