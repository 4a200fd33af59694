/** MOVE MEDIUM, EXCHANGE MEDIUM, POSITION TO ELEMENT, REZERO UNIT, INITIALIZE ELEMENT STATUS. */
import type { ElementAddress } from "../../tape-loader.ts";
import { defineCommand, type Command, type Reply } from "../command.ts";
import { flag, number, type Field } from "../fields.ts";
import { CheckCondition, SENSE, invalidField } from "../sense.ts";
import { TAPE_ALERT } from "../tape-alert.ts";
import type { ChangerUnit } from "./changer-unit.ts";
import { ARM_ADDRESS, DEFAULT_ARM, elementAt } from "./element-map.ts";

function invalidElement(field: Field): CheckCondition {
  return new CheckCondition({
    code: SENSE.invalidElement,
    fieldPointer: { inCdb: true, byte: field.at },
  });
}

function checkArm(address: number, field: Field): void {
  if (address !== DEFAULT_ARM && address !== ARM_ADDRESS) throw invalidElement(field);
}

/** The arm holds no tape between two commands: it is no place to put one. */
function checkElement(unit: ChangerUnit, address: number, field: Field): ElementAddress {
  const element = elementAt(unit.loader.geometry, address);
  if (element === undefined) throw invalidElement(field);
  return element;
}

/** As `checkElement`; the arm is an element too, and an empty one. */
function checkSource(unit: ChangerUnit, address: number, field: Field): ElementAddress {
  if (address === ARM_ADDRESS) throw new CheckCondition(SENSE.sourceEmpty);
  return checkElement(unit, address, field);
}

async function isFull(unit: ChangerUnit, address: ElementAddress): Promise<boolean> {
  return (await unit.loader.element(address)).tape !== undefined;
}

/** A host's PREVENT keeps a tape in its drive, and keeps tapes from leaving the loader. */
function checkPrevention(unit: ChangerUnit, from: ElementAddress, to: ElementAddress): void {
  const staysInDrive = from.kind === "drive" && unit.loader.drive(from.number).preventRemoval;
  const staysInLoader = to.kind === "import-export" && unit.preventing.size > 0;
  if (!staysInDrive && !staysInLoader) return;
  unit.alerts.raise(TAPE_ALERT.noRemoval);
  throw new CheckCondition(SENSE.removalPrevented);
}

function isSame(one: ElementAddress, other: ElementAddress): boolean {
  return one.kind === other.kind && one.number === other.number;
}

const MOVE_FIELDS = {
  arm: number(2, 2),
  source: number(4, 2),
  destination: number(6, 2),
  invert: flag(10, 0),
} as const;

const moveMedium = defineCommand({
  name: "MOVE MEDIUM",
  opcode: 0xa5,
  cdbBytes: 12,
  fields: MOVE_FIELDS,
  run: async (unit: ChangerUnit, { fields }) => {
    checkArm(fields.arm, MOVE_FIELDS.arm);
    if (fields.invert === 1) throw invalidField(MOVE_FIELDS.invert);
    const to = checkElement(unit, fields.destination, MOVE_FIELDS.destination);
    const from = checkSource(unit, fields.source, MOVE_FIELDS.source);
    if (!(await isFull(unit, from))) throw new CheckCondition(SENSE.sourceEmpty);
    if (await isFull(unit, to)) throw new CheckCondition(SENSE.destinationFull);
    checkPrevention(unit, from, to);
    await unit.loader.move(from, to);
    await unit.remember();
    return {};
  },
});

const EXCHANGE_FIELDS = {
  arm: number(2, 2),
  source: number(4, 2),
  first: number(6, 2),
  second: number(8, 2),
  invertFirst: flag(10, 1),
  invertSecond: flag(10, 0),
} as const;

const exchangeMedium = defineCommand({
  name: "EXCHANGE MEDIUM",
  opcode: 0xa6,
  cdbBytes: 12,
  fields: EXCHANGE_FIELDS,
  run: async (unit: ChangerUnit, { fields }) => {
    checkArm(fields.arm, EXCHANGE_FIELDS.arm);
    if (fields.invertFirst === 1) throw invalidField(EXCHANGE_FIELDS.invertFirst);
    if (fields.invertSecond === 1) throw invalidField(EXCHANGE_FIELDS.invertSecond);
    const first = checkElement(unit, fields.first, EXCHANGE_FIELDS.first);
    const second = checkElement(unit, fields.second, EXCHANGE_FIELDS.second);
    const source = checkSource(unit, fields.source, EXCHANGE_FIELDS.source);
    const bothFull = (await isFull(unit, source)) && (await isFull(unit, first));
    if (!bothFull) throw new CheckCondition(SENSE.sourceEmpty);
    if (isSame(source, first) || isSame(first, second)) {
      throw new CheckCondition(SENSE.destinationFull);
    }
    if (!isSame(second, source) && (await isFull(unit, second))) {
      throw new CheckCondition(SENSE.destinationFull);
    }
    checkPrevention(unit, source, first);
    checkPrevention(unit, first, second);
    await unit.loader.exchange(source, first, second);
    await unit.remember();
    return {};
  },
});

const POSITION_FIELDS = {
  arm: number(2, 2),
  destination: number(4, 2),
  invert: flag(8, 0),
} as const;

/** The arm is everywhere at once; the address must be right all the same. */
const positionToElement = defineCommand({
  name: "POSITION TO ELEMENT",
  opcode: 0x2b,
  cdbBytes: 10,
  fields: POSITION_FIELDS,
  run: (unit: ChangerUnit, { fields }) => {
    checkArm(fields.arm, POSITION_FIELDS.arm);
    if (fields.invert === 1) throw invalidField(POSITION_FIELDS.invert);
    if (fields.destination !== ARM_ADDRESS) {
      checkElement(unit, fields.destination, POSITION_FIELDS.destination);
    }
    return {};
  },
});

const rezeroUnit = defineCommand({
  name: "REZERO UNIT",
  opcode: 0x01,
  cdbBytes: 6,
  fields: {},
  run: (unit: ChangerUnit) => {
    unit.checkReady();
    return {};
  },
});

/** The loader always knows what it holds; the hosts now know that they have seen it. */
async function initialize(unit: ChangerUnit): Promise<Reply> {
  await unit.remember();
  return {};
}

const initializeElementStatus = defineCommand({
  name: "INITIALIZE ELEMENT STATUS",
  opcode: 0x07,
  cdbBytes: 6,
  fields: {},
  run: async (unit: ChangerUnit) => initialize(unit),
});

const RANGE_FIELDS = {
  fast: flag(1, 1),
  range: flag(1, 0),
  first: number(2, 2),
  count: number(6, 2),
} as const;

function initializeWithRange(opcode: number): Command<ChangerUnit> {
  return defineCommand({
    name: `INITIALIZE ELEMENT STATUS WITH RANGE${opcode === 0x37 ? "" : " (SMC)"}`,
    opcode,
    cdbBytes: 10,
    fields: RANGE_FIELDS,
    run: async (unit: ChangerUnit, { fields }) => {
      if (fields.range === 1 && fields.first !== ARM_ADDRESS) {
        checkElement(unit, fields.first, RANGE_FIELDS.first);
      }
      return initialize(unit);
    },
  });
}

export const moveCommands: readonly Command<ChangerUnit>[] = [
  moveMedium,
  exchangeMedium,
  positionToElement,
  rezeroUnit,
  initializeElementStatus,
  initializeWithRange(0x37),
  // The operation code of the first SMC, which mtx still sends.
  initializeWithRange(0xe7),
];
