/** RESERVE and RELEASE, 6 and 10 bytes (SPC-2, 7.17 to 7.22): a device for one nexus alone. */
import { STATUS } from "../answer.ts";
import { defineCommand, type Command, type Reply } from "../command.ts";
import { flag, number, type Field } from "../fields.ts";
import type { LogicalUnit } from "../logical-unit.ts";
import { invalidField } from "../sense.ts";

/** Reserving for a third party, or parts of a device, has gone out of use; it is refused. */
const FIELDS_6 = { thirdParty: flag(1, 4), extent: flag(1, 0) } as const;
const FIELDS_10 = { ...FIELDS_6, longId: flag(1, 1), listBytes: number(7, 2) } as const;

function refuseParts(
  fields: { readonly thirdParty: number; readonly extent: number },
  layout: { readonly thirdParty: Field; readonly extent: Field },
): void {
  if (fields.thirdParty === 1) throw invalidField(layout.thirdParty);
  if (fields.extent === 1) throw invalidField(layout.extent);
}

function answer(isDone: boolean): Reply {
  return isDone ? {} : { status: STATUS.reservationConflict };
}

const reserve6 = defineCommand({
  name: "RESERVE(6)",
  opcode: 0x16,
  cdbBytes: 6,
  fields: FIELDS_6,
  reservation: "allowed",
  run: (unit: LogicalUnit, { fields, nexus }) => {
    refuseParts(fields, FIELDS_6);
    return answer(unit.reservations.reserve(nexus));
  },
});

const release6 = defineCommand({
  name: "RELEASE(6)",
  opcode: 0x17,
  cdbBytes: 6,
  fields: FIELDS_6,
  reservation: "allowed",
  run: (unit: LogicalUnit, { fields, nexus }) => {
    refuseParts(fields, FIELDS_6);
    return answer(unit.reservations.release(nexus));
  },
});

const reserve10 = defineCommand({
  name: "RESERVE(10)",
  opcode: 0x56,
  cdbBytes: 10,
  fields: FIELDS_10,
  reservation: "allowed",
  run: (unit: LogicalUnit, { fields, nexus }) => {
    refuseParts(fields, FIELDS_10);
    return answer(unit.reservations.reserve(nexus));
  },
});

const release10 = defineCommand({
  name: "RELEASE(10)",
  opcode: 0x57,
  cdbBytes: 10,
  fields: FIELDS_10,
  reservation: "allowed",
  run: (unit: LogicalUnit, { fields, nexus }) => {
    refuseParts(fields, FIELDS_10);
    return answer(unit.reservations.release(nexus));
  },
});

export const reserveCommands: readonly Command<LogicalUnit>[] = [
  reserve6,
  release6,
  reserve10,
  release10,
];
