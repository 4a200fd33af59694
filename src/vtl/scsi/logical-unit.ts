/**
 * What every SCSI device here has beside what it does: an identity, nexuses, reservations, mode
 * parameters, log pages and TapeAlert flags. The commands that all devices share work on this.
 */
import type { ModePages } from "./mode-pages.ts";
import { Nexuses } from "./nexuses.ts";
import { Reservations } from "./reservations.ts";
import type { ReelError } from "../../errors.ts";
import type { Sense } from "./sense.ts";

/** Peripheral device types. */
export const DEVICE_TYPE = { tape: 0x01, changer: 0x08, none: 0x1f } as const;

export interface Identity {
  readonly deviceType: number;
  readonly product: string;
  readonly serial: string;
  /** Only changers: it reads bar codes. */
  readonly hasBarcodeReader: boolean;
  /** Codes of the standards it follows (SPC-4, version descriptors). */
  readonly standards: readonly number[];
  /** Vital product data beside pages 00, 80 and 83. */
  readonly vitalPages: ReadonlyMap<number, () => Uint8Array>;
}

export interface LogParameter {
  readonly code: number;
  readonly value: Uint8Array;
  /** Text rather than a number. */
  readonly isText?: boolean;
}

export interface LogPage {
  readonly code: number;
  readonly name: string;
  readonly parameters: () => Promise<readonly LogParameter[]> | readonly LogParameter[];
  /** Called once the page was sent. */
  readonly afterReading?: () => void;
}

export interface LogicalUnit {
  readonly identity: Identity;
  readonly nexuses: Nexuses;
  readonly reservations: Reservations;
  readonly modes: ModePages;
  readonly logPages: readonly LogPage[];
  /** Nexuses that prevent medium removal. */
  readonly preventing: Set<string>;

  /** LUNs of the target that this is a unit of. */
  luns(): readonly number[];
  /** Looks whether something changed behind the hosts' backs; raises unit attentions. */
  notice(): Promise<void>;
  /** What TEST UNIT READY says. @throws CheckCondition */
  checkReady(): void;
  /** Called when `preventing` has changed. */
  preventionChanged(): void;
  /** Byte 3 (MODE SENSE 10) or 2 (MODE SENSE 6) of the header. */
  deviceSpecificParameter(): number;
  /** A MODE SELECT header's. @throws CheckCondition @returns whether something changed. */
  selectDeviceSpecific(value: number, at: number): boolean;
  /** 8 bytes; devices without one have an empty one. */
  blockDescriptor(): Uint8Array;
  /** Checks a block descriptor; the function that is returned sets it, and tells of a change. */
  selectBlockDescriptor(bytes: Uint8Array, base: number): () => boolean;
  /** LOG SELECT with PCR: counts from 0 again. */
  resetCounters(): void;
  /** Sense for an error of the drive or loader that no command gave a meaning of its own. */
  senseOf(error: ReelError): Sense;
  reset(): void;
}

/** Parts every unit is built from. */
export interface UnitParts {
  readonly nexuses: Nexuses;
  readonly reservations: Reservations;
  readonly preventing: Set<string>;
}

export function unitParts(): UnitParts {
  const nexuses = new Nexuses();
  return { nexuses, reservations: new Reservations(nexuses), preventing: new Set() };
}
