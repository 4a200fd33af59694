/** LOAD UNLOAD, READ BLOCK LIMITS, REPORT DENSITY SUPPORT, SET CAPACITY. */
import { dataUpTo, defineCommand, type Command } from "../command.ts";
import { build, concat, flag, number, paddedText } from "../fields.ts";
import { CheckCondition, SENSE, invalidField } from "../sense.ts";
import { TAPE_ALERT } from "../tape-alert.ts";
import { BYTES_PER_MB } from "./tape-counters.ts";
import { DENSITY_CODE, type TapeUnit } from "./tape-unit.ts";

/** Hold, end-of-tape and retension are for tapes that can be pulled tight; they change nothing. */
const LOAD_FIELDS = {
  immediate: flag(1, 0),
  hold: flag(4, 3),
  endOfTape: flag(4, 2),
  retension: flag(4, 1),
  load: flag(4, 0),
} as const;

const loadUnload = defineCommand({
  name: "LOAD UNLOAD",
  opcode: 0x1b,
  cdbBytes: 6,
  fields: LOAD_FIELDS,
  run: async (unit: TapeUnit, { fields, nexus }) => {
    const { drive } = unit;
    if (drive.medium() === undefined) throw new CheckCondition(SENSE.mediumAbsent);
    if (fields.load === 1) {
      if (drive.ready) {
        await drive.rewind();
      } else {
        await drive.load();
        unit.mediumChanged(nexus);
      }
      return {};
    }
    if (unit.preventing.size > 0) {
      unit.alerts.raise(TAPE_ALERT.noRemoval);
      throw new CheckCondition(SENSE.removalPrevented);
    }
    if (drive.ready) await drive.unload();
    return {};
  },
});

export const BLOCK_LIMITS = {
  granularity: number(0, 1),
  max: number(1, 3),
  min: number(4, 2),
} as const;
const BLOCK_LIMITS_BYTES = 6;

/** Answered also without a tape: hosts ask before they look. */
const readBlockLimits = defineCommand({
  name: "READ BLOCK LIMITS",
  opcode: 0x05,
  cdbBytes: 6,
  fields: {},
  reservation: "allowed",
  run: (unit: TapeUnit) => ({
    dataIn: build(BLOCK_LIMITS, BLOCK_LIMITS_BYTES, { max: unit.recordBytesMax, min: 1 }),
  }),
});

const DENSITY_FIELDS = {
  mediumType: flag(1, 1),
  media: flag(1, 0),
  allocation: number(7, 2),
} as const;
const DENSITY_HEADER = { length: number(0, 2) } as const;
const DENSITY_HEADER_BYTES = 4;
const DENSITY = {
  primary: number(0, 1),
  secondary: number(1, 1),
  writable: flag(2, 7),
  isDefault: flag(2, 5),
  tracks: number(10, 2),
  capacityMb: number(12, 4),
} as const;
const DENSITY_BYTES = 52;
const ORGANIZATION_AT = 16;
const DENSITY_NAME_AT = 24;
const DESCRIPTION_AT = 32;
const SHORT_NAME_BYTES = 8;
const DESCRIPTION_BYTES = 20;
const CAPACITY_MB_MAX = 0xffff_ffff;

/** One density, whatever is asked: that of a virtual tape, which has the capacity of the tape in. */
function densityDescriptor(unit: TapeUnit): Uint8Array {
  const medium = unit.drive.medium();
  const capacityMb = Math.floor((medium?.capacityBytes ?? 0) / BYTES_PER_MB);
  const descriptor = build(DENSITY, DENSITY_BYTES, {
    primary: DENSITY_CODE,
    secondary: DENSITY_CODE,
    writable: true,
    isDefault: true,
    tracks: 1,
    capacityMb: Math.min(capacityMb, CAPACITY_MB_MAX),
  });
  descriptor.set(paddedText("REELFS", SHORT_NAME_BYTES), ORGANIZATION_AT);
  descriptor.set(paddedText("VIRTUAL", SHORT_NAME_BYTES), DENSITY_NAME_AT);
  descriptor.set(paddedText("SIMH tape file", DESCRIPTION_BYTES), DESCRIPTION_AT);
  return descriptor;
}

const reportDensitySupport = defineCommand({
  name: "REPORT DENSITY SUPPORT",
  opcode: 0x44,
  cdbBytes: 10,
  fields: DENSITY_FIELDS,
  reservation: "reading",
  run: (unit: TapeUnit, { fields }) => {
    if (fields.mediumType === 1) throw invalidField(DENSITY_FIELDS.mediumType);
    if (fields.media === 1) unit.checkReady();
    const descriptor = densityDescriptor(unit);
    const length = DENSITY_HEADER_BYTES + descriptor.length - DENSITY_HEADER.length.bytes;
    const header = build(DENSITY_HEADER, DENSITY_HEADER_BYTES, { length });
    return dataUpTo(fields.allocation, concat(header, descriptor));
  },
});

const CAPACITY_FIELDS = { immediate: flag(1, 0), proportion: number(3, 2) } as const;
const FULL_CAPACITY = 0xffff;

/** The whole capacity is what a tape has anyway; how long a tape is, is its loader's business. */
const setCapacity = defineCommand({
  name: "SET CAPACITY",
  opcode: 0x0b,
  cdbBytes: 6,
  fields: CAPACITY_FIELDS,
  run: async (unit: TapeUnit, { fields }) => {
    if (fields.proportion !== FULL_CAPACITY) throw invalidField(CAPACITY_FIELDS.proportion);
    unit.checkReady();
    const { beginning } = await unit.drive.position();
    if (!beginning) throw new CheckCondition(SENSE.pastBeginning);
    return {};
  },
});

export const mediumCommands: readonly Command<TapeUnit>[] = [
  loadUnload,
  readBlockLimits,
  reportDensitySupport,
  setCapacity,
];
