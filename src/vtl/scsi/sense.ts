/**
 * Sense data: why a command did not end with GOOD, or what happened on the way. Fixed format
 * (SPC-4, 4.5.3), 18 bytes, the one that every tape host reads.
 */
import { build, decodeFields, flag, bits, number, type Field } from "./fields.ts";

/** A sense key with its additional sense code and qualifier. */
export interface SenseCode {
  readonly key: number;
  readonly asc: number;
  readonly ascq: number;
  readonly text: string;
}

export interface Sense {
  readonly code: SenseCode;
  readonly filemark?: boolean;
  readonly endOfMedium?: boolean;
  readonly incorrectLength?: boolean;
  /** Residual; VALID is set when it is given and fits into 32 bits. */
  readonly information?: number;
  /** Which field is wrong: in the CDB, or else in the parameter list. */
  readonly fieldPointer?: {
    readonly inCdb: boolean;
    readonly byte: number;
    readonly bit?: number;
  };
}

function code(key: number, asc: number, ascq: number, text: string): SenseCode {
  return { key, asc, ascq, text };
}

/** Everything that these devices ever say. docs/scsi.md lists when. */
export const SENSE = {
  none: code(0x0, 0x00, 0x00, "no additional sense information"),
  filemark: code(0x0, 0x00, 0x01, "filemark detected"),
  endOfMedium: code(0x0, 0x00, 0x02, "end of partition or medium detected (early warning)"),
  beginning: code(0x0, 0x00, 0x04, "beginning of partition or medium detected"),
  incorrectLength: code(0x0, 0x00, 0x00, "record of another length"),
  mediumAbsent: code(0x2, 0x3a, 0x00, "medium not present"),
  notLoaded: code(0x2, 0x04, 0x02, "not ready, initializing command required (send LOAD)"),
  operatorNeeded: code(0x2, 0x04, 0x03, "not ready, manual intervention required"),
  busy: code(0x2, 0x04, 0x07, "not ready, operation in progress"),
  writeError: code(0x3, 0x0c, 0x00, "write error"),
  memoryWriteError: code(0x3, 0x0c, 0x0b, "auxiliary memory write error"),
  readError: code(0x3, 0x11, 0x00, "unrecovered read error"),
  memoryReadError: code(0x3, 0x11, 0x12, "auxiliary memory read error"),
  positioningError: code(0x3, 0x3b, 0x00, "sequential positioning error"),
  internalFailure: code(0x4, 0x44, 0x00, "internal target failure"),
  listLength: code(0x5, 0x1a, 0x00, "parameter list length error"),
  invalidOpcode: code(0x5, 0x20, 0x00, "invalid command operation code"),
  invalidElement: code(0x5, 0x21, 0x01, "invalid element address"),
  invalidField: code(0x5, 0x24, 0x00, "invalid field in CDB"),
  noSuchUnit: code(0x5, 0x25, 0x00, "logical unit not supported"),
  invalidParameter: code(0x5, 0x26, 0x00, "invalid field in parameter list"),
  invalidRelease: code(0x5, 0x26, 0x04, "invalid release of persistent reservation"),
  savingUnsupported: code(0x5, 0x39, 0x00, "saving parameters not supported"),
  pastBeginning: code(0x5, 0x3b, 0x0c, "position past beginning of medium"),
  destinationFull: code(0x5, 0x3b, 0x0d, "medium destination element full"),
  sourceEmpty: code(0x5, 0x3b, 0x0e, "medium source element empty"),
  removalPrevented: code(0x5, 0x53, 0x02, "medium removal prevented"),
  registrationsFull: code(0x5, 0x55, 0x04, "insufficient registration resources"),
  mediumMayHaveChanged: code(0x6, 0x28, 0x00, "not ready to ready change, medium may have changed"),
  importExportAccessed: code(0x6, 0x28, 0x01, "import or export element accessed"),
  powerOnOrReset: code(0x6, 0x29, 0x00, "power on, reset, or bus device reset occurred"),
  modeParametersChanged: code(0x6, 0x2a, 0x01, "mode parameters changed"),
  reservationsPreempted: code(0x6, 0x2a, 0x03, "reservations preempted"),
  reservationsReleased: code(0x6, 0x2a, 0x04, "reservations released"),
  registrationsPreempted: code(0x6, 0x2a, 0x05, "registrations preempted"),
  writeProtected: code(0x7, 0x27, 0x00, "write protected"),
  softwareWriteProtected: code(0x7, 0x27, 0x02, "logical unit software write protected"),
  diskNearlyFull: code(
    0x7,
    0x27,
    0x07,
    "space allocation failed, write protect (disk nearly full)",
  ),
  endOfData: code(0x8, 0x00, 0x05, "end of data detected"),
  aborted: code(0xb, 0x00, 0x00, "command aborted"),
  dataPhase: code(0xb, 0x4b, 0x00, "data phase error (fewer bytes came than the command says)"),
  volumeOverflow: code(0xd, 0x00, 0x02, "end of partition or medium reached"),
} as const satisfies Readonly<Record<string, SenseCode>>;

export const SENSE_KEYS: readonly string[] = [
  "NO SENSE",
  "RECOVERED ERROR",
  "NOT READY",
  "MEDIUM ERROR",
  "HARDWARE ERROR",
  "ILLEGAL REQUEST",
  "UNIT ATTENTION",
  "DATA PROTECT",
  "BLANK CHECK",
  "VENDOR SPECIFIC",
  "COPY ABORTED",
  "ABORTED COMMAND",
  "RESERVED",
  "VOLUME OVERFLOW",
  "MISCOMPARE",
  "COMPLETED",
];

export const SENSE_BYTES = 18;
const RESPONSE_CODE_CURRENT_FIXED = 0x70;
const INFORMATION_MAX = 0xffff_ffff;
const INFORMATION_MIN = -0x8000_0000;
/** Bytes behind the additional length field. */
const ADDITIONAL_BYTES = SENSE_BYTES - 8;

/** Fixed format. The sense-key specific bytes 15–17 hold a field pointer. */
export const SENSE_LAYOUT = {
  valid: flag(0, 7),
  responseCode: bits(0, 6, 0),
  filemark: flag(2, 7),
  endOfMedium: flag(2, 6),
  incorrectLength: flag(2, 5),
  key: bits(2, 3, 0),
  information: number(3, 4),
  additionalLength: number(7, 1),
  asc: number(12, 1),
  ascq: number(13, 1),
  pointerValid: flag(15, 7),
  pointerInCdb: flag(15, 6),
  bitPointerValid: flag(15, 3),
  bitPointer: bits(15, 2, 0),
  fieldPointer: number(16, 2),
} as const;

export function encodeSense(sense: Sense): Uint8Array {
  const { information, fieldPointer: pointer } = sense;
  const fits =
    information !== undefined && information <= INFORMATION_MAX && information >= INFORMATION_MIN;
  return build(SENSE_LAYOUT, SENSE_BYTES, {
    valid: fits,
    responseCode: RESPONSE_CODE_CURRENT_FIXED,
    filemark: sense.filemark ?? false,
    endOfMedium: sense.endOfMedium ?? false,
    incorrectLength: sense.incorrectLength ?? false,
    key: sense.code.key,
    information: fits ? information : 0,
    additionalLength: ADDITIONAL_BYTES,
    asc: sense.code.asc,
    ascq: sense.code.ascq,
    pointerValid: pointer !== undefined,
    pointerInCdb: pointer?.inCdb ?? false,
    bitPointerValid: pointer?.bit !== undefined,
    bitPointer: pointer?.bit ?? 0,
    fieldPointer: pointer?.byte ?? 0,
  });
}

/** "ILLEGAL REQUEST 05/24/00: invalid field in CDB" and what else the sense says. */
export function senseText(bytes: Uint8Array): string {
  const sense = decodeFields(SENSE_LAYOUT, bytes);
  const triple = [sense.key, sense.asc, sense.ascq]
    .map((value) => value.toString(16).padStart(2, "0").toUpperCase())
    .join("/");
  const known: readonly SenseCode[] = Object.values(SENSE);
  const found = known.find(
    (each) => each.key === sense.key && each.asc === sense.asc && each.ascq === sense.ascq,
  );
  const parts = [`${SENSE_KEYS[sense.key] ?? "?"} ${triple}: ${found?.text ?? "not known here"}`];
  if (sense.filemark === 1) parts.push("FILEMARK");
  if (sense.endOfMedium === 1) parts.push("EOM");
  if (sense.incorrectLength === 1) parts.push("ILI");
  if (sense.valid === 1) parts.push(`information ${sense.information | 0}`);
  if (sense.pointerValid === 1) {
    const bit = sense.bitPointerValid === 1 ? ` bit ${sense.bitPointer}` : "";
    const where = sense.pointerInCdb === 1 ? "the CDB" : "the parameter list";
    parts.push(`wrong: byte ${sense.fieldPointer}${bit} of ${where}`);
  }
  return parts.join(", ");
}

/** Ends a command with CHECK CONDITION. Never leaves this folder: the device server answers it. */
export class CheckCondition extends Error {
  override readonly name = "CheckCondition";
  readonly sense: Sense;

  constructor(sense: Sense | SenseCode) {
    const full = "code" in sense ? sense : { code: sense };
    super(full.code.text);
    this.sense = full;
  }
}

/** 05/24/00 that points at the field. */
export function invalidField(field: Field): CheckCondition {
  return new CheckCondition({ code: SENSE.invalidField, fieldPointer: pointerTo(field, true, 0) });
}

/** 05/26/00 that points at the field of a structure that begins at `base` in the parameter list. */
export function invalidParameter(field: Field, base = 0): CheckCondition {
  return new CheckCondition({
    code: SENSE.invalidParameter,
    fieldPointer: pointerTo(field, false, base),
  });
}

function pointerTo(field: Field, inCdb: boolean, base: number): NonNullable<Sense["fieldPointer"]> {
  const byte = base + field.at;
  return field.bits === undefined ? { inCdb, byte } : { inCdb, byte, bit: field.bits[0] };
}
