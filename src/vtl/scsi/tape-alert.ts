/** TapeAlert: what an operator should know, as flags 1 to 64 that reading the log page clears. */
import type { LogPage } from "./logical-unit.ts";

/** Those that these devices raise (SSC-4 annex A). */
export const TAPE_ALERT = {
  /** A record could not be read. */
  readFailure: 5,
  /** A record could not be written. */
  writeFailure: 6,
  /** A host tried to write a protected tape. */
  writeProtect: 9,
  /** Removal was tried while a host prevents it. */
  noRemoval: 10,
} as const;

const FLAGS = 64;
export const TAPE_ALERT_PAGE = 0x2e;
const BITS_PER_BYTE = 8;

export class TapeAlerts {
  readonly #raised = new Set<number>();

  raise(flag: number): void {
    this.#raised.add(flag);
  }

  clear(): void {
    this.#raised.clear();
  }

  /** One parameter of one byte for each flag. */
  page(): LogPage {
    return {
      code: TAPE_ALERT_PAGE,
      name: "TapeAlert",
      parameters: () =>
        Array.from({ length: FLAGS }, (_, index) => ({
          code: index + 1,
          value: Uint8Array.of(this.#raised.has(index + 1) ? 1 : 0),
        })),
      afterReading: () => {
        this.clear();
      },
    };
  }

  /** Flag 1 in the highest bit of the first byte, as MAM attribute 0002h has them. */
  bitmap(): Uint8Array {
    return bitmapOf(this.#raised);
  }
}

/** VPD page B2: which flags are supported. */
export function supportedFlagsPage(): Uint8Array {
  return bitmapOf(Object.values(TAPE_ALERT));
}

function bitmapOf(flags: Iterable<number>): Uint8Array {
  const bitmap = new Uint8Array(FLAGS / BITS_PER_BYTE);
  for (const flag of flags) {
    const index = flag - 1;
    const byte = Math.floor(index / BITS_PER_BYTE);
    bitmap[byte] = (bitmap[byte] ?? 0) | (0x80 >>> (index % BITS_PER_BYTE));
  }
  return bitmap;
}
