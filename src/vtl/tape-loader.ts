/**
 * TapeLoader: a tape library as its robot sees it: storage slots, drives, import/export elements,
 * and an arm that moves tapes between them. The SCSI changer, the directory tree and the commands
 * all drive a loader through this contract; a virtual loader is a folder on disk, a physical one
 * may follow.
 *
 * Rules every implementation keeps (test/support/tape-loader-suite.ts checks them):
 * - A tape is in exactly one element, always, also after a crash in the middle of a move.
 * - Errors are ReelErrors: "invalid" (no such element), "not-found" (nothing to move, no such tape),
 *   "exists" (destination is full), "busy" (tape in use, removal prevented, loader locked by another
 *   process, named), "no-medium", "read-only", "no-space".
 * - What a call acknowledged survives SIGKILL.
 */
import type { TapeDrive } from "../tape/tape-drive.ts";

export type ElementKind = "storage" | "drive" | "import-export";

/** Storage slots and import/export elements count from 1, drives from 0, as their users say them. */
export interface ElementAddress {
  readonly kind: ElementKind;
  readonly number: number;
}

export interface LoadedTape {
  /** Volume tag: 1 to 32 of A–Z, 0–9 and $ % + - . / space inside; upper case. */
  readonly barcode: string;
  readonly writeProtected: boolean;
  /** Bytes it may hold; undefined: as much as the disk has room for. */
  readonly capacityBytes?: number | undefined;
  /** Bytes in its file. */
  readonly usedBytes: number;
}

export interface ElementStatus extends ElementAddress {
  readonly tape?: LoadedTape | undefined;
  /** Drives and import/export: where the tape was moved from, when known. */
  readonly source?: ElementAddress | undefined;
  /** Import/export: placed there by a person (true) or by the robot. */
  readonly placedByOperator?: boolean | undefined;
}

export interface LoaderGeometry {
  readonly slots: number;
  readonly drives: number;
  readonly importExport: number;
}

/**
 * One drive of a loader: a TapeDrive whose tape comes and goes. With none loaded, or one that is
 * unloaded but still inside, tape calls throw "no-medium".
 */
export interface LoaderDrive extends TapeDrive {
  readonly number: number;
  /** The tape inside, loaded or not. */
  medium(): LoadedTape | undefined;
  /** Is the tape threaded and ready? */
  readonly ready: boolean;
  /** Counts up with every tape put in: who remembers it sees that the medium may have changed. */
  readonly loadCount: number;
  /** Threads the tape again, at its beginning. "no-medium" when there is none. */
  load(): Promise<void>;
  /** Rewinds and unthreads; the tape stays in the drive for the robot to take. */
  unload(): Promise<void>;
  /** While true, moving the tape out is refused with "busy". */
  preventRemoval: boolean;
  /** Drops everything from here on. */
  erase(): Promise<void>;
}

export interface TapeLoader {
  readonly name: string;
  readonly serial: string;
  readonly geometry: LoaderGeometry;

  /** Every element, in the order storage, drives, import/export; one consistent moment. */
  elements(): Promise<readonly ElementStatus[]>;
  element(address: ElementAddress): Promise<ElementStatus>;
  /** The robot takes the tape at `from` to `to`. A tape in a drive is rewound and unloaded first. */
  move(from: ElementAddress, to: ElementAddress): Promise<void>;
  /** Source to first destination, what was there to the second (which may be the source). */
  exchange(source: ElementAddress, first: ElementAddress, second: ElementAddress): Promise<void>;
  drive(number: number): LoaderDrive;

  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
