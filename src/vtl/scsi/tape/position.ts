/**
 * REWIND, SPACE(6) and (16), LOCATE(10) and (16), READ POSITION.
 *
 * Positions are logical object numbers: records and filemarks count alike, from 0. The numbers that
 * READ POSITION gives, in every form, are the numbers that LOCATE takes, in every form.
 */
import { isReelError } from "../../../errors.ts";
import type { TapePosition } from "../../../tape/tape-drive.ts";
import { dataUpTo, defineCommand, type Command, type Reply } from "../command.ts";
import { bits, build, flag, number, type Field } from "../fields.ts";
import { SENSE, invalidField } from "../sense.ts";
import { endOfDataSense } from "./read.ts";
import type { TapeUnit } from "./tape-unit.ts";

const REWIND_FIELDS = { immediate: flag(1, 0) } as const;

const rewind = defineCommand({
  name: "REWIND",
  opcode: 0x01,
  cdbBytes: 6,
  fields: REWIND_FIELDS,
  run: async (unit: TapeUnit) => {
    unit.checkReady();
    await unit.drive.rewind();
    return {};
  },
});

// SPACE ------------------------------------------------------------------------------------------

const SPACE_CODE = { records: 0, filemarks: 1, endOfData: 3 } as const;
const SPACE_6_FIELDS = {
  code: bits(1, 3, 0),
  count: { at: 2, bytes: 3, signed: true },
} as const satisfies Record<string, Field>;
const SPACE_16_FIELDS = {
  code: bits(1, 3, 0),
  count: { at: 4, bytes: 8, signed: true },
  parameterBytes: number(12, 2),
} as const satisfies Record<string, Field>;

/** Setmarks and runs of filemarks (codes 2, 4, 5) are refused: no one has asked for them since. */
async function space(unit: TapeUnit, code: number, count: number): Promise<Reply> {
  const isCounted = code === SPACE_CODE.records || code === SPACE_CODE.filemarks;
  if (!isCounted && code !== SPACE_CODE.endOfData) throw invalidField(SPACE_6_FIELDS.code);
  unit.checkReady();
  if (!isCounted) {
    await unit.drive.spaceToEndOfData();
    return {};
  }
  if (count === 0) return {};
  const objects = code === SPACE_CODE.records ? "records" : "filemarks";
  const { passed, stoppedBy } = await unit.drive.space(objects, count);
  const missing = Math.abs(count) - passed;
  switch (stoppedBy) {
    case undefined:
      return {};
    case "filemark":
      return { sense: { code: SENSE.filemark, filemark: true, information: missing } };
    case "beginning":
      return { sense: { code: SENSE.beginning, endOfMedium: true, information: missing } };
    case "end-of-data":
      return { sense: await endOfDataSense(unit, missing) };
  }
}

const space6 = defineCommand({
  name: "SPACE(6)",
  opcode: 0x11,
  cdbBytes: 6,
  fields: SPACE_6_FIELDS,
  run: async (unit: TapeUnit, { fields }) => space(unit, fields.code, fields.count),
});

const space16 = defineCommand({
  name: "SPACE(16)",
  opcode: 0x91,
  cdbBytes: 16,
  fields: SPACE_16_FIELDS,
  run: async (unit: TapeUnit, { fields }) => {
    if (fields.parameterBytes !== 0) throw invalidField(SPACE_16_FIELDS.parameterBytes);
    return space(unit, fields.code, fields.count);
  },
});

// LOCATE -----------------------------------------------------------------------------------------

/** BT says whose numbering is meant; there is only one here. */
const LOCATE_10_FIELDS = {
  deviceSpecific: flag(1, 2),
  changePartition: flag(1, 1),
  immediate: flag(1, 0),
  object: number(3, 4),
  partition: number(8, 1),
} as const;
const LOCATE_16_FIELDS = {
  destination: bits(1, 4, 3),
  changePartition: flag(1, 1),
  immediate: flag(1, 0),
  explicitAddressMode: flag(2, 0),
  partition: number(3, 1),
  identifier: number(4, 8),
} as const;
const DESTINATION = { object: 0, file: 1, endOfData: 3 } as const;

/** Past the end of the data: BLANK CHECK, and the position is the end. */
async function locateObject(unit: TapeUnit, object: number): Promise<Reply> {
  try {
    await unit.drive.locate(object);
    return {};
  } catch (error) {
    if (!isReelError(error, "out-of-range")) throw error;
    return { sense: await endOfDataSense(unit) };
  }
}

/** Tape file n begins behind the n-th filemark. */
async function locateFile(unit: TapeUnit, file: number): Promise<Reply> {
  await unit.drive.rewind();
  const { passed } = await unit.drive.space("filemarks", file);
  return passed === file ? {} : { sense: await endOfDataSense(unit) };
}

const locate10 = defineCommand({
  name: "LOCATE(10)",
  opcode: 0x2b,
  cdbBytes: 10,
  fields: LOCATE_10_FIELDS,
  run: async (unit: TapeUnit, { fields }) => {
    if (fields.changePartition === 1 && fields.partition !== 0) {
      throw invalidField(LOCATE_10_FIELDS.partition);
    }
    unit.checkReady();
    return locateObject(unit, fields.object);
  },
});

const locate16 = defineCommand({
  name: "LOCATE(16)",
  opcode: 0x92,
  cdbBytes: 16,
  fields: LOCATE_16_FIELDS,
  run: async (unit: TapeUnit, { fields }) => {
    if (fields.changePartition === 1 && fields.partition !== 0) {
      throw invalidField(LOCATE_16_FIELDS.partition);
    }
    if (fields.explicitAddressMode === 1) throw invalidField(LOCATE_16_FIELDS.explicitAddressMode);
    const { destination } = fields;
    if (!Object.values<number>(DESTINATION).includes(destination)) {
      throw invalidField(LOCATE_16_FIELDS.destination);
    }
    unit.checkReady();
    if (destination === DESTINATION.object) return locateObject(unit, fields.identifier);
    if (destination === DESTINATION.file) return locateFile(unit, fields.identifier);
    await unit.drive.spaceToEndOfData();
    return {};
  },
});

// READ POSITION ----------------------------------------------------------------------------------

export const SHORT_FORM = {
  beginning: flag(0, 7),
  end: flag(0, 6),
  /** The position does not fit into this form. */
  overflow: flag(0, 1),
  first: number(4, 4),
  last: number(8, 4),
} as const;
const SHORT_FORM_BYTES = 20;
const SHORT_POSITION_MAX = 0xffff_ffff;

export const LONG_FORM = {
  beginning: flag(0, 7),
  end: flag(0, 6),
  object: number(8, 8),
  file: number(16, 8),
} as const;
const LONG_FORM_BYTES = 32;

export const EXTENDED_FORM = {
  beginning: flag(0, 7),
  end: flag(0, 6),
  additionalLength: number(2, 2),
  first: number(8, 8),
  last: number(16, 8),
} as const;
const EXTENDED_FORM_BYTES = 32;
const EXTENDED_ADDITIONAL = EXTENDED_FORM_BYTES - 4;

function flagsOf(position: TapePosition): { beginning: boolean; end: boolean } {
  return { beginning: position.beginning, end: position.earlyWarning };
}

function shortForm(position: TapePosition): Uint8Array {
  const overflow = position.object > SHORT_POSITION_MAX;
  const object = overflow ? 0 : position.object;
  return build(SHORT_FORM, SHORT_FORM_BYTES, {
    ...flagsOf(position),
    overflow,
    first: object,
    last: object,
  });
}

function longForm(position: TapePosition): Uint8Array {
  const { object, file } = position;
  return build(LONG_FORM, LONG_FORM_BYTES, { ...flagsOf(position), object, file });
}

/** Nothing is ever in a buffer: first and last are the same. */
function extendedForm(position: TapePosition): Uint8Array {
  return build(EXTENDED_FORM, EXTENDED_FORM_BYTES, {
    ...flagsOf(position),
    additionalLength: EXTENDED_ADDITIONAL,
    first: position.object,
    last: position.object,
  });
}

const POSITION_FIELDS = {} as const;
const EXTENDED_POSITION_FIELDS = { allocation: number(7, 2) } as const;

function readPosition(
  serviceAction: number,
  name: string,
  form: (position: TapePosition) => Uint8Array,
): Command<TapeUnit> {
  return defineCommand({
    name: `READ POSITION, ${name}`,
    opcode: 0x34,
    serviceAction,
    cdbBytes: 10,
    fields: POSITION_FIELDS,
    reservation: "reading",
    run: async (unit: TapeUnit) => {
      unit.checkReady();
      return { dataIn: form(await unit.drive.position()) };
    },
  });
}

const readPositionExtended = defineCommand({
  name: "READ POSITION, extended form",
  opcode: 0x34,
  serviceAction: 0x08,
  cdbBytes: 10,
  fields: EXTENDED_POSITION_FIELDS,
  reservation: "reading",
  run: async (unit: TapeUnit, { fields }) => {
    unit.checkReady();
    return dataUpTo(fields.allocation, extendedForm(await unit.drive.position()));
  },
});

export const positionCommands: readonly Command<TapeUnit>[] = [
  rewind,
  space6,
  space16,
  locate10,
  locate16,
  readPosition(0x00, "short form", shortForm),
  readPosition(0x01, "short form, device's own numbers", shortForm),
  readPosition(0x06, "long form", longForm),
  readPositionExtended,
];
