/** MODE SENSE(6) and (10): a header, perhaps a block descriptor, and pages (SPC-4, 6.13). */
import { dataUpTo, defineCommand, type Command } from "../command.ts";
import { bits, build, concat, flag, number, type Field } from "../fields.ts";
import type { LogicalUnit } from "../logical-unit.ts";
import type { ModePage } from "../mode-pages.ts";
import { CheckCondition, SENSE, invalidField } from "../sense.ts";

export const MODE_HEADER_6 = {
  length: number(0, 1),
  mediumType: number(1, 1),
  deviceSpecific: number(2, 1),
  blockDescriptorBytes: number(3, 1),
} as const;
export const MODE_HEADER_6_BYTES = 4;

export const MODE_HEADER_10 = {
  length: number(0, 2),
  mediumType: number(2, 1),
  deviceSpecific: number(3, 1),
  blockDescriptorBytes: number(6, 2),
} as const;
export const MODE_HEADER_10_BYTES = 8;

/** Page codes and subpages with a meaning of their own. */
const PAGE_NONE = 0x00;
const PAGE_ALL = 0x3f;
const SUBPAGE_ALL = 0xff;

/** Page control. */
const CURRENT = 0;
const CHANGEABLE = 1;
const SAVED = 3;

const SENSE_6_FIELDS = {
  noBlockDescriptor: flag(1, 3),
  control: bits(2, 7, 6),
  page: bits(2, 5, 0),
  subpage: number(3, 1),
  allocation: number(4, 1),
} as const;
const SENSE_10_FIELDS = { ...SENSE_6_FIELDS, allocation: number(7, 2) } as const;

interface Wanted {
  readonly noBlockDescriptor: number;
  readonly control: number;
  readonly page: number;
  readonly subpage: number;
}

function selectPages(unit: LogicalUnit, wanted: Wanted): readonly ModePage[] {
  const { page, subpage } = wanted;
  const wantedSubpage = (each: ModePage): boolean =>
    subpage === SUBPAGE_ALL || each.subpage === subpage;
  if (page === PAGE_NONE && subpage === 0) return [];
  if (page === PAGE_ALL) {
    if (subpage !== 0 && subpage !== SUBPAGE_ALL) throw invalidField(SENSE_6_FIELDS.subpage);
    return unit.modes.pages.filter(wantedSubpage);
  }
  const ofCode = unit.modes.pages.filter((each) => each.code === page);
  if (ofCode.length === 0) throw invalidField(SENSE_6_FIELDS.page);
  const pages = ofCode.filter(wantedSubpage);
  if (pages.length === 0) throw invalidField(SENSE_6_FIELDS.subpage);
  return pages;
}

function pageBytes(unit: LogicalUnit, page: ModePage, control: number): Uint8Array {
  if (control === CURRENT) return unit.modes.current(page);
  return control === CHANGEABLE ? page.changeable : unit.modes.defaults(page);
}

/** Header, block descriptor, pages; `lengthField` counts what follows itself. */
function modeData(unit: LogicalUnit, wanted: Wanted, header: "6" | "10"): Uint8Array {
  if (wanted.control === SAVED) {
    const field: Field = SENSE_6_FIELDS.control;
    throw new CheckCondition({
      code: SENSE.savingUnsupported,
      fieldPointer: { inCdb: true, byte: field.at, bit: 7 },
    });
  }
  const pages = selectPages(unit, wanted).map((page) => pageBytes(unit, page, wanted.control));
  const descriptor = wanted.noBlockDescriptor === 1 ? new Uint8Array(0) : unit.blockDescriptor();
  const body = concat(descriptor, ...pages);
  const values = {
    deviceSpecific: unit.deviceSpecificParameter(),
    blockDescriptorBytes: descriptor.length,
  };
  if (header === "6") {
    const length = MODE_HEADER_6_BYTES + body.length - MODE_HEADER_6.length.bytes;
    return concat(build(MODE_HEADER_6, MODE_HEADER_6_BYTES, { ...values, length }), body);
  }
  const length = MODE_HEADER_10_BYTES + body.length - MODE_HEADER_10.length.bytes;
  return concat(build(MODE_HEADER_10, MODE_HEADER_10_BYTES, { ...values, length }), body);
}

const modeSense6 = defineCommand({
  name: "MODE SENSE(6)",
  opcode: 0x1a,
  cdbBytes: 6,
  fields: SENSE_6_FIELDS,
  reservation: "reading",
  run: (unit: LogicalUnit, { fields }) => dataUpTo(fields.allocation, modeData(unit, fields, "6")),
});

const modeSense10 = defineCommand({
  name: "MODE SENSE(10)",
  opcode: 0x5a,
  cdbBytes: 10,
  fields: SENSE_10_FIELDS,
  reservation: "reading",
  run: (unit: LogicalUnit, { fields }) => dataUpTo(fields.allocation, modeData(unit, fields, "10")),
});

export const modeSenseCommands: readonly Command<LogicalUnit>[] = [modeSense6, modeSense10];
